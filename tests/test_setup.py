"""`make setup`: what it refuses, what it says then, and that it does nothing twice."""

import ast
import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.config.section import is_loopback
from bridge.config.settings import load_settings
from bridge.kernel import OPA_VERSION
from scripts import chromium, environment, opa, rego_coverage, setup
from scripts.shell import SetupError, run

ROOT = Path(__file__).resolve().parent.parent
RELEASE = opa.Release.read(ROOT / "scripts/opa-releases.json")
RIGHT = f"echo Version: {RELEASE.version}"
WRONG = "echo Version: 1.10.0"


def program(file: Path, body: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return file


def silent(_: str) -> None:
    pass


class TestPython:
    def test_an_old_python_can_read_setup(self) -> None:
        source = (ROOT / "scripts/setup.py").read_text()
        ast.parse(source, feature_version=(3, 4))
        with pytest.raises(SyntaxError):
            ast.parse('f"{source}"', feature_version=(3, 4))

    def test_this_python_is_able(self) -> None:
        found = setup.probe(sys.executable)
        assert found is not None
        version, able, base = found
        assert (version, able) == (sys.version_info[:2], True)
        assert not Path(base).is_relative_to(sys.prefix)

    def test_old_and_bare_ones_are_named(self, tmp_path: Path) -> None:
        old = program(tmp_path / "old", "echo 3 9 able; echo /base/old")
        bare = program(tmp_path / "bare", "echo 3 12 bare; echo /base/bare")
        with pytest.raises(SystemExit) as ended:
            setup.choose([str(old), str(bare)])
        text = str(ended.value.code)
        assert f"{old} is Python 3.9, too old" in text
        assert f"{bare} is Python 3.12, without venv or ensurepip: install python3.12-venv" in text
        assert "Python 3.11 or newer is needed" in text

    def test_the_first_able_one_is_taken(self, tmp_path: Path) -> None:
        shim = program(tmp_path / "shim", "exit 127")
        old = program(tmp_path / "old", "echo 3 10 able; echo /base/old")
        good = program(tmp_path / "good", "echo 3 13 able; echo /base/good")
        assert setup.choose([str(shim), str(old), str(good), str(tmp_path / "none")]) == "/base/good"


class TestOpaOnPath:
    def test_the_one_of_this_environment_has_the_version(self) -> None:
        assert opa.version_of(Path(sys.prefix) / "bin/opa") == RELEASE.version

    def test_right_version(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = program(tmp_path / "bin/opa", RIGHT)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        assert opa.from_path(RELEASE, tmp_path / "own") == found

    def test_our_own_is_not_found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program(tmp_path / "own/opa", RIGHT)
        monkeypatch.setenv("PATH", str(tmp_path / "own"))
        with pytest.raises(SetupError, match="there is none"):
            opa.from_path(RELEASE, tmp_path / "own")

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (WRONG, r"is 1\.10\.0, not"),
            ("echo nonsense", "does not run with an empty environment"),
            (f'test -n "$HOME" && {RIGHT}', "does not run with an empty environment"),
        ],
    )
    def test_another_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, reason: str) -> None:
        program(tmp_path / "bin/opa", body)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        with pytest.raises(SetupError, match=reason):
            opa.from_path(RELEASE, tmp_path / "own")


