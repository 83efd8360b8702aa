package lint_test.annotations

import data.lint
import data.lint_test.fixtures

_found(module) := fixtures.codes(findings) if {
	findings := lint.finding with input as fixtures.input_of([module])
}

_finding := "allow contains lib.finding(rego.metadata.chain()) if input.client.id == \"a\"\n"

_module(about, rule) := fixtures.module(
	concat("\n", ["package issuance.scope.a\n\nimport data.issuance.lib\n", _finding]),
	about, [rule],
)

test_package_that_tells_all_is_clean if _found(_module(fixtures.about, fixtures.titled)) == set()

test_owner_may_be_written_as_a_string if {
	_found(_module(object.union(fixtures.about, {"authors": ["A <a@example.com>"]}), fixtures.titled)) == set()
}

test_owner_is_a_name if {
	every authors in [[], [{}], [{"name": " "}], [""], [7]] {
		_found(_module(object.union(fixtures.about, {"authors": authors}), fixtures.titled)) == {"owner_missing"}
	}
	_found(_module(object.remove(fixtures.about, ["authors"]), fixtures.titled)) == {"owner_missing"}
}

test_title_is_needed_by_package_and_rule if {
	_found(_module(object.remove(fixtures.about, ["title"]), fixtures.titled)) == {"title_missing"}
	_found(_module(fixtures.about, object.remove(fixtures.titled, ["title"]))) == {"title_missing"}
}

test_risk_is_one_of_three if {
	_found(_module(object.remove(fixtures.about, ["custom"]), fixtures.titled)) == {"risk_missing"}
	_found(_module(object.union(fixtures.about, {"custom": {"risk": "much"}}), fixtures.titled)) == {"risk_unknown"}
}

test_rule_without_annotations_has_no_code if _found(fixtures.scope(_finding)) == {"code_missing"}

test_object_carries_its_own_code_and_title if {
	_found(fixtures.scope("deny contains {\"code\": \"c\", \"title\": \"C\"} if input.client\n")) == set()
	_found(fixtures.scope("deny contains {\"code\": \"c\"} if input.client\n")) == {"title_missing"}
	_found(fixtures.scope("deny contains {\"title\": \"c\"} if input.client\n")) == {"code_missing"}
}

test_what_others_make_is_not_judged if {
	every made in ["x", "f(x)", "data.other.made", "{\"code\": x, \"title\": \"T\"}"] {
		_found(fixtures.scope(sprintf("deny contains %s if some x in input.scopes\n", [made]))) == set()
	}
}

test_boolean_deny_has_no_code if {
	_found(fixtures.scope("deny if input.client\n")) == {"code_missing"}
	_found(fixtures.scope("default deny := false\n")) == set()
}

test_set_is_no_object if {
	every name in ["allow", "deny", "require", "crit"] {
		_found(fixtures.scope(sprintf("%s[x] if some x in input.scopes\n", [name]))) == {"not_a_set"}
	}
	_found(fixtures.scope("limit[\"audience\"] := []\n")) == set()
}

test_code_stands_once if {
	text := "deny contains {\"code\": \"c\", \"title\": \"C\"} if input.client\n"
	_found(fixtures.scope(concat("\n", [text, text]))) == {"code_not_unique"}
}
