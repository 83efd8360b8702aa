package issuance_test.gate

import data.issuance.gate
import data.issuance_test.fixtures

_allowed(request) if {
	fixtures.codes(gate.allow) == {"registered_client"} with input as request
	gate.deny == set() with input as request
}

_denied(request) := fixtures.codes(denials) if denials := gate.deny with input as request

_changed(changes) := object.union(fixtures.shop, changes)

_exchange(changes) := object.union(fixtures.exchange, changes)

_narrowed(request) := words if {
	limit := gate.limit with input as request
	words := split(limit.granted_scope, " ")
}

test_registered_client_allowed if {
	every request in [fixtures.shop, fixtures.batch, fixtures.exchange] { _allowed(request) }
}

test_registered_client_of_a_server_on_loopback_allowed if _allowed(_changed({"issuer": "local"}))

test_each_token_type_of_a_sign_in_allowed if {
	every grant_type in ["authorization_code", "device_code", "refresh_token"] {
		every token_type in ["access_token", "refresh_token", "id_token"] {
			_allowed(_changed({"grant_type": grant_type, "token_type": token_type, "grant": {"id": "g-1"}}))
		}
	}
}

test_assertion_bearer_allowed if {
	_allowed(object.union(fixtures.exchange, {"grant_type": "jwt_bearer"}))
}

test_what_is_denied_is_not_allowed_either if {
	every changes in [{"client": {"id": "unknown"}}, {"grant_type": "ciba"}, {"token_type": "txn_token"}] {
		findings := gate.allow with input as _changed(changes)
		findings == set()
	}
}

test_unregistered_client_denied if {
	_denied(_changed({"client": {"id": "unknown"}})) == {"unregistered_client"}
}

test_client_of_another_server_denied if {
	_denied(_changed({"issuer": "https://other.example"})) == {"unregistered_client"}
}

test_request_without_a_client_denied if {
	_denied(fixtures.without(fixtures.shop, "client")) == {"unregistered_client"}
}

test_grant_type_outside_the_registration_denied if {
	_denied(_changed({"grant_type": "client_credentials"})) == {"grant_type_not_registered"}
}

test_retired_grant_type_denied_although_registered if {
	legacy := {"client": {"id": "legacy-admin"}, "grant_type": "password", "audience": ["https://admin.example"]}
	_denied(_changed(legacy)) == {"grant_type_retired"}
}

test_implicit_denied if {
	_denied(_changed({"grant_type": "implicit"})) == {"grant_type_not_registered", "grant_type_retired"}
}

test_refresh_token_for_a_machine_denied if {
	_denied(object.union(fixtures.batch, {"token_type": "refresh_token"})) == {"token_type_not_issued"}
}

test_unknown_grant_and_token_types_denied if {
	_denied(_changed({"grant_type": "urn:odd"})) == {"grant_type_not_registered", "token_type_not_issued"}
	_denied(_changed({"token_type": "odd"})) == {"token_type_not_issued"}
}

test_id_token_without_openid_denied if {
	_denied(_changed({"token_type": "id_token", "scopes": ["profile"]})) == {"id_token_without_openid"}
}

test_id_token_for_a_machine_denied if {
	_denied(_changed({"token_type": "id_token", "subject": {"type": "client"}})) == {"id_token_without_openid"}
}

test_id_token_is_for_the_client_itself if {
	_allowed(_changed({"token_type": "id_token", "audience": ["web-shop"]}))
	_denied(_changed({"token_type": "id_token", "audience": ["web-shop", "other"]})) == {"audience_not_registered"}
	_denied(_changed({"audience": ["web-shop"]})) == {"audience_not_registered"}
}

test_refresh_of_an_unknown_grant_denied if {
	_denied(_changed({"grant_type": "refresh_token"})) == {"grant_unknown"}
}

test_impersonation_denied if {
	_denied(fixtures.without(fixtures.exchange, "actor")) == {"impersonation"}
}

