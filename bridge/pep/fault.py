"""What can go wrong when a PDP is asked. A denial is not here: a denial is a value (`refuse.Refusal`)."""

from typing import Literal


class EnforcerFault(Exception):
    """Root of all that this library raises. Whatever it is, nothing may be minted."""


class Misuse(EnforcerFault):
    """The authorization server asks for what cannot be asked; the text says what to change in its code."""


class NoDecision(EnforcerFault):
    """There is no decision to go by. `str(fault)` is for the operator's log and holds nothing that the PDP wrote.

    `error` is the OAuth error for the client: `temporarily_unavailable` where asking again may help (503 at the token
    endpoint), else `server_error` (500 there).
    """

    def __init__(
        self, text: str, error: Literal["temporarily_unavailable", "server_error"] = "temporarily_unavailable"
    ) -> None:
        super().__init__(text)
        self.error = error


class BadReply(NoDecision):
    """The PDP answered something that is no decision on what was asked."""

    def __init__(self, text: str) -> None:
        super().__init__(text, "server_error")
