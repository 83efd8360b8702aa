# METADATA
# title: Gate
# description: What every token passes, whatever its scopes - a registered client, its grant types, the kinds of token.
# authors:
#   - Identity Platform <identity-platform@example.com>
# schemas:
#   - input: schema.input
# custom:
#   risk: high
#   controls:
#     - OWASP NHI5:2025
#     - NIST CSF PR.AA-05
package issuance.gate

import data.issuance.lib

# METADATA
# title: A registered client uses a grant type and a kind of token that it may
# custom:
#   code: registered_client
allow contains lib.finding(rego.metadata.chain()) if {
	_grant_type_registered
	_token_type_known
}

# METADATA
# title: The client is not registered with this authorization server
# custom:
#   code: unregistered_client
deny contains lib.finding(rego.metadata.chain()) if not lib.client

# METADATA
# title: The client is not registered for this grant type
# custom:
#   code: grant_type_not_registered
deny contains lib.finding(rego.metadata.chain()) if {
	lib.client
	not _grant_type_registered
}

# METADATA
# title: The grant types implicit and password are retired (RFC 9700, sections 2.1.2 and 2.4)
# custom:
#   code: grant_type_retired
deny contains lib.finding(rego.metadata.chain()) if _retired

# METADATA
# title: This grant type yields no such kind of token
# custom:
#   code: token_type_not_issued
deny contains lib.finding(rego.metadata.chain()) if {
	not _retired
	not _token_type_known
}

# METADATA
# title: An ID token tells of a user's sign-in and needs the scope openid
# custom:
#   code: id_token_without_openid
deny contains lib.finding(rego.metadata.chain()) if {
	input.token_type == "id_token"
	not _openid_sign_in
}

# METADATA
# title: The grant that the refresh token hangs on is not known
# custom:
#   code: grant_unknown
deny contains lib.finding(rego.metadata.chain()) if {
	input.grant_type == "refresh_token"
	not _grant_known
}

# METADATA
# title: A token exchange without an actor is impersonation (RFC 8693, section 1.1)
# custom:
#   code: impersonation
deny contains lib.finding(rego.metadata.chain()) if {
	input.grant_type == "token_exchange"
	not _actor_known
}

# METADATA
# title: More scopes than the token exchanged has
# custom:
#   code: exceeds_subject_token
deny contains lib.finding(rego.metadata.chain()) if {
	input.grant_type == "token_exchange"
	not _within_subject_token
}

# METADATA
# title: The client is not registered for this audience
# custom:
#   code: audience_not_registered
deny contains lib.finding(rego.metadata.chain()) if {
	lib.client
	not _audience_registered
}

# METADATA
# title: Scopes that the client is not registered for are left out
limit := {"granted_scope": concat(" ", [scope | some scope in input.scopes; _scope_registered(scope)])} if {
	input.scopes != []
}

_token_types := {
	"authorization_code": {"access_token", "refresh_token", "id_token"},
	"refresh_token": {"access_token", "refresh_token", "id_token"},
	"device_code": {"access_token", "refresh_token", "id_token"},
	"client_credentials": {"access_token"},
	"token_exchange": {"access_token"},
	"jwt_bearer": {"access_token"},
}

_grant_type_registered if input.grant_type in lib.client.grant_types

_token_type_known if input.token_type in _token_types[input.grant_type]

_retired if input.grant_type in {"implicit", "password"}

# Rules of their own, since OPA takes the arguments of a call out of its `not`: `not is_object(input.grant)` is undefined
# where there is no grant, and the denial would fall silent.
_grant_known if is_object(input.grant)

_actor_known if is_object(input.actor)

_openid_sign_in if {
	input.subject.type == "user"
	"openid" in input.scopes
}

_within_subject_token if {
	is_array(input.scopes)
	held := lib.words(input.subject_token.scope)
	every scope in input.scopes { scope in held }
}

# Of a token exchanged that tells no scopes, none can be passed on.
_within_subject_token if input.scopes == []

# Where nothing is asked for, the server's default stands; the packages of the scopes bind it.
_audience_registered if not _audience_asked_for

_audience_registered if {
	is_array(input.audience)
	every audience in input.audience { _is_registered_audience(audience) }
}

_audience_asked_for if some "audience", _ in input

_is_registered_audience(audience) if audience in lib.client.audience

# An ID token is for the client itself (OpenID Connect Core 1.0, section 2).
_is_registered_audience(audience) if {
	input.token_type == "id_token"
	audience == input.client.id
}

_scope_registered(scope) if {
	# A value with a space in it would widen the list, one outside the grammar of RFC 6749 would spoil it.
	is_string(scope)
	regex.match(`^[!#-\[\]-~]+$`, scope)
	some registered in lib.client.scopes
	_covers(registered, scope)
}

_covers(registered, scope) if registered == scope

# A registration "tenant:*" stands for every scope that begins with "tenant:".
_covers(registered, scope) if {
	is_string(registered)
	endswith(registered, ":*")
	startswith(scope, trim_suffix(registered, "*"))
}