class TestOpaFromGo:
    def test_no_go(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(SetupError, match="go is not on PATH"):
            opa.from_go(RELEASE, tmp_path / "work")

    @pytest.mark.parametrize("right", [True, False])
    def test_the_source_must_be_the_one_expected(self, tmp_path: Path, *, right: bool) -> None:
        # A go that builds what it is told, from a module of our choosing: no proxy serves a forged one.
        told = RELEASE.module_sum if right else "h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
        go = program(
            tmp_path / "go",
            f'if test "$1" = install; then echo built > "$GOBIN/opa"; echo "$@" > "$GOBIN/asked"; exit; fi\n'
            f"echo 'mod github.com/open-policy-agent/opa v{RELEASE.version} {told}'",
        )
        build = functools.partial(opa.from_go, RELEASE, tmp_path / "work", str(go))
        if right:
            assert build().read_text() == "built\n"
        else:
            with pytest.raises(SetupError, match="not the source that was expected"):
                build()
            assert not (tmp_path / "work/opa").exists()
        assert f"opa@v{RELEASE.version}" in (tmp_path / "work/asked").read_text()


class TestOfficialRelease:
    CONTENT = f"#!/bin/sh\n{RIGHT}\n".encode()
    HERE = "Linux x86_64"

    @pytest.fixture
    def host(self, tmp_path: Path) -> Iterator[str]:
        asset = tmp_path / f"host/v{RELEASE.version}/opa_linux_amd64_static"
        asset.parent.mkdir(parents=True)
        asset.write_bytes(self.CONTENT)

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

        handler = functools.partial(Quiet, directory=str(tmp_path / "host"))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, args=(0.01,)).start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()

    def release(self, sha256: str | None, name: str = "opa_linux_amd64_static") -> opa.Release:
        return opa.Release(RELEASE.version, "", {self.HERE: {"name": name, "sha256": sha256}})

    def test_the_right_hash_is_accepted(self, tmp_path: Path, host: str) -> None:
        release = self.release(hashlib.sha256(self.CONTENT).hexdigest())
        binary = opa.from_release(release, tmp_path / "work", self.HERE, host)
        assert opa.version_of(binary) == RELEASE.version

    def test_another_hash_is_refused(self, tmp_path: Path, host: str) -> None:
        release = self.release("0" * 64)
        with pytest.raises(SetupError, match=r"has the SHA-256 [0-9a-f]{64}, not 0{64}: not used"):
            opa.from_release(release, tmp_path / "work", self.HERE, host)
        assert list((tmp_path / "work").iterdir()) == []

    def test_without_a_known_hash_nothing_is_asked_for(self, tmp_path: Path) -> None:
        with pytest.raises(SetupError, match="holds no SHA-256 of opa_linux_amd64_static"):
            opa.from_release(self.release(None), tmp_path, self.HERE, "http://127.0.0.1:9")

    def test_an_unknown_platform(self, tmp_path: Path) -> None:
        with pytest.raises(SetupError, match="OPA publishes none for Plan9 mips"):
            opa.from_release(self.release(None), tmp_path, "Plan9 mips", "http://127.0.0.1:9")

    def test_what_the_host_does_not_have(self, tmp_path: Path, host: str) -> None:
        with pytest.raises(SetupError, match="404"):
            opa.from_release(self.release("0" * 64, "opa_linux_other"), tmp_path, self.HERE, host)

    def test_the_kept_hashes_are_whole_or_absent(self) -> None:
        for asset in RELEASE.assets.values():
            assert asset["sha256"] is None or re.fullmatch("[0-9a-f]{64}", asset["sha256"])


class TestObtain:
    @staticmethod
    def refuse() -> Path:
        raise SetupError("closed today")

    def test_the_first_way_that_works(self, tmp_path: Path) -> None:
        wrong, right = program(tmp_path / "wrong", WRONG), program(tmp_path / "right", RIGHT)
        ways: opa.Ways = {"one": self.refuse, "two": lambda: wrong, "three": lambda: right, "four": pytest.fail}
        assert opa.obtain(RELEASE, ways, silent) == right

    def test_each_reason_is_told(self, tmp_path: Path) -> None:
        wrong = program(tmp_path / "wrong", WRONG)
        with pytest.raises(SetupError) as raised:
            opa.obtain(RELEASE, {"one": self.refuse, "two": lambda: wrong}, silent)
        text = str(raised.value)
        assert "one: closed today" in text
        assert "two: what came says it is version 1.10.0" in text
        assert "Put an `opa` of exactly this version on PATH" in text

    def test_the_kept_copy_is_used_again_and_a_wrong_one_replaced(self, tmp_path: Path) -> None:
        own, requirements = tmp_path / "bin", tmp_path / "go.txt"
        program(tmp_path / f"cache/opa-{RELEASE.version}/opa", RIGHT)
        program(own / "opa", WRONG)
        for _ in range(2):
            opa.ensure(RELEASE, tmp_path / "cache", own, requirements, pytest.fail)
            assert opa.version_of(own / "opa") == RELEASE.version


