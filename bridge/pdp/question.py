"""What is asked, as the merging sees it: the input document, and on which terms the answer goes out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.pdp import details
from bridge.pdp.gather import NATIVE, Terms


@dataclass(frozen=True, slots=True)
class Question:
    """What the answer may depend on beside the verdicts: the input document, its time, the ceiling on lifetimes (s).

    `within`: the scopes that other documents of the same token leave (None: all of them).
    """

    document: Mapping[str, Any]
    now_ms: int
    max_token_lifetime_s: int | None = None
    terms: Terms = NATIVE
    within: frozenset[str] | None = None

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes to answer."""
        return tuple(self.document["scopes"]) if self.terms.scopes is None else self.terms.scopes

    @property
    def audience(self) -> tuple[str, ...]:
        """What a limit's audience is intersected with; empty: nothing was asked for."""
        return tuple(self.document.get("audience", ())) if self.terms.targets is None else self.terms.targets

    @property
    def details(self) -> tuple[dict[str, Any], ...]:
        return tuple(self.document.get("authorization_details", ()))

    @property
    def is_authzen(self) -> bool:
        """Whether the token service merges the answers itself."""
        return self.terms.targets is not None

    @property
    def leaves_scopes_to_others(self) -> bool:
        """Whether the scopes asked for are all answered by other documents of the same token."""
        return not self.scopes and bool(self.document["scopes"]) and not self.terms.gate_alone

    def allows(self, returned: tuple[dict[str, Any], ...] | None) -> bool:
        """Whether these authorization details are within the requested ones.

        An AuthZEN request need not show which those are; then the token service compares.
        """
        return (self.is_authzen and not self.details) or details.within(returned or (), self.details)
