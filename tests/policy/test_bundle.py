"""A built bundle: the same bytes from the same sources, the same set when it is loaded, and refused when touched."""

import gzip
import io
import json
import os
import random
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge import kernel
from bridge.errors import PolicyRefused
from bridge.model.policy import PolicySet
from bridge.policy import source
from bridge.policy.load import KERNEL_FOLDER, load
from tests.policy.sets import GATE, write

FILES: dict[str, str | bytes] = {
    **GATE,
    "scopes/pay.rego": 'package issuance.scope["pay:write"]\n\nallow if not data.helpers.blocked\n',
    "scopes/tenant.rego": 'package issuance.scope_prefix["tenant:"]\n\nallow := true\n',
    "helpers.rego": 'package helpers\n\nblocked if input.client.id in data.lists["gråa klienter"]\n',
    "data.json": '{"lists": {"gråa klienter": ["mallory"], "n": 1e2, "big": 123456789012345678901234567890}}',
    "registry/data.yaml": "clients: {a: {owner: x}}\n",
}
Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture(scope="module")
def built(opa: Path, tmp_path_factory: pytest.TempPathFactory) -> PolicySet:
    return load(write(tmp_path_factory.mktemp("built"), FILES), opa)


def members(bundle: bytes) -> Members:
    with tarfile.open(fileobj=io.BytesIO(bundle), mode="r:gz") as archive:
        found: Members = []
        for member in archive:
            content = archive.extractfile(member)
            found.append((member, content.read() if content else b""))
        return found


def packed(entries: Members) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for member, content in entries:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return raw.getvalue()


