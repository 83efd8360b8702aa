"""Loads a policy set: read, parse, index, check, digest, bundle. What does not pass is refused whole."""

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bridge import kernel
from bridge.errors import PolicyRefused
from bridge.model.policy import PolicySet
from bridge.model.registry import registered_clients
from bridge.policy import bundle, source
from bridge.policy import opa as opa_cli
from bridge.policy.index import RESERVED, Index
from bridge.policy.listing import SIGNATURES
from bridge.policy.signing import Verifier, covers
from bridge.policy.source import Source
from bridge.policy.syntax import Module, load_yaml, parse, repeated

KERNEL_FOLDER = "issuance_kernel"
"""Where kernel files stand in a bundle."""
_MAX_TOLD = 20
_YAML_MARK = re.compile(r"^(?:---|\.\.\.)(?=\s|\Z)", re.MULTILINE)
_YAML_CONTENT = re.compile(r"^\s*[^\s#%]", re.MULTILINE)


def load(path: Path, opa: Path, verifier: Verifier | None = None) -> PolicySet:
    """The verified set at `path` (folder or bundle). PolicyRefused names every reason found, file and row first."""
    return verify(source.read(path), opa, verifier)


def verify(found: Source, opa: Path, verifier: Verifier | None = None) -> PolicySet:
    """The set in `found`, when it passes; PolicyRefused as above. With a `verifier` only a signed bundle can pass."""
    if verifier is not None:
        if not found.bundled:
            raise PolicyRefused(
                ["policy.verification_key is set, so policy.path must be a signed bundle, not a folder"]
            )
        verifier.check(found.archive)
    modules = _without_kernel(found.modules)
    data = merge_data(found, opa)
    claimed = take_index(data, found)
    if reserved := sorted(set(RESERVED) & data.keys()):
        raise PolicyRefused([f"data: the key {key!r} is reserved" for key in reserved])
    # OPA reads a root as an escaped path: what is claimed under such a name passes its check and is then not loaded.
    if unrooted := sorted(key for key in data if "/" in key or "%" in key or key in ("", "system")):
        raise PolicyRefused([f"data: the key {key!r} cannot stand at the top of an OPA bundle" for key in unrooted])
    made = Assembled(modules, parse(opa, modules), data, kernel.MODULES)
    if claimed is not None and claimed != made.index:
        raise PolicyRefused(["data.issuance.index does not belong to the bundle's modules: build the bundle again"])
    held = len(found.modules) - len(modules)
    if claimed is None and found.bundled and held:
        raise PolicyRefused(["the bundle holds our kernel and not its index, so its data is not whole: build it again"])
    if held < len(kernel.MODULES) and (claimed is not None or verifier is not None):
        raise PolicyRefused(["the bundle does not hold our whole kernel: build it again with `policy build`"])
    check(made, opa)
    return made.policy_set(found.archive.get(SIGNATURES) or b"")


class Assembled:
    """A set in its parts: its own modules with their syntax trees, its own data, and the kernel that it runs with.

    `index`: the value of `data.issuance.index`. PolicyRefused when a package has no place in it.
    """

    def __init__(
        self,
        modules: Mapping[str, bytes],
        trees: Sequence[Module],
        data: Mapping[str, Any],
        kernel_modules: Mapping[str, bytes],
    ) -> None:
        index = Index(trees)
        self._index, self._data, self._files = index, data, _files(modules, data)
        self.digest = _digest(self._files, kernel_modules)
        self.index = index.data(self.digest)
        self.everything = {**modules, **{f"{KERNEL_FOLDER}/{name}": text for name, text in kernel_modules.items()}}
        self.all_data = {**data, "issuance": {"index": self.index}}
        self.roots = sorted({*RESERVED, *data, *(tree.package[0] for tree in trees)})

    def policy_set(self, signatures: bytes = b"") -> PolicySet:
        """The set, with the bundle to run. Of the `signatures` that came with it those stay that cover this bundle."""
        built = bundle.contents(self.everything, self.all_data, self.roots, self.digest)
        return PolicySet(
            digest=self.digest,
            revision=self.digest[:16],
            packages=self._index.packages,
            scopes=self._index.scopes,
            prefixes=self._index.prefixes,
            prefix_lengths=self._index.prefix_lengths,
            bundle=bundle.pack(built),
            signatures=signatures if covers(signatures, built) else b"",
            files=self._files,
            clients=registered_clients(self._data),
        )


