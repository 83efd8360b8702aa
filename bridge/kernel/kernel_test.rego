package issuance_test.kernel

import data.issuance.kernel

_doc := {"client": {"id": "a"}, "scopes": ["own", "t:x:y"]}

_index := {
	"digest": "d",
	"scopes": {"own": "issuance.scope[\"own\"]"},
	"prefixes": {"t:": "short", "t:x:": "long"},
	"prefix_lengths": [4, 2],
}

_answer(items) := answer if {
	answer := kernel.answer with input as {"items": items}
		with data.issuance.index as _index
		with data.issuance.gate as {"allow": true, "helper": 1}
		with data.issuance.scope as {"own": {"allow": true}, "unlisted": {"allow": true}}
		with data.issuance.scope_prefix as {"t:": {"allow": true}, "t:x:": {"limit": {"token_lifetime": 5}}}
}

test_every_answer_carries_the_digest if {
	_answer([]) == {"digest": "d", "items": []}
}

test_the_gate_is_answered_only_when_asked_and_with_known_rules_only if {
	[one, other] := _answer([
		{"doc": _doc, "gate": true, "scopes": []},
		{"doc": _doc, "gate": false, "scopes": []},
	]).items
	one == {"gate": [{"allow": true}], "scopes": {}}
	other == {"gate": [], "scopes": {}}
}

test_a_scope_of_its_own_answers_and_an_unlisted_one_does_not if {
	[item] := _answer([{"doc": _doc, "gate": false, "scopes": ["own", "unlisted", "nobody"]}]).items
	item.scopes == {"own": {"package": "issuance.scope[\"own\"]", "rules": {"allow": true}}}
}

test_an_answer_tells_which_question_it_is_to if {
	[one, other] := _answer([
		{"id": "1", "doc": _doc, "gate": true, "scopes": []},
		{"id": "2", "doc": _doc, "gate": false, "scopes": ["own"]},
	]).items
	[one.id, other.id] == ["1", "2"]
}

test_the_longest_prefix_wins if {
	[item] := _answer([{"doc": _doc, "gate": false, "scopes": ["t:x:y", "t:z", "t"]}]).items
	item.scopes == {
		"t:x:y": {"package": "long", "rules": {"limit": {"token_lifetime": 5}}},
		"t:z": {"package": "short", "rules": {"allow": true}},
	}
}

test_a_tuple_is_answered_by_the_package_of_its_type_alone if {
	packages := {"door": {"allow": true, "subjects": {"a"}, "helper": 1}, "window": {"allow": true}}
	answer := kernel.answer with input as {"items": [
		{"id": "1", "doc": {}, "resource": "door", "rules": ["allow", "context"]},
		{"id": "2", "doc": {}, "resource": "door", "rules": ["subjects"]},
		{"id": "3", "doc": {}, "resource": "gate", "rules": ["allow"]},
	]}
		with data.issuance.index as _index
		with data.authzen.resource as packages
	answer.items == [
		{"id": "1", "resource": "door", "rules": {"allow": true}},
		{"id": "2", "resource": "door", "rules": {"subjects": {"a"}}},
		{"id": "3", "resource": "gate", "rules": {}},
	]
}
