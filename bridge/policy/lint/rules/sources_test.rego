package lint_test.sources

import data.lint
import data.lint_test.fixtures

_found(text, more) := fixtures.codes(findings) if {
	findings := lint.finding with input as object.union(fixtures.input_of([fixtures.scope(text)]), more)
}

_negated := "_a if not input.sources.p.value\n"

_status(status) := {"cases": [{"scope": "a:b", "grant_type": "ciba", "sources": {"p": status}}]}

test_negation_needs_a_test_of_the_status if {
	_found(_negated, {}) == {"source_untested"}
	_found(_negated, _status("fresh")) == {"source_untested"}
	every status in ["stale", "failed", "absent"] { _found(_negated, _status(status)) == set() }
}

test_deny_needs_one_too if {
	rule := "deny contains {\"code\": \"c\", \"title\": \"C\"} if %s\n"
	_found(sprintf(rule, ["input.sources.p.value"]), {}) == {"source_untested"}
	_found(sprintf(rule, ["_b\n\n_b if _c\n\n_c if input.sources.p.value"]), {}) == {"source_untested"}
	_found(sprintf(rule, ["input.client"]), {}) == set()
}

test_plain_condition_needs_none if {
	every text in [
		"_a if input.sources.p.value\n",
		"default _a := false\n\n_a if input.sources.p.value\n\n_b if _a\n\n_c if _a == true\n",
		"_a if {\n\tx := input.sources.p.value\n\tx == false\n}\n",
		"_a if every x in input.sources.p.value { x != true }\n",
	] {
		_found(text, {}) == set()
		_found(text, _status("failed")) == set()
	}
}

test_what_makes_something_of_nothing_needs_one if {
	every text in [
		"_a if count([x | some x in input.sources.p.value]) == 0\n",
		"_a if {x | some x in input.sources.p.value} == set()\n",
		"_a if {x: 1 | some x in input.sources.p.value} == {}\n",
		"_a if object.get(input.sources, \"p\", 1) == 1\n",
		"_a if object.get(input, [\"sources\", \"p\", \"value\"], 1) == 1\n",
		"_a := 1 if {\n\tinput.sources.p.value\n} else := 2\n",
		"default _a := 2\n\n_a := 1 if input.sources.p.value\n",
		"default _a := false\n\n_a if input.sources.p.value\n\n_b if _a == false\n",
		"default _a := false\n\n_a if input.sources.p.value\n\n_b if true != _a\n",
	] {
		_found(text, {}) == {"source_untested"}
		_found(text, _status("absent")) == set()
	}
}

test_other_tuples_need_a_test_of_their_own if {
	text := "package authzen.resource.door\n\nallow if not input.context.shut\n\ndeny if input.sources.p.value\n"
	module := fixtures.module(text, fixtures.about, [])
	about := {"fields": [], "tuple_fields": []}
	findings := lint.finding with input as object.union_n([fixtures.input_of([module]), _status("failed"), about])
	fixtures.codes(findings) == {"source_untested"}
}

_test_with(status) := {"tests": [{"file": "t", "tree": rego.parse_module("t", sprintf(text, [status]))}]} if {
	text := "package t\n\ntest_a if data.issuance.scope[\"a:b\"].allow with input as {\"sources\": {\"p\": {\"status\": \"%s\"}}}\n"
}

test_rego_test_counts_when_it_names_source_and_status if {
	_found(_negated, _test_with("failed")) == set()
	_found(_negated, _test_with("fresh")) == {"source_untested"}
}
