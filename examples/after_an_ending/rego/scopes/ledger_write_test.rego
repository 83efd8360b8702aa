package issuance_test.ledger_write

import data.issuance.scope["ledger:write"] as ledger

_request(grant_type, endings) := {
	"client": {"id": "bookkeeper"},
	"subject": {"type": "client", "id": "bookkeeper"},
	"grant_type": grant_type,
	"sources": {"endings": endings},
}

_asked(endings) := _request("client_credentials", endings)

_value(standing) := {
	"status": "fresh",
	"age_ms": 0,
	"value": {"ending": 7, "time": "2026-11-26T01:00:00Z", "standing": standing},
}

_denied(request) := {finding.code | some finding in findings} if findings := ledger.deny with input as request

_allowed(request) := {finding.code | some finding in findings} if findings := ledger.allow with input as request

test_never_ended_granted if {
	_allowed(_asked({"status": "fresh", "age_ms": 0})) == {"client_writes"}
	_denied(_asked({"status": "fresh", "age_ms": 0})) == set()
}

test_confirmed_ending_granted if _denied(_asked(_value("confirmed"))) == set()

test_unconfirmed_ending_denied if {
	every standing in {"pending", "accepted", "superseded"} {
		_denied(_asked(_value(standing))) == {"ending_unconfirmed"}
	}
}

test_unknown_denied if {
	every status in {"failed", "absent", "stale"} {
		_denied(_asked({"status": status})) == {"ending_unknown"}
	}
	_denied({"client": {"id": "bookkeeper"}}) == {"ending_unknown"}
}

test_five_minutes if ledger.limit.token_lifetime == 300

test_users_not_allowed if {
	every grant_type in {
		"authorization_code", "refresh_token", "token_exchange", "device_code", "jwt_bearer",
		"saml2_bearer", "ciba", "password", "implicit", "pre_authorized_code",
	} {
		user := {"subject": {"type": "user", "id": "u-1"}}
		_allowed(object.union(_request(grant_type, _value("confirmed")), user)) == set()
	}
}
