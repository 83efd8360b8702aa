package issuance_test.profile

import data.issuance.scope.profile
import data.issuance_test.fixtures

_id_token := object.union(fixtures.shop, {
	"token_type": "id_token",
	"subject": {"properties": {"name": "Ada Berg", "locale": "sv", "email": "ada@example.com"}},
})

_allowed(request) := fixtures.codes(findings) if findings := profile.allow with input as request

_claims(request) := claims if claims := profile.claims with input as request

test_profile_of_a_user_allowed if _allowed(fixtures.shop) == {"user_shares_profile"}

test_machine_not_allowed if _allowed(fixtures.batch) == set()

test_consent_required_of_everybody if {
	every request in [{}, fixtures.shop, fixtures.batch] {
		required := profile.require with input as request
		required == {"consent"}
	}
}

test_id_token_carries_the_profile_and_nothing_else if _claims(_id_token) == {"name": "Ada Berg", "locale": "sv"}

test_access_token_carries_no_profile if _claims(object.union(_id_token, {"token_type": "access_token"})) == {}

test_odd_values_never_become_claims if {
	every value in fixtures.odd {
		claims := _claims(fixtures.replaced(_id_token, "/subject/properties/name", value))
		claims == object.union({"locale": "sv"}, {"name": value | is_string(value)})
		_claims(fixtures.replaced(_id_token, "/subject/properties", value)) == {}
		_claims(fixtures.replaced(_id_token, "/subject", value)) == {}
	}
}
