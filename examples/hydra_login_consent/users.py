"""Two users, with a password and a code instead of a second factor. Yours come from where you keep them."""

import hmac
from dataclasses import dataclass

BY_PASSWORD = "urn:example:acr:password"  # noqa: S105 - the name of a class, not a password
BY_CODE = "urn:example:acr:code"


@dataclass(frozen=True)
class SignIn:
    """How somebody has signed in: authentication context class and methods (RFC 8176)."""

    user: str
    acr: str
    amr: tuple[str, ...]


_USERS = {"alice": ("wonderland", "123456"), "bob": ("builder", "654321")}


def sign_in(user: str, password: str, code: str) -> SignIn | None:
    """None: wrong password, or a code that is wrong."""
    known = _USERS.get(user, ("", ""))
    if not known[0] or not hmac.compare_digest(known[0].encode(), password.encode()):
        return None
    if not code:
        return SignIn(user, BY_PASSWORD, ("pwd",))
    return SignIn(user, BY_CODE, ("pwd", "otp")) if hmac.compare_digest(known[1].encode(), code.encode()) else None
