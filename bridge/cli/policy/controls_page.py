"""The report on controls, in Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bridge.cli.table import in_markdown, markdown
from bridge.policy.controls import catalogues

UNCHECKED = (
    (
        "Whether a rule does what a control asks for. That a control stands in an annotation is its author's word: "
        "nothing here compares the rule with the control's text. No product meets a control; an organisation does."
    ),
    (
        "Whether a test that mentions a package tests the rule in question. Tests count for each package that their "
        "file mentions; what they reach is told by `policy test`."
    ),
    "Whether the cases were chosen well. One counts for the packages of its scopes, and for the gate.",
    (
        "Whether the log is whole and unchanged: that is `log verify`. Counted are rules that spoke, whatever came of "
        "the request; an entry in which two did counts twice. They count for the controls that the policies name today."
    ),
    "Controls named at a rule without a code (`require`, `limit`, `claims`) are not counted in the log.",
    "Whether anybody who is named as approver of an exception did approve it.",
    "The wording of the controls: ids and titles alone are compared with the catalogues, and of these what is here.",
)
_NAMED = ("control", "title", "named at", "tests", "cases", "rules spoke", "last", "exceptions taken", "dropped")
_PACKAGES = ("package", "at", "owner", "risk", "controls", "tests", "cases")


def page(about: str, rows: Sequence[Mapping[str, Any]], packages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The report, line by line."""
    yield from ("# Controls that the policies name", "", in_markdown(about), "")
    yield "A start for whoever writes a control matrix, not a statement of conformity."
    for catalogue in catalogues():
        yield from ("", f"## {in_markdown(catalogue.name)}", "")
        yield f"{in_markdown(catalogue.source)}; here: {in_markdown(catalogue.holds)}."
        own = [row for row in rows if row.get("catalogue") == catalogue.name]
        if named := [row for row in own if row["record"] == "control"]:
            yield from ("", *markdown([_NAMED, *(_cells(row) for row in named)]))
        if unnamed := [f"{row['id']} {row['title']}" for row in own if row["record"] == "unnamed"]:
            yield from ("", "No policy names:", "", *(f"* {in_markdown(text)}" for text in unnamed))
    if others := [row for row in rows if row["record"] == "unrecognised"]:
        yield from ("", "## Not recognised", "", "Named by the policies, and in none of the catalogues above.", "")
        yield from markdown([_NAMED, *(_cells(row) for row in others)])
    yield from ("", "## Packages", "", *markdown([_PACKAGES, *(_package(one) for one in packages)]))
    yield from ("", "## What was not checked", "", *(f"* {text}" for text in UNCHECKED))


def _cells(row: Mapping[str, Any]) -> list[str]:
    places = [f"{p['package']}{'' if p['code'] is None else '/' + (p['code'] or '?')}" for p in row["places"]]
    title, told = row.get("title", row.get("hint", "")), row.get("evidence")
    spoke = ["no log"] * 4
    if told is not None:
        effects = ", ".join(f"{effect} {count}" for effect, count in told["spoke"].items()) or "never"
        spoke = [effects, told["last"] or "-", str(told["exceptions_taken"]), str(told["exceptions_dropped"])]
    return [row["id"], title, ", ".join(places), *_behind(row), *spoke]


def _package(row: Mapping[str, Any]) -> list[str]:
    controls = ", ".join(row["controls"]) or "none"
    return [
        row["package"],
        f"{row['file']}:{row['row']}",
        row["owner"] or "-",
        row["risk"] or "-",
        controls,
        *_behind(row),
    ]


def _behind(row: Mapping[str, Any]) -> list[str]:
    tests, cases = row["tests"], row["cases"]
    passed = (
        f"{tests['passed']} pass, {tests['failed']} fail in {', '.join(tests['files'])}" if tests["files"] else "none"
    )
    answered = cases["as_expected"] + cases["otherwise"]
    return [passed, f"{cases['as_expected']} of {answered} as expected" if answered else "none"]
