"""What a driver of a door gets, and what it tells."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from bridge.policy.matrix.model import Kind

CLIENT = "matrix-client"
_T = TypeVar("_T")


class Ask(Protocol):
    """One door of one bridge."""

    async def __call__(self, path: str, body: Mapping[str, Any]) -> Any:
        """Posts a body to a path; the decoded reply, which must be a 200."""

    async def answer(self, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        """The same with the status, below 500; the body is None where there is none."""


@dataclass(frozen=True, slots=True)
class World:
    """What there is to ask for: scopes with a package each, and which kind of token Curity's form stands for.

    `tokens`: whether what is granted without any scope says something; only the gate answers for that.
    """

    scopes: tuple[str, ...]
    kinds: tuple[Kind, ...]
    curity_token: str
    tokens: bool = True


@dataclass(frozen=True, slots=True)
class Shown:
    """What a door said yes to: scopes, and whether a token of that kind (the gate) at all."""

    scopes: frozenset[str] = frozenset()
    token: bool = False


@dataclass(frozen=True, slots=True)
class Driver:
    """`kinds`: those that can be said at this door. `ask`: everything that can be asked for with this kind.

    `tokens`: whether a token can be asked for here without any scope. `patient`: it waits as long as it takes.
    """

    kinds: Callable[[World], Iterator[Kind]]
    ask: Callable[[Ask, World, Kind], Coroutine[Any, Any, Shown]]
    tokens: bool = True
    patient: bool = True


async def together(asked: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """What these return, in their order; where one fails, the others end, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in asked]
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    return [task.result() for task in tasks]
