"""The matrix for people: on a terminal, and as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from bridge.cli.table import in_markdown, line
from bridge.cli.table import markdown as table

Line = Mapping[str, Any]
_MAX_TOLD = 5
_COLUMNS = ("scope", "risk", "grant type", "token type", "granted by", "conditions", "seen with", "clients")


def text(told: Sequence[Line]) -> str:
    """For a terminal."""
    return "\n".join(map(line, _text(told)))


def markdown(told: Sequence[Line]) -> str:
    """For a report."""
    return "\n".join(_markdown(told))


def _text(told: Sequence[Line]) -> Iterator[str]:
    of_scopes = [one for one in told if one["check"] in ("grant", "never")]
    for _, group in groupby(of_scopes, key=lambda one: one["scope"]):
        *grants, rest = group
        yield f"{rest['scope']}  {_about(rest)}"
        alike: dict[tuple[str, str], list[Line]] = {}
        for grant in grants:
            alike.setdefault((_rules(grant), _conditions(grant)), []).append(grant)
        for (rules, conditions), same in alike.items():
            yield f"  {rules}: {conditions}"
            yield f"      {_kinds(same)}"
            yield f"      seen with {_witness(same[0])}; {_clients(same)}"
        yield f"  never: {_never(rest)}"
    yield from ("", "At risk high and granted plainly:", *(_bullets(_risks(told)) or ["  none"]))
    if errors := _errors(told):
        yield from ("", "Packages that failed for some requests:", *_bullets(errors))
    yield from ("", "Doors, with a gate that denies everything, and with packages that all deny:")
    for one in told:
        if one["check"] == "door":
            yield f"  {'OK  ' if one['state'] == 'pass' else 'FAIL'} {one['door']}: {_door(one)}"
    yield from ("", _summary(told[-1]))


def _markdown(told: Sequence[Line]) -> Iterator[str]:
    grants, never, doors = ([one for one in told if one["check"] == check] for check in ("grant", "never", "door"))
    yield from ("# What can be granted", "", in_markdown(_summary(told[-1])), "")
    yield from table([_COLUMNS, *map(_cells, grants)])
    yield from ("", "## Never granted", "")
    yield from table([("scope", "owner", "grant types"), *((o["scope"], o["owner"] or "", _never(o)) for o in never)])
    yield from ("", "## At risk high, and granted plainly", "")
    yield from [f"* {in_markdown(one)}" for one in _risks(told)] or ["None."]
    if errors := _errors(told):
        yield from ("", "## Packages that failed for some requests", "", *(f"* {in_markdown(one)}" for one in errors))
    yield from ("", "## Doors", "", "With a gate that denies everything, and with packages that all deny:", "")
    yield from table([("door", "state", "what came"), *((one["door"], one["state"], _door(one)) for one in doors)])


def _cells(grant: Line) -> tuple[str, ...]:
    about = (grant["scope"], grant["risk"] or "", grant["grant_type"], grant["token_type"])
    return (*about, _rules(grant), _conditions(grant), _witness(grant), str(grant["clients"]))


def _about(rest: Line) -> str:
    return f"risk {rest['risk'] or 'not said'}, {rest['owner'] or 'no owner'}, {rest['file']}:{rest['row']}"


def _rules(grant: Line) -> str:
    return ", ".join(f"{rule['code']} ({rule['file']}:{rule['row']}){_exception(rule)}" for rule in grant["rules"])


def _exception(rule: Line) -> str:
    exception = rule.get("exception")
    return f" by the {exception['kind']} {exception['id']} until {exception['expires']}" if exception else ""


def _conditions(grant: Line) -> str:
    held = grant["conditions"]
    parts = [_requirement(one) for one in held["require"]]
    limit = held["limit"]
    if "token_lifetime" in limit:
        parts.append(f"lives {limit['token_lifetime']} s")
    if "audience" in limit:
        parts.append(f"for {' '.join(limit['audience']) or 'nobody'}")
    if "authorization_details" in limit:
        parts.append("authorization details as returned")
    parts += [f"source {name}" for name in held["sources"]]
    if held["needs"]:
        parts.append(f"not without {', '.join(held['needs'])}")
    return "; ".join(parts) or "no condition"


def _requirement(one: Any) -> str:
    if not isinstance(one, dict):
        return str(one)
    parts = [f"acr {' or '.join(one['acr_values'])}"] if "acr_values" in one else []
    parts += [f"amr {' and '.join(one['amr'])}"] if "amr" in one else []
    parts += [f"a sign-in of the last {one['max_age']} s"] if "max_age" in one else []
    return " and ".join(parts)


def _witness(grant: Line) -> str:
    seen = grant["witness"]
    return seen["case"] or f"{seen['client']} of {seen['issuer']}, scope {' '.join(seen['scopes'][:8])}"


def _kinds(grants: Sequence[Line]) -> str:
    by_grant: dict[str, list[str]] = {}
    for grant in grants:
        by_grant.setdefault(grant["grant_type"], []).append(grant["token_type"])
    return "; ".join(f"{grant} ({', '.join(tokens)})" for grant, tokens in by_grant.items())


def _clients(grants: Sequence[Line]) -> str:
    most = max(grant["clients"] for grant in grants)
    return f"{most} client{'' if most == 1 else 's'}"


def _never(rest: Line) -> str:
    """Grant types that yield nothing at all, and that the others yield nothing else."""
    by_grant: dict[str, int] = {}
    for kind in rest["kinds"]:
        by_grant[kind["grant_type"]] = by_grant.get(kind["grant_type"], 0) + 1
    if not by_grant:
        return "nothing"
    most = max(by_grant.values())
    whole = [grant for grant, count in by_grant.items() if count == most]
    others = "; of the others, no other kind of token" if len(whole) < len(by_grant) else ""
    tried = [kind["tried"] for kind in rest["kinds"]]
    if not any(tried):
        return "not tried: no client that was tried is registered for it, and no case asks for it"
    count = str(min(tried)) if min(tried) == max(tried) else f"{min(tried)} to {max(tried)}"
    return f"{', '.join(whole)}{others}: by none of the {count} requests tried for each pair"


def _risks(told: Sequence[Line]) -> list[str]:
    return [
        f"{one['scope']} by {one['grant_type']} as {one['token_type']}: {_rules(one)}, without "
        f"{', '.join(one['lacks'])}"
        for one in told
        if one["check"] == "risk"
    ]


def _errors(told: Sequence[Line]) -> list[str]:
    return [f"{one['package']}: {one['text']}" for one in told if one["check"] == "error"]


def _door(one: Line) -> str:
    if "text" in one:
        return str(one["text"])
    if one["state"] == "pass":
        return f"granted nothing, of {one['kinds']} kind{'' if one['kinds'] == 1 else 's'} that it grants otherwise"
    found = [f"GRANTED {leak}" for leak in one["leaks"]] + [f"never seen to grant {kind}" for kind in one["blind"]]
    more = f"; and {len(found) - _MAX_TOLD} more" if len(found) > _MAX_TOLD else ""
    return "; ".join(found[:_MAX_TOLD]) + more


def _summary(one: Line) -> str:
    clients = f"{one['clients']} of {one['registered']} registered clients and {one['cases']} cases"
    stopped = " (stopped, since time was up)" if one["stopped"] else ""
    others = f" ({one['left_out']} further names were left out)" if one["left_out"] else ""
    proof = one["proof"]
    faults = f", {proof['faults']} of them by a fault" if proof["faults"] else ""
    proven = "no door grants" if one["state"] == "pass" else "NOT PROVEN that no door grants"
    return (
        f"{one['scopes']} scopes and prefixes, {one['kinds']} pairs of grant type and token{others}: "
        f"{one['requests']} requests tried, with {clients}{stopped}; {proven} past the gate or a package "
        f"({proof['decisions']} denials{faults})."
    )


def _bullets(items: Sequence[str]) -> list[str]:
    return [f"  {item}" for item in items]
