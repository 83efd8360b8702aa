"""NDJSON: the entry as it is, beside its place in the log."""

import orjson

from bridge.audit.covered import Row


def line(row: Row) -> bytes:
    """`{"log_origin", "leaf_index", "leaf_hash" (base64), "entry"}`; the entry's bytes are the hashed ones."""
    place = {"log_origin": row.origin, "leaf_index": row.index, "leaf_hash": row.leaf_hash_text}
    return orjson.dumps({**place, "entry": orjson.Fragment(row.data)})
