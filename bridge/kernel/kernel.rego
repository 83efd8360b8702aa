# METADATA
# title: The kernel
# description: |
#   One entrypoint answers the gate and every scope of one or more requests in a single query.
#   input: {"items": [{"id", "doc": the input document, "gate": whether to ask the gate, "scopes": [which to answer]}]}.
#   answer: {"digest", "items": [{"id", "gate": rules, "scopes": {SCOPE: {"package", "rules"}}}]}, where id is the
#   item's own, rules holds the contract's rules that are defined; a scope that no package answers for is absent.
#   An item {"id", "doc": an AuthZEN tuple, "resource": its resource's type, "rules": [which]} is answered by the
#   package of that type: {"id", "resource", "rules"}.
package issuance.kernel

# METADATA
# entrypoint: true
answer := {"digest": data.issuance.index.digest, "items": [_item(item) | some item in input.items]}

_fields := ["allow", "deny", "require", "limit", "claims", "crit"]

# Reading data.issuance.scope[s][k] evaluates one package only; object.get over the tree would evaluate all of them.
_item(item) := object.union({"id": id | id := item.id}, {"gate": gate, "scopes": object.union(own, prefixed)}) if {
	item.scopes

	# The item is bound before `with` puts its document in the place of the kernel's own input.
	doc := item.doc
	gate := [{k: v | some k in _fields; v := data.issuance.gate[k]} |
		item.gate
	] with input as doc
	own := {s: {"package": package_name, "rules": rules} |
		some s in item.scopes
		package_name := data.issuance.index.scopes[s]
		rules := {k: v | some k in _fields; v := data.issuance.scope[s][k]}
	} with input as doc
	prefixed := {s: {"package": data.issuance.index.prefixes[prefix], "rules": rules} |
		some s in item.scopes
		not data.issuance.index.scopes[s]
		prefix := _longest_prefix(s)
		inner := object.union(doc, {"scope": s})
		rules := {k: v | some k in _fields; v := data.issuance.scope_prefix[prefix][k]} with input as inner
	}
}

_item(item) := object.union({"id": id | id := item.id}, {"resource": item.resource, "rules": rules}) if {
	doc := item.doc
	rules := {k: v | some k in item.rules; v := data.authzen.resource[item.resource][k]} with input as doc
}

# Lengths stand in the index from the longest down, so this looks up one prefix for each length, never each package.
_longest_prefix(s) := [prefix |
	some length in data.issuance.index.prefix_lengths
	length <= count(s)
	prefix := substring(s, 0, length)
	data.issuance.index.prefixes[prefix]
][0]
