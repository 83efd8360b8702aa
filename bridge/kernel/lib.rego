# METADATA
# title: Policy library
# description: What the policies of one set share. It ships with the bridge, so no policy folder declares it.
package issuance.lib

# METADATA
# title: Finding of a rule
# description: |
#   Takes `rego.metadata.chain()`, whose first element is the calling rule, and makes
#   {"code", "title", "exception", "effective_on"} of its annotations; what is not annotated is left out.
#   A rule without a code yields {"uncoded": PATH}: ill-shaped on purpose, so that an `allow` does not permit
#   and a `deny` denies. An undefined finding would make such a `deny` fall silent.
#   Nothing is judged here: an exception that lacks a member or has expired, and a date that does not parse,
#   are passed on as they stand. The bridge judges such findings and puts that on record.
finding(chain) := object.union_n([
	{"code": code},
	{"title": title | title := chain[0].annotations.title},
	{"exception": _completed(exception) | exception := chain[0].annotations.custom.exception},
	{"effective_on": date | date := chain[0].annotations.custom.effective_on},
]) if {
	code := chain[0].annotations.custom.code
	is_string(code)
	code != ""
} else := {"uncoded": concat("/", [step | some step in chain[0].path; is_string(step)])}

# Must be defined for every value: a finding that lost its exception would permit without one.
_completed(exception) := object.union(record, exception) if {
	# Unifies only with an object whose one key is `id`: an annotation that says more is complete or wrong, never mixed.
	{"id": id} = exception
	record := data.exceptions[id]
	is_object(record)
} else := exception

# METADATA
# title: Registration of the asking client
# description: Undefined when the pair (issuer, client id) is not registered.
client := registration if {
	registration := data.registry.clients[input.issuer][input.client.id]
	is_object(registration)
}

# METADATA
# title: Sender-constrained
# description: Bound to a certificate (RFC 8705, section 3.1) or to a DPoP key (RFC 9449, section 6.1).
bound if {
	some member in {"x5t#S256", "jkt"}
	thumbprint := input.cnf[member]
	is_string(thumbprint)
	thumbprint != ""
}

# METADATA
# title: Members of a space-delimited string
# description: The scope form of RFC 6749, section 3.3; anything but a string has no members.
words(text) := {word |
	is_string(text)
	some word in split(text, " ")
	word != ""
}
