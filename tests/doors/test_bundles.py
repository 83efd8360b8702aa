"""The bundle that other OPA servers fetch: for operators, with a strong entity tag, always the set that decides."""

import asyncio
from pathlib import Path

import pytest

from bridge.doors import bundles
from bridge.policy import bundle, served
from bridge.policy.listing import SIGNATURES
from bridge.policy.load import load
from bridge.policy.opa import find_opa
from bridge.policy.served import Shelf, sealed
from bridge.policy.signing import Signer, Verifier
from tests.support.bridge import bearer, caller, local_bridge, request, starting_bridge
from tests.support.policies import POLICIES, write_policies
from tests.support.signing import key_files


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.policy.watch.INTERVAL_S", 0.1)


MORE = {**POLICIES, "issuance.scope.more": "allow := true"}
CALLERS = [
    caller("ops", "operator"),
    caller("as"),
    caller("aud", "auditor"),
    caller("narrow", "operator", doors=["log"]),
]


async def test_only_operators_fetch_it(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, callers=CALLERS) as bridge:
        for who, status in (("ops", 200), ("as", 403), ("aud", 403), ("narrow", 403), ("nobody", 401)):
            async with bridge.session.get(bundles.PATH, headers=bearer(who)) as response:
                assert response.status == status, who
        async with bridge.session.get(bundles.PATH) as response:
            assert response.status == 401


async def test_entity_tag_saves_the_transfer(tmp_path: Path) -> None:
    async with local_bridge(tmp_path) as bridge:
        assert bridge.bridge.policies.current is not None
        async with bridge.session.get(bundles.PATH) as response:
            body, tag = await response.read(), response.headers["ETag"]
            assert response.headers["Content-Type"] == "application/gzip"
            assert response.headers["Cache-Control"] == "private, no-cache"
        assert body == bridge.bridge.policies.current.bundle
        assert tag.startswith(f'"{bridge.bridge.policies.current.digest}.')
        async with bridge.session.head(bundles.PATH) as response:
            assert (response.status, response.headers["ETag"]) == (200, tag)
            assert response.headers["Content-Length"] == str(len(body))
        for known, status in (
            (tag, 304),
            (f'"x", {tag}', 304),
            ("*", 304),
            (f"W/{tag}", 304),
            ('"x"', 200),
            ("junk", 200),
        ):
            async with bridge.session.get(bundles.PATH, headers={"If-None-Match": known}) as response:
                assert (response.status, response.headers["ETag"]) == (status, tag), known
                assert await response.read() == (b"" if status == 304 else body)


async def test_it_is_the_set_that_decides_signed_where_a_key_is_configured(tmp_path: Path) -> None:
    private, public = key_files(tmp_path)
    policies = write_policies(tmp_path / "policies")
    async with local_bridge(tmp_path, policies, policy={"path": str(policies), "signing_key": str(private)}) as bridge:
        async with bridge.session.get(bundles.PATH) as response:
            first, tag = await response.read(), response.headers["ETag"]
        files: dict[str, bytes | None] = dict(bundle.unpack(first))
        Verifier(public).check(files)
        write_policies(policies, {**POLICIES, "issuance.scope.broken": "allow := http.send({})"})
        async with asyncio.timeout(20):
            while not bridge.bridge.policies.refused:
                await asyncio.sleep(0.05)
        async with bridge.session.get(bundles.PATH) as response:
            assert (await response.read(), response.headers["ETag"]) == (first, tag)
        write_policies(policies, MORE)
        async with asyncio.timeout(20):
            while (await bridge.ask(request("more")))["outcome"] != "allow":
                await asyncio.sleep(0.05)
        async with bridge.session.get(bundles.PATH, headers={"If-None-Match": tag}) as response:
            assert response.status == 200
            assert response.headers["ETag"] != tag
            assert bundle.unpack(await response.read()).keys() > bundle.unpack(first).keys()


