"""What one source answered, by key values: bounded, and the least recently used goes first."""

from collections import OrderedDict

from bridge.model.source import Held, Key

MAX_VALUES = 10_000
MAX_BYTES = 16 * 1024 * 1024


class Cache:
    """Of one source at one address: nothing but equal key values leads to a value. `keep_s`: for how long at most."""

    def __init__(self, keep_s: float, max_values: int = MAX_VALUES, max_bytes: int = MAX_BYTES) -> None:
        self._keep_s, self._max_values, self._max_bytes = keep_s, max_values, max_bytes
        self._held: OrderedDict[Key, Held] = OrderedDict()
        self._bytes = 0

    def get(self, key: Key, now: float) -> Held | None:
        held = self._held.get(key)
        if held is None:
            return None
        if now - held.at > self._keep_s:
            self._drop(key)
            return None
        self._held.move_to_end(key)
        return held

    def put(self, key: Key, held: Held) -> None:
        """An answer to an earlier question does not replace that to a later one."""
        before = self._held.get(key)
        if before is not None:
            if before.at > held.at:
                return
            self._drop(key)
        self._held[key] = held
        self._bytes += _weight(key, held)
        while len(self._held) > self._max_values or self._bytes > self._max_bytes:
            self._drop(next(iter(self._held)))

    def __len__(self) -> int:
        return len(self._held)

    def _drop(self, key: Key) -> None:
        self._bytes -= _weight(key, self._held.pop(key))


def _weight(key: Key, held: Held) -> int:
    return held.size + sum(map(len, key))
