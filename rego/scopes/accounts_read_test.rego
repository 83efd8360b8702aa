package issuance_test.accounts_read

import data.issuance.scope["accounts:read"] as accounts
import data.issuance_test.fixtures

_allowed(request) := fixtures.codes(findings) if findings := accounts.allow with input as request

_denials(request) := findings if findings := accounts.deny with input as request

_unbound := fixtures.without(fixtures.shop, "cnf")

test_user_and_registered_client_allowed if {
	every request in [fixtures.shop, fixtures.batch, fixtures.exchange] { _allowed(request) == {"account_reader"} }
}

test_workload_not_allowed if {
	_allowed(object.union(fixtures.shop, {"subject": {"type": "workload"}})) == set()
}

test_id_token_not_allowed if _allowed(object.union(fixtures.shop, {"token_type": "id_token"})) == set()

test_bound_token_not_denied if _denials(fixtures.shop) == set()

test_unbound_token_denied_from_the_announced_date_on if {
	_denials(_unbound) == {{
		"code": "unbound",
		"title": "The token is not bound to a certificate or a key",
		"effective_on": "2029-03-01T00:00:00Z",
	}}
}

test_nothing_bound_is_expected_at_the_authorization_endpoint if {
	_denials(object.union(_unbound, {"phase": "authorization"})) == set()
	count(_denials(fixtures.without(_unbound, "phase"))) == 1
}

test_audience_is_the_accounts_api if {
	limit := accounts.limit with input as fixtures.shop
	limit == {"audience": ["https://accounts.example"]}
}

test_audience_stays_narrow_whatever_the_token if {
	every value in fixtures.odd {
		limit := accounts.limit with input as fixtures.replaced(fixtures.shop, "/token_type", value)
		limit.audience == ["https://accounts.example"]
	}
	accounts.limit.audience == ["https://accounts.example"] with input as fixtures.without(fixtures.shop, "token_type")
}

test_refresh_token_keeps_its_audience if {
	not accounts.limit with input as object.union(fixtures.shop, {"token_type": "refresh_token"})
}

test_odd_subject_or_token_type_not_allowed if {
	every path in ["/subject", "/subject/type", "/token_type"] {
		every value in fixtures.odd { _allowed(fixtures.replaced(fixtures.shop, path, value)) == set() }
	}
}

test_odd_binding_denied if {
	every path in ["/cnf", "/cnf/jkt", "/phase"] {
		every value in fixtures.odd {
			request := fixtures.replaced(fixtures.shop, path, value)
			count(_denials(request)) == count({path | [path, value] in _binding})
		}
	}
}

_binding contains ["/cnf", value] if some value in fixtures.odd

_binding contains ["/cnf/jkt", value] if {
	some value in fixtures.odd
	value != "odd"
}
