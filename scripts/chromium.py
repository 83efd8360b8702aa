"""A Chromium for the tests: the one on PATH, else the distribution's own, by apt."""

import os
import shutil
import sys
from collections.abc import Callable

from scripts.shell import SetupError, run

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_HOW = "the tests need a Chromium on PATH, as {names}: install it (Debian: apt-get install chromium)"


def from_path() -> str | None:
    """The one that the user has."""
    return next((found for found in map(shutil.which, NAMES) if found), None)


def ensure(say: Callable[[str], None]) -> str:
    """Where it is; installed where it is not there yet. SetupError says what to do."""
    if (found := from_path()) is not None:
        return found
    how = _HOW.format(names=" or ".join(NAMES))
    apt = shutil.which("apt-get")
    if apt is None:
        raise SetupError(f"there is no apt-get here, and {how}")
    rights: list[str] = []
    if os.geteuid() != 0:
        sudo = shutil.which("sudo")
        if sudo is None:
            raise SetupError(f"only root may install it, there is no sudo, and {how}")
        rights = [sudo, "-n"]
    say("installing chromium by apt-get (300 MB)")
    options = ("DPkg::Lock::Timeout=300", "Acquire::Retries=3", "APT::Update::Error-Mode=any")
    quiet = [*rights, apt, "-qq", *(word for option in options for word in ("-o", option))]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    unread = ""
    try:
        run([*quiet, "update"], "before that, apt-get could not read its lists", env=environment)
    except SetupError as error:  # of a source that may have nothing to do with it
        unread = f"\n{error}"
    try:
        install = [*quiet, "install", "-y", "--no-install-recommends", "chromium"]
        run(install, f"apt-get could not install chromium; {how}", env=environment)
    except SetupError as error:
        raise SetupError(f"{error}{unread}") from None
    if (found := from_path()) is None:
        raise SetupError(f"apt-get installed chromium, and it is not on PATH; {how}")
    return found


def main() -> int:
    """0, or 1 with one message on standard error."""
    try:
        ensure(lambda text: print(f"browser: {text}", flush=True))
    except SetupError as error:
        print(f"browser: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
