# METADATA
# title: Make payments
# description: Shows high risk - a fresh sign-in with BankID, a bound token, a short life, payments within a limit.
# authors:
#   - Payments API <payments@example.com>
# schemas:
#   - input: schema.input
# custom:
#   risk: high
#   controls:
#     - OWASP NHI7:2025
#     - NIST CSF PR.AA-05
#     - PSD2 RTS Art. 4
package issuance.scope["payments:write"]

import data.issuance.lib

# METADATA
# title: A user makes a payment
# custom:
#   code: user_pays
allow contains lib.finding(rego.metadata.chain()) if {
	input.subject.type == "user"
	input.token_type in {"access_token", "refresh_token"}
}

# METADATA
# title: No user takes part, so nobody can approve the payment
# custom:
#   code: no_user
deny contains lib.finding(rego.metadata.chain()) if not input.subject.type == "user"

# METADATA
# title: The token is not bound to a certificate or a key
# custom:
#   code: unbound
deny contains lib.finding(rego.metadata.chain()) if {
	# At the authorization endpoint the client has not shown its certificate or key yet.
	not input.phase == "authorization"
	not lib.bound
}

# METADATA
# title: A sign-in with BankID, not older than five minutes
require contains {"acr_values": ["urn:bank:acr:bankid"], "max_age": 300}

# METADATA
# title: Five minutes
limit["token_lifetime"] := 300 if {
	# The tokens made of a refresh token are asked for one by one, and each needs a fresh sign-in again.
	not input.token_type == "refresh_token"
}

# METADATA
# title: Payments within the limit of their currency (RFC 9396, section 2)
limit["authorization_details"] := [detail | some detail in input.authorization_details; _payable(detail)] if {
	is_array(input.authorization_details)
}

_most := {"SEK": 50000, "EUR": 5000}

_payable(detail) if {
	detail.type == "payment_initiation"
	amount := detail.instructedAmount.amount
	is_string(amount)
	regex.match(`^(0|[1-9][0-9]{0,8})(\.[0-9]{1,2})?$`, amount)
	to_number(amount) <= _most[detail.instructedAmount.currency]
}
