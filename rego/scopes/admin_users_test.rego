package issuance_test.admin_users

import data.issuance.scope["admin:users"] as admin
import data.issuance_test.fixtures

_allowed(request) := fixtures.codes(findings) if findings := admin.allow with input as request

_administrator := object.union(fixtures.shop, {
	"client": {"id": "legacy-admin"},
	"subject": {"properties": {"roles": ["admin"]}},
	"authentication": {"amr": ["hwk"]},
})

_on_call := object.union(_administrator, {
	"subject": {"properties": {"roles": ["on-call"]}},
	"authentication": {"amr": ["pwd"]},
})

test_administrator_with_a_hardware_key_allowed if _allowed(_administrator) == {"administrator"}

test_administrator_without_a_hardware_key_not_allowed if {
	_allowed(object.union(_administrator, {"authentication": {"amr": ["pwd"]}})) == set()
	_allowed(fixtures.without(_administrator, "authentication")) == set()
}

test_hardware_key_makes_no_administrator if {
	_allowed(object.union(_administrator, {"subject": {"properties": {"roles": ["reader"]}}})) == set()
}

test_machine_with_the_role_not_allowed if {
	_allowed(object.union(_administrator, {"subject": {"type": "workload"}})) == set()
}

test_batch_allowed_by_a_waiver_with_two_approvers if {
	every issuer in ["https://as.example", "local"] {
		findings := admin.allow with input as object.union(fixtures.batch, {"issuer": issuer})
		findings == {{
			"code": "batch_waiver",
			"title": "The nightly batch, until its move to the provisioning API",
			"exception": {
				"kind": "waiver",
				"id": "EX-17",
				"approved_by": ["ciso", "cfo"],
				"expires": "2027-06-30T00:00:00Z",
			},
		}}
	}
}

test_waiver_is_for_that_client_of_that_server_alone if {
	_allowed(object.union(fixtures.batch, {"issuer": "https://other.example"})) == set()
	_allowed(object.union(fixtures.batch, {"client": {"id": "other-batch"}})) == set()
	_allowed(object.union(fixtures.batch, {"grant_type": "jwt_bearer"})) == set()
}

test_break_glass_is_completed_from_data if {
	record := {"kind": "break_glass", "approved_by": ["head-of-operations", "ciso"], "expires": "2027-01-31T00:00:00Z"}
	findings := admin.allow with input as _on_call with data.exceptions as {"BG-4": record}
	{finding.exception | some finding in findings} == {object.union({"id": "BG-4"}, record)}
}

test_break_glass_withdrawn_leaves_an_incomplete_exception if {
	findings := admin.allow with input as _on_call with data.exceptions as {}
	{finding.exception | some finding in findings} == {{"id": "BG-4"}}
}

test_odd_values_not_allowed if {
	paths := [
		"/subject", "/subject/type", "/subject/properties", "/subject/properties/roles",
		"/authentication", "/authentication/amr",
	]
	every path in paths {
		every value in fixtures.odd { _allowed(fixtures.replaced(_administrator, path, value)) == set() }
	}
	every path in ["/issuer", "/client", "/client/id", "/grant_type"] {
		every value in fixtures.odd { _allowed(fixtures.replaced(fixtures.batch, path, value)) == set() }
	}
}

test_token_lives_fifteen_minutes if admin.limit == {"token_lifetime": 900}
