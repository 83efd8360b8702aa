"""Signed bundles: OPA takes ours and we take OPA's, byte for byte the same each time; whatever else is refused."""

import base64
import gzip
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bridge.errors import ConfigFault, PolicyRefused
from bridge.model.policy import PolicySet
from bridge.policy import bundle
from bridge.policy.listing import SIGNATURES, listing
from bridge.policy.load import KERNEL_FOLDER, load
from bridge.policy.served import sealed
from bridge.policy.signing import Signer, Verifier
from tests.policy.sets import GATE, write
from tests.support.signing import key_files

FILES = {
    **GATE,
    "scopes/pay.rego": 'package issuance.scope["pay:write"]\n\nallow := true\n',
    "registry/data.yaml": "clients: {a: {}}\n",
    "data.json": '{"n": [1e2, -0, 123456789012345678, {}], "odd": {"\\u2028 \\u0007\\b\\u007f<&>é\\ud83d\\ude00": 1}}',
}
KINDS = {"rsa": "RS256", "p256": "ES256", "p384": "ES384", "p521": "ES512"}
Change = Callable[[dict[str, bytes]], dict[str, bytes]]


@pytest.fixture(scope="module")
def built(opa: Path, tmp_path_factory: pytest.TempPathFactory) -> PolicySet:
    return load(write(tmp_path_factory.mktemp("built"), FILES), opa)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(key_files(tmp_path_factory.mktemp("key"))[0])


def put(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (file := folder / "b.tar.gz").write_bytes(content)
    return file


def opa_accepts(opa: Path, file: Path, public: Path, algorithm: str) -> bool:
    """Whether OPA takes the bundle for one that was signed with the private half of `public`."""
    flags = ("--verification-key", str(public), "--signing-alg", algorithm, "--output", str(file.with_suffix(".out")))
    done = subprocess.run([str(opa), "build", "--bundle", str(file), *flags], capture_output=True, check=False)
    return done.returncode == 0


def signed_by_opa(opa: Path, folder: Path, private: Path, algorithm: str = "RS256") -> bytes:
    command = [str(opa), "sign", "--bundle", ".", "--signing-key", str(private), "--signing-alg", algorithm]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=60)
    return (folder / SIGNATURES).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_opa_takes_what_we_sign_and_so_do_we(built: PolicySet, opa: Path, tmp_path: Path, kind: str) -> None:
    private, public = key_files(tmp_path, kind)
    file = put(tmp_path, sealed(built, Signer(private, "2026")))
    assert opa_accepts(opa, file, public, KINDS[kind])
    other = "rsa-other" if kind == "rsa" else "rsa"
    assert not opa_accepts(opa, file, key_files(tmp_path, other)[1], KINDS[kind])
    assert not opa_accepts(opa, put(tmp_path / "x", built.bundle), public, KINDS[kind])
    again = load(file, opa, Verifier(public))
    assert (again.digest, again.bundle) == (built.digest, built.bundle)
    header = json.loads(bundle.unpack(file.read_bytes())[SIGNATURES])["signatures"][0].split(".")[0]
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"alg": KINDS[kind], "kid": "2026"}


@pytest.mark.parametrize("kind", KINDS)
def test_same_sources_and_key_give_the_same_bytes_in_another_folder(
    built: PolicySet, opa: Path, tmp_path: Path, kind: str
) -> None:
    signer = Signer(key_files(tmp_path, kind)[0])
    other = load(write(tmp_path / "elsewhere", FILES), opa)
    assert sealed(other, signer) == sealed(built, signer)
    assert sealed(built, None) == built.bundle


def test_we_take_what_opa_signs(built: PolicySet, opa: Path, tmp_path: Path) -> None:
    private, public = key_files(tmp_path)
    files = {**bundle.unpack(built.bundle), "README.md": b"signed as well\n"}
    folder = write(tmp_path / "set", files)
    signature = signed_by_opa(opa, folder, private, "RS512")
    file = put(tmp_path, bundle.pack({**files, SIGNATURES: signature}))
    loaded = load(file, opa, Verifier(public))
    assert loaded.digest == built.digest
    assert sealed(loaded, None) == loaded.bundle  # the signature is over more than we would serve


def test_the_signature_that_came_with_a_bundle_goes_on_with_it(
    built: PolicySet, signer: Signer, opa: Path, tmp_path: Path
) -> None:
    file = put(tmp_path, sealed(built, signer))
    for verifier in (None, Verifier(key_files(tmp_path)[1])):
        assert sealed(load(file, opa, verifier), None) == file.read_bytes()


def without(name: str) -> Change:
    return lambda files: {n: c for n, c in files.items() if n != name}


