# METADATA
# title: Profile of the user
# description: Shows a requirement and claims - the user consents, and the ID token carries what the server knows.
# authors:
#   - Customer Identity <customer-identity@example.com>
# schemas:
#   - input: schema.input
# custom:
#   risk: low
#   controls:
#     - NIST CSF PR.AA-05
#     - GDPR Art. 6(1)(a)
package issuance.scope.profile

import data.issuance.lib

# METADATA
# title: A user shares a profile
# custom:
#   code: user_shares_profile
allow contains lib.finding(rego.metadata.chain()) if input.subject.type == "user"

# METADATA
# title: The user consents
require contains "consent"

# METADATA
# title: Profile claims (OpenID Connect Core 1.0, section 5.4)
claims[name] := value if {
	input.token_type == "id_token"
	some name in {"name", "given_name", "family_name", "picture", "locale"}
	value := input.subject.properties[name]
	is_string(value)
}
