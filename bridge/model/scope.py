"""The scope-token grammar (RFC 6749, section 3.3)."""

import re

_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")
RESERVED_PREFIX = "issue:"
"""Names beginning so are gates in the AuthZEN token-issuance profile and never scopes."""


def is_scope_token(value: str) -> bool:
    """Whether `value` may be asked for: RFC 6749's `scope-token`, and not a reserved gate name."""
    return _SCOPE_TOKEN.fullmatch(value) is not None and not value.startswith(RESERVED_PREFIX)


def split(value: str) -> tuple[str, ...] | None:
    """The tokens of a space-delimited `scope` string (RFC 6749, section 3.3), or None when it is ill-formed.

    The empty string is the empty set.
    """
    if value == "":
        return ()
    tokens = tuple(value.split(" "))
    return tokens if all(_SCOPE_TOKEN.fullmatch(token) for token in tokens) else None
