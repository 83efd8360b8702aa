"""The front-channel page: one frame for each application, and a word for each that does not answer. HTML, no state.

A browser tells a page of another origin only that a frame was loaded, an error page included: so the page says
`loaded`, and never that a session has ended.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import urlencode, urlsplit

PATIENCE_S = 5
_SCRIPT = f"""
const told = (frame, text) => {{
  const row = document.getElementById(frame.dataset.row);
  if (row.textContent !== "loaded") row.textContent = text;
  const rows = [...document.querySelectorAll("td.state")];
  if (rows.some((one) => one.textContent === "asked")) return;
  const silent = rows.filter((one) => one.textContent !== "loaded").length;
  document.getElementById("sum").textContent = silent === 0
    ? "Every application was reached."
    : silent + " of " + rows.length + " applications did not answer. Sign out there yourself, or close the browser.";
}};
document.addEventListener("load", (event) => {{
  if (event.target instanceof HTMLIFrameElement) told(event.target, "loaded");
}}, true);
addEventListener("DOMContentLoaded", () => setTimeout(() => {{
  for (const frame of document.querySelectorAll("iframe")) told(frame, "did not answer within {PATIENCE_S} s");
}}, {PATIENCE_S * 1000}));
"""
_STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 40rem; padding: 0 1rem; }
table { border-collapse: collapse; } td, th { padding: .25rem 1rem .25rem 0; text-align: left; }
iframe { border: 0; height: 1px; left: -10px; position: absolute; width: 1px; }
"""


@dataclass(frozen=True, slots=True)
class Frame:
    """One application: what it is called, and what is loaded."""

    label: str
    url: str


def frame_of(client_id: str, uri: str, issuer: str, session: str | None) -> Frame:
    """`session`: sent with the issuer (Front-Channel Logout 1.0, section 2); None: neither is."""
    if session is None:
        return Frame(client_id, uri)
    return Frame(client_id, f"{uri}{'&' if '?' in uri else '?'}{urlencode({'iss': issuer, 'sid': session})}")


def html(frames: Sequence[Frame], onward: str) -> str:
    """The page; `onward`: where its link leads, if there is one."""
    rows = "".join(
        f'<tr><th scope="row">{escape(one.label)}</th><td class="state" id="state-{at}">asked</td></tr>\n'
        for at, one in enumerate(frames)
    )
    loaded = "".join(
        f'<iframe src="{escape(one.url)}" title="Signing out of {escape(one.label)}" data-row="state-{at}" '
        'sandbox="allow-scripts allow-same-origin allow-forms" referrerpolicy="no-referrer" tabindex="-1" '
        'aria-hidden="true"></iframe>\n'
        for at, one in enumerate(frames)
    )
    table = f"<table>\n<caption>Applications</caption>\n{rows}</table>\n" if frames else ""
    sum_up = "Your applications are being told." if frames else "No application has to be told in this browser."
    link = f'<p><a href="{escape(onward)}" rel="noreferrer">Go on</a></p>\n' if onward else ""
    return _page(
        "You have been signed out",
        f'<p id="sum" role="status">{sum_up}</p>\n'
        "<noscript><p>The applications below are asked to sign you out. Without JavaScript this page cannot tell which "
        "of them answered: give it some seconds, then close the browser.</p></noscript>\n"
        f"{table}{link}",
        loaded,
    )


def sorry(text: str) -> str:
    """A page that tells of no application."""
    return _page("Signing out", f"<p>{escape(text)}</p>\n")


def _page(title: str, main: str, below: str = "") -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n<script>{_SCRIPT}</script>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
        f"{main}</main>\n{below}</body>\n</html>\n"
    )


def policy(frames: Sequence[Frame]) -> str:
    """The Content-Security-Policy: these origins in frames, our own script and style by their hashes, nothing else."""
    origins = sorted({f"{parts.scheme}://{parts.netloc}" for parts in (urlsplit(one.url) for one in frames)})
    origins = origins or ["'none'"]
    return "; ".join(
        (
            "default-src 'none'",
            f"frame-src {' '.join(origins)}",
            f"script-src {_hash(_SCRIPT)}",
            f"style-src {_hash(_STYLE)}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
