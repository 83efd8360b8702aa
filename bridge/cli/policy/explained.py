"""An explained decision, as `policy explain` prints it: for programs, and in words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bridge.audit.query import who
from bridge.audit.reader import Found
from bridge.cli.log.replay import result_json
from bridge.pdp.gather import encode
from bridge.replay.explain import Explained, LookedAt, Part
from bridge.replay.recorded import MEANING
from bridge.replay.replay import Result

_MARKS = {"held": "+", "failed": "-", "some": "~", None: " "}
_LONG = 160
Told = Mapping[str, Any]


def explanation(
    found: Found, entry: Told, rules: Sequence[Told], result: Result, parts: Sequence[Part], *, overruled: bool
) -> dict[str, Any]:
    """`entry` is as it was before anything was hidden, `rules` are all that it says spoke."""
    request = entry.get("request", {})
    return {
        **{name: entry[name] for name in ("id", "kind", "time", "door", "caller", "outcome") if name in entry},
        "index": found.index,
        **({"overruled": True} if overruled else {}),
        **{name: who(request, name) for name in ("client", "subject") if who(request, name) is not None},
        **{name: request[name] for name in ("grant_type", "token_type") if name in request},
        "policy": entry.get("policy"),
        "again": result_json(result),
        "findings": entry.get("findings", []),
        "rules": list(rules),
        "exceptions": entry.get("exceptions", []),
        "sources": entry.get("sources", []),
        "packages": [_part(part, entry, rules) for part in parts],
    }


def _part(part: Part, entry: Told, spoke: Sequence[Told]) -> dict[str, Any]:
    package = part.package
    answer: Told
    if part.item is not None:
        asked: dict[str, Any] = {"item": part.item}
        answer = next((one for one in entry["decisions"] if one["item"] == part.item), {})
    else:
        asked = {"gate": True} if part.scope is None else {"scope": part.scope}
        answer = {} if part.scope is None else entry["scopes"].get(part.scope, {})
    about: dict[str, Any] = {"package": None}
    if package is not None:
        about = {"package": package.name, "file": package.file, "row": package.row, "title": package.title}
        about |= {"owner": package.owner, "risk": package.risk, "controls": list(package.controls)}
    trouble = {} if part.trouble is None else {"trouble": part.trouble}
    dropped = [one for one in entry.get("exceptions", ()) if one["path"] == "expired_exception"]
    effects = {one.get("code"): "dropped" for one in dropped if one["package"] == about["package"]}
    effects |= {rule["code"]: rule["effect"] for rule in spoke if rule["package"] == about["package"]}
    rules, helpers = ([_rule(rule, effects) for rule in some] for some in (part.rules, part.helpers))
    return {**asked, **about, **trouble, "answer": answer, "rules": rules, "helpers": helpers}


def _rule(rule: Explained, effects: Told) -> dict[str, Any]:
    """`effect`: as the entry has it, `dropped` where its exception does not hold; None: the entry does not tell."""
    return {
        "rule": rule.name,
        "effect": effects.get(rule.code or rule.name) if rule.spoke else None,
        "code": rule.code,
        "row": rule.row,
        "spoke": rule.spoke,
        "lines": [{"row": one.row, "text": one.text, "mark": one.mark} for one in rule.lines],
        "looked_at": [_value(one) for one in rule.looked_at],
        "data": [list(path) for path in rule.data],
    }


def _value(one: LookedAt) -> dict[str, Any]:
    return {"path": list(one.path), **({"value": one.value} if one.there else {"absent": True})}


def in_words(told: Told, *, everything: bool) -> Iterator[str]:
    """Lines for a terminal; what they repeat of an entry or a policy may hold anything."""
    wrong = "  OVERRULED: the caller was denied" if told.get("overruled") else ""
    yield f"{told['kind']} {told['id']} (entry {told['index']}): {told.get('outcome')}{wrong}"
    asked = [str(told[name]) for name in ("client", "subject", "grant_type", "token_type") if name in told]
    yield f"  {told['time']} {told.get('door')} {told.get('caller')}: {', '.join(asked)}"
    yield from _again(told)
    for taken in told["exceptions"] or [{"path": "none"}]:
        more = [f"{name} {_short(value)}" for name, value in taken.items() if name != "path"]
        yield f"  exception path: {' '.join([taken['path'], *more])}"
    for source in told["sources"]:
        more = [f"{name} {_short(source[name])}" for name in ("status", "age_ms", "owner") if name in source]
        yield f"  source {source['name']}: {', '.join(more)}"
    if not told["packages"]:
        for rule in told["rules"]:
            yield f"  {rule['effect']} {rule['code']} ({rule['package']}, {rule.get('file')}:{rule.get('row')})"
    elif not everything:
        yield "  lines: + held, - failed, ~ held for some values; --all for all rules"
    for part in told["packages"]:
        yield ""
        yield from _package(part, everything=everything)


def _again(told: Told) -> Iterator[str]:
    again, revision = told["again"], (told["policy"] or {}).get("revision", "none")
    if again["state"] == "not_replayable":
        text = f" ({again['text']})" if again["text"] else ""
        yield f"  policy set {revision}; cannot be decided again: {MEANING[again['reason']]}{text}"
        return
    yield f"  policy set {revision}; decided again: {again['state']}"
    for one in again["differences"]:
        yield f"    {one['member']}: recorded {_short(one['recorded'])}, now {_short(one['now'])}"


def _package(part: Told, *, everything: bool) -> Iterator[str]:
    asked = "gate" if part.get("gate") else part.get("scope", f"item {part.get('item')}")
    yield f"{asked}: {_answer(part)}" if part["answer"] else asked
    if part["package"] is None:
        yield "  no package answers for it"
        return
    more = [str(part[name]) for name in ("owner",) if part[name]] + [f"risk {part['risk']}"] * bool(part["risk"])
    yield "  " + ", ".join([part["package"], f"{part['file']}:{part['row']}", *more])
    if part["controls"]:
        yield f"  controls: {', '.join(part['controls'])}"
    if "trouble" in part:
        yield f"  {part['trouble']}"
    silent = part["answer"].get("outcome", "allow") != "allow"
    for rule in part["rules"]:
        if everything or rule["spoke"] or (silent and rule["rule"] == "allow"):
            yield from _rule_lines(rule)
    for rule in part["helpers"] if everything else ():
        yield from _rule_lines(rule)
    for rule in () if everything else part["rules"]:
        if not rule["spoke"] and not (silent and rule["rule"] == "allow"):
            yield f"  did not speak: {_name(rule)}{_stopped(rule)}"


def _answer(part: Told) -> str:
    """The outcome, and the reasons that no rule of the package gave: they are the bridge's own."""
    codes = {rule["code"] for rule in part["rules"]}
    answer = part["answer"]
    own = [one["code"] for one in answer.get("findings", ()) if one["code"] not in codes]
    own += [answer["code"]] if "code" in answer else []
    by_itself = f" ({', '.join(own)}: the bridge itself)" if own else ""
    return f"{answer['outcome']}{by_itself}"


