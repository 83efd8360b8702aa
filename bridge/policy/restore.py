"""Takes a kept policy set from its file again. The file is believed in nothing: its digest is made anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.errors import PolicyRefused, SetNotKept
from bridge.model.policy import PolicySet
from bridge.policy import source
from bridge.policy.load import KERNEL_FOLDER, Assembled, check, merge_data, take_index
from bridge.policy.syntax import Module, parse

_OWN = ("gate", "scope", "scope_prefix")


@dataclass(frozen=True, slots=True)
class Restored:
    """A set with the text of its files, by their names in its bundle; the kernel's are among them."""

    policy_set: PolicySet
    modules: Mapping[str, bytes]


def restore(path: Path, digest: str, opa: Path) -> Restored:
    """The set with this `digest`, with the kernel that it decided with, which need not be today's.

    SetNotKept: there is no such file, it is not what made that digest, or it calls what no policy may: whoever can
    write both an entry and a file would else have the machine of an auditor send requests.
    """
    if not path.is_file():
        raise SetNotKept(f"{path} is not there", missing=True)
    try:
        found = source.read(path)
        data = merge_data(found, opa)
        claimed = take_index(data, found)
        made = _assembled(found.modules, parse(opa, found.modules), data)
        if made.digest == digest:
            check(made, opa, strict=False)
    except (PolicyRefused, OSError) as refused:  # also names that no folder can have side by side
        raise SetNotKept(f"{path}: {refused}") from refused
    if made.digest != digest:
        raise SetNotKept(f"{path} holds the set {made.digest}, and not {digest}")
    if claimed != made.index:
        raise SetNotKept(f"{path}: its index does not belong to its modules")
    return Restored(made.policy_set(), made.everything)


def _assembled(modules: Mapping[str, bytes], trees: Sequence[Module], data: Mapping[str, Any]) -> Assembled:
    kernel = {tree.file for tree in trees if _is_kernel(tree)}
    return Assembled(
        {name: content for name, content in modules.items() if name not in kernel},
        [tree for tree in trees if tree.file not in kernel],
        data,
        {name.removeprefix(f"{KERNEL_FOLDER}/"): modules[name] for name in kernel},
    )


def _is_kernel(module: Module) -> bool:
    """No policy may declare such a package, whatever it calls its files."""
    reserved = module.package[:1] == ("issuance",) and module.package[1:2] not in [(name,) for name in _OWN]
    return reserved and module.file.startswith(f"{KERNEL_FOLDER}/")
