"""The two pages. Every text that is not ours is escaped."""

from collections.abc import Sequence
from html import escape

_HEAD = '<!doctype html><meta charset="utf-8"><title>{title}</title><h1>{title}</h1>'


def login(challenge: str, client: str, said: str = "", *, code: bool = False) -> str:
    """`code`: the second factor is needed."""
    more = '<p><label>Code <input name="code" inputmode="numeric" autocomplete="one-time-code"></label>' if code else ""
    return (
        f"{_HEAD.format(title='Sign in')}<p>{escape(client)} wants to know who you are. {escape(said)}"
        f'<form method="post"><input type="hidden" name="login_challenge" value="{escape(challenge)}">'
        '<p><label>User <input name="user" autocomplete="username"></label>'
        '<p><label>Password <input name="password" type="password" autocomplete="current-password"></label>'
        f'{more}<p><button name="do" value="accept">Sign in</button> '
        '<button name="do" value="reject">No</button></form>'
    )


def consent(challenge: str, client: str, asked: Sequence[str], granted: Sequence[str]) -> str:
    """`asked`: what the user is asked for; `granted`: what needs no consent."""
    boxes = "".join(
        f'<p><label><input type="checkbox" name="scope" value="{escape(scope)}"> {escape(scope)}</label>'
        for scope in asked
    )
    more = f"<p>It gets {escape(', '.join(granted))} anyway." if granted else ""
    return (
        f"{_HEAD.format(title='May it?')}<p>{escape(client)} asks you for this:"
        f'<form method="post"><input type="hidden" name="consent_challenge" value="{escape(challenge)}">{boxes}{more}'
        '<p><label><input type="checkbox" name="remember" value="1"> Do not ask again</label>'
        '<p><button name="do" value="accept">Yes</button> <button name="do" value="reject">No</button></form>'
    )
