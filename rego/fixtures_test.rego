package issuance_test.fixtures

# A user signs in to the web shop, which asks for an access token.
shop := {
	"id": "0192f0c1-0000-7000-8000-000000000001",
	"time": "2026-11-23T12:00:00Z",
	"door": "native",
	"caller": "local",
	"issuer": "https://as.example",
	"phase": "token",
	"grant_type": "authorization_code",
	"token_type": "access_token",
	"subject": {"type": "user", "id": "u-1", "properties": {}},
	"client": {"id": "web-shop", "properties": {}},
	"scopes": ["openid", "accounts:read"],
	"audience": ["https://accounts.example"],
	"authentication": {"acr": "urn:bank:acr:bankid", "amr": ["pin"], "auth_time": 1795435200},
	"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"},
}

# The nightly batch acts for itself.
batch := object.union(object.remove(shop, ["authentication", "cnf"]), {
	"grant_type": "client_credentials",
	"subject": {"type": "client", "id": "nightly-batch"},
	"client": {"id": "nightly-batch"},
	"scopes": ["accounts:read"],
})

# The order service exchanges a user's token and is itself the actor.
exchange := object.union(shop, {
	"grant_type": "token_exchange",
	"client": {"id": "order-service"},
	"actor": {"type": "client", "id": "order-service"},
	"subject_token": {"sub": "u-1", "scope": "accounts:read openid"},
	"scopes": ["accounts:read"],
})

# JSON types other than those of the contract, as an open member may hold them.
odd := [null, false, true, 7, "", "odd", [], [7], [null, ["odd"]], {}, {"odd": 7}]

without(request, member) := object.remove(request, [member])

replaced(request, path, value) := json.patch(request, [{"op": "add", "path": path, "value": value}])

codes(findings) := {finding.code | some finding in findings}
