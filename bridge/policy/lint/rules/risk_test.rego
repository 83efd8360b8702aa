package lint_test.risk

import data.lint
import data.lint_test.fixtures

_limit := "limit[\"token_lifetime\"] := 5\n"

_tested := {"cases": [{"scope": "a:b c", "grant_type": grant_type, "sources": {}} | some grant_type in ["ciba", "password"]]}

_found(text, more) := fixtures.codes(findings) if {
	findings := lint.finding with input as object.union(fixtures.input_of([fixtures.high(text, [])]), more)
}

test_high_risk_with_a_life_and_cases_is_clean if _found(_limit, _tested) == set()

test_high_risk_needs_a_life if {
	_found("limit[\"audience\"] := [\"a\"]\n", _tested) == {"lifetime_missing"}
	_found("limit := {\"token_lifetime\": 5}\n", _tested) == set()
}

test_gate_sets_no_life if {
	module := fixtures.module(
		"package issuance.gate\n\ndefault allow := false\n",
		object.union(fixtures.about, {"custom": {"risk": "high"}}), [],
	)
	findings := lint.finding with input as object.union(fixtures.input_of([module]), _tested)
	fixtures.codes(findings) == {"boolean_allow"}
}

test_high_risk_needs_findings if _found(concat("\n", [_limit, "allow if input.client\n"]), _tested) == {"boolean_allow"}

test_every_grant_type_is_tested if {
	_found(_limit, {}) == {"grant_type_untested"}
	others := [object.union(case, {"scope": "a:bc"}) | some case in _tested.cases]
	_found(_limit, {"cases": others}) == {"grant_type_untested"}
	findings := lint.finding with input as fixtures.input_of([fixtures.high(_limit, [])])
	fixtures.messages(findings) == {"the risk is high and no test or case names ciba, password"}
}

test_cases_of_a_prefix_begin_with_it if {
	module := fixtures.module(
		concat("\n", ["package issuance.scope_prefix[\"a:\"]\n", _limit]),
		object.union(fixtures.about, {"custom": {"risk": "high"}}), [],
	)
	findings := lint.finding with input as object.union(fixtures.input_of([module]), _tested)
	findings == set()
}

_test_of(name) := {"tests": [{"file": "t", "tree": rego.parse_module("t", sprintf(text, [name]))}]} if {
	text := "package t\n\nimport data.issuance.scope[\"%s\"] as p\n\ntest_a if p.allow with input as {\"g\": [\"ciba\", \"password\"]}\n"
}

test_tests_of_the_package_count_and_those_of_others_do_not if {
	_found(_limit, _test_of("a:b")) == set()
	_found(_limit, _test_of("a:c")) == {"grant_type_untested"}
}
