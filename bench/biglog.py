"""A log of many entries, made once and kept: by the store and the publisher that a bridge has."""

import itertools
import shutil
import time
from pathlib import Path

from bench import answers
from bridge.evidence import keys
from bridge.evidence.publish import Publisher
from bridge.evidence.store import SqliteStore
from bridge.model.times import now_ms
from bridge.pdp.record import Recorder

VERSION = 2
"""Another one when the log is to be made anew."""
STEP = 1000
SPAN_MS = 30 * 86_400_000
ANSWERS = 2000
_HERE = Path(__file__).resolve().parents[1]


def kept(size: int, scratch: Path) -> Path:
    """The evidence folder with `size` entries, about a scope each, of the last 30 days; made when it is not there."""
    folder = _HERE / ".cache" / f"bench-evidence-{VERSION}" / str(size)
    if not folder.exists():
        began, new = time.monotonic(), folder.with_name(f"{folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        print(f"making a log of {size:,} entries in {folder}, once", flush=True)
        _make(new, size, scratch)
        new.rename(folder)
        print(f"made in {time.monotonic() - began:.0f} s\n", flush=True)
    return folder


def _make(folder: Path, size: int, scratch: Path) -> None:
    at = now_ms()
    signer = keys.load_or_make(folder, "", "bench.example/log", at)
    store, publisher = SqliteStore(folder, "bench/0"), Publisher(folder, signer)
    recorder = Recorder()
    stream = answers.repeat(answers.ask(scratch, 1, ANSWERS), 2, at - SPAN_MS, SPAN_MS / size)
    store.open()
    publisher.open()
    try:
        for start in range(0, size, STEP):
            batch = itertools.islice(stream, min(STEP, size - start))
            store.commit([r for one in batch for r in recorder.record(one.decision, one.facts)[1]])
            if (note := publisher.integrate()) is not None:
                publisher.publish(note)
    finally:
        publisher.close()
        store.close()
