"""For authorization servers in Python: asks an AuthZEN PDP before a token is minted, and says what to mint.

    enforcer = Enforcer(Pdp.at("https://pdp.example", token="..."))
    answer = enforcer.ask(Wish(subject=Party("client", "nightly-job"), client_id="nightly-job", ...))

Speaks the AuthZEN profile for OAuth 2.0 token issuance, and its binding for token exchange, to any PDP. Needs the
standard library and httpx, nothing else of this project. Start with enforcer.py; docs/authorization-servers.md
shows every step on the wire.
"""

from bridge.pep.client import Pdp
from bridge.pep.enforcer import AsyncEnforcer, Enforcer
from bridge.pep.fault import EnforcerFault, Misuse, NoDecision
from bridge.pep.merge import Mint
from bridge.pep.refuse import Refusal, StepUp
from bridge.pep.shape import Understood
from bridge.pep.wish import Exchange, Party, Wish

__all__ = [
    "AsyncEnforcer",
    "Enforcer",
    "EnforcerFault",
    "Exchange",
    "Mint",
    "Misuse",
    "NoDecision",
    "Party",
    "Pdp",
    "Refusal",
    "StepUp",
    "Understood",
    "Wish",
]
