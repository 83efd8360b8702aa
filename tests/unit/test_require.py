"""When a requirement is met: every member of it, and nothing taken for granted."""

from typing import Any

import pytest

from bridge.pdp.require import unmet

NOW_S = 1_780_000_000


def met(requirement: Any, scope: str | None = "a", now_ms: int = NOW_S * 1000, **document: Any) -> bool:
    return not unmet([requirement], document, scope, now_ms)


@pytest.mark.parametrize(
    ("age_s", "holds"),
    [(0, True), (300, True), (301, False), (-60, True), (-61, False), (10**9, False), (-(10**9), False)],
)
def test_max_age_is_counted_from_the_time_of_the_request(age_s: int, holds: bool) -> None:
    assert met({"max_age": 300}, authentication={"auth_time": NOW_S - age_s}) is holds


def test_max_age_counts_milliseconds() -> None:
    shown = {"auth_time": NOW_S - 300}
    assert not met({"max_age": 300}, now_ms=NOW_S * 1000 + 1, authentication=shown)
    assert met({"max_age": 0}, authentication={"auth_time": NOW_S})
    assert met({"max_age": 0}, now_ms=NOW_S * 1000, authentication={"auth_time": NOW_S + 60})


@pytest.mark.parametrize("authentication", [{}, {"acr": "hi"}, {"amr": ["otp"]}])
def test_without_a_sign_in_time_no_max_age_holds(authentication: dict[str, Any]) -> None:
    assert not met({"max_age": 2**53 - 1}, authentication=authentication)
    assert not met({"max_age": 2**53 - 1})


@pytest.mark.parametrize(("acr", "holds"), [("hi", True), ("mid", True), ("Hi", False), ("", False), ("h", False)])
def test_acr_is_one_of_the_values(acr: str, holds: bool) -> None:
    assert met({"acr_values": ["hi", "mid"]}, authentication={"acr": acr}) is holds
    assert not met({"acr_values": ["hi", "mid"]}, authentication={"amr": [acr]})


@pytest.mark.parametrize(
    ("amr", "holds"), [(["otp", "pwd"], True), (["pwd", "x", "otp"], True), (["otp"], False), ([], False)]
)
def test_amr_needs_all_methods(amr: list[str], holds: bool) -> None:
    assert met({"amr": ["otp", "pwd"]}, authentication={"amr": amr}) is holds


@pytest.mark.parametrize("missing", ["acr", "amr", "auth_time"])
def test_every_member_of_a_requirement_must_hold(missing: str) -> None:
    shown = {"acr": "hi", "amr": ["otp"], "auth_time": NOW_S}
    requirement = {"acr_values": ["hi"], "amr": ["otp"], "max_age": 60}
    assert met(requirement, authentication=shown)
    assert not met(requirement, authentication={k: v for k, v in shown.items() if k != missing})


def test_consent_is_for_this_scope_byte_for_byte() -> None:
    assert met("consent", consented_scopes=["b", "a"])
    assert not met("consent", consented_scopes=["b", "A", "a "])
    assert not met("consent")
    assert not met("consent", scope=None, consented_scopes=["a"])


def test_all_of_several_must_be_met_and_only_the_unmet_ones_are_told() -> None:
    document = {"consented_scopes": ["a"], "authentication": {"acr": "lo"}}
    wanted: list[Any] = ["consent", {"acr_values": ["hi"]}, {"amr": ["otp"]}]
    assert unmet(wanted, document, "a", NOW_S * 1000) == tuple(wanted[1:])
