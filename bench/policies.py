"""Policy folders of any size, and requests that meet one gate and five of their scope packages."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["scopes", "prefixes"]
ISSUER, AUDIENCE, ACR = "https://as.example", "https://api.example", "urn:example:acr:strong"
CLIENTS = 50
FORMS = 5

_ABOUT = """# METADATA
# title: {title}
# authors:
#   - Team {team} <team-{team}@example.com>
# custom:
#   risk: medium
#   controls:
#     - NIST CSF PR.AA-05
package issuance.{package}

import data.issuance.lib
"""

_GATE = """
# METADATA
# title: A registered client uses a grant type that it may
# custom:
#   code: registered_client
allow contains lib.finding(rego.metadata.chain()) if input.grant_type in lib.client.grant_types

# METADATA
# title: The client is not registered with this authorization server
# custom:
#   code: unregistered_client
deny contains lib.finding(rego.metadata.chain()) if not lib.client

# METADATA
# title: The grant types implicit and password are retired
# custom:
#   code: grant_type_retired
deny contains lib.finding(rego.metadata.chain()) if input.grant_type in {"implicit", "password"}
"""

_SCOPE = """
# METADATA
# title: A user at a registered client
# custom:
#   code: user
allow contains lib.finding(rego.metadata.chain()) if {
	input.subject.type == "user"
	input.subject.properties.tenant == lib.client.properties.tenant
}

# METADATA
# title: The user is suspended
# custom:
#   code: suspended
deny contains lib.finding(rego.metadata.chain()) if "suspended" in input.subject.properties.flags
"""

_EXTRA = (
    "",
    f'\nlimit := {{"audience": ["{AUDIENCE}"], "token_lifetime": 600}}\n',
    f'\nrequire contains {{"acr_values": ["{ACR}"], "max_age": 86400}}\n',
    '\nrequire contains "consent"\n',
    '\nclaims := {"tenant": input.subject.properties.tenant}\n',
)


@dataclass(frozen=True, slots=True)
class PolicyFolder:
    """A folder of `count` scope or prefix packages; package number n has form n % FORMS."""

    path: Path
    kind: Kind
    count: int

    def scope(self, number: int) -> str:
        """A scope that package `number` answers for."""
        return f"svc{number}:read" if self.kind == "scopes" else f"svc{number}:" + "read"

    def request(self, draw: random.Random, auth_time: int) -> dict[str, Any]:
        """A body for the native door that is granted whole: five scopes, one of each form."""
        scopes = [self.scope(form + FORMS * draw.randrange(self.count // FORMS)) for form in range(FORMS)]
        client = draw.randrange(CLIENTS)
        return {
            "grant_type": "authorization_code",
            "client": {"id": f"client-{client}"},
            "subject": {
                "type": "user",
                "id": f"user-{draw.randrange(10**6)}",
                "properties": {"tenant": f"tenant-{client}", "flags": ["staff"], "department": "Payments"},
            },
            "session": {"id": f"{draw.randrange(2**64):016x}"},
            "scopes": scopes,
            "consented_scopes": scopes,
            "audience": [AUDIENCE],
            "authentication": {"acr": ACR, "amr": ["pwd", "hwk"], "auth_time": auth_time},
            "cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"},
            "context": {"ip": "192.0.2.7", "user_agent": "Mozilla/5.0 (X11; Linux x86_64)"},
        }


def write(path: Path, kind: Kind, count: int) -> PolicyFolder:
    """Makes the folder. `count` is a multiple of FORMS."""
    (path / "packages").mkdir(parents=True)
    (path / "gate.rego").write_text(_ABOUT.format(title="Gate", team=0, package="gate") + _GATE)
    for number in range(count):
        name = f'scope["svc{number}:read"]' if kind == "scopes" else f'scope_prefix["svc{number}:"]'
        about = _ABOUT.format(title=f"Service {number}", team=number % 40, package=name)
        (path / "packages" / f"svc{number}.rego").write_text(about + _SCOPE + _EXTRA[number % FORMS])
    clients = {
        f"client-{number}": {
            "owner": f"Team {number} <team-{number}@example.com>",
            "grant_types": ["authorization_code", "refresh_token"],
            "properties": {"tenant": f"tenant-{number}"},
        }
        for number in range(CLIENTS)
    }
    (path / "data.json").write_text(json.dumps({"registry": {"clients": {ISSUER: clients}}}))
    return PolicyFolder(path, kind, count)
