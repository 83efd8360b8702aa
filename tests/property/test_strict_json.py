"""Bodies from outside: either the one value that every reader would see, or MalformedRequest and nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import MalformedRequest
from bridge.model import strict_json

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def refused(body: bytes) -> bool:
    try:
        strict_json.loads(body)
    except MalformedRequest as malformed:
        str(malformed).encode()  # must be fit to be sent
        return True
    return False


@given(plain, st.booleans(), st.sampled_from([None, 1]), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_proper_json_is_read_as_it_is(
    value: Any, escaped: bool, indent: int | None, separators: tuple[str, str]
) -> None:
    body = json.dumps(value, ensure_ascii=escaped, indent=indent, separators=separators).encode("utf-8")
    read = strict_json.loads(body)
    assert json.dumps(read) == json.dumps(value)


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_a_value_or_a_malformed_request(body: bytes) -> None:
    if not refused(body):
        assert json.loads(body.decode()) == strict_json.loads(body)


@given(plain, st.integers(0, 400), st.integers(0, 255))
def test_one_byte_more_never_raises_anything_else(value: Any, at: int, byte: int) -> None:
    body = json.dumps(value).encode()
    refused(body[:at] + bytes([byte]) + body[at:])
    refused(body[:at] + bytes([byte]) + body[at + 1 :])
    refused(body[:at])


@given(plain, plain, st.text(max_size=5), st.integers(0, 20), st.booleans())
def test_duplicate_names_are_refused_at_any_depth(one: Any, two: Any, name: str, depth: int, escaped: bool) -> None:
    twice = f"{json.dumps(name)}:{json.dumps(one)},{json.dumps(name, ensure_ascii=escaped)}:{json.dumps(two)}"
    assert refused(('{"a":[' * depth + "{" + twice + "}" + "]}" * depth).encode())


def test_names_that_differ_only_in_their_escapes_are_the_same() -> None:
    assert refused(b'{"a":1,"\\u0061":2}')
    assert strict_json.loads(b'{"a":1,"A":2}') == {"a": 1, "A": 2}


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize(("depth", "good"), [(1, True), (99, True), (100, True), (101, False), (5000, False)])
def test_depth_is_bounded(opening: str, depth: int, good: bool) -> None:
    inner = "[]" if opening == "[" else "{}"
    closing = "]" if opening == "[" else "}"
    body = opening * (depth - 1) + inner + closing * (depth - 1)
    assert refused(body.encode()) is not good


def test_depth_counts_nesting_and_not_brackets() -> None:
    assert not refused(b"[" + b",".join([b"[[]]"] * 5000) + b"]")
    assert not refused(json.dumps({"a": "[" * 5000}).encode())
    assert refused(b"[" + b"[]," * 200 + b"[" * 100 + b"]" * 100 + b"]")


def test_a_million_levels_are_refused() -> None:
    assert refused(b"[" * 1_000_000)
    assert refused(b'{"a":' * 1_000_000)


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b" ",
            b"nul",
            b"True",
            b"'a'",
            b"{a:1}",
            b"[1,]",
            b'{"a":1,}',
            b"[1 2]",
            b"// x\n1",
            b"01",
            b"+1",
            b".5",
            b"1.",
        ),
        *(b"NaN", b"[Infinity]", b'{"a":-Infinity}', b"1e400", b"-1e400", b"[1E999999]", b"0x10", b"1_000"),
        *(b"1 2", b"{} {}", b"[]]", b'{"a":1}x', b"null\x00", b"1\x0c", b"\x0b1", b"\xc2\xa01"),
        *(
            b"\xef\xbb\xbf{}",
            b"\xff\xfe{\x00}\x00",
            b"{\x00}\x00",
            b"\xff",
            b'"\xff"',
            b'"\xc0\xaf"',
            b'"\xed\xa0\x80"',
        ),
        *(b'"\\ud800"', b'"\\udc00\\ud800"', b'{"\\ud800":1}', b'[{"a":["\\udfff"]}]', b'"\\ud83d\\u0041"'),
        *(b'"\n"', b'"\t"', b'"\x00"', b'"\\x41"', b'"\\u12"', b'"\\'),
        b"1" * 5000,
        b"-" + b"9" * 100_000,
    ],
    ids=lambda body: ascii(body)[:40] + str(len(body)),
)
def test_what_other_readers_might_understand_otherwise_is_refused(body: bytes) -> None:
    assert refused(body)


def test_edge_values_are_kept() -> None:
    assert strict_json.loads(b'"\\ud83d\\ude00"') == "\U0001f600"
    assert strict_json.loads(b" \n\t\r[1]\r\n") == [1]
    assert strict_json.loads(b"1" * 4300) == int("1" * 4300)
    assert strict_json.loads(b'{"__proto__":{},"":null,"\\u0000":1}') == {"__proto__": {}, "": None, "\0": 1}
    assert strict_json.loads(b"[1e-400,-0.0,1e308]") == [0.0, 0.0, 1e308]


def test_message_never_quotes_a_value() -> None:
    for body in (b'{"token":"s3cret", x}', b'["s3cret", NaN]', b'{"a":"s3cret","a":1}', b'"s3cret\\ud800"'):
        with pytest.raises(MalformedRequest) as refusal:
            strict_json.loads(body)
        assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize("many", ["1," * 100_001 + "1", "[]," * 100_001 + "[]"])
def test_the_number_of_values_is_bounded(many: str) -> None:
    assert refused(f"[{many}]".encode())
    assert refused(f'{{"a": "\\\\", "b": [{many}], "c": "\\""}}'.encode())


def test_commas_in_strings_are_not_values() -> None:
    assert strict_json.loads(b'{"a": "' + b',\\"' * 200_000 + b'"}') == {"a": ',"' * 200_000}
    assert len(strict_json.loads(b"[" + b"1," * 99_999 + b"1]")) == 100_000
