"""The documentation as the tests read it: pages, fenced blocks, links, anchors, requests."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        *(
            ROOT / folder / "README.md"
            for folder in (
                "rego",
                "opa-bundle",
                "examples/token_service",
                "examples/hydra_login_consent",
                "examples/after_an_ending",
                "sdk/node",
            )
        ),
    ]
)
_BLOCK = re.compile(r"^```(\S*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block; `answer` is the JSON block that comes next on the page, None when another one does."""

    page: Path
    language: str
    marks: str
    text: str
    row: int
    answer: str | None = None


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    source = page.read_text(encoding="utf-8")
    found: list[Block] = []
    answer: str | None = None
    for match in reversed(list(_BLOCK.finditer(source))):
        language, marks, text = match.groups()
        found.append(Block(page, language, marks, text, source.count("\n", 0, match.start()) + 1, answer))
        answer = text if language == "json" else None
    return found[::-1]


def without_blocks(page: Path) -> str:
    """The prose of a page: what looks like a link or a heading in a block is none."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """(target, anchor) of every link to a file of ours."""
    for target in _LINK.findall(without_blocks(page)):
        if not target.startswith(("http://", "https://")):
            path, _, anchor = target.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    titles = [re.sub(r"[^\w\- ]", "", title.lower()) for title in _HEADING.findall(without_blocks(page))]
    return {title.replace(" ", "-") for title in titles}


def section(page: Path, heading: str) -> str:
    """The text below a heading, up to the next one of the same or a higher level."""
    level = heading.count("#")
    _, _, rest = page.read_text(encoding="utf-8").partition(f"\n{heading}\n")
    assert rest, f"{page.name} has no {heading!r}"
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def table_names(text: str) -> set[str]:
    """The `names` in the first cells of all table rows; what stands in parentheses beside one is another form of it."""
    cells = [re.sub(r"\(.*?\)", "", line.split("|")[1]) for line in text.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def documented_request(block: Block) -> tuple[str, dict[str, str], Any]:
    """(path, headers, body) of a `curl` command that posts JSON; any other command fails."""
    words = shlex.split(block.text.replace("\\\n", " "))
    assert words[:2] == ["curl", "-s"], block.text
    url, options = words[2], words[3:]
    pairs = list(zip(options[::2], options[1::2], strict=True))
    headers = dict(value.split(": ", 1) for flag, value in pairs if flag == "-H")
    (body,) = (value for flag, value in pairs if flag == "-d")
    host = "http://127.0.0.1:8380"  # where `make run` listens
    assert url.startswith(host), url
    return url.removeprefix(host), headers, json.loads(body)
