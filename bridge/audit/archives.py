"""The policy sets beside the log: is each of them the one that its `policy` entry says is kept?"""

import hashlib
from pathlib import Path
from typing import Any

from bridge.audit.report import Report
from bridge.evidence.files import archived


class Archives:
    """verify.Compare: remembers what entries say; `finish` looks at the files in the evidence folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told: dict[str, tuple[int, Any]] = {}

    def __call__(self, index: int, data: bytes, leaf: bytes, entry: dict[str, Any] | None) -> str | None:
        if entry is None or entry.get("kind") != "policy":
            return None
        kept, policy = entry.get("archive"), entry.get("policy")
        if isinstance(kept, dict) and isinstance(policy, dict) and str(policy.get("digest")).isalnum():
            self._told[str(policy["digest"])] = index, kept.get("sha256")
        return None

    def finish(self, report: Report) -> None:
        """A set that is gone says nothing against the log: then what it decided cannot be replayed."""
        for digest, (index, sha256) in self._told.items():
            path = self._folder / archived(digest)
            try:
                if not path.is_file() and path.exists():  # to open a pipe would wait for ever
                    report.problem(f"{archived(digest)} is no file")
                    continue
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
            except FileNotFoundError:
                report.notes.append(f"{archived(digest)} is not there, the policy set that entry {index} tells of")
            except OSError as error:
                report.problem(f"{archived(digest)} cannot be read: {error.strerror}")
            else:
                if found != sha256:
                    report.problem(f"{archived(digest)} is not the policy set that entry {index} tells of")
