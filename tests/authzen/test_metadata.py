"""The PDP's metadata: from the configuration alone, and only what is served."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from yarl import URL

from bridge.config.settings import load_settings
from bridge.errors import ConfigFault
from bridge.server import Bridge
from tests.support.bridge import LocalBridge, caller, local_bridge, run_cli, write_config

PATH = "/.well-known/authzen-configuration"
ENDPOINTS = {
    "access_evaluation_endpoint": "/access/v1/evaluation",
    "access_evaluations_endpoint": "/access/v1/evaluations",
    "search_subject_endpoint": "/access/v1/search/subject",
    "search_resource_endpoint": "/access/v1/search/resource",
    "search_action_endpoint": "/access/v1/search/action",
}
URN = "urn:ietf:params:authzen:token-issuance"


async def fetched(
    bridge: LocalBridge, path: str | URL = PATH, status: int = 200, headers: dict[str, str] | None = None
) -> Any:
    async with bridge.session.get(path, headers=headers) as response:
        assert response.status == status, await response.text()
        if status == 200:
            assert response.headers["Content-Type"].startswith("application/json")
        return await response.json(content_type=None)


@pytest.mark.parametrize(
    ("pdp", "path", "base"),
    [
        ("https://pdp.example", PATH, "https://pdp.example"),
        ("https://pdp.example/", PATH, "https://pdp.example"),
        ("https://PDP.example:8443", PATH, "https://PDP.example:8443"),
        ("https://pdp.example/t1/x", PATH + "/t1/x", "https://pdp.example/t1/x"),
        ("https://pdp.example/a%20b", PATH + "/a%20b", "https://pdp.example/a%20b"),
    ],
)
async def test_the_identifier_is_told_as_it_is_configured(tmp_path: Path, pdp: str, path: str, base: str) -> None:
    callers = [caller("as")]
    async with local_bridge(tmp_path, authzen={"pdp": pdp}, callers=callers) as bridge:
        expected = {
            "policy_decision_point": pdp,
            **{name: base + at for name, at in ENDPOINTS.items()},
            "capabilities": [URN],
        }
        assert await fetched(bridge, _encoded(path)) == expected
        forwarded = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
        assert await fetched(bridge, _encoded(path), headers=forwarded) == expected
        if path != PATH:
            await fetched(bridge, PATH, 404)
        await fetched(bridge, PATH + "/other", 404)


def _encoded(path: str) -> Any:
    return URL(path, encoded=True)


async def test_every_endpoint_that_is_listed_is_served_and_no_other(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, authzen={"pdp": "https://pdp.example"}) as bridge:
        document = await fetched(bridge)
        for name, url in document.items():
            if name.endswith("_endpoint"):
                async with bridge.session.post(url.removeprefix("https://pdp.example"), json={}) as response:
                    assert response.status == 400, name
        resources = (route.resource for route in bridge.bridge.application().router.routes())
        served = {resource.canonical for resource in resources if resource is not None}
        assert {path for path in served if path.startswith("/access/")} == set(ENDPOINTS.values())


async def test_without_an_identifier_there_is_none(tmp_path: Path) -> None:
    async with local_bridge(tmp_path) as bridge:
        assert "authzen.pdp" in (await fetched(bridge, status=404))["detail"]
        await fetched(bridge, PATH + "/t1", 404)


async def test_without_capabilities_the_member_is_left_out(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, authzen={"pdp": "https://pdp.example", "capabilities": []}) as bridge:
        assert "capabilities" not in await fetched(bridge)


def pem(key: Any) -> bytes:
    written: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return written


def key_file(folder: Path, content: bytes, mode: int = 0o600) -> str:
    file = folder / "metadata.pem"
    file.write_bytes(content)
    file.chmod(mode)
    return str(file)


def decoded(text: str) -> bytes:
    assert re.fullmatch(r"[A-Za-z0-9_-]+", text)
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_signed_metadata_says_the_same(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    section = {"pdp": "https://pdp.example", "metadata_key": key_file(tmp_path, pem(key))}
    async with local_bridge(tmp_path, authzen=section) as bridge:
        document = await fetched(bridge)
    header, claims, signature = document.pop("signed_metadata").split(".")
    key.public_key().verify(decoded(signature), f"{header}.{claims}".encode())
    assert json.loads(decoded(claims)) == {"iss": "https://pdp.example", **document}
    told = json.loads(decoded(header))
    assert (told["alg"], told["typ"], len(decoded(told["kid"]))) == ("EdDSA", "JWT", 32)


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (None, 0o600, "cannot be read"),
        (b"no key", 0o600, "cannot be read"),
        (pem(generate_private_key(65537, 2048)), 0o600, "no Ed25519 key"),
        (pem(Ed25519PrivateKey.generate()), 0o644, "open to every user"),
    ],
)
def test_a_key_that_cannot_be_used_stops_the_start(tmp_path: Path, content: bytes | None, mode: int, why: str) -> None:
    file = str(tmp_path / "nowhere") if content is None else key_file(tmp_path, content, mode)
    config = write_config(tmp_path, authzen={"pdp": "https://pdp.example", "metadata_key": file})
    with pytest.raises(ConfigFault, match=f"authzen.metadata_key.*{why}"):
        Bridge(load_settings(config))


def test_an_identifier_with_a_password_is_refused_without_showing_it(tmp_path: Path) -> None:
    config = write_config(tmp_path, authzen={"pdp": "https://user:hidden@pdp.example"})
    with pytest.raises(ConfigFault, match=r"authzen.pdp.*without user and password") as refused:
        load_settings(config)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("there", [True, False])
def test_check_looks_at_the_key(tmp_path: Path, there: bool) -> None:
    file = key_file(tmp_path, pem(Ed25519PrivateKey.generate())) if there else str(tmp_path / "nowhere")
    config = write_config(tmp_path, authzen={"pdp": "https://pdp.example", "metadata_key": file})
    done = run_cli("check", "--config", config)
    assert ("good metadata" in done.stdout, "bad  metadata" in done.stdout) == (there, not there), done.stdout


def test_a_key_that_signs_nothing_is_told(tmp_path: Path) -> None:
    """Without an identifier there is no metadata, and the key was not even looked for."""
    config = write_config(tmp_path, authzen={"metadata_key": str(tmp_path / "nowhere")})
    done = run_cli("check", "--config", config)
    assert "warn metadata: authzen.metadata_key is set, but without authzen.pdp" in done.stdout
    assert "good metadata" not in done.stdout