def test_several_workers_serve_a_new_set_when_all_accept_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = load(write_policies(tmp_path / "old"), find_opa())
    new = load(write_policies(tmp_path / "new", MORE), find_opa())
    now = [1000.0]
    monkeypatch.setattr("bridge.policy.served.time.monotonic", lambda: now[0])
    for alone in (True, False):
        shelf = Shelf(None, alone=alone)
        assert shelf.newest() is None
        shelf.put(first := shelf.seal(old))
        assert shelf.newest() == first
        now[0] += 1
        shelf.put(second := shelf.seal(new))
        assert shelf.newest() == (second if alone else first)
        now[0] += served.SETTLE_S
        assert shelf.newest() == second


def signed_bundle(file: Path, signer: Signer, policies: Path) -> bytes:
    """Puts the signed bundle in place as `policy build` does."""
    content = sealed(load(policies, find_opa()), signer)
    replace(file, content)
    return content


def replace(file: Path, content: bytes) -> None:
    new = file.with_name("new")
    new.write_bytes(content)
    new.rename(file)


def tampered(content: bytes, signer: Signer | None, **changes: bytes | None) -> bytes:
    """The bundle with these files changed (None: gone); signed anew where there is a signer."""
    names = {"gate": "p0.rego", "kernel": "issuance_kernel/kernel.rego"}
    files = bundle.unpack(content)
    for name, changed in changes.items():
        if changed is None:
            del files[names[name]]
        else:
            files[names[name]] = changed
    if signer is not None:
        files[SIGNATURES] = signer.sign({name: c for name, c in files.items() if name != SIGNATURES})
    return bundle.pack(files)


async def test_a_bundle_that_does_not_verify_is_refused_and_the_old_one_decides(tmp_path: Path) -> None:
    private, public = key_files(tmp_path)
    signer, other = Signer(private), Signer(key_files(tmp_path, "rsa-other")[0])
    file = tmp_path / "b.tar.gz"
    good = signed_bundle(file, signer, write_policies(tmp_path / "one"))
    section = {"path": str(file), "verification_key": str(public)}
    gate = b"package issuance.gate\n\nallow := true\n"
    async with local_bridge(tmp_path, file, policy=section) as bridge:
        for content, said in (
            (tampered(good, None, gate=gate), "p0.rego: is not what was signed"),
            (tampered(good, other), "not by policy.verification_key"),
            (load(tmp_path / "one", find_opa()).bundle, "is not signed"),
            (tampered(good, signer, gate=gate), "does not belong to the bundle's modules"),
            (tampered(good, signer, gate=b"package issuance.gate\n\nallow if\n"), "p0.rego:4"),
            (tampered(good, signer, kernel=None), "does not hold our whole kernel"),
        ):
            replace(file, content)
            async with asyncio.timeout(20):
                while said not in str(bridge.bridge.policies.refused):
                    await asyncio.sleep(0.05)
            assert (await bridge.ask(request("read")))["outcome"] == "allow"
        async with bridge.session.get(bundles.PATH) as response:
            assert await response.read() == good  # with the signature that it came with: the key is elsewhere
        signed_bundle(file, signer, write_policies(tmp_path / "two", MORE))
        async with asyncio.timeout(20):
            while (await bridge.ask(request("more")))["outcome"] != "allow":
                await asyncio.sleep(0.05)
        async with asyncio.timeout(20):
            while bridge.bridge.policies.refused:
                await asyncio.sleep(0.05)


def test_an_unsigned_set_stops_the_start(tmp_path: Path) -> None:
    _, public = key_files(tmp_path)
    policies = write_policies(tmp_path / "policies")
    section = {"path": str(policies), "verification_key": str(public)}
    with starting_bridge(tmp_path, policies, policy=section) as starting:
        assert starting.process.wait(20) == 1
    assert "must be a signed bundle, not a folder" in (tmp_path / "bridge.log").read_text()
