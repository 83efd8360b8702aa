"""Policy files: who counts, how often, and what is refused (C2SP tlog-policy)."""

import contextlib
from itertools import combinations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import EvidenceInvalid
from bridge.tlog.note import COSIGNATURE, ED25519, VerifierKey
from bridge.tlog.trust import Trust


def key(name: str, kind: int = COSIGNATURE) -> VerifierKey:
    return VerifierKey(name, kind, Ed25519PrivateKey.generate().public_key().public_bytes_raw())


KEYS = {name: key(f"{name}.example") for name in ("X1", "X2", "X3", "Y1", "Y2")}
WITNESSES = "".join(f"witness {name} {vkey} https://{name}.example/add\n" for name, vkey in KEYS.items())
LOG = key("log.example", ED25519)
EXAMPLE = f"""
# The example of the specification, with keys.
log {LOG}
\t{WITNESSES}
group X-witnesses 2 X1 X2 X3
group  Y-witnesses\tany Y1 Y2
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def test_the_example_counts_as_it_is_said_to() -> None:
    trust = Trust.parse(EXAMPLE)
    assert trust.logs == [LOG]
    assert [(one.name, one.key, one.url) for one in trust.witnesses] == [
        (name, vkey, f"https://{name}.example/add") for name, vkey in KEYS.items()
    ]
    for count in range(len(KEYS) + 1):
        for names in combinations(KEYS, count):
            enough = sum(name[0] == "X" for name in names) >= 2 and any(name[0] == "Y" for name in names)
            assert trust.satisfied([KEYS[name] for name in names]) == enough


def test_a_quorum_of_none_asks_for_nobody_and_one_of_a_witness_for_that_one() -> None:
    assert Trust.parse("quorum none").satisfied([])
    only = Trust.parse(f"{WITNESSES}quorum X1")
    assert [only.satisfied([vkey]) for vkey in KEYS.values()] == [True, False, False, False, False]


@given(st.integers(1, 5), st.sets(st.sampled_from(sorted(KEYS))))
def test_a_threshold_is_a_number_of_members(least: int, cosigned: set[str]) -> None:
    trust = Trust.parse(f"{WITNESSES}group g {least} {' '.join(KEYS)}\nquorum g\n")
    assert trust.satisfied([KEYS[name] for name in cosigned]) == (len(cosigned) >= least)
    # A key that is not known does not count, nor does a known one twice.
    assert not trust.satisfied([key("stranger.example")] * 5)
    assert trust.satisfied([KEYS["X1"]] * 5) == (least == 1)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("group g 2 X1 X1\nquorum g", "X1 is a member of a group already"),
        ("group a any X1 X2\ngroup b any X1\ngroup g all a b\nquorum g", "X1 is a member of a group already"),
        ("group g all X1 none\nquorum g", "no witness or group none"),
        ("group g any g\nquorum g", "no witness or group g above"),
        ("quorum g\ngroup g any X1", "no witness or group g above"),
        ("group g 0 X1\nquorum g", "threshold"),
        ("group g 3 X1 X2\nquorum g", "threshold"),
        ("group g +1 X1\nquorum g", "threshold"),
        ("group g any\nquorum g", "lines read"),
        ("group X1 any X2\nquorum X1", "the name X1 is taken"),
        ("group none any X1\nquorum none", "the name none is taken"),
        ("quorum X1\nquorum none", "exactly one quorum"),
        ("", "exactly one quorum"),
        ("quorum", "lines read"),
        ("Quorum none", "lines read"),
        ("witness again {X1}\nquorum none", "a cosignature key .* of its own"),
        ("witness log {LOG}\nquorum none", "cosignature key"),
        ("log {X1}\nquorum none", "Ed25519 key"),
        ("log x\nquorum none", "line 6: not a verifier key"),
    ],
)
def test_what_the_form_forbids_is_refused(lines: str, reason: str) -> None:
    with pytest.raises(EvidenceInvalid, match=reason):
        Trust.parse(WITNESSES + lines.format(LOG=LOG, X1=KEYS["X1"]))


WORDS = [
    "log",
    "witness",
    "group",
    "quorum",
    "none",
    "any",
    "all",
    "a",
    "b",
    "0",
    "1",
    "2",
    "²",
    str(LOG),
    *map(str, KEYS.values()),
]


@given(st.lists(st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=6).map(" ".join)).map("\n".join))
def test_nothing_but_our_own_error_comes_out(text: str) -> None:
    with contextlib.suppress(EvidenceInvalid):
        Trust.parse(text)
