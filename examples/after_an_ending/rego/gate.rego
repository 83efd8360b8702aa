# METADATA
# title: Gate
# description: What every token passes here - a registered client, and a grant type that it may use.
# authors:
#   - Identity Platform <identity-platform@example.com>
# custom:
#   risk: high
package issuance.gate

import data.issuance.lib

# METADATA
# title: A registered client uses a grant type that it is registered for
# custom:
#   code: registered_client
allow contains lib.finding(rego.metadata.chain()) if input.grant_type in lib.client.grant_types
