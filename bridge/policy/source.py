"""Reads a policy set's files: from a folder, or from a built bundle. No judgement here, only bounds."""

import gzip
import io
import os
import tarfile
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from bridge.errors import PolicyRefused

MAX_FILES = 50_000
MAX_BYTES = 256 * 1024 * 1024
DATA_NAMES = ("data.json", "data.yaml")


@dataclass(frozen=True, slots=True)
class Source:
    """`modules` and `data`: relative POSIX path -> bytes. `bundled`: built by us, so the kernel may be among them.

    `archive`: all that a bundle holds, with what does not decide; None for what is no file.
    `signature`: of exactly the files that were read, in the form of the function of that name.
    """

    modules: dict[str, bytes] = field(default_factory=dict)
    data: dict[str, bytes] = field(default_factory=dict)
    bundled: bool = False
    archive: dict[str, bytes | None] = field(default_factory=dict)
    signature: tuple[object, ...] = ()


def read(path: Path) -> Source:
    """The files that decide: `*.rego` without `*_test.rego`, data.json, data.yaml. PolicyRefused when unreadable."""
    try:
        real = path.resolve()  # once: a link that is set to another folder meanwhile must not mix the two
        return _read_bundle(real) if real.is_file() else _read_folder(real)
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise PolicyRefused([f"{path} cannot be read: {error}"]) from error


def signature(path: Path) -> tuple[object, ...]:
    """Changes whenever the set on disk may have changed; cheap enough for every second. Empty when unreadable."""
    try:
        real = path.resolve()
        files = [str(real)] if real.is_file() else [f"{real}/{name}" for name in _names(real)]
        return tuple(_mark(file, os.stat(file)) for file in files)  # noqa: PTH116 - a Path takes longer than the look
    except (OSError, PolicyRefused):
        return ()


def _mark(file: str, found: os.stat_result) -> tuple[object, ...]:
    return file, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _read_folder(folder: Path) -> Source:
    if not folder.is_dir():
        raise PolicyRefused([f"{folder} is neither a folder nor a bundle (policy.path)"])
    source, total, marks = Source(), 0, []
    for name in _names(folder):
        if not (folder / name).is_file():
            raise PolicyRefused([f"{folder / name} is no file"])  # opening a named pipe would wait for ever
        with (folder / name).open("rb") as file:
            content = file.read(MAX_BYTES - total + 1)
            marks.append(_mark(f"{folder}/{name}", os.fstat(file.fileno())))
        total += len(content)
        if total > MAX_BYTES:
            raise PolicyRefused([f"{folder} holds more than {MAX_BYTES} bytes"])
        _keep(source, name, content)
    return replace(source, signature=tuple(marks))


def _names(folder: Path) -> list[str]:
    names: list[str] = []
    for root, folders, files in os.walk(folder, onerror=_unreadable):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        if links := [f for f in folders if (Path(root) / f).is_symlink()]:
            raise PolicyRefused([f"{Path(root) / links[0]} is a link to a folder, which would not be read: copy it"])
        base = Path(root).relative_to(folder).as_posix()
        names.extend(f if base == "." else f"{base}/{f}" for f in files if _decides(f))
        if len(names) > MAX_FILES:
            raise PolicyRefused([f"{folder} holds more than {MAX_FILES} files"])
    return sorted(names)


def _read_bundle(path: Path) -> Source:
    source, total = Source(bundled=True), 0
    with path.open("rb") as file, gzip.open(file) as unpacked:
        raw = unpacked.read(MAX_BYTES + 1)
        marks = (_mark(str(path), os.fstat(file.fileno())),)
    if len(raw) > MAX_BYTES:
        raise PolicyRefused([f"{path} unpacks to more than {MAX_BYTES} bytes"])
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
        for count, member in enumerate(archive):
            name = PurePosixPath("/", member.name).relative_to("/").as_posix()
            if count >= MAX_FILES:
                raise PolicyRefused([f"{path} holds more than {MAX_FILES} files"])
            if member.isdir():
                continue
            if name in source.archive:
                raise PolicyRefused([f"{path} holds {name!r} twice"])
            total += member.size
            if total > MAX_BYTES:  # a sparse file is longer than what is packed of it
                raise PolicyRefused([f"{path} unpacks to more than {MAX_BYTES} bytes"])
            content = archive.extractfile(member) if member.isfile() else None
            source.archive[name] = None if content is None else content.read()
            if not _decides(PurePosixPath(name).name):
                continue
            if (kept := source.archive[name]) is None:
                raise PolicyRefused([f"{path} holds {name!r} as a link or device, which would not be read: copy it"])
            if ".." in PurePosixPath(name).parts:
                raise PolicyRefused([f"{path} holds a file outside of itself: {member.name!r}"])
            _keep(source, name, kept)
    return replace(source, signature=marks)


def _unreadable(error: OSError) -> None:
    """A folder that cannot be listed must not look like an empty one: the rules in it would fall silent."""
    raise error


def _decides(name: str) -> bool:
    return name in DATA_NAMES or (name.endswith(".rego") and not name.endswith("_test.rego"))


def _keep(source: Source, name: str, content: bytes) -> None:
    name.encode()  # a file name that is not UTF-8 has no place in a bundle
    (source.modules if name.endswith(".rego") else source.data)[name] = content
