# METADATA
# title: Administer users
# description: Shows exceptions - a waiver with two approvers in the annotation, and break glass kept in data.
# authors:
#   - Workforce Identity <workforce-identity@example.com>
# schemas:
#   - input: schema.input
# custom:
#   risk: high
#   controls:
#     - OWASP NHI5:2025
#     - NIST CSF PR.AA-05
package issuance.scope["admin:users"]

import data.issuance.lib

# METADATA
# title: An administrator signed in with a hardware key
# custom:
#   code: administrator
allow contains lib.finding(rego.metadata.chain()) if {
	_has_role("admin")
	"hwk" in input.authentication.amr
}

# METADATA
# title: The nightly batch, until its move to the provisioning API
# custom:
#   code: batch_waiver
#   exception:
#     kind: waiver
#     id: EX-17
#     approved_by:
#       - ciso
#       - cfo
#     expires: "2027-06-30T00:00:00Z"
allow contains lib.finding(rego.metadata.chain()) if {
	# The pair names a client: another server may know another client by the same id.
	[input.issuer, input.client.id] in {["https://as.example", "nightly-batch"], ["local", "nightly-batch"]}
	input.grant_type == "client_credentials"
}

# METADATA
# title: Break glass for the engineer on call, whose hardware key failed
# description: The rest stands in data.exceptions, where it is granted and withdrawn without touching this file.
# custom:
#   code: on_call
#   exception:
#     id: BG-4
allow contains lib.finding(rego.metadata.chain()) if _has_role("on-call")

_has_role(role) if {
	input.subject.type == "user"
	role in input.subject.properties.roles
}

# METADATA
# title: Fifteen minutes
limit["token_lifetime"] := 900
