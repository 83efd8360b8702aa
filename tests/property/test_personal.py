"""Personal values: hidden wherever they come back, disclosed exactly, and never in the way of what must stand."""

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.model.commitment import Disclosure, reveal, standing_in
from bridge.model.entry import MAX_ENTRY_BYTES, canonical, exact, fit
from bridge.model.mask import mask_pointers, parse_pointer
from bridge.model.personal import MAX_PLACES, MIN_TEXT, Personal, hide_repeats

SECRET = "Quetzal-7f3a"
_texts = st.text(max_size=12) | st.sampled_from([SECRET, f"user_{SECRET.lower()}", f"{SECRET}@x", "staff", "", "***"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=10,
)
objects = st.dictionaries(_texts, json_values, max_size=4)
pointers = st.sampled_from(
    ["/subject/id", "/subject", "/subject/properties", "/subject/properties/*", "/*/id", "/context", "/context/*", "/a"]
)


def document(**members: Any) -> dict[str, Any]:
    base = {"id": "i", "grant_type": "authorization_code", "client": {"id": "c"}, "scopes": ["read"], "salt": "5a" * 16}
    return {**base, "subject": {"type": "user", "id": SECRET}, **members}


def entry(request: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {
        "id": "i",
        "kind": "decision",
        "request": exact(request),
        "claims": {},
        "scopes": {"read": {"outcome": "allow", "findings": [{"code": "ok", "title": "Title"}]}},
        "granted_scopes": ["read"],
        "findings": [],
        "limit": {},
        "require": [],
        "crit": [],
        "reply": {"outcome": "allow", "code": None},
        "rules": [{"package": "p", "code": "ok"}],
        "exceptions": [],
        **members,
    }


def hidden(
    plain: dict[str, Any], request: dict[str, Any], *personal: str, known: Any = ()
) -> tuple[dict[str, Any], tuple[Disclosure, ...]]:
    hiding = Personal(tuple(map(parse_pointer, personal))).hiding(request, known)
    made = fit(hiding.mentions(fit(hiding.places(plain))))
    return made, hiding.disclosures([made])[0]


@given(st.lists(pointers, min_size=1, max_size=4), objects, objects, objects, _texts)
def test_what_is_hidden_is_disclosed_exactly(
    personal: list[str], properties: dict[str, Any], context: dict[str, Any], claims: dict[str, Any], code: str
) -> None:
    request = document(context=context, subject={"type": "user", "id": SECRET, "properties": properties})
    title = {"code": code or "x", "title": f"about {SECRET}"}
    plain = entry(
        request, claims=exact(claims), findings=[title], exceptions=[{"path": "policy_error", "message": code}]
    )
    made, disclosures = hidden(plain, request, *personal)
    del plain["request"]["salt"]
    assert reveal(made, disclosures) == plain
    for one in disclosures:
        assert one.commitment == base64.b64encode(hashlib.sha256(one.salt + one.value).digest()).decode()
        assert len(one.salt) == 16
    standing = standing_in(made)
    assert {(one.path, one.commitment) for one in disclosures} <= set(standing)
    assert len({one.salt for one in disclosures}) == len({c for _, c in standing if c in dict_of(disclosures)})


def dict_of(disclosures: tuple[Disclosure, ...]) -> dict[str, Disclosure]:
    return {one.commitment: one for one in disclosures}


@given(objects, objects, st.lists(_texts, max_size=3), _texts)
def test_no_personal_text_stays_wherever_it_comes_back(
    properties: dict[str, Any], context: dict[str, Any], scopes: list[str], code: str
) -> None:
    request = document(context={**context, SECRET: [SECRET]}, scopes=[*scopes, f"of:{SECRET}"])
    request["subject"]["properties"] = properties
    answer = {"outcome": "deny", "findings": [{"code": f"{code}{SECRET}", "title": SECRET.upper()}]}
    plain = entry(
        request,
        scopes={**dict.fromkeys(scopes, answer), f"of:{SECRET}": {**answer, "limit": {"audience": [SECRET]}}},
        claims={SECRET: SECRET, "more": exact(context)},
        crit=[SECRET],
        require=[{"amr": [SECRET]}],
        limit={"granted_scope": f"a of:{SECRET}", "authorization_details": [{"type": "t", "by": SECRET}]},
        reply={"outcome": "deny", "code": f"{SECRET}_denied"},
        exceptions=[{"path": "waiver", "id": SECRET, "approved_by": [SECRET], "reason": SECRET, "message": SECRET}],
        rules=[{"package": "p", "code": f"{code}{SECRET}"}],
        request_id=SECRET,
    )
    made, _ = hidden(plain, request, "/subject/id")
    assert SECRET.lower() not in json.dumps(made, ensure_ascii=False).lower()
    assert made["rules"][0]["code"] == made["scopes"][list(made["scopes"])[-1]]["findings"][0]["code"]


@given(objects)
def test_every_path_leads_to_its_commitment(context: dict[str, Any]) -> None:
    request = document(context={**context, "a/b~c": SECRET, f"~{SECRET}/": SECRET})
    made, disclosures = hidden(entry(request), request, "/subject/id", "/context/*")
    assert disclosures
    for one in disclosures:
        *way, last = parse_pointer(one.path)
        at: Any = made
        for token in way:
            at = at[int(token)] if isinstance(at, list) else at[token]
        found = at[int(last)] if isinstance(at, list) else at[last]
        assert one.commitment in last or found in ({"commitment": one.commitment}, f"commitment:{one.commitment}")


_sizes = st.integers(0, 40_000)


@given(_sizes, _sizes, _sizes, _sizes, st.integers(0, 20), st.integers(0, 300))
def test_a_hidden_entry_fits_and_what_must_stay_stays(
    name: int, value: int, claim: int, title: int, findings: int, claims: int
) -> None:
    request = document(subject={"type": "user", "id": SECRET + "n" * name, "properties": {"x": "ü" * value}})
    request["context"] = {"repeats": [SECRET + "n" * name] * 5, "and": "x" * value}
    found = [{"code": "ok", "title": f"{SECRET}{'n' * name}{'t' * title}"}] * findings
    plain = entry(
        request,
        claims={f"c{n}": "c" * claim for n in range(claims)},
        scopes={"read": {"outcome": "allow", "findings": found}},
    )
    made, disclosures = hidden(plain, request, "/subject/id", "/subject/properties/x")
    assert len(canonical(made)) <= MAX_ENTRY_BYTES - 512
    gone = made.get("shortened", [])
    assert gone == ["request", "claims", "titles", "names"][: len(gone)]
    assert ("claims" in made) == ("claims" not in gone)
    assert all("title" in f for f in made["scopes"]["read"]["findings"]) or "titles" in gone
    assert made["rules"] == plain["rules"]
    assert made["request"]["subject"]["id"].keys() == {"commitment"}
    # Even where there was no room for it: by it the entry is found when the value is to be erased.
    assert {"/request/subject/id", "/request/subject/properties/x"} <= {one.path for one in disclosures}


@given(_sizes)
def test_an_entry_that_was_shortened_before_keeps_telling_so(more: int) -> None:
    once = fit(entry(document(), claims={"c": "x" * 40_000}))
    assert once["shortened"] == ["request", "claims"]
    again = fit({**once, "request": {"client": {"id": "c" * more}}})
    assert again["shortened"][:2] == ["request", "claims"]
    assert len(canonical(again)) <= MAX_ENTRY_BYTES - 512


def test_the_mask_wins() -> None:
    request = document()
    plain = entry(mask_pointers(request, [("subject", "id")]), findings=[{"code": "ok", "title": SECRET}])
    made, disclosures = hidden(plain, request, "/subject/id")
    assert made["request"]["subject"]["id"] == "***"
    assert SECRET not in json.dumps(made)
    assert [one.path for one in disclosures] == ["/findings/0/title"]


def test_a_client_that_is_its_own_subject_is_no_person() -> None:
    request = document(subject={"type": "client", "id": "batch"}, client={"id": "batch"})
    assert hidden(entry(request), request, "/subject/id")[0]["request"]["subject"]["id"] == "batch"
    made, _ = hidden(entry(request), request, "/subject/id", "/client/id")  # unless the operator says that it is
    assert "batch" not in json.dumps(made)
    request = document(subject={"type": "user", "id": "batch"}, client={"id": "batch"})
    assert "batch" not in json.dumps(hidden(entry(request), request, "/subject/id")[0])


def test_what_stands_in_the_policies_is_nobodys() -> None:
    request = document(subject={"type": "user", "id": "u-1", "properties": {"role": "staff", "unit": "payments"}})
    plain = entry(
        request,
        scopes={"payments:write": {"outcome": "allow", "findings": [{"code": "staff", "title": "For staff"}]}},
        granted_scopes=["payments:write"],
        rules=[{"package": 'issuance.scope["payments:write"]', "code": "staff"}],
    )
    made, _ = hidden(plain, request, "/subject/properties", known=[{"payments:write"}, {"staff"}])
    assert made["rules"] == plain["rules"]
    assert made["granted_scopes"] == ["payments:write"]
    assert made["scopes"] == plain["scopes"]  # "For staff" holds nothing but a word of the policies
    made, _ = hidden(plain, request, "/subject/properties")
    assert made["granted_scopes"][0].startswith("commitment:")


@pytest.mark.parametrize("value", ["x" * (MIN_TEXT - 1), 999, True, None])
def test_what_stands_everywhere_is_hidden_only_in_its_own_place(value: Any) -> None:
    request = document(subject={"type": "user", "id": "nobody", "properties": {"p": value}}, context={"also": value})
    made, _ = hidden(entry(request, claims={"c": exact(value)}), request, "/subject/properties/p")
    assert made["request"]["context"]["also"] == exact(value)
    if value is not None:
        assert made["request"]["subject"]["properties"]["p"].keys() == {"commitment"}
    assert made["claims"]["c"].keys() == {"commitment"}


def test_a_number_is_found_again_as_a_number_and_in_texts() -> None:
    request = document(subject={"type": "user", "id": "nobody", "properties": {"account": 4711}})
    request["context"] = {"also": 4711, "text": "account 4711", "other": 4712}
    context = hidden(entry(request), request, "/subject/properties/account")[0]["request"]["context"]
    assert [text[:11] for text in (context["also"], context["text"])] == ["commitment:"] * 2
    assert context["other"] == 4712


def test_texts_that_json_escapes_are_found() -> None:
    name = 'Zoë "Zed"\n\\Ünal'
    request = document(subject={"type": "user", "id": name}, context={"by": f"<{name.upper()}>"})
    assert hidden(entry(request), request, "/subject/id")[0]["request"]["context"]["by"].startswith("commitment:")


def test_very_many_personal_texts_cost_little() -> None:
    request = document(context={f"k{n}": f"value-{n:06}" for n in range(100_000)})
    plain = entry(request, findings=[{"code": "ok", "title": "value-099999"}])
    made, _ = hidden(plain, request, "/context")
    assert made["findings"][0]["title"].startswith("commitment:")


def test_beyond_a_number_of_values_in_one_request_the_rest_is_masked() -> None:
    request = document(context={f"k{n}": f"value-{n:06}" for n in range(MAX_PLACES + 5)})
    hiding = Personal((("subject", "id"), ("context", "*"))).hiding(request)
    shown = list(hiding.places(entry(request))["request"]["context"].values())
    assert shown.count("***") == 6  # the subject is one of the others
    assert all(value == "***" or value.keys() == {"commitment"} for value in shown)


@given(st.sampled_from([SECRET, "of:other", "read", "admin", ""]), st.booleans())
def test_a_later_entry_repeats_nothing_that_its_decision_hides(scope: str, erased: bool) -> None:
    request = document(scopes=["read", "of:other"])
    decision, disclosures = hidden(entry(request), request, "/subject/id")
    kept = tuple(Disclosure(d.path, b"", b"") for d in disclosures) if erased else disclosures
    report = {"scopes": ["read", scope], "audience": [f"x-{SECRET.lower()}"], "exp": 1}
    told, more = hide_repeats(report, ("scopes", "audience", "request_id"), reveal(decision, kept), kept)
    assert SECRET.lower() not in json.dumps(told).lower()
    assert reveal(told, more) == report
    assert told["scopes"][0] == "read"
    assert (told["scopes"][1] == scope) == (scope in ("read", "of:other") or (not erased and scope != SECRET))


def test_hiding_twice_differs() -> None:
    request = document()
    made = [hidden(entry(request), request, "/subject/id")[0]["request"]["subject"]["id"] for _ in range(2)]
    assert made[0] != made[1]
