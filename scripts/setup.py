"""`make setup`: finds a Python that can hold the bridge, then has it make everything else (`scripts.environment`).

Written in the syntax of Python 3.4, so that an old `python3` says what is missing instead of failing on our grammar.
"""

import os
import shutil
import subprocess
import sys

OLDEST = (3, 11)
NAMES = ("python3.11", "python3.12", "python3.13", "python3.14")

# The base interpreter is asked for: run from inside .venv, this must not build .venv upon itself.
_PROBE = """
import sys
try:
    import ensurepip, venv
    word = "able"
except ImportError:
    word = "bare"
print("%d %d %s" % (sys.version_info[0], sys.version_info[1], word))
print(getattr(sys, "_base_executable", None) or sys.executable)
"""

_HOW = """How to get it:
  Debian, Ubuntu   apt install python3.11 python3.11-venv      (or python3 python3-venv, where that is 3.11 or newer)
  Fedora, RHEL     dnf install python3.11
  Alpine           apk add python3
  macOS            brew install python@3.13
  anywhere         https://www.python.org/downloads/
It only has to be on PATH, as python3 or as python3.11 to python3.14."""


def probe(executable: str) -> "tuple[tuple[int, int], bool, str] | None":
    """((major, minor), whether venv and ensurepip are there, the base interpreter); None when it does not run."""
    try:
        out = subprocess.check_output([executable, "-I", "-c", _PROBE], stderr=subprocess.DEVNULL)
        first, base = out.decode().splitlines()
        major, minor, word = first.split()
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None
    return (int(major), int(minor)), word == "able", base


def choose(executables: "list[str]") -> str:
    """The first that is new enough and can make a virtual environment. Exits with a text that says what was found."""
    seen = []
    for executable in executables:
        found = probe(executable)
        if found is None:
            continue
        version, able, base = found
        if version >= OLDEST and able:
            return base
        lack = "too old" if version < OLDEST else "without venv or ensurepip: install python%d.%d-venv" % version
        seen.append("  %s is Python %d.%d, %s" % (executable, version[0], version[1], lack))
    sys.exit(
        "setup: Python %d.%d or newer is needed, with the modules venv and ensurepip.\n" % OLDEST
        + ("Found:\n%s\n" % "\n".join(seen) if seen else "")
        + _HOW
    )


def main() -> None:
    """Goes on in the chosen interpreter; does not come back."""
    if os.name != "posix":
        sys.exit("setup: Linux or macOS is needed (on Windows: WSL), since the bridge uses Unix sockets and uvloop.")
    on_path = [path for path in map(shutil.which, NAMES) if path]
    python = choose([sys.executable, *on_path])
    os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    os.execv(python, [python, "-m", "scripts.environment"])


if __name__ == "__main__":
    main()
