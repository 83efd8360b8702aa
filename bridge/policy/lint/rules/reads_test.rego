package lint_test.reads

import data.lint
import data.lint_test.fixtures

_messages(module) := fixtures.messages({found | some found in findings; found.code != "source_untested"}) if {
	findings := lint.finding with input as fixtures.input_of([module])
}

_reads(text) := _messages(fixtures.scope(text))

test_known_members_are_clean if {
	every text in ["input.client.id", "input.scopes[_]", "input.sources.a.value.any", "input[x]", "object.get(input, \"client\", 1)"] {
		_reads(sprintf("_a if {\n\tsome x in input.scopes\n\tx\n\t%s\n}\n", [text])) == set()
	}
}

test_unknown_members_are_found if {
	_reads("_a if input.clint.id\n") == {"input has no clint"}
	_reads("_a if input.sources.a.valu\n") == {"input has no sources.a.valu"}
	_reads("_a if input.sources[_].valu\n") == {"input has no sources.*.valu"}
	_reads("_a := object.get(input, \"clint\", 1)\n") == {"input has no clint"}
	_reads("_a := object.get(input, [\"sources\", \"a\", \"valu\"], 1)\n") == {"input has no sources.a.valu"}
	_reads("_a := object.get(input.sources, \"a\", 1).valu\n") == set()
	_reads("_a := [1 | x := \"a\"; object.get(input.client, x, 1)]\n") == set()
}

test_alias_is_read_as_what_it_imports if {
	text := "package issuance.scope.a\n\nimport input.sources as s\n\n_a if s.a.valu\n"
	_messages(fixtures.module(text, fixtures.about, [])) == {"input has no sources.a.valu"}
}

test_own_scope_is_read_below_a_prefix_only if {
	_reads("_a if input.scope\n") == {"input has no scope outside of packages for a prefix"}
	text := "package issuance.scope_prefix[\"a:\"]\n\n_a if input.scope\n"
	_messages(fixtures.module(text, fixtures.about, [])) == set()
}

test_other_tuples_have_other_members if {
	text := "package authzen.resource.door\n\nallow if input.%s\n"
	_messages(fixtures.module(sprintf(text, ["action"]), fixtures.about, [])) == set()
	_messages(fixtures.module(sprintf(text, ["client"]), fixtures.about, [])) == {"input has no client"}
}

test_secrets_are_named if {
	_reads("_a if input.client.cookie\n") == {"client.cookie is the name of a secret: what stands under it is \"***\""}
	_reads("_a if input.client[_].ID_TOKEN\n") == {"client.*.ID_TOKEN is the name of a secret: what stands under it is \"***\""}
	_reads("_a if input.client.id_token.claims\n") == set()
}

test_packages_are_not_read_as_an_object if {
	found := {"object.get over packages evaluates every one of them"}
	_reads("_a := object.get(data.issuance.scope, \"b\", 1)\n") == found
	_reads("_a := object.get(data.registry, \"b\", 1)\n") == set()
	text := "package issuance.scope.a\n\nimport data.issuance.scope as s\n\n_a := object.get(s, \"b\", 1)\n"
	_messages(fixtures.module(text, fixtures.about, [])) == found
	_reads("_a := object.get({\"b\": 1}, \"b\", 1)\n") == set()
	_reads("_f(x) := x\n\n_a := _f(1)\n") == set()
	_reads("_a := [f(1)[0].b, 1]\n\nf(x) := [{\"b\": x}]\n") == set()
}
