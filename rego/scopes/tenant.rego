# METADATA
# title: Data of one tenant
# description: |
#   Shows a prefix - this package answers for every scope tenant:NAME:read and tenant:NAME:write - and a claim
#   that the token service must honour. Scopes of two tenants in one token set it to two values: the bridge denies.
# authors:
#   - Tenancy <tenancy@example.com>
# schemas:
#   - input: schema.input
# custom:
#   risk: medium
#   controls:
#     - OWASP NHI5:2025
#     - NIST CSF PR.AA-05
package issuance.scope_prefix["tenant:"]

import data.issuance.lib

# METADATA
# title: The user belongs to the tenant
# custom:
#   code: member_of_tenant
allow contains lib.finding(rego.metadata.chain()) if {
	input.subject.type == "user"
	input.subject.properties.tenant == _tenant
}

# METADATA
# title: The client, acting for itself, is registered for the tenant
# custom:
#   code: client_of_tenant
allow contains lib.finding(rego.metadata.chain()) if {
	input.subject.type == "client"
	input.subject.id == input.client.id
	_tenant in lib.client.properties.tenants
}

# METADATA
# title: The one tenant that the token is for
claims := {"tenant": _tenant}

# METADATA
# title: A token that leaves the tenant out would reach all of them
crit contains "tenant" if _tenant

_tenant := name if {
	is_string(input.scope)
	["tenant", name, access] = split(input.scope, ":")
	name != ""
	access in {"read", "write"}
}
