"""One scope for each outcome; and, for a gate that is asked alone, one client for each."""

OUTCOMES: dict[str, str] = {
    "allow": "allow := true",
    "deny": 'deny contains {"code": "never", "title": "Nobody gets this"}',
    "limited": 'allow := true\nlimit := {"token_lifetime": 600}',
    "claims": 'allow := true\nclaims := {"tenant": "acme"}',
    "crit": 'allow := true\nclaims := {"region": {"eu": [1, true]}}\ncrit contains "region"',
    "consent": 'allow := true\nrequire contains "consent"',
    "step_up": 'allow := true\nrequire contains {"acr_values": ["urn:test:acr:high"]}',
}
POLICIES = {
    "issuance.gate": """
allow := true
deny contains {"code": "never"} if input.client.id == "deny"
limit := {"token_lifetime": 600} if input.client.id == "limited"
limit := {"granted_scope": "allow"} if input.client.id == "narrowed"
claims := {"tenant": "acme"} if input.client.id == "claims"
claims := {"region": {"eu": [1, true]}} if input.client.id == "crit"
crit contains "region" if input.client.id == "crit"
require contains "consent" if input.client.id == "consent"
require contains {"acr_values": ["urn:test:acr:high"]} if input.client.id == "step_up"
""",
    **{f"issuance.scope.{scope}": rules for scope, rules in OUTCOMES.items()},
}
SCOPES = {**{outcome: [outcome] for outcome in OUTCOMES}, "narrowed": ["allow", "deny"]}
"""Outcome -> what is asked for."""
GOOD_DAYS = (*SCOPES, "bad_caller", "bad_body")
BAD_DAYS = ("engine_down", "log_down")