test_exchange_beyond_the_subject_token_denied if {
	_denied(_exchange({"scopes": ["accounts:read", "payments:write"]})) == {"exceeds_subject_token"}
	_denied(_exchange({"subject_token": {"scope": "accounts:read-all"}})) == {"exceeds_subject_token"}
}

test_subject_token_without_scopes_passes_none_on if {
	_denied(fixtures.without(fixtures.exchange, "subject_token")) == {"exceeds_subject_token"}
	_denied(_exchange({"subject_token": {"scope": ["accounts:read"]}})) == {"exceeds_subject_token"}
	_allowed(object.union(fixtures.without(fixtures.exchange, "subject_token"), {"scopes": []}))
}

test_audience_outside_the_registration_denied if {
	mixed := ["https://accounts.example", "https://other.example"]
	_denied(_changed({"audience": mixed})) == {"audience_not_registered"}
}

test_request_without_an_audience_allowed if {
	_allowed(fixtures.without(fixtures.shop, "audience"))
	_allowed(_changed({"audience": []}))
}

test_scopes_outside_the_registration_left_out if {
	_narrowed(_changed({"scopes": ["openid", "admin:users", "payments:write"]})) == ["openid", "payments:write"]
}

test_registered_prefix_covers_what_begins_with_it if {
	_narrowed(_changed({"scopes": ["tenant:acme:read", "tenants", "tenant"]})) == ["tenant:acme:read"]
}

test_star_means_a_prefix_only_after_a_colon if {
	clients := {"https://as.example": {"web-shop": {"scopes": ["*", "open*", ":", 7, null]}}}
	limit := gate.limit with input as fixtures.shop with data.registry.clients as clients
	limit == {"granted_scope": ""}
}

test_nothing_asked_for_nothing_narrowed if {
	not gate.limit with input as _changed({"scopes": []})
	not gate.limit with input as fixtures.without(fixtures.shop, "scopes")
}

_passed(request, path) := [value |
	some value in fixtures.odd
	count(_denied(fixtures.replaced(request, path, value))) == 0
]

test_odd_values_where_the_gate_looks_denied if {
	every path in ["/issuer", "/client", "/client/id", "/grant_type", "/token_type"] {
		_passed(fixtures.shop, path) == []
	}
	_passed(fixtures.shop, "/audience") == [[]]
}

test_odd_values_in_an_exchange_denied if {
	every path in ["/subject_token", "/subject_token/scope"] { _passed(fixtures.exchange, path) == [] }
	_passed(fixtures.exchange, "/actor") == [{}, {"odd": 7}]
	_passed(fixtures.exchange, "/scopes") == [[]]
}

test_odd_grant_denied if {
	_passed(_changed({"grant_type": "refresh_token"}), "/grant") == [{}, {"odd": 7}]
}

test_odd_values_where_an_id_token_looks_denied if {
	asked := _changed({"token_type": "id_token", "audience": ["web-shop"]})
	every path in ["/subject", "/subject/type", "/scopes"] { _passed(asked, path) == [] }
}

test_odd_scopes_left_out if {
	registered := array.concat(fixtures.odd, ["tenant:*"])
	limit := gate.limit with input as _changed({"scopes": fixtures.odd})
		with data.registry.clients as {"https://as.example": {"web-shop": {"scopes": registered}}}
	limit == {"granted_scope": "odd"}
}

test_scope_outside_the_grammar_left_out if {
	scopes := ["tenant:x admin:users", "tenant:\"", "tenant:\\", "tenant:\n", "tenant:å", "tenant:[!#]~"]
	_narrowed(_changed({"scopes": scopes})) == ["tenant:[!#]~"]
}

test_odd_registration_denied if {
	every value in fixtures.odd {
		denials := gate.deny with input as fixtures.shop
			with data.registry.clients as {"https://as.example": {"web-shop": value}}
		count(denials) > 0
	}
}
