package lint_test.names

import data.lint
import data.lint_test.fixtures

test_helper_with_an_underscore_is_clean if {
	findings := lint.finding with input as fixtures.input_of([fixtures.scope("_dney := {1}\n")])
	findings == set()
}

test_nearly_named_rule_is_found if {
	findings := lint.finding with input as fixtures.input_of([fixtures.scope("dney := {1}\n")])
	fixtures.messages(findings) == {"the rule dney is nearly deny, and nothing reads it"}
}

test_packages_of_other_kinds_have_other_rules if {
	text := "package authzen.resource.door\n\nlimits := 1\n\nsubject := 1\n"
	findings := lint.finding with input as fixtures.input_of([fixtures.module(text, fixtures.about, [])])
	fixtures.messages(findings) == {"the rule subject is nearly subjects, and nothing reads it"}
}

test_helpers_may_be_named_as_they_like if {
	text := "package helpers\n\ndney := 1\n"
	findings := lint.finding with input as fixtures.input_of([fixtures.module(text, fixtures.about, [])])
	findings == set()
}

test_resource_package_that_is_never_asked_is_found if {
	text := "package authzen.resource.audience\n\nallow := true\n"
	findings := lint.finding with input as fixtures.input_of([fixtures.module(text, fixtures.about, [])])
	fixtures.codes(findings) == {"never_asked"}
}

test_deny_of_a_resource_is_one_of_its_rules if {
	text := "package authzen.resource.door\n\ndney := true\n"
	findings := lint.finding with input as fixtures.input_of([fixtures.module(text, fixtures.about, [])])
	fixtures.codes(findings) == {"name_nearly"}
}
