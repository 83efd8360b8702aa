package issuance_test.openid

import data.issuance.scope.openid
import data.issuance_test.fixtures

_allowed(request) := fixtures.codes(findings) if findings := openid.allow with input as request

test_sign_in_of_a_user_allowed if _allowed(fixtures.shop) == {"user_signs_in"}

test_id_token_needs_nothing_more if {
	asked := object.union(fixtures.shop, {"token_type": "id_token"})
	_allowed(asked) == {"user_signs_in"}
	not openid.require with input as asked
}

test_machine_not_allowed if _allowed(fixtures.batch) == set()

test_request_without_a_subject_not_allowed if _allowed(fixtures.without(fixtures.shop, "subject")) == set()

test_odd_subject_not_allowed if {
	every path in ["/subject", "/subject/type"] {
		every value in fixtures.odd { _allowed(fixtures.replaced(fixtures.shop, path, value)) == set() }
	}
}
