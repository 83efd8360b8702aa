"""Trust policies: which cosignatures are enough, and what is no policy."""

import itertools

import pytest

from bridge.errors import EvidenceInvalid
from bridge.tlog.note import VerifierKey
from bridge.tlog.trust import Trust
from tests.tlog.keys import LOG, WITNESSES, signer, witness_key

NAMED = {
    name: signer(f"{name}.example", number) for number, name in enumerate(("X1", "X2", "X3", "Y1", "Y2", "Y3"), 20)
}
KEYS = {name: witness_key(one) for name, one in NAMED.items()}
W1, W2, W3 = map(witness_key, WITNESSES)
TWO = f"witness one {W1}\nwitness two {W2}\n"


def enough(policy: str, **keys: VerifierKey) -> set[frozenset[str]]:
    """All sets of these witnesses that make the quorum."""
    trust = Trust.parse(policy)
    sets = itertools.chain.from_iterable(itertools.combinations(keys, n) for n in range(len(keys) + 1))
    return {frozenset(some) for some in sets if trust.satisfied([keys[name] for name in some])}


def test_two_levels_of_groups() -> None:
    lines = [f"witness {name} {key}" for name, key in KEYS.items()]
    policy = "\n".join(
        [
            f"log {LOG.verifier}",
            "",
            *lines[:3],
            "group X 2 X1 X2 X3",
            *lines[3:],
            "group Y any Y1 Y2 Y3",
            "group both all X Y",
            "quorum both",
            "",
        ]
    )
    found = enough(policy, **KEYS)
    assert found == {
        some
        for some in map(frozenset, powerset(KEYS))
        if len(some & {"X1", "X2", "X3"}) >= 2 and some & {"Y1", "Y2", "Y3"}
    }


def powerset(names: dict[str, VerifierKey]) -> list[tuple[str, ...]]:
    return [some for n in range(len(names) + 1) for some in itertools.combinations(names, n)]


@pytest.mark.parametrize(
    ("quorum", "expected"),
    [
        ("quorum none", [set(), {"one"}, {"two"}, {"one", "two"}]),
        ("quorum one", [{"one"}, {"one", "two"}]),
        ("group g any one two\nquorum g", [{"one"}, {"two"}, {"one", "two"}]),
        ("group g 1 one two\nquorum g", [{"one"}, {"two"}, {"one", "two"}]),
        ("group g all one two\nquorum g", [{"one", "two"}]),
        ("group g 2 one two\nquorum g", [{"one", "two"}]),
        ("group g all two\nquorum g", [{"two"}, {"one", "two"}]),
    ],
)
def test_quorums(quorum: str, expected: list[set[str]]) -> None:
    assert enough(f"{TWO}{quorum}\n", one=W1, two=W2) == set(map(frozenset, expected))


def test_the_key_counts_and_not_its_name() -> None:
    trust = Trust.parse(f"{TWO}quorum one\n")
    assert not trust.satisfied([witness_key(signer(WITNESSES[0].name, 99))])
    assert not trust.satisfied([WITNESSES[0].verifier])
    assert trust.satisfied([W3, W1])


def test_what_is_read() -> None:
    text = f"# whom\n\n \t # we trust\n\tlog  {LOG.verifier}\thttps://log.example/ \nwitness w {W1} https://w.example\nquorum\tnone"
    trust = Trust.parse(text)
    assert trust.logs == [LOG.verifier]
    assert [(one.name, one.key, one.url) for one in trust.witnesses] == [("w", W1, "https://w.example")]
    assert trust.quorum == "none"
    assert Trust.parse(text.replace("\n", "\r\n")).logs == trust.logs


def test_names_are_what_they_are() -> None:
    kelvin = f"witness K {W1}\nwitness \u212a {W2}\nquorum \u212a\n"
    assert enough(kelvin, one=W1, two=W2) == {frozenset({"two"}), frozenset({"one", "two"})}


