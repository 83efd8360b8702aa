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

test_plain_condition_needs_none if _found("_a if input.sources.p.value\n", {}) == set()

_test_with(status) := {"tests": [{"file": "t", "tree": rego.parse_module("t", sprintf(text, [status]))}]} if {
	text := "package t\n\ntest_a if data.issuance.scope[\"a:b\"].allow with input as {\"sources\": {\"p\": {\"status\": \"%s\"}}}\n"
}

test_rego_test_counts_when_it_names_source_and_status if {
	_found(_negated, _test_with("failed")) == set()
	_found(_negated, _test_with("fresh")) == {"source_untested"}
}
