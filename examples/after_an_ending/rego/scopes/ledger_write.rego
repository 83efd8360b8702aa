# METADATA
# title: Write to the ledger
# description: Not for a client whose last ending is unconfirmed - a token of its former life may still be good somewhere.
# authors:
#   - Ledger API <ledger@example.com>
# custom:
#   risk: high
package issuance.scope["ledger:write"]

import data.issuance.lib

# METADATA
# title: A client writes to the ledger for itself
# custom:
#   code: client_writes
allow contains lib.finding(rego.metadata.chain()) if input.subject.type == "client"

# METADATA
# title: The last ending of this client is not confirmed everywhere yet
# custom:
#   code: ending_unconfirmed
deny contains lib.finding(rego.metadata.chain()) if {
	input.sources.endings.value.standing != "confirmed"
}

# METADATA
# title: What became of the last ending of this client is not known
# custom:
#   code: ending_unknown
deny contains lib.finding(rego.metadata.chain()) if not _known

# METADATA
# title: Five minutes
limit["token_lifetime"] := 300

# A client that never ended has no value.
_known if input.sources.endings.status == "fresh"
