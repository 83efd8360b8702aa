package issuance_test.lib

import data.issuance.lib

_rule(annotations) := [{"path": ["issuance", "gate", "deny"], "annotations": annotations}]

_record := {"kind": "waiver", "approved_by": ["ciso", "cfo"], "expires": "2027-06-30T00:00:00Z"}

# METADATA
# title: Its own annotations
# custom:
#   code: own
_annotated contains lib.finding(rego.metadata.chain())

_bare contains lib.finding(rego.metadata.chain())

test_finding_is_made_of_the_annotations_of_its_rule if {
	_annotated == {{"code": "own", "title": "Its own annotations"}}
}

test_rule_without_annotations_still_speaks if {
	_bare == {{"uncoded": "issuance_test/lib/_bare"}}
}

test_finding_leaves_out_what_is_not_annotated if {
	lib.finding(_rule({"custom": {"code": "c"}})) == {"code": "c"}
}

test_finding_carries_the_date_it_takes_effect_as_it_stands if {
	every date in ["2027-03-01T00:00:00Z", "soon", 7, false, null] {
		finding := lib.finding(_rule({"custom": {"code": "c", "effective_on": date}}))
		finding == {"code": "c", "effective_on": date}
	}
}

test_rule_without_a_usable_code_speaks_as_uncoded if {
	every annotations in [{}, {"custom": {}}, {"custom": "c"}, {"custom": {"code": 7}}, {"custom": {"code": ""}}, 7] {
		lib.finding(_rule(annotations)) == {"uncoded": "issuance/gate/deny"}
	}
}

test_finding_is_defined_for_any_chain if {
	every chain in [[], [{}], [{"path": 7}], [{"path": [7, {}]}], [7], {}, "chain", 7, null, false] {
		lib.finding(chain) == {"uncoded": ""}
	}
}

test_exception_with_only_an_id_is_completed_from_data if {
	finding := lib.finding(_rule({"custom": {"code": "c", "exception": {"id": "EX-1"}}}))
		with data.exceptions as {"EX-1": _record}
	finding.exception == object.union({"id": "EX-1"}, _record)
}

test_completing_never_changes_the_id if {
	records := {"EX-1": object.union({"id": "EX-2"}, _record)}
	finding := lib.finding(_rule({"custom": {"code": "c", "exception": {"id": "EX-1"}}}))
		with data.exceptions as records
	finding.exception.id == "EX-1"
}

test_exception_that_says_more_than_its_id_is_not_completed if {
	exception := {"id": "EX-1", "kind": "waiver"}
	finding := lib.finding(_rule({"custom": {"code": "c", "exception": exception}}))
		with data.exceptions as {"EX-1": _record}
	finding.exception == exception
}

test_exception_of_any_shape_stays_on_the_finding if {
	every exception in ["EX-1", 7, false, null, [], {}, {"id": 7}, {"id": null}, {"id": {}}, {"id": "EX-9"}, {"id": "EX-7"}] {
		finding := lib.finding(_rule({"custom": {"code": "c", "exception": exception}}))
			with data.exceptions as {"EX-7": 7}
		finding.exception == exception
	}
}

test_withdrawn_exception_stays_on_the_finding_without_a_register if {
	finding := lib.finding(_rule({"custom": {"code": "c", "exception": {"id": "EX-1"}}}))
		with data.exceptions as null
	finding.exception == {"id": "EX-1"}
}

test_client_is_the_pair_of_issuer_and_id if {
	clients := {"https://as.example": {"shop": {"owner": "shop@example.com"}}}
	asked := {"issuer": "https://as.example", "client": {"id": "shop"}}
	client := lib.client with input as asked with data.registry.clients as clients
	client == {"owner": "shop@example.com"}
	every other in [{"issuer": "https://other.example"}, {"client": {"id": "other"}}, {"issuer": null}, {"client": 7}] {
		not lib.client with input as object.union(asked, other) with data.registry.clients as clients
	}
}

test_client_is_registered_by_an_object_only if {
	every registration in [null, false, true, "shop", 7, []] {
		not lib.client with input as {"issuer": "as", "client": {"id": "shop"}}
			with data.registry.clients as {"as": {"shop": registration}}
	}
}

test_certificate_or_key_binds if {
	certificate := {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}
	every cnf in [certificate, {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}] {
		lib.bound with input as {"cnf": cnf}
	}
}

test_nothing_else_binds if {
	every cnf in [{}, {"jkt": ""}, {"jkt": null}, {"jkt": true}, {"x5t#S256": ["a"]}, {"kid": "a"}, "jkt", 7, null, []] {
		not lib.bound with input as {"cnf": cnf}
	}
	not lib.bound with input as {}
}

test_words_are_split_at_spaces if {
	lib.words("openid  accounts:read ") == {"openid", "accounts:read"}
}

test_only_a_string_has_words if {
	every text in ["", " ", ["openid"], {"openid": true}, 7, null, false] {
		lib.words(text) == set()
	}
}