def _rule_lines(rule: Told) -> Iterator[str]:
    yield f"  {'spoke' if rule['spoke'] else 'failed'}: {_name(rule)}{_without_effect(rule)}"
    for one in rule["lines"]:
        yield f"    {one['row']:>5} {_MARKS[one['mark']]} {one['text']}"
    for one in rule["looked_at"]:
        value = "is not there" if "absent" in one else f"= {_short(one['value'])}"
        yield f"            input{''.join(f'.{step}' for step in one['path'])} {value}"
    for path in rule["data"]:
        yield f"            data{''.join(f'.{step}' for step in path)}"


def _without_effect(rule: Told) -> str:
    """Of a rule that found something, and did not count."""
    if rule["effect"] == "warn":
        return ", which only warns until it takes effect"
    if rule["effect"] == "dropped":
        return ", without effect: its exception does not hold"
    return ", of which the entry does not tell" if rule["spoke"] and rule["code"] and not rule["effect"] else ""


def _name(rule: Told) -> str:
    return rule["rule"] if rule["code"] in (None, rule["rule"]) else f"{rule['rule']} {rule['code']}"


def _stopped(rule: Told) -> str:
    """The first line of its body that failed."""
    failed = [one for one in rule["lines"] if one["mark"] == "failed"]
    stop = next((one for one in failed if one["row"] != rule["row"]), failed[0] if failed else None)
    return "" if stop is None else f", row {stop['row']}: {_short_text(stop['text'].strip())}"


def _short(value: Any) -> str:
    return _short_text(value if isinstance(value, str) and value.isprintable() else encode(value).decode())


def _short_text(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"