def _without_kernel(modules: dict[str, bytes]) -> dict[str, bytes]:
    """The policy's own modules. Kernel files among them (a built bundle holds them) must be exactly ours."""
    own = dict(modules)
    for name, content in kernel.MODULES.items():
        file = f"{KERNEL_FOLDER}/{name}"
        if own.pop(file, content) != content:
            raise PolicyRefused([f"{file} differs from the kernel of this bridge: build the bundle again"])
    return own


def take_index(data: dict[str, Any], found: Source) -> Any:
    """Takes our own index out of a built bundle's data; it is made anew and compared."""
    claimed = data.get("issuance")
    if found.bundled and isinstance(claimed, dict) and claimed.keys() == {"index"}:
        del data["issuance"]
        return claimed["index"]
    return None


def merge_data(found: Source, opa: Path) -> dict[str, Any]:
    """All data of the set as one tree; PolicyRefused where a file is none, or two files say one thing."""
    merged: dict[str, Any] = {}
    for name, content in sorted(found.data.items()):
        value = _parse_data(name, content, opa)
        for part in reversed(PurePosixPath(name).parent.parts):
            value = {part: value}
        if not isinstance(value, dict):
            raise PolicyRefused([f"{name}: must hold an object"])
        try:
            _merge(merged, value, name)
        except RecursionError:
            raise PolicyRefused([f"{name}: nested too deep"]) from None
    return merged


def _parse_data(name: str, content: bytes, opa: Path) -> Any:
    try:
        if name.endswith(".json"):
            value = json.loads(content, parse_constant=_no_constant, object_pairs_hook=bundle.unique)
            bundle.canonical(value)  # a lone surrogate is found here, while the file is known
            return value
        return load_yaml(opa, one_document(content, opa))
    except (ValueError, RecursionError) as error:
        raise PolicyRefused([f"{name}: {error}"]) from error


def one_document(content: bytes, opa: Path) -> str:
    """The YAML text in `content`; ValueError when it is not UTF-8, or has more in it than is read.

    Of several documents that would be the first, of several members of one name the last.
    """
    text = content.decode("utf-8")
    if sum(_YAML_CONTENT.search(part) is not None for part in _YAML_MARK.split(text)) > 1:
        raise ValueError("more than one YAML document, of which only the first would be read")
    if twice := repeated(opa, text):
        raise ValueError("; ".join(f"row {row}: {name} stands twice in one mapping" for row, name in twice[:_MAX_TOLD]))
    return text


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _merge(into: dict[str, Any], value: dict[str, Any], name: str) -> None:
    for key, item in value.items():
        if key not in into:
            into[key] = item
        elif isinstance(into[key], dict) and isinstance(item, dict):
            _merge(into[key], item, name)
        else:
            raise PolicyRefused([f"{name}: {key!r} is set by another data file already"])


def _files(modules: Mapping[str, bytes], data: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 (hex) of each module, and of all data together (`data`)."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in modules.items()}
    try:
        return {**digests, "data": hashlib.sha256(bundle.canonical(data)).hexdigest()}
    except RecursionError:  # each folder around a data file is a level of its own
        raise PolicyRefused(["data: nested too deep, with the folders of its files"]) from None


def _digest(files: dict[str, str], kernel_modules: Mapping[str, bytes]) -> str:
    """SHA-256 (hex) over the names and contents of modules, the data, and the kernel."""
    listing = {
        "set": files,
        "kernel": {name: hashlib.sha256(content).hexdigest() for name, content in kernel_modules.items()},
    }
    return hashlib.sha256(bundle.canonical(listing)).hexdigest()


def check(made: Assembled, opa: Path, *, strict: bool = True) -> None:
    """`opa check --bundle` on exactly what will run, with the built-ins that ship with the bridge. PolicyRefused."""
    with tempfile.TemporaryDirectory(prefix="issuance-check-") as scratch:
        folder = Path(scratch) / "set"
        for name, content in made.everything.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        (folder / "data.json").write_bytes(bundle.canonical(made.all_data))
        (folder / ".manifest").write_bytes(bundle.canonical({"rego_version": 1, "roots": made.roots}))
        capabilities = Path(scratch) / "capabilities.json"
        capabilities.write_bytes(kernel.CAPABILITIES)
        if reasons := opa_cli.check(opa, folder, capabilities, "--bundle", strict=strict):
            raise PolicyRefused(reasons)
