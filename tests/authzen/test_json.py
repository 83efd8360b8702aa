"""Strict JSON at the AuthZEN door: what several parsers accept by default is a 400 here, and never a decision."""

import json
from typing import Any

import pytest

from tests.authzen.asking import EVALUATION, EVALUATIONS, batch, gate, post, user
from tests.support.bridge import RunningBridge

BODY = {"subject": user(), "action": {"name": "open"}, "resource": {"type": "door", "id": "d"}}
GOOD = json.dumps(BODY).encode()
ISSUANCE = json.dumps(batch(gate(), "s:a", action={"name": "s:b"})).encode()


def within(context: bytes) -> bytes:
    return GOOD[:-1] + b', "context": ' + context + b"}"


def _nested(inner: int, *, arrays: bool) -> bytes:
    opening, closing = (b"[", b"]") if arrays else (b'{"x":', b"}")
    return b'{"x": ' + opening * inner + (b"" if arrays else b"1") + closing * inner + b"}"


BAD = {
    "empty": b"",
    "spaces": b" \n",
    "no object": b"[]",
    "a text": b'"x"',
    "null": b"null",
    "number": b"1",
    "cut": GOOD[:-1],
    "two values": GOOD + GOOD,
    "bytes behind": GOOD + b"x",
    "a comma behind": GOOD + b",",
    "a nul behind": GOOD + b"\0",
    "trailing comma": GOOD[:-1] + b",}",
    "a comment": GOOD + b"// x",
    "single quotes": GOOD.replace(b'"', b"'"),
    "bare names": GOOD.replace(b'"action"', b"action"),
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-32": GOOD.decode().encode("utf-32-le"),
    "latin-1": GOOD.replace(b"alice", b"\xe9lise"),
    "overlong UTF-8": GOOD.replace(b"alice", b"\xc0\xaf"),
    "a surrogate in UTF-8": GOOD.replace(b"alice", b"\xed\xa0\x80"),
    "a lone surrogate": GOOD.replace(b"alice", b"\\ud800"),
    "a lone low surrogate": GOOD.replace(b"alice", b"\\udc00x"),
    "a lone surrogate in a name": within(b'{"\\ud834": 1}'),
    "surrogates the wrong way round": GOOD.replace(b"alice", b"\\udd1e\\ud834"),
    "a lone surrogate in what is ignored": GOOD[:-1] + b', "x": "\\ud800"}',
    "a duplicate": GOOD[:-1] + b', "action": {"name": "open"}}',
    "a duplicate of itself": GOOD.replace(b'"name": "open"', b'"name": "open", "name": "open"'),
    "a duplicate by escapes": GOOD[:-1] + b', "\\u0061ction": {"name": "open"}}',
    "a duplicate in what is ignored": GOOD[:-1] + b', "x": {"a": 1, "a": 1}}',
    "a duplicate in properties": within(b'{"x": [{"a": 1, "a": 2}]}'),
    "NaN": within(b'{"x": NaN}'),
    "Infinity": within(b'{"x": Infinity}'),
    "-Infinity": within(b'{"x": [-Infinity]}'),
    "beyond a double": within(b'{"x": 1e400}'),
    "beyond a double below": within(b'{"x": -1E+400}'),
    "far too many digits": within(b'{"x": ' + b"1" * 5000 + b"}"),
    "a leading zero": within(b'{"x": 01}'),
    "a plus": within(b'{"x": +1}'),
    "a point without digits": within(b'{"x": 1.}'),
    "hexadecimal": within(b'{"x": 0x1}'),
    "arabic digits": within('{"x": ١}'.encode()),
    "a raw newline": GOOD.replace(b"alice", b"al\nice"),
    "a raw tab": GOOD.replace(b"alice", b"al\tice"),
    "a raw nul": GOOD.replace(b"alice", b"al\0ice"),
    "a raw control in a name": within(b'{"a\x1f": 1}'),
    "an unknown escape": GOOD.replace(b"alice", b"al\\xice"),
    "a cut escape": GOOD.replace(b"alice", b"al\\u12"),
    "other white space": b"\xc2\xa0" + GOOD,
    "a form feed": b"\x0c" + GOOD,
    "too deep": within(_nested(100, arrays=True)),
    "too deep in objects": within(_nested(100, arrays=False)),
    "very deep": within(b"[" * 200_000 + b"]" * 200_000),
    "very deep and cut": b'{"x":' * 300_000,
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_strict_json_is_a_400(bridge: RunningBridge, name: str) -> None:
    before = len(bridge.entries())
    for path in (EVALUATION, EVALUATIONS):
        response = post(bridge, BAD[name], path)
        assert response.status_code == 400, response.text
        assert response.json().keys() == {"error"}
        assert not any(word in response.text for word in ("Traceback", "File ", ".py"))
    assert len(bridge.entries()) == before


@pytest.mark.parametrize("name", [n for n, body in BAD.items() if GOOD in body or body.startswith(GOOD[:-1])])
def test_the_same_around_an_issuance_batch(bridge: RunningBridge, name: str) -> None:
    assert post(bridge, BAD[name].replace(GOOD[:-1], ISSUANCE[:-1])).status_code == 400


GOOD_ONES = {
    "white space around": b" \r\n\t" + GOOD + b"\n ",
    "a pair of surrogates": GOOD.replace(b"d7", b"d7\\ud834\\udd1e"),
    "escapes": GOOD.replace(b"alice", b"\\u0061l\\u0069ce"),
    "escaped names": GOOD.replace(b'"action"', b'"\\u0061ction"'),
    "an escaped nul": within(b'{"x": "\\u0000"}'),
    "UTF-8": within('{"é": "\U0001d11e"}'.encode()),
    "the same name in two objects": within(b'{"a": {"a": {"a": 1}}}'),
    "a great integer": within(b'{"x": 123456789012345678901234567890}'),
    "a small number": within(b'{"x": 1e-400, "y": -0.0}'),
    "as deep as may be": within(_nested(98, arrays=True)),
    "as deep as may be in objects": within(_nested(98, arrays=False)),
    "members turned round": json.dumps(dict(reversed(BODY.items()))).encode(),
}


@pytest.mark.parametrize("name", GOOD_ONES)
def test_what_is_strict_json_gets_its_decision(bridge: RunningBridge, name: str) -> None:
    for path in (EVALUATION, EVALUATIONS):
        response = post(bridge, GOOD_ONES[name], path)
        assert (response.status_code, response.json()) == (200, {"decision": True}), response.text
    asked: dict[str, Any] = json.loads(GOOD_ONES[name])
    context = {"context": asked["context"]} if "context" in asked else {}
    response = post(bridge, batch(gate(), "s:a", **context))
    assert [one["decision"] for one in response.json()["evaluations"]] == [True, True]


def test_an_error_never_quotes_values(bridge: RunningBridge) -> None:
    for body in (GOOD.replace(b'"alice"', b"12345678"), within(b'{"x": 12345678,}'), within(b'"12345678"')):
        response = post(bridge, body)
        assert response.status_code == 400
        assert "12345678" not in response.text
