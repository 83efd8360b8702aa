package lint_test.exceptions

import data.lint
import data.lint_test.fixtures

_whole := {"kind": "waiver", "id": "EX", "approved_by": ["ciso"], "expires": "2027-01-01T00:00:00Z"}

_module(exception) := fixtures.module(
	"package issuance.scope.a\n\nimport data.issuance.lib\n\nallow contains lib.finding(rego.metadata.chain()) if input.client\n",
	fixtures.about,
	[object.union(fixtures.titled, {"custom": {"exception": exception}})],
)

_found(exception, registered) := fixtures.codes(findings) if {
	findings := lint.finding with input as object.union(
		fixtures.input_of([_module(exception)]),
		{"exceptions": [{"file": "data.json", "row": 1, "id": record.id, "record": record} | some record in registered]},
	)
}

test_whole_exception_is_clean if _found(_whole, []) == set()

test_exception_needs_each_member if {
	every member in ["kind", "id", "approved_by", "expires"] {
		_found(object.remove(_whole, [member]), []) == {"exception_incomplete"}
		_found(object.union(_whole, {member: 7}), []) == {"exception_incomplete"}
	}
	_found(object.union(_whole, {"approved_by": ["ciso", " "]}), []) == {"exception_incomplete"}
}

test_expired_exception_is_found if {
	_found(object.union(_whole, {"expires": "2026-11-25T00:00:00Z"}), []) == {"exception_expired"}
	_found(_whole, [object.union(_whole, {"expires": "2020-11-25T00:00:00Z"})]) == {"exception_expired"}
}

test_exception_by_id_must_be_registered if {
	_found({"id": "EX"}, [_whole]) == set()
	_found({"id": "EX-2"}, [_whole]) == {"exception_unknown"}
}