@pytest.mark.timeout(300)  # it makes an environment
class TestEnvironment:
    @pytest.fixture(scope="class")
    @classmethod
    def root(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Where the first test that needs an environment makes it."""
        root = tmp_path_factory.mktemp("root")
        (root / "requirements").mkdir()
        return root

    def test_only_what_is_not_done_yet(self, root: Path) -> None:
        (root / "requirements/dev.txt").write_text("one==1\n")
        (root / "pyproject.toml").write_text("[project]\n")
        done: list[str] = []

        def install(arguments: list[str | Path]) -> None:
            done.append("requirements" if "--require-hashes" in arguments else "project")

        def prepared() -> list[str]:
            done.clear()
            environment.prepare(root, install)
            return list(done)

        assert prepared() == ["requirements", "project"]
        assert prepared() == []
        (root / "requirements/dev.txt").write_text("one==2\n")
        assert prepared() == ["requirements"]
        (root / "pyproject.toml").write_text("[project]\nname = 'x'\n")
        assert prepared() == ["project"]
        (root / ".venv/bin/python").unlink()
        assert prepared() == ["requirements", "project"]
        assert prepared() == []

    def test_interrupted_work_is_done_again(self, tmp_path: Path) -> None:
        stamp = environment.Stamp(tmp_path / "setup.json")
        done: list[str] = []

        def interrupted() -> None:
            raise KeyboardInterrupt

        stamp.once("other", "1", lambda: None)
        stamp.once("step", "a", lambda: done.append("first"))
        with pytest.raises(KeyboardInterrupt):
            stamp.once("step", "b", interrupted)
        # Back to what was there before: but what lies there now is neither.
        stamp.once("step", "a", lambda: done.append("again"))
        assert done == ["first", "again"]
        assert stamp.get("other") == "1"

    @pytest.mark.parametrize("text", ["", "{", "[]", "\udcff"])
    def test_a_stamp_that_cannot_be_read_is_empty(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "setup.json"
        file.write_text(text, errors="surrogateescape")
        assert environment.Stamp(file).get("root") is None

    def test_a_moved_environment_is_not_used(self, tmp_path: Path) -> None:
        stamp = environment.Stamp(tmp_path / "setup.json")
        here = Path(sys.prefix)
        assert environment.usable(here, stamp, here.parent)
        stamp.once("root", "/elsewhere", lambda: None)
        assert not environment.usable(here, stamp, here.parent)

    def test_without_an_index_it_says_what_is_missing(self, root: Path) -> None:
        shutil.copytree(ROOT / "scripts", root / "scripts")
        shutil.copytree(ROOT / "requirements", root / "requirements", dirs_exist_ok=True)
        shutil.copy(ROOT / "pyproject.toml", root)
        nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
        env = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")} | nowhere | {"NO_PROXY": "127.0.0.1"}
        command = [sys.executable, "-m", "scripts.setup"]
        done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "setup: the Python packages could not be installed. Is the package index reachable?" in done.stderr
        assert "Traceback" not in done.stderr


class TestShell:
    def test_the_last_words_are_told(self, tmp_path: Path) -> None:
        talker = program(tmp_path / "talker", "for n in 1 2 3 4 5 6; do echo line $n >&2; done; exit 3")
        with pytest.raises(SetupError) as raised:
            run([talker], "talking failed")
        assert str(raised.value) == "\n    ".join(["talking failed (exit 3):", *(f"line {n}" for n in (3, 4, 5, 6))])

    def test_a_program_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(SetupError, match=r"talking failed: .*No such file"):
            run([tmp_path / "none"], "talking failed")


def test_make_alone_lists_the_targets() -> None:
    listed = subprocess.check_output(["make", "-C", str(ROOT), "--no-print-directory"], text=True)
    for target in ("setup", "run", "test", "bundle", "demo", "bench"):
        assert f"  make {target} " in listed


def test_uncovered_rego_is_named() -> None:
    part = {"start": {"row": 2, "col": 1}, "end": {"row": 3, "col": 9}}
    report = {"files": {"b.rego": {"not_covered": [part]}, "a.rego": {"covered": [part]}}}
    assert rego_coverage.uncovered(report) == ["b.rego:2", "b.rego:3"]


class TestContainers:
    def test_one_version_of_opa_everywhere(self) -> None:
        dockerfile = (ROOT / "Dockerfile").read_text()
        assert RELEASE.version == OPA_VERSION
        assert f"ARG OPA_VERSION={OPA_VERSION}\n" in dockerfile
        assert f"ARG OPA_MODULE_SUM={RELEASE.module_sum}\n" in dockerfile
        assert compose()["services"]["opa"]["image"].endswith(f":{OPA_VERSION}")

    @pytest.mark.parametrize("service", ["bridge", "bridge-beside-opa"])
    def test_the_bridge_takes_what_compose_gives_it(self, monkeypatch: pytest.MonkeyPatch, service: str) -> None:
        for name, value in compose()["services"][service]["environment"].items():
            monkeypatch.setenv(name, re.sub(r"\$\{BRIDGE_TOKEN_SHA256:\?[^}]+\}", "ab" * 32, value))
        settings = load_settings(None)
        assert not is_loopback(settings.server.host)
        assert settings.server.behind_tls_proxy
        (caller,) = settings.callers
        assert (caller.roles, caller.token_sha256) == (("token_service",), ("ab" * 32,))
        register = json.loads((ROOT / "rego/data.json").read_text())["registry"]["clients"]
        assert caller.issuer in register

    def test_nothing_is_published_beyond_loopback(self) -> None:
        published = [port for service in compose()["services"].values() for port in service.get("ports", [])]
        assert len(published) == 2
        assert all(port.startswith("127.0.0.1:") for port in published)


def compose() -> dict[str, Any]:
    """docker-compose.yml, with its anchors resolved."""
    read = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert isinstance(read, dict)
    return read


class TestChromium:
    def test_the_one_on_path_is_taken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = program(tmp_path / "google-chrome", "true")
        monkeypatch.setenv("PATH", str(tmp_path))
        assert chromium.ensure(silent) == str(found)

    @pytest.mark.parametrize("root", [True, False])
    def test_else_it_is_installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, root: bool) -> None:
        """By an apt-get that does what it is told."""
        made = f"printf '#!/bin/sh\\n' > {tmp_path}/chromium && chmod +x {tmp_path}/chromium"
        program(tmp_path / "apt-get", f'echo "$@" >> {tmp_path}/asked; case "$*" in *" install "*) {made};; esac')
        program(tmp_path / "sudo", f'echo sudo "$1" >> {tmp_path}/asked; shift; exec "$@"')
        for name in ("chmod", "printf"):
            (tmp_path / name).symlink_to(shutil.which(name) or "")
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
        assert chromium.ensure(silent) == str(tmp_path / "chromium")
        asked = (tmp_path / "asked").read_text().splitlines()
        assert ("sudo -n" in asked) is not root
        assert [line.split()[-1] for line in asked if line != "sudo -n"] == ["update", "chromium"]

    def test_where_it_cannot_be_that_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(SetupError, match=r"no apt-get here.*install it"):
            chromium.ensure(silent)
        program(tmp_path / "apt-get", "echo no such package; exit 100")
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(SetupError, match="only root may install it, there is no sudo"):
            chromium.ensure(silent)
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        with pytest.raises(SetupError, match="no such package"):
            chromium.ensure(silent)
        program(tmp_path / "apt-get", "true")
        with pytest.raises(SetupError, match="not on PATH"):
            chromium.ensure(silent)

    def test_a_network_that_is_gone_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The lists could not be read, and so the package is not known."""
        text = 'case "$*" in *Error-Mode=any*update) echo "Could not resolve deb.example"; exit 100;; *update) ;;'
        program(tmp_path / "apt-get", f'{text} *) echo "Unable to locate package chromium"; exit 100;; esac')
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        with pytest.raises(SetupError) as error:
            chromium.ensure(silent)
        for told in ("Unable to locate", "apt-get install chromium", "Could not resolve deb.example"):
            assert told in str(error.value)
