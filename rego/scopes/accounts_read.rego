# METADATA
# title: Read accounts
# description: Shows a narrowed audience, and a tightening that is announced before it denies.
# authors:
#   - Accounts API <accounts@example.com>
# schemas:
#   - input: schema.input
# custom:
#   risk: medium
#   controls:
#     - OWASP NHI5:2025
#     - NIST CSF PR.AA-05
package issuance.scope["accounts:read"]

import data.issuance.lib

# METADATA
# title: A user or a registered client reads accounts
# custom:
#   code: account_reader
allow contains lib.finding(rego.metadata.chain()) if {
	input.subject.type in {"user", "client"}
	input.token_type in {"access_token", "refresh_token"}
}

# METADATA
# title: The token is not bound to a certificate or a key
# custom:
#   code: unbound
#   effective_on: "2029-03-01T00:00:00Z"
deny contains lib.finding(rego.metadata.chain()) if {
	# At the authorization endpoint the client has not shown its certificate or key yet.
	not input.phase == "authorization"
	not lib.bound
}

# METADATA
# title: Only the accounts API takes this token
limit := {"audience": ["https://accounts.example"]} if {
	# A refresh token is for the server that issued it; each token made of it is asked for again.
	not input.token_type == "refresh_token"
}
