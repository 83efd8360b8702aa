"""The second mode: asks by AuthZEN with the enforcer library, as any server may that knows no more than a PDP's URL."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from bridge import pep
from examples.token_service.bridge_client import BridgeFailure
from examples.token_service.minting import Wish
from examples.token_service.obey import UNDERSTOOD_CLAIMS, Asked, Denied, Terms
from examples.token_service.refusals import Refusal

VALID_FOR = timedelta(seconds=30)


class AuthzenAsk:
    """Asks the PDP at `url` about one token. Close it to end its connections."""

    def __init__(self, url: str, token: str, timeout: float = 2.0) -> None:
        pdp = pep.Pdp.at(url, token, deadline_s=timeout)
        self._enforcer = pep.Enforcer(pdp, pep.Understood(claims=UNDERSTOOD_CLAIMS))
        self.close = self._enforcer.close

    def __call__(self, wish: Wish, token_type: str, asked: Asked) -> Terms:
        until = datetime.now(UTC) + VALID_FOR
        try:
            answer = self._enforcer.ask(_authzen(wish, token_type, asked))
        except pep.EnforcerFault as fault:
            raise BridgeFailure(str(fault)) from fault
        ids = ", ".join(answer.decision_ids) or "without id"
        if isinstance(answer, pep.Refusal):
            raise Denied(f"{answer.error} ({answer.reason}) by decision {ids}", _told(answer))
        return Terms(
            # One entry of the log for each target; the token can bear one id.
            decision_id=next(iter(answer.decision_ids), str(uuid4())),
            scopes=answer.scopes,
            audience=answer.audience,
            authorization_details=[dict(entry) for entry in answer.authorization_details] or None,
            lifetime=answer.lifetime or asked.lifetime,
            claims=answer.claims,
            valid_until=until,
            reportable=len(answer.decision_ids) == 1,
        )


def _authzen(wish: Wish, token_type: str, asked: Asked) -> pep.Wish:
    """What AuthZEN can say of the wish: no session, no consent, and nothing of the grant that it hangs on."""
    client = wish.client.client_id
    return pep.Wish(
        subject=pep.Party("user", wish.user.id, wish.user.properties) if wish.user else pep.Party("client", client),
        client_id=client,
        grant_type=wish.grant_type,
        token_type=token_type,
        audience=asked.audience,
        # The client's default is in them already: the first mode has no other way to ask.
        scopes=asked.scopes,
        lifetime=asked.lifetime,
        authorization_details=tuple(asked.authorization_details or ()),
        acr=wish.sign_in.acr if wish.sign_in else None,
        amr=wish.sign_in.amr if wish.sign_in else None,
        auth_time=wish.sign_in.auth_time if wish.sign_in else None,
        cnf={"jkt": wish.jkt} if wish.jkt else None,
        exchange=pep.Exchange(subject_token=wish.assertion) if wish.assertion else None,
        request_id=wish.request_id,
    )


def _told(refused: pep.Refusal) -> Refusal:
    # RFC 6749, section 5.2, has no access_denied.
    error = "unauthorized_client" if refused.error == "access_denied" else refused.error
    step_up = refused.step_up or pep.StepUp()
    return Refusal(
        error,
        refused.description,
        decision_id=next(iter(refused.decision_ids), None),
        prompt="consent" if step_up.consent else None,
        acr_values=" ".join(step_up.acr_values) or None,
        max_age=step_up.max_age,
    )
