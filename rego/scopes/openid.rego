# METADATA
# title: Sign-in with OpenID Connect
# description: The smallest scope package - one rule, and nothing that narrows or requires.
# authors:
#   - Identity Platform <identity-platform@example.com>
# schemas:
#   - input: schema.input
# custom:
#   risk: low
#   controls:
#     - NIST CSF PR.AA-03
package issuance.scope.openid

import data.issuance.lib

# METADATA
# title: A user signs in
# custom:
#   code: user_signs_in
allow contains lib.finding(rego.metadata.chain()) if input.subject.type == "user"
