"""A token endpoint as a WSGI application (PEP 3333): for Flask, Django, or a server such as gunicorn.

application = TokenEndpoint(Pdp.at("https://pdp.example", token="..."), clients, key)
"""

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

from joserfc.jwk import ECKey

from bridge.pep import Enforcer, EnforcerFault, Pdp
from examples.token_endpoint.endpoint import MAX_BODY, UNDERSTOOD, Answer, Client, answer_to, fault_to, wish_of

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

log = logging.getLogger(__name__)


class TokenEndpoint:
    """One for all threads: its enforcer keeps the connections to the PDP. `close` it in the end."""

    def __init__(self, pdp: Pdp, clients: Mapping[str, Client], key: ECKey) -> None:
        self._clients, self._key = clients, key
        self._enforcer = Enforcer(pdp, UNDERSTOOD)
        self.close = self._enforcer.close

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        answer = self._answer(environ)
        headers, body = answer.encoded()
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", headers)
        return [body]

    def _answer(self, environ: "WSGIEnvironment") -> Answer:
        body = environ["wsgi.input"].read(MAX_BODY + 1)
        wish = wish_of(environ["REQUEST_METHOD"], environ.get("HTTP_AUTHORIZATION", ""), body, self._clients)
        if isinstance(wish, Answer):
            return wish
        try:
            return answer_to(wish, self._enforcer.ask(wish), self._key)
        except EnforcerFault as fault:
            log.warning("no token for %s: %s", wish.client_id, fault)
            return fault_to(fault)
