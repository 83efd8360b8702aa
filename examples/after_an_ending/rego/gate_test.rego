package issuance_test.gate

import data.issuance.gate

_codes(issuer, grant_type) := {finding.code | some finding in findings} if {
	findings := gate.allow with input as {"client": {"id": "bookkeeper"}, "issuer": issuer, "grant_type": grant_type}
}

test_registered_grant_type_allowed if _codes("local", "client_credentials") == {"registered_client"}

test_other_issuer_not_allowed if _codes("https://as.example", "client_credentials") == set()

test_other_grant_types_not_allowed if {
	every grant_type in {
		"authorization_code", "refresh_token", "token_exchange", "device_code", "jwt_bearer",
		"saml2_bearer", "ciba", "password", "implicit", "pre_authorized_code",
	} {
		_codes("local", grant_type) == set()
	}
}
