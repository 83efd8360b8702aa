package issuance_test.tenant

import data.issuance.scope_prefix["tenant:"] as tenant
import data.issuance_test.fixtures

_allowed(request) := fixtures.codes(findings) if findings := tenant.allow with input as request

_member := object.union(fixtures.shop, {
	"subject": {"properties": {"tenant": "acme"}},
	"scopes": ["tenant:acme:read"],
	"scope": "tenant:acme:read",
})

_machine := object.union(fixtures.batch, {"scopes": ["tenant:acme:write"], "scope": "tenant:acme:write"})

test_member_of_the_tenant_allowed if _allowed(_member) == {"member_of_tenant"}

test_client_of_the_tenant_allowed if _allowed(_machine) == {"client_of_tenant"}

test_other_tenant_not_allowed if {
	every request in [_member, _machine] { _allowed(object.union(request, {"scope": "tenant:globex:read"})) == set() }
}

test_registration_of_the_client_does_not_speak_for_its_users if {
	_allowed(object.union(_machine, {"subject": {"type": "user", "id": "u-1"}})) == set()
}

test_client_does_not_speak_for_another_client if {
	_allowed(object.union(_machine, {"subject": {"id": "other-batch"}})) == set()
}

test_malformed_scope_not_allowed if {
	scopes := [
		"tenant:acme", "tenant:acme:delete", "tenant:acme:read:all", "tenant:acme:",
		"tenant:", "tenant::read", "tenants:acme:read", ":acme:read",
	]
	every scope in scopes {
		every request in [_member, _machine] {
			asked := object.union(request, {"scope": scope})
			_allowed(asked) == set()
			not tenant.claims with input as asked
		}
	}
}

test_empty_tenant_of_a_user_matches_no_scope if {
	asked := object.union(_member, {"scope": "tenant::read", "subject": {"properties": {"tenant": ""}}})
	_allowed(asked) == set()
}

test_token_names_its_tenant_and_the_server_must_honour_it if {
	claims := tenant.claims with input as _member
	claims == {"tenant": "acme"}
	crit := tenant.crit with input as _member
	crit == {"tenant"}
}

test_odd_values_not_allowed if {
	every path in ["/scope", "/subject", "/subject/type", "/subject/properties", "/subject/properties/tenant"] {
		every value in fixtures.odd { _allowed(fixtures.replaced(_member, path, value)) == set() }
	}
	every path in ["/scope", "/issuer", "/client", "/client/id", "/subject", "/subject/type", "/subject/id"] {
		every value in fixtures.odd { _allowed(fixtures.replaced(_machine, path, value)) == set() }
	}
	_allowed(fixtures.without(_member, "scope")) == set()
}

test_odd_registration_not_allowed if {
	every value in fixtures.odd {
		allow := tenant.allow with input as _machine
			with data.registry.clients as {"https://as.example": {"nightly-batch": {"properties": {"tenants": value}}}}
		allow == set()
	}
}
