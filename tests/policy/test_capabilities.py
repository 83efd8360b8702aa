"""The built-ins that policies may use: OPA's own list without what is not a function of its arguments."""

import json
import subprocess
from pathlib import Path
from typing import Any

from bridge import kernel


def current(opa: Path) -> dict[str, Any]:
    done = subprocess.run([str(opa), "capabilities", "--current"], capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_capabilities_are_those_of_this_opa_without_nondeterministic_built_ins(opa: Path) -> None:
    expected = current(opa)
    expected["builtins"] = [b for b in expected["builtins"] if not b.get("nondeterministic")]
    expected["allow_net"] = []
    assert json.loads(kernel.CAPABILITIES) == expected


def test_network_clock_and_chance_are_not_among_them(opa: Path) -> None:
    """Named one by one, in case OPA's own marks should ever change."""
    names = {b["name"] for b in json.loads(kernel.CAPABILITIES)["builtins"]}
    every = {b["name"] for b in current(opa)["builtins"]}
    barred = {"http.send", "net.lookup_ip_addr", "opa.runtime", "rand.intn", "time.now_ns", "uuid.rfc4122"}
    barred |= {"io.jwt.decode_verify", "json.match_schema", "json.verify_schema"}
    assert barred <= every
    assert not barred & names
    assert {"time.parse_rfc3339_ns", "crypto.sha256", "rego.metadata.chain", "object.union_n"} <= names
