"""How the commands of the lifecycle write to the log, beside a bridge that runs."""

import os
from contextlib import closing
from pathlib import Path

from bridge.config.settings import Settings
from bridge.evidence.keys import token_digest
from bridge.evidence.store import SqliteStore
from bridge.model.authzen import with_copies
from bridge.model.mask import parse_pointer
from bridge.pdp.lifecycle import Orders
from bridge.ports import Receipt, Record


def orders_of(settings: Settings) -> Orders:
    """What makes records that hide as configured."""
    evidence = settings.evidence
    hidden = with_copies(map(parse_pointer, evidence.mask)), with_copies(map(parse_pointer, evidence.personal))
    return Orders(token_digest(Path(evidence.path)), *hidden)


def commit(settings: Settings, records: list[Record]) -> list[Receipt]:
    """Makes them durable, all or none. EvidenceUnavailable."""
    folder, instance = Path(settings.evidence.path), f"{settings.evidence.instance}/lifecycle-{os.urandom(4).hex()}"
    with closing(SqliteStore(folder, instance, beside=True)) as store:
        store.open()
        return store.commit(records)
