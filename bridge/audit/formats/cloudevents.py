"""CloudEvents 1.0 in the JSON format, structured mode, one event a line.

`leafindex` is a string: a CloudEvents integer has 32 bits, and a busy log outgrows that within weeks.
"""

from typing import Any
from urllib.parse import quote

import orjson

from bridge.audit.covered import Row
from bridge.audit.query import who

NAMESPACE = "issuance-bridge"


def line(row: Row) -> bytes:
    """One event: `id` is the entry's, `subject` the client's id, `data` the entry in its exact bytes."""
    entry = row.entry
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": entry["id"],
        "source": source(row.origin),
        "type": f"{NAMESPACE}.{entry['kind']}.v{entry.get('v')}",
        "time": entry["time"],
        "datacontenttype": "application/json",
        "leafindex": str(row.index),
        "leafhash": row.leaf_hash_text,
        "data": orjson.Fragment(row.data),
    }
    client = who(entry.get("request", {}), "client")
    if client and fits(client):
        event["subject"] = client
    return orjson.dumps(event)


def source(origin: str) -> str:
    """The origin as a URI reference (RFC 3986, section 4.1): what may not stand in one is percent-encoded."""
    # A colon in the first part would make a scheme of it.
    return quote(origin, safe="/@!$&'()*,;=~")


def fits(text: str) -> bool:
    """Whether CloudEvents allows these characters: no controls, and no code points that are no characters."""
    return not any(
        c < " " or "\x7f" <= c <= "\x9f" or "\ufdd0" <= c <= "\ufdef" or ord(c) & 0xFFFE == 0xFFFE for c in text
    )
