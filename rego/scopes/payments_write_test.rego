package issuance_test.payments_write

import data.issuance.scope["payments:write"] as payments
import data.issuance_test.fixtures

_allowed(request) := fixtures.codes(findings) if findings := payments.allow with input as request

_denied(request) := fixtures.codes(findings) if findings := payments.deny with input as request

_limit(request) := limit if limit := payments.limit with input as request

_unbound := fixtures.without(fixtures.shop, "cnf")

_changed(changes) := object.union(fixtures.shop, changes)

_payment(currency, amount) := {
	"type": "payment_initiation",
	"instructedAmount": {"currency": currency, "amount": amount},
	"creditorName": "Example Books",
	"creditorAccount": {"iban": "SE4550000000058398257466"},
}

_returned(details) := _limit(_changed({"authorization_details": details})).authorization_details

test_bound_token_of_a_user_allowed if {
	_allowed(fixtures.shop) == {"user_pays"}
	_denied(fixtures.shop) == set()
}

test_certificate_binds_as_a_key_does if {
	_denied(object.union(_unbound, {"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}})) == set()
}

test_id_token_not_allowed if _allowed(_changed({"token_type": "id_token"})) == set()

test_machine_denied if {
	_allowed(fixtures.batch) == set()
	_denied(fixtures.batch) == {"no_user", "unbound"}
}

test_request_without_a_subject_denied if _denied(fixtures.without(fixtures.shop, "subject")) == {"no_user"}

test_unbound_token_denied if _denied(_unbound) == {"unbound"}

test_nothing_bound_is_expected_at_the_authorization_endpoint if {
	_denied(object.union(_unbound, {"phase": "authorization"})) == set()
	_denied(fixtures.without(_unbound, "phase")) == {"unbound"}
}

test_fresh_sign_in_with_bankid_required_of_everybody if {
	every request in [{}, fixtures.shop, fixtures.batch] {
		required := payments.require with input as request
		required == {{"acr_values": ["urn:bank:acr:bankid"], "max_age": 300}}
	}
}

test_token_lives_five_minutes if _limit(fixtures.shop) == {"token_lifetime": 300}

test_refresh_token_lives_longer if _limit(_changed({"token_type": "refresh_token"})) == {}

test_token_of_an_unknown_type_lives_five_minutes if {
	every value in fixtures.odd { _limit(fixtures.replaced(fixtures.shop, "/token_type", value)).token_lifetime == 300 }
	_limit(fixtures.without(fixtures.shop, "token_type")).token_lifetime == 300
}

test_payment_within_the_limit_returned_as_asked if {
	every payment in [_payment("SEK", "50000"), _payment("SEK", "0.50"), _payment("EUR", "5000.00")] {
		_returned([payment]) == [payment]
	}
}

test_payment_beyond_the_limit_left_out if {
	small := _payment("EUR", "12.30")
	_returned([_payment("EUR", "5000.01"), small, _payment("SEK", "50001")]) == [small]
}

test_payment_in_an_unknown_currency_left_out if _returned([_payment("XXX", "1")]) == []

test_other_details_left_out if _returned([object.union(_payment("EUR", "1"), {"type": "account_information"})]) == []

test_odd_amount_left_out if {
	amounts := array.concat(fixtures.odd, ["-1", "1e9", "007", "1.", ".5", "1.234", " 1", "1\n", "NaN", 1])
	every amount in amounts { _returned([_payment("EUR", amount)]) == [] }
}

test_odd_details_left_out if {
	every value in fixtures.odd {
		_returned([value]) == []
		_returned([object.union(_payment("EUR", "1"), {"instructedAmount": value}) | not is_object(value)]) == []
		_returned([_payment(value, "1")]) == []
		object.get(_limit(_changed({"authorization_details": value})), "authorization_details", []) == []
	}
}

test_odd_subject_denied if {
	every path in ["/subject", "/subject/type"] {
		every value in fixtures.odd { _denied(fixtures.replaced(fixtures.shop, path, value)) == {"no_user"} }
	}
}

test_odd_phase_does_not_excuse_an_unbound_token if {
	every value in fixtures.odd { _denied(fixtures.replaced(_unbound, "/phase", value)) == {"unbound"} }
}
