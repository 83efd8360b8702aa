"""Page tokens of searches: signed, and good for the same search of the same caller only.

A token names the last result that was told and not how many were, so that what comes or goes between two pages makes
no other result stand twice or fall out.
"""

import base64
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass

from bridge.errors import MalformedRequest
from bridge.model.search import Result, Search, key_of
from bridge.pdp.details import typed

_PURPOSE = b"authzen page token"


@dataclass(frozen=True, slots=True)
class Cut:
    """Takes one page of what is found: what comes after `after`, at most `size`. `limit`: what the caller asked for."""

    size: int
    limit: int | None = None
    after: str | None = None

    def __call__(self, found: Sequence[Result]) -> Sequence[Result]:
        return self._rest(found)[: self.size]

    def leaves(self, found: Sequence[Result]) -> bool:
        """Whether there is more after this page."""
        return len(self._rest(found)) > self.size

    def _rest(self, found: Sequence[Result]) -> Sequence[Result]:
        after = self.after
        return found if after is None else [one for one in found if key_of(one) > after]


class Pages:
    """Reads and signs tokens; `key` is a secret that all workers share, `most` the largest page."""

    def __init__(self, key: bytes, most: int) -> None:
        self._key, self._most = hmac.digest(key, _PURPOSE, "sha256"), most

    def cut(self, caller: str, search: Search) -> Cut:
        """The page that is asked for. MalformedRequest: its token is none of ours, or of another search."""
        page = search.page
        limit = page.limit if page is not None else None
        if page is None or page.token is None:
            return Cut(self._size(limit), limit)
        text = page.token.partition(".")[0]
        # Encoded anew and compared as text: base64 has several spellings of one value.
        if not hmac.compare_digest(self._signed(text, caller, search).encode(), page.token.encode()):
            raise _refused("is not a next_token of this search")
        told, after = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if limit is not None and limit != told:
            raise _refused("belongs to a search with another limit")
        return Cut(self._size(told), told, after)

    def token(self, caller: str, search: Search, cut: Cut, last: Result) -> str:
        """The token for what comes after `last`."""
        payload = json.dumps([cut.limit, key_of(last)], separators=(",", ":")).encode()
        return self._signed(_base64(payload), caller, search)

    def _signed(self, text: str, caller: str, search: Search) -> str:
        bound = [text, caller, search.searched, search.document()]
        return f"{text}.{_base64(hmac.digest(self._key, typed(bound).encode(), 'sha256'))}"

    def _size(self, limit: int | None) -> int:
        return self._most if limit is None else min(limit, self._most)


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _refused(text: str) -> MalformedRequest:
    return MalformedRequest([("/page/token", text)])