def member(name: str, content: str | bytes = "", **attributes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content.encode() if isinstance(content, str) else content


def refusal(opa: Path, folder: Path, bundle: bytes) -> str:
    file = folder / "b.tar.gz"
    file.write_bytes(bundle)
    with pytest.raises(PolicyRefused) as refused:
        load(file, opa)
    return "\n".join(refused.value.reasons)


def test_same_sources_give_the_same_bytes_under_any_folder_order_and_clock(
    built: PolicySet, opa: Path, tmp_path: Path
) -> None:
    for number in range(2):
        folder = tmp_path / f"elsewhere-{number}"
        names = list(FILES)
        random.Random(number).shuffle(names)
        write(folder, {name: FILES[name] for name in names})
        for file in folder.rglob("*"):
            os.utime(file, (number * 10**9, number * 10**9))
        other = load(folder, opa)
        assert other.bundle == built.bundle
        assert other.digest == built.digest


def test_bundle_tells_nothing_of_the_machine_or_the_clock(built: PolicySet) -> None:
    assert built.bundle[4:8] == b"\0\0\0\0"  # gzip's time
    for info, _ in members(built.bundle):
        assert (info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode) == (0, 0, 0, "", "", 0o644)
    assert [info.name for info, _ in members(built.bundle)] == sorted(info.name for info, _ in members(built.bundle))


def test_bundle_loads_to_the_digest_of_its_folder(built: PolicySet, opa: Path, tmp_path: Path) -> None:
    (tmp_path / "b.tar.gz").write_bytes(built.bundle)
    again = load(tmp_path / "b.tar.gz", opa)
    assert again.digest == built.digest
    assert again.bundle == built.bundle
    assert again.packages == built.packages
    assert (dict(again.scopes), dict(again.prefixes)) == (dict(built.scopes), dict(built.prefixes))


def test_bundle_claims_every_top_level_name_that_it_holds(built: PolicySet) -> None:
    contents = {info.name: content for info, content in members(built.bundle)}
    manifest = json.loads(contents["/.manifest"])
    assert manifest["roots"] == ["authzen", "helpers", "issuance", "lists", "registry"]
    assert manifest["rego_version"] == 1
    data = json.loads(contents["/data.json"])
    assert data["issuance"]["index"]["digest"] == built.digest
    assert data["lists"]["big"] == 123456789012345678901234567890
    assert not any("_test" in name for name in contents)
    for name, content in kernel.MODULES.items():
        assert contents[f"/{KERNEL_FOLDER}/{name}"] == content


def test_bundle_is_one_that_opa_takes(built: PolicySet, opa: Path, tmp_path: Path) -> None:
    (tmp_path / "b.tar.gz").write_bytes(built.bundle)
    done = subprocess.run(
        [str(opa), "inspect", "--format", "json", str(tmp_path / "b.tar.gz")], capture_output=True, check=True
    )
    assert json.loads(done.stdout)["manifest"]["revision"] == built.digest


CHANGES: dict[str, Callable[[str], str | bytes | None]] = {
    "gate.rego": lambda text: text + "\n",
    "scopes/pay.rego": lambda text: text.replace("not ", ""),
    "helpers.rego": lambda _: None,
    "data.json": lambda text: text.replace("mallory", "alice"),
    "registry/data.yaml": lambda text: text.replace("x", "y"),
    "scopes/new.rego": lambda _: "package issuance.scope.new\n",
    "a_helper.rego": lambda _: "package another\n",
}


@pytest.mark.parametrize("name", CHANGES)
def test_digest_covers_every_module_and_all_data(built: PolicySet, opa: Path, tmp_path: Path, name: str) -> None:
    changed = {**FILES, name: CHANGES[name](str(FILES.get(name, "")))}
    other = load(write(tmp_path, {k: v for k, v in changed.items() if v is not None}), opa)
    assert other.digest != built.digest


def test_digest_knows_a_file_from_its_neighbour(opa: Path, tmp_path: Path) -> None:
    """Contents that change places are another set."""
    one, two = "package issuance.scope.a\n\nallow := true\n", "package issuance.scope.b\n\nallow := true\n"
    first = load(write(tmp_path / "1", {**GATE, "x.rego": one, "y.rego": two}), opa)
    second = load(write(tmp_path / "2", {**GATE, "x.rego": two, "y.rego": one}), opa)
    assert first.digest != second.digest


TAMPERED: dict[str, tuple[str, Callable[[bytes], bytes | None], str]] = {
    "the kernel": (
        f"/{KERNEL_FOLDER}/kernel.rego",
        lambda c: c.replace(b"with input as doc", b"", 1),
        "differs from the kernel",
    ),
    "the library": (f"/{KERNEL_FOLDER}/lib.rego", lambda c: c + b"\n", "differs from the kernel"),
    "a module": ("/scopes/pay.rego", lambda c: c.replace(b"not ", b""), "does not belong"),
    "a module that is gone": ("/helpers.rego", lambda _: None, "does not belong"),
    "data": ("/data.json", lambda c: c.replace(b"mallory", b"alice"), "does not belong"),
    "data that is gone": ("/data.json", lambda _: None, "not its index"),
    "the digest": ("/data.json", lambda c: c.replace(b'"digest":"', b'"digest":"0'), "does not belong"),
    "the index": ("/data.json", lambda c: c.replace(b'"pay:write":', b'"pay:wr1te":', 1), "does not belong"),
    "the lengths": (
        "/data.json",
        lambda c: c.replace(b'"prefix_lengths":[7]', b'"prefix_lengths":[6]'),
        "does not belong",
    ),
    "more beside the index": (
        "/data.json",
        lambda c: c.replace(b'{"index":', b'{"scope":{"x":{"allow":true}},"index":'),
        "reserved",
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_tampered_bundle_is_refused(built: PolicySet, opa: Path, tmp_path: Path, what: str) -> None:
    name, change, said = TAMPERED[what]
    entries = members(built.bundle)
    changed = [(info, change(content) if info.name == name else content) for info, content in entries]
    assert changed != entries
    assert said in refusal(opa, tmp_path, packed([(info, content) for info, content in changed if content is not None]))


ADDED: dict[str, tuple[list[tuple[tarfile.TarInfo, bytes]], str]] = {
    "a foreign scope": ([member("/x.rego", "package issuance.scope.x\n\nallow := true\n")], "does not belong"),
    "a foreign helper": ([member("/x.rego", "package helpers\n\nblocked := false\n")], "does not belong"),
    "a second kernel": ([member("/x.rego", "package issuance.kernel\n\nmore := 1\n")], "reserved"),
    "a kernel file twice": ([member(f"{KERNEL_FOLDER}/kernel.rego", kernel.MODULES["kernel.rego"])], "twice"),
    "a module twice": ([member("gate.rego", "package issuance.gate\n\nallow := true\n")], "twice"),
    "a module twice, spelt otherwise": ([member("./scopes//pay.rego", "package x\n")], "twice"),
    "data twice": ([member("data.json", "{}")], "twice"),
    "a way out": ([member("../x.rego", "package x\n")], "outside"),
    "a way out from below": ([member("/scopes/../../x.rego", "package x\n")], "outside"),
    "a way round": ([member("scopes/../gate.rego", "package x\n")], "outside"),
    "data of a way out": ([member("../data.json", "{}")], "outside"),
    "more data": ([member("/issuance/scope/x/data.json", '{"allow":true}')], "reserved"),
    "data over data": ([member("/lists/data.json", '{"n":1}')], "set by another data file"),
    "a root of its own": ([member("//x.rego", "package x\n")], "b.tar.gz"),
    "a name that is not UTF-8": ([member("\udcff.rego", "package x\n")], "cannot be read"),
    "a file below a file": ([member("/gate.rego/x.rego", "package x\n")], "does not belong"),
}


@pytest.mark.parametrize("what", ADDED)
def test_bundle_with_something_added_is_refused(built: PolicySet, opa: Path, tmp_path: Path, what: str) -> None:
    added, said = ADDED[what]
    assert said in refusal(opa, tmp_path, packed([*members(built.bundle), *added]))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
@pytest.mark.parametrize("name", ["/x.rego", "/lists/more/data.json"])
def test_link_in_a_bundle_is_refused_since_its_rules_would_fall_silent(
    built: PolicySet, opa: Path, tmp_path: Path, name: str, kind: bytes
) -> None:
    link = member(name, type=kind, linkname="gate.rego")
    assert f"holds {name[1:]!r} as a link" in refusal(opa, tmp_path, packed([*members(built.bundle), link]))


@pytest.mark.parametrize(
    ("name", "kind"), [("/x.rego", tarfile.DIRTYPE), ("/README.md", tarfile.SYMTYPE), ("/x_test.rego", tarfile.LNKTYPE)]
)
def test_what_does_not_decide_may_be_anything(
    built: PolicySet, opa: Path, tmp_path: Path, name: str, kind: bytes
) -> None:
    (tmp_path / "b.tar.gz").write_bytes(packed([*members(built.bundle), member(name, type=kind, linkname="/x")]))
    assert load(tmp_path / "b.tar.gz", opa).digest == built.digest


def broken(bundle: bytes) -> Iterator[tuple[str, bytes]]:
    raw = gzip.decompress(bundle)
    flipped = bytearray(bundle)
    flipped[len(flipped) // 2] ^= 0xFF
    yield "nothing", b""
    yield "not gzip", b"package x\n"
    yield "not tar", gzip.compress(b"package x\n" * 200)
    yield "half of it", bundle[: len(bundle) // 2]
    yield "no end", bundle[:-8]
    yield "a flipped byte", bytes(flipped)
    yield "more behind it", bundle + b"more"
    # Within valid gzip, tarfile takes a cut or broken header for the end and reports nothing.
    for at in range(512, raw.rindex(b"ustar") + 512, 512):
        yield f"cut at {at}", gzip.compress(raw[:at])
        yield f"cut in {at}", gzip.compress(raw[: at - 200])
    for at in range(512, raw.rindex(b"ustar"), 512):
        if raw[at + 257 : at + 262] == b"ustar":
            yield f"zeroes from {at}", gzip.compress(raw[:at] + bytes(1024))
            yield f"a bad header at {at}", gzip.compress(raw[: at + 148] + b"0" * 8 + raw[at + 156 :])


def test_broken_bundle_never_loads_as_another_set(built: PolicySet, opa: Path, tmp_path: Path) -> None:
    """Either refused, or all of it was there, or (cut before our own parts) what is left grants nothing."""
    tried = 0
    for what, bundle in broken(built.bundle):
        (tmp_path / "b.tar.gz").write_bytes(bundle)
        try:
            loaded = load(tmp_path / "b.tar.gz", opa)
        except PolicyRefused:
            tried += 1
            continue
        assert loaded.digest == built.digest or not loaded.packages, what
    assert tried > 15


def test_bundle_of_another_builder_is_a_set_like_a_folder(opa: Path, tmp_path: Path) -> None:
    """What `opa build` would make holds no kernel and no index of ours."""
    entries = [member(name, content) for name, content in FILES.items()]
    (tmp_path / "b.tar.gz").write_bytes(packed(entries))
    folder = load(write(tmp_path / "set", FILES), opa)
    assert load(tmp_path / "b.tar.gz", opa).digest == folder.digest


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_BYTES", 10_000)
    monkeypatch.setattr(source, "MAX_FILES", 10)
    bomb = tmp_path / "bomb.tar.gz"
    bomb.write_bytes(gzip.compress(bytes(1_000_000)))
    with pytest.raises(PolicyRefused, match="unpacks to more than"):
        source.read(bomb)
    bomb.write_bytes(packed([member(f"{n}.rego") for n in range(11)]))
    with pytest.raises(PolicyRefused, match="more than"):
        source.read(bomb)
    with pytest.raises(PolicyRefused, match="more than 10 files"):
        source.read(write(tmp_path / "many", {f"{n}.rego": "x" for n in range(11)}))
    with pytest.raises(PolicyRefused, match="more than 10000 bytes"):
        source.read(write(tmp_path / "long", {"a.rego": "x" * 6000, "b.rego": "x" * 6000}))
