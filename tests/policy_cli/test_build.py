"""`policy build` with a key: the same set, the same bytes, and a signature that the bridge takes."""

from pathlib import Path

from bridge.policy.load import load
from bridge.policy.opa import find_opa
from bridge.policy.signing import Verifier
from tests.support.bridge import run_cli, write_config
from tests.support.signing import key_files


def test_signed_build(tmp_path: Path) -> None:
    private, public = key_files(tmp_path, "p256")
    config = write_config(tmp_path)
    build = ("policy", "build", "--config", config, "--output")
    plain, signed, again = (tmp_path / f"{name}.tar.gz" for name in ("plain", "signed", "again"))
    assert run_cli(*build, plain).returncode == 0
    told = run_cli(*build, signed, "--signing-key", private, "--key-id", "2026").stdout
    assert told.endswith(", signed\n")
    configured = {"BRIDGE__POLICY__SIGNING_KEY": str(private), "BRIDGE__POLICY__SIGNING_KEY_ID": "2026"}
    assert run_cli(*build, again, env=configured).stdout.endswith(", signed\n")
    assert again.read_bytes() == signed.read_bytes() != plain.read_bytes()
    assert load(signed, find_opa(), Verifier(public)).digest == load(plain, find_opa()).digest
    trusting = {"BRIDGE__POLICY__VERIFICATION_KEY": str(public)}
    done = run_cli(*build, again, env=trusting)
    assert (done.returncode, "must be a signed bundle, not a folder" in done.stderr) == (1, True)
    done = run_cli("check", "--config", config, env={**trusting, "BRIDGE__POLICY__PATH": str(signed)})
    assert (done.returncode, "good policies" in done.stdout) == (0, True)


def test_wrong_use(tmp_path: Path) -> None:
    private, _ = key_files(tmp_path)
    assert run_cli("policy", "build", "--algorithm", "RS256").returncode == 2
    assert run_cli("policy", "build", "--signing-key", private, "--algorithm", "none").returncode == 2
    done = run_cli("policy", "build", "--signing-key", private, "--algorithm", "ES256")
    assert (done.returncode, "it can with RS256" in done.stderr) == (1, True)
    done = run_cli("check", env={"BRIDGE__POLICY__SIGNING_KEY_ID": "x"})
    assert (done.returncode, "signing_key_id needs signing_key" in done.stdout) == (1, True)