def in_file(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Change:
    return lambda files: {**files, SIGNATURES: json.dumps(change(json.loads(files[SIGNATURES]))).encode()}


def with_token(change: Callable[[list[str]], Iterable[str]]) -> Change:
    def changed(files: dict[str, bytes]) -> dict[str, bytes]:
        parts = json.loads(files[SIGNATURES])["signatures"][0].split(".")
        return {**files, SIGNATURES: json.dumps({"signatures": [".".join(change(parts))]}).encode()}

    return changed


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


BROKEN: dict[str, tuple[Change, str]] = {
    "no signature": (without(SIGNATURES), "is not signed"),
    "a module changed": (lambda f: {**f, "gate.rego": f["gate.rego"] + b"\n"}, "gate.rego: is not what was signed"),
    "data changed": (lambda f: {**f, "data.json": f["data.json"].replace(b"100.0", b"1e2")}, "data.json: is not what"),
    "the manifest changed": (lambda f: {**f, ".manifest": b'{"roots":[]}'}, ".manifest: is not what was signed"),
    "a module added": (lambda f: {**f, "x.rego": b"package x\n"}, "x.rego: was not signed"),
    "a note added": (lambda f: {**f, "README.md": b"hello"}, "README.md: was not signed"),
    "a second signature": (lambda f: {**f, "x/" + SIGNATURES: f[SIGNATURES]}, "cannot stand in a signed bundle"),
    "a module gone": (without("scopes/pay.rego"), "scopes/pay.rego: was signed and is not"),
    "the kernel gone": (without(f"{KERNEL_FOLDER}/kernel.rego"), "kernel.rego: was signed and is not"),
    "not JSON": (lambda f: {**f, SIGNATURES: b"{"}, SIGNATURES),
    "a name twice": (lambda f: {**f, SIGNATURES: b'{"signatures":[],' + f[SIGNATURES][1:]}, "stands twice"),
    "no object": (lambda f: {**f, SIGNATURES: b"[]"}, "must be a JSON object"),
    "no token": (lambda f: {**f, SIGNATURES: b'{"signatures": []}'}, "exactly one JWT"),
    "two tokens": (in_file(lambda told: {"signatures": told["signatures"] * 2}), "exactly one JWT"),
    "a plugin": (in_file(lambda told: {**told, "plugin": "x"}), "plugin"),
    "two parts": (with_token(lambda p: p[:2]), "three parts"),
    "no signature in the token": (with_token(lambda p: [*p[:2], ""]), "not by policy.verification_key"),
    "not base64url": (with_token(lambda p: [p[0], p[1], p[2] + "="]), "base64url"),
    "another signature": (with_token(lambda p: [*p[:2], p[2][::-1]]), "not by policy.verification_key"),
    "no algorithm": (with_token(lambda p: [encoded({"alg": "none"}), p[1], ""]), "signed with 'none'"),
    "an algorithm of secrets": (with_token(lambda p: [encoded({"alg": "HS256"}), *p[1:]]), "signed with 'HS256'"),
    "another payload": (with_token(lambda p: [p[0], encoded({"files": []}), p[2]]), "not by policy.verification_key"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_not_signed_so_is_refused(
    built: PolicySet, signer: Signer, opa: Path, tmp_path: Path, what: str
) -> None:
    change, said = BROKEN[what]
    _, public = key_files(tmp_path)
    file = put(tmp_path, bundle.pack(change(bundle.unpack(sealed(built, signer)))))
    with pytest.raises(PolicyRefused) as refused:
        load(file, opa, Verifier(public))
    assert said in str(refused.value)


PAYLOADS: dict[str, tuple[Any, str]] = {
    "no files": ({}, "names no `files`"),
    "a scope": ({"scope": "test", "files": []}, "for a scope"),
    "a file without a hash": ({"files": [{"name": "a", "algorithm": "SHA-256"}]}, "must have a name"),
    "a weak hash": ({"files": [{"name": "a", "hash": "00", "algorithm": "MD5"}]}, "SHA-256"),
    "a file twice": ({"files": [{"name": "a", "hash": "00", "algorithm": "SHA-256"}] * 2}, "twice"),
    "a file that is none": ({"files": ["a"]}, "must have a name"),
    "nothing of the bundle": ({"files": []}, "gate.rego: was not signed"),
}


@pytest.mark.parametrize("what", PAYLOADS)
def test_a_good_signature_over_something_else_is_refused(
    built: PolicySet, signer: Signer, tmp_path: Path, what: str
) -> None:
    payload, said = PAYLOADS[what]
    token = signed(signer, {"alg": "RS256"}, payload)
    with pytest.raises(PolicyRefused, match=said):
        Verifier(key_files(tmp_path)[1]).check({**bundle.unpack(built.bundle), SIGNATURES: token})


def signed(signer: Signer, header: dict[str, Any], payload: Any) -> bytes:
    text = f"{encoded(header)}.{encoded(payload)}"
    signature = base64.urlsafe_b64encode(signer._signature(text.encode())).decode().rstrip("=")
    return json.dumps({"signatures": [f"{text}.{signature}"]}).encode()


def test_a_header_that_asks_for_more_than_a_signature_is_refused(
    built: PolicySet, signer: Signer, tmp_path: Path
) -> None:
    files, verifier = bundle.unpack(built.bundle), Verifier(key_files(tmp_path)[1])
    told = [{"algorithm": "SHA-256", "hash": value, "name": name} for name, value in listing(files).items()]
    verifier.check({**files, SIGNATURES: signed(signer, {"alg": "RS256", "kid": "any"}, {"files": told})})
    with pytest.raises(PolicyRefused, match="crit"):
        verifier.check({**files, SIGNATURES: signed(signer, {"alg": "RS256", "crit": ["exp"]}, {"files": told})})


def test_a_signed_archive_holds_nothing_that_is_no_file_and_nothing_twice(
    built: PolicySet, signer: Signer, opa: Path, tmp_path: Path
) -> None:
    raw = gzip.decompress(sealed(built, signer))
    verifier = Verifier(key_files(tmp_path)[1])
    for extra, said in ((link(), "no signature covers"), (tarfile.TarInfo("/.manifest"), "twice")):
        packed = io.BytesIO(raw)
        with tarfile.open(fileobj=packed, mode="a:") as archive:
            archive.addfile(extra)
        with pytest.raises(PolicyRefused, match=said):
            load(put(tmp_path, gzip.compress(packed.getvalue())), opa, verifier)


def link() -> tarfile.TarInfo:
    info = tarfile.TarInfo("/README.md")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


def test_only_a_whole_signed_bundle_of_the_right_key_passes(
    built: PolicySet, signer: Signer, opa: Path, tmp_path: Path
) -> None:
    _, public = key_files(tmp_path)
    with pytest.raises(PolicyRefused, match="must be a signed bundle, not a folder"):
        load(write(tmp_path / "set", FILES), opa, Verifier(public))
    for kind in ("rsa-other", "p256"):
        with pytest.raises(PolicyRefused, match=r"not by policy.verification_key|signed with 'RS256'"):
            load(put(tmp_path, sealed(built, signer)), opa, Verifier(key_files(tmp_path, kind)[1]))
    bare = {name: c for name, c in bundle.unpack(built.bundle).items() if not name.startswith(KERNEL_FOLDER)}
    file = put(tmp_path, bundle.pack({**bare, SIGNATURES: signer.sign(bare)}))
    for verifier in (Verifier(public), None):
        with pytest.raises(PolicyRefused, match="does not hold our whole kernel"):
            load(file, opa, verifier)
    plain = {name: text.encode() for name, text in FILES.items() if not name.endswith(".yaml")}
    file = put(tmp_path, bundle.pack({**plain, SIGNATURES: signer.sign(plain)}))
    with pytest.raises(PolicyRefused, match="does not hold our whole kernel"):
        load(file, opa, Verifier(public))


def test_a_signed_set_is_checked_like_any_other(signer: Signer, built: PolicySet, opa: Path, tmp_path: Path) -> None:
    files = {**bundle.unpack(built.bundle), "gate.rego": b"package issuance.gate\n\nallow if http.send({})\n"}
    file = put(tmp_path, bundle.pack({**files, SIGNATURES: signer.sign(files)}))
    with pytest.raises(PolicyRefused, match="does not belong to the bundle's modules"):
        load(file, opa, Verifier(key_files(tmp_path)[1]))


def test_keys_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    for kind in ("ed25519", "rsa-short", "k256"):
        private, public = key_files(tmp_path, kind)
        for make in (Signer, Verifier):
            with pytest.raises(ConfigFault, match="must be RSA"):
                make(private if make is Signer else public)
    private, public = key_files(tmp_path)
    with pytest.raises(ConfigFault, match="cannot sign with ES256; it can with RS256, RS384, RS512"):
        Signer(private, "", "ES256")
    for file in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigFault, match="as a PEM public key"):
            Verifier(file)
    private.write_bytes(public.read_bytes())
    with pytest.raises(ConfigFault, match="as a PEM private key"):
        Signer(private)
    private.chmod(0o604)
    with pytest.raises(ConfigFault, match="open to every user"):
        Signer(private)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.dictionaries(TEXT, st.lists(LEAF | st.dictionaries(TEXT, LEAF, max_size=3), max_size=3), max_size=4)


@given(values=st.lists(VALUES, min_size=30, max_size=30))
@settings(max_examples=5, deadline=None, phases=[Phase.generate])
def test_data_is_hashed_as_opa_hashes_it(
    values: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory, opa: Path
) -> None:
    folder = tmp_path_factory.mktemp("hashed")
    files = {
        f"d{n}/data.json": json.dumps(value, indent=n % 3, ensure_ascii=n % 2 == 0).encode()
        for n, value in enumerate(values)
    }
    signature = signed_by_opa(opa, write(folder / "set", files), key_files(folder)[0])
    signed = json.loads(base64.urlsafe_b64decode(json.loads(signature)["signatures"][0].split(".")[1] + "=="))["files"]
    shutil.rmtree(folder)
    assert {file["name"]: file["hash"] for file in signed} == listing(files)
