# mypy: disable-error-code="var-annotated"
# Tables of odd values have no one type.
"""What one package said, shape by shape: `allow` needs a plain yes, `deny` a plain no, everything else its own form."""

from typing import Any

import pytest

from bridge.model.limit import PROTOCOL_CLAIMS
from bridge.model.times import parse_rfc3339
from bridge.model.verdict import MAX_FINDINGS, Verdict, read_verdict

_PARSED = parse_rfc3339("2026-06-01T12:00:00Z")
assert _PARSED is not None
NOW_MS = _PARSED
WAIVER: dict[str, Any] = {
    "kind": "waiver",
    "id": "EX-17",
    "approved_by": ["ciso", "cfo"],
    "expires": "2026-12-31T00:00:00Z",
}


def shown(value: Any) -> str:
    """A short name for a test case, one for each value and type."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:50]}...{len(text)}"


def read(**rules: Any) -> Verdict:
    return read_verdict("p", rules, NOW_MS)


def permits(verdict: Verdict) -> bool:
    return bool(verdict.allow) and not verdict.deny and verdict.error is None


@pytest.mark.parametrize(
    "allow", [True, [{"code": "a"}], [{"code": "a", "title": 7}], [{"code": "a", "more": [1]}]], ids=shown
)
def test_true_or_a_finding_permits(allow: Any) -> None:
    assert permits(read(allow=allow))


@pytest.mark.parametrize(
    "allow",
    [
        *(False, None, 0, 1, 1.0, "", "true", "allow", {}, {"code": "a"}, []),
        *([True], [None], ["a"], [1], [[]], [{}], [[{"code": "a"}]]),
        *([{"code": ""}], [{"code": None}], [{"code": 1}], [{"code": ["a"]}], [{"title": "a"}], [{"Code": "a"}]),
        [{"code": "x" * 257}],
        [{"code": "a"}, True],
        [{"code": "a", "effective_on": "2026-01-01"}],
        [{"code": "a", "effective_on": "2029-01-01"}],
        [{"code": str(n)} for n in range(MAX_FINDINGS + 1)],
    ],
    ids=shown,
)
def test_anything_else_does_not_permit(allow: Any) -> None:
    assert not permits(read(allow=allow))


def test_absent_allow_does_not_permit() -> None:
    assert not permits(read())
    assert read().error is None


@pytest.mark.parametrize("deny", [False, []], ids=shown)
def test_only_false_and_the_empty_set_do_not_deny(deny: Any) -> None:
    assert permits(read(allow=True, deny=deny))


@pytest.mark.parametrize(
    "deny",
    [
        *(True, None, 0, 1, 0.0, -1, "", "false", "no", {}, {"code": "a"}, {"a": False}),
        *([False], [None], [0], [""], ["no"], [[]], [{}], [{"code": ""}], [{"code": 7}], [{"title": "t"}]),
        [{"code": "x" * 257}],
        [{"code": "late", "effective_on": "2026-06-02"}, {}],
    ],
    ids=shown,
)
def test_everything_else_denies(deny: Any) -> None:
    verdict = read(allow=True, deny=deny)
    assert verdict.deny
    assert not permits(verdict)


def test_ill_shaped_member_denies_with_the_code_deny_beside_the_others() -> None:
    assert [f.code for f in read(deny=[{"code": "mine", "title": "Mine"}, "no"]).deny] == ["deny", "mine"]
    assert [f.code for f in read(deny=True).deny] == ["deny"]


def test_more_findings_than_are_read_still_deny() -> None:
    later = [{"code": f"w{n}", "effective_on": "2027-01-01"} for n in range(MAX_FINDINGS)]
    assert permits(read(allow=True, deny=later))
    assert not permits(read(allow=True, deny=[*later, {"code": "last", "effective_on": "2027-01-01"}]))


def test_denial_is_kept_when_another_rule_fails() -> None:
    verdict = read(allow=True, deny=[{"code": "mine"}], limit=7)
    assert verdict.error is not None
    assert [f.code for f in verdict.deny] == ["mine"]


@pytest.mark.parametrize(
    ("date", "denies"),
    [
        ("2026-06-02", False),
        ("2026-06-01", True),
        ("2026-06-01T12:00:00.001Z", False),
        ("2026-06-01T12:00:00Z", True),
        ("2026-06-01T13:59:59+02:00", True),
        ("2026-06-01T14:00:01+02:00", False),
        ("2026-05-31T23:00:00-14:00", False),
        *(
            (odd, True)
            for odd in ("", "soon", "2027", "2027-06", "2027-13-01", "20270601", "2027-06-01T00:00:00", 2027)
        ),
        *((odd, True) for odd in (None, True, False, 0, [], {}, ["2027-06-01"], "2027-06-01 ", "9" * 100)),
    ],
    ids=shown,
)
def test_effective_on_only_warns_before_its_date(date: Any, denies: bool) -> None:
    verdict = read(allow=True, deny=[{"code": "new", "effective_on": date}])
    assert permits(verdict) is not denies
    assert [f.code for f in (verdict.deny if denies else verdict.warn)] == ["new"]


def test_complete_exception_permits_and_is_told() -> None:
    (finding,) = read(allow=[{"code": "a", "exception": {**WAIVER, "note": "more"}}]).allow
    assert finding.exception is not None
    assert (finding.exception.kind, finding.exception.id, finding.exception.approved_by, finding.exception.expires) == (
        "waiver",
        "EX-17",
        ("ciso", "cfo"),
        "2026-12-31T00:00:00Z",
    )
    assert permits(read(allow=[{"code": "a", "exception": {**WAIVER, "kind": "break_glass"}}]))


BROKEN: dict[str, tuple[Any, str]] = {
    **{f"without {part}": ({k: v for k, v in WAIVER.items() if k != part}, part) for part in WAIVER},
    **{f"{part} null": ({**WAIVER, part: None}, part) for part in WAIVER},
    **{f"{part} true": ({**WAIVER, part: True}, part) for part in WAIVER},
    **{f"{part} empty": ({**WAIVER, part: ""}, part) for part in WAIVER},
    **{f"{part} in a list": ({**WAIVER, part: [WAIVER[part]]}, part) for part in WAIVER},
    "another kind": ({**WAIVER, "kind": "Waiver"}, "kind"),
    "a long id": ({**WAIVER, "id": "x" * 257}, "id"),
    "nobody approved": ({**WAIVER, "approved_by": []}, "approved_by"),
    "somebody empty approved": ({**WAIVER, "approved_by": ["ciso", ""]}, "approved_by"),
    "approved by a number": ({**WAIVER, "approved_by": ["ciso", 1]}, "approved_by"),
    "approved by a string": ({**WAIVER, "approved_by": "ciso"}, "approved_by"),
    "approved by too many": ({**WAIVER, "approved_by": ["x"] * 65}, "approved_by"),
    "a date without time": ({**WAIVER, "expires": "2026-12-31"}, "expires"),
    "a time without offset": ({**WAIVER, "expires": "2026-12-31T00:00:00"}, "expires"),
    "no such day": ({**WAIVER, "expires": "2027-02-29T00:00:00Z"}, "expires"),
    "seconds since the epoch": ({**WAIVER, "expires": 1798675200}, "expires"),
    "expired this instant": ({**WAIVER, "expires": "2026-06-01T12:00:00Z"}, "expired"),
    "expired long ago": ({**WAIVER, "expires": "2020-01-01T00:00:00Z"}, "expired"),
    "expired elsewhere": ({**WAIVER, "expires": "2026-06-01T13:59:59+02:00"}, "expired"),
    "only an id": ({"id": "EX-17"}, "kind"),
    "null": (None, "object"),
    "false": (False, "object"),
    "true": (True, "object"),
    "a name": ("EX-17", "object"),
    "a list": ([WAIVER], "object"),
    "an empty object": ({}, "kind"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_exception_that_lacks_a_part_or_has_expired_drops_the_finding_and_is_told(name: str) -> None:
    exception, part = BROKEN[name]
    verdict = read(allow=[{"code": "waived", "exception": exception}])
    assert not permits(verdict)
    assert verdict.error is None
    (reason,) = verdict.dropped_exceptions
    assert reason["code"] == "waived"
    assert part in reason["reason"]
    assert [f.code for f in verdict.dropped] == ["waived"]
    assert permits(read(allow=[{"code": "waived", "exception": exception}, {"code": "plain"}]))


def test_last_instant_of_an_exception_still_counts() -> None:
    assert permits(read(allow=[{"code": "a", "exception": {**WAIVER, "expires": "2026-06-01T12:00:00.001Z"}}]))


def test_exception_never_outweighs_a_denial() -> None:
    assert not permits(read(allow=[{"code": "a", "exception": WAIVER}], deny=[{"code": "no"}]))


GOOD: list[tuple[str, Any]] = [
    ("require", []),
    ("require", ["consent"]),
    ("require", ["consent", {"acr_values": ["a"]}, {"amr": ["otp", "pwd"]}]),
    ("require", [{"acr_values": ["a", "b"], "max_age": 0, "amr": ["otp"]}]),
    ("limit", {}),
    ("limit", {"token_lifetime": 0}),
    ("limit", {"token_lifetime": 2**53 - 1, "granted_scope": "", "audience": [], "authorization_details": []}),
    ("limit", {"granted_scope": "a b:c !#~", "audience": ["x"], "authorization_details": [{"type": "t"}]}),
    ("claims", {}),
    ("claims", {"a": None, "b": {"c": [1, 2.5]}, "Sub": 1, "": 0, "n": 2**63 - 1}),
    ("crit", []),
]
ILL: list[tuple[str, Any]] = [
    *(("require", odd) for odd in (None, False, True, 0, "consent", "", {}, {"max_age": 1}, [["consent"]])),
    *(("require", [odd]) for odd in (None, True, 1, "", "Consent", "mfa", {}, [], {"scope": ["a"]})),
    *(("require", [{"max_age": odd}]) for odd in (-1, True, False, 1.0, 300.5, "300", None, [], 2**53)),
    *(("require", [{"acr_values": odd}]) for odd in ([], "a", None, {}, [1], [""], [True], ["a", None])),
    *(("require", [{"amr": odd}]) for odd in ([], "otp", None, {}, [1], [""], [["otp"]])),
    ("require", [{"acr_values": ["a"], "also": 1}]),
    ("require", ["consent"] * (MAX_FINDINGS + 1)),
    *(("limit", odd) for odd in (None, False, True, 0, "", [], "a", [{"token_lifetime": 1}])),
    *(("limit", {"token_lifetime": odd}) for odd in (-1, True, False, 0.0, 60.0, 60.5, "60", None, [], {}, 2**53)),
    *(
        ("limit", {"granted_scope": odd})
        for odd in (None, True, 1, [], ["a"], " ", "a ", " a", "a  b", "a\tb", 'a"', "ü")
    ),
    *(("limit", {"audience": odd}) for odd in (None, True, "x", {}, [1], [""], [None], [["x"]])),
    *(("limit", {"authorization_details": odd}) for odd in (None, True, "x", {}, [1], [{}], [{"type": 1}], [None])),
    *(("limit", {odd: 1}) for odd in ("lifetime", "", "Token_lifetime", "scope", "__proto__")),
    *(("claims", odd) for odd in (None, False, True, 0, "", [], ["a"], "a")),
    *(("claims", {name: 1}) for name in sorted(PROTOCOL_CLAIMS)),
    ("claims", {"n": 1.8446744073709552e19}),
    ("claims", {"n": [{"m": -1e300}]}),
    *(("crit", odd) for odd in (None, False, True, 0, "", "a", {}, ["a"], [""], [1], [None], [["a"]])),
    ("crit", {"a": True}),
    ("unknown", 1),
    ("Allow", True),
]


@pytest.mark.parametrize(("rule", "value"), GOOD, ids=shown)
def test_shapes_of_the_contract_are_read(rule: str, value: Any) -> None:
    assert read(allow=True, **{rule: value}).error is None


@pytest.mark.parametrize(("rule", "value"), ILL, ids=shown)
def test_every_other_shape_fails_its_package(rule: str, value: Any) -> None:
    verdict = read(allow=True, **{rule: value})
    assert verdict.error is not None
    assert not permits(verdict)


@pytest.mark.parametrize("answer", [None, True, 1, "x", [], [{"allow": True}]], ids=shown)
def test_answer_that_is_no_object_is_a_failed_package(answer: Any) -> None:
    assert read_verdict("p", answer, NOW_MS).error is not None


def test_protocol_claims_are_those_of_the_policy_contract() -> None:
    names = "iss iat jti sub aud exp nbf scope client_id cnf act may_act authorization_details"
    assert frozenset(names.split()) == PROTOCOL_CLAIMS


def test_crit_must_name_claims_of_the_same_package() -> None:
    assert read(allow=True, claims={"a": 1}, crit=["a"]).crit == ("a",)
    assert read(allow=True, claims={"a": 1}, crit=["a", "b"]).error is not None


def test_what_json_cannot_carry_on_is_a_failed_package() -> None:
    """Nested beyond what the log writes: a claim that cannot be recorded is not issued."""
    deep: Any = 1
    for _ in range(101):
        deep = [deep]
    assert read(allow=True, claims={"a": deep}).error is not None
    assert read(allow=True, claims={"a": deep[0][0]}).error is None
    assert read(allow=True, limit={"authorization_details": [{"type": "t", "x": deep}]}).error is not None


def test_title_is_cut_and_code_is_not() -> None:
    (finding,) = read(allow=[{"code": "x" * 256, "title": "t" * 1000}]).allow
    assert (len(finding.code), len(finding.title or "")) == (256, 256)
