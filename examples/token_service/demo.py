"""`make demo`: a bridge, a token service, and four token requests, each told with what the evidence log says of it."""

import json
import signal
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import httpx

from examples.token_service.clients import sample_store
from examples.token_service.local import Bridge, running_bridge, running_token_service
from examples.token_service.oauth_client import OAuthClient

POLICIES = Path(__file__).parents[2] / "rego"
PASSWORD, BANKID = "urn:bank:acr:password", "urn:bank:acr:bankid"
SHOWN = ("sub", "client_id", "aud", "scope", "acr", "cnf", "jti")


class Story:
    """Prints what happens, and remembers the decisions for the last chapter."""

    def __init__(self, client: OAuthClient) -> None:
        self._client = client
        self.decisions: list[tuple[str, str]] = []

    def chapter(self, number: int, title: str, text: str) -> None:
        print(f"\n{number}. {title}\n{textwrap.indent(textwrap.fill(text, 110), '   ')}")

    def ask(self, name: str, scope: str, client: OAuthClient | None = None) -> None:
        """One authorization code flow, and what came of it."""
        client = client or self._client
        print(f"   -> authorization_code with PKCE{', DPoP' if client.dpop_key else ''}, scope={scope!r}")
        reply = client.code_flow(scope)
        self.decisions.append((name, self._tell(reply)))

    def _tell(self, reply: httpx.Response) -> str:
        body: dict[str, Any] = reply.json()
        if "access_token" not in body:
            print(f"   <- {reply.status_code} {json.dumps(body)}")
            return str(body.get("decision_id", ""))
        claims = self._client.verified(body["access_token"]).claims
        kinds = [kind for kind in ("access_token", "refresh_token", "id_token") if kind in body]
        print(f"   <- {reply.status_code} {', '.join(kinds)}; scope={body['scope']!r}, life {body['expires_in']} s")
        print(f"      access token: {json.dumps({name: claims[name] for name in SHOWN if name in claims})}")
        return str(claims["jti"])


def main() -> None:
    """Tells the story; everything that it starts ends with it."""
    # Without this, a plain kill would leave the bridge running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="issuance-demo-") as folder:
        print("Starting a bridge with the sample policies, and a token service that asks it ...", flush=True)
        with (
            running_bridge(Path(folder), POLICIES) as bridge,
            running_token_service(sample_store(), bridge) as url,
            OAuthClient(url, "web-shop", "web-shop-secret", dpop=True) as shop,
            OAuthClient(url, "web-shop", "web-shop-secret") as unbound,
        ):
            print(f"   bridge at {bridge.url}, token service at {url}")
            _tell(Story(shop), shop, unbound, bridge)
    print("\nDone. The bridge and the token service have ended, and the evidence folder is gone.")


def _tell(story: Story, shop: OAuthClient, unbound: OAuthClient, bridge: Bridge) -> None:
    shop.sign_in("alice", PASSWORD, "pwd")
    story.chapter(1, "Granted", "Alice signs in to the web shop with her password. Each scope has a policy of its own.")
    story.ask("granted", "openid accounts:read")

    story.chapter(2, "Narrowed", "The shop also asks for admin:users. No rule allows it, and the shop gets the rest.")
    story.ask("narrowed", "openid accounts:read admin:users")

    story.chapter(
        3, "Step-up", "Payments need a sign-in with BankID, not older than five minutes. A password is not it."
    )
    story.ask("step-up needed", "payments:write")
    print("   .. Alice signs in again, with BankID")
    shop.sign_in("alice", BANKID, "pin", "hwk")
    story.ask("after step-up", "payments:write")

    story.chapter(
        4, "Denied", "The same sign-in, but the token would not be bound to a key of the client: no DPoP proof."
    )
    unbound.sign_in("alice", BANKID, "pin", "hwk")
    story.ask("denied", "payments:write", unbound)

    story.chapter(5, "The evidence", "What the log holds: issuance-bridge log show ID. The id is also the token's jti.")
    for name, decision_id in story.decisions:
        _show(name, bridge.log_entry(decision_id))
        if name == "granted":
            _show_report(bridge.report_entry(decision_id))


def _show(name: str, entry: dict[str, Any]) -> None:
    print(f"\n   {name}: {entry['id']}")
    print(f"      {entry['kind']} of {entry['time']}: {entry['outcome']}, limit {json.dumps(entry['limit'])}")
    for scope, said in entry["scopes"].items():
        codes = ", ".join(finding["code"] for finding in said["findings"])
        print(f"      scope    {scope}: {said['outcome']} ({codes})")
    # Denials first: they are what a reader of a denied request looks for.
    for rule in sorted(entry["rules"], key=lambda rule: rule["effect"] != "deny"):
        where = f"{rule['package']} {rule['code']}, {rule['file']}:{rule['row']}"
        print(f"      {rule['effect']:8} {where}, owner {rule.get('owner', '-')}")
    if entry["require"]:
        print(f"      waits    {json.dumps(entry['require'])}")


def _show_report(entry: dict[str, Any]) -> None:
    broken = ", ".join(entry["violations"]) or "nothing that the decision does not allow"
    print(f"      {entry['kind']} at {entry['time']}, told by {entry['caller']}: {broken}")
    print(f"      token    {json.dumps({name: entry[name] for name in ('scopes', 'audience', 'exp', 'jti_digest')})}")


if __name__ == "__main__":
    main()