def test_one_with_32_of_each() -> None:
    keys = [signer(f"{number}.example", number) for number in range(64)]
    policy = "".join(f"log {one.verifier}\n" for one in keys[:32])
    policy += "".join(f"witness w{number} {witness_key(one)}\n" for number, one in enumerate(keys[32:]))
    policy += "".join(f"group g{number} all w{number}\n" for number in range(31))
    policy += "group most 20 " + " ".join(f"g{number}" for number in range(31)) + "\nquorum most\n"
    trust = Trust.parse(policy)
    assert trust.satisfied([witness_key(one) for one in keys[32:52]])
    assert not trust.satisfied([witness_key(one) for one in keys[32:51]])


ILL_FORMED = {
    "no quorum": TWO,
    "two quorums": f"{TWO}quorum one\nquorum two\n",
    "a quorum of nobody": f"{TWO}quorum three\n",
    "a quorum named too early": f"quorum one\n{TWO}",
    "an unknown word": f"{TWO}trust one\nquorum one\n",
    "a log without a key": "log\nquorum none\n",
    "a log with too much": f"log {LOG.verifier} url more\nquorum none\n",
    "a log key that is none": "log abc\nquorum none\n",
    "a log with a witness key": f"log {W1}\nquorum none\n",
    "a log twice": f"log {LOG.verifier}\nlog {LOG.verifier}\nquorum none\n",
    "a log twice by other names": f"log {LOG.verifier}\nlog {signer('other.example').verifier}\nquorum none\n",
    "a witness without a key": "witness one\nquorum none\n",
    "a witness with a log key": f"witness one {WITNESSES[0].verifier}\nquorum none\n",
    "a witness twice": f"witness one {W1}\nwitness two {W1}\nquorum none\n",
    "a witness twice by other names": f"{TWO}witness three {witness_key(signer('x.example', 1))}\nquorum none\n",
    "a name twice": f"witness one {W1}\nwitness one {W2}\nquorum none\n",
    "a group of a witness's name": f"{TWO}group one any two\nquorum none\n",
    "a witness called none": f"witness none {W1}\nquorum none\n",
    "a group of nobody": f"{TWO}group g any\nquorum none\n",
    "a group of none": f"{TWO}group g any none\nquorum none\n",
    "a group of itself": f"{TWO}group g any one g\nquorum none\n",
    "a group of who comes later": f"group g any one two\n{TWO}quorum none\n",
    "a group of 0": f"{TWO}group g 0 one two\nquorum none\n",
    "a group of more than there are": f"{TWO}group g 3 one two\nquorum none\n",
    "a group of an odd number": f"{TWO}group g ² one two\nquorum none\n",
    "a group of a negative number": f"{TWO}group g -1 one two\nquorum none\n",
    "a member twice in one group": f"{TWO}group g 2 one one\nquorum g\n",
    "a member of two groups": f"{TWO}group g any one\ngroup h all one g\nquorum h\n",
    "a member of two groups side by side": f"{TWO}group g any one\ngroup h any one\ngroup i 2 g h\nquorum i\n",
    "a group that is a member twice": f"{TWO}group g any one two\ngroup h 2 g g\nquorum h\n",
    "a control character": f"{TWO}group g\x1b[2J any one two\nquorum one\n",
    "a control character in a comment": f"# \x07\n{TWO}quorum one\n",
    "a null byte": f"{TWO}quorum one\0\n",
    "a carriage return inside": f"{TWO}quorum one\rquorum two\n",
    "too many lines": "\n" * 1000 + "quorum none\n",
}


@pytest.mark.parametrize("name", ILL_FORMED)
def test_what_is_no_policy(name: str) -> None:
    with pytest.raises(EvidenceInvalid, match="trust policy") as raised:
        Trust.parse(ILL_FORMED[name])
    assert str(raised.value).isprintable()


def test_the_line_at_fault_is_named() -> None:
    with pytest.raises(EvidenceInvalid, match=r"^trust policy, line 4: there is no witness or group 'three' above$"):
        Trust.parse(f"# one\n{TWO}quorum three\n")
