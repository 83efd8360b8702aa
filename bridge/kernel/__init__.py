"""The kernel: our own Rego, joined to every policy set, and the list of built-ins that policies may use."""

from importlib.resources import files

_HERE = files(__name__)

MODULES: dict[str, bytes] = {name: (_HERE / name).read_bytes() for name in ("kernel.rego", "lib.rego")}
"""File name -> source."""

CAPABILITIES: bytes = (_HERE / "capabilities.json").read_bytes()

ENTRYPOINT = "issuance/kernel/answer"
OPA_VERSION = "1.22.2"
