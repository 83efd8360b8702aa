"""The matrix and the proof as lines for programs; the other forms are made of them."""

from collections.abc import Iterator
from typing import Any

from bridge.cli.policy.proof import Proof
from bridge.policy.matrix.model import Kind, Matrix, Path, Row, Rule


def lines(matrix: Matrix, proof: Proof) -> list[dict[str, Any]]:
    """One for each grant, each scope's rest, each grant at risk high without a condition, each door; last a summary."""
    return list(_lines(matrix, proof))


def _lines(matrix: Matrix, proof: Proof) -> Iterator[dict[str, Any]]:
    for row in matrix.rows:
        for kind, paths in row.paths.items():
            yield from ({"check": "grant", **_grant(row, kind, path)} for path in paths)
        yield _never(row, matrix)
    for row, kind, path in matrix.plain:
        yield {"check": "risk", "state": "warn", **_grant(row, kind, path)}
    for package, error in sorted(matrix.failing.items()):
        yield {"check": "error", "state": "warn", "package": package, "text": error}
    for one in proof.driven:
        state = "fail" if one.leaks or one.blind else "pass"
        told = {"door": one.route, "kinds": one.kinds, "leaks": one.leaks, "blind": one.blind}
        yield {"check": "door", "state": state, **told}
    for route in proof.unknown:
        yield {"check": "door", "state": "fail", "door": route, "text": "nobody knows how to drive it"}
    for route, what in proof.silent.items():
        yield {"check": "door", "state": "pass", "door": route, "text": f"grants nothing: {what}"}
    yield {
        "check": "summary",
        "state": "pass" if proof.holds else "fail",
        "scopes": len(matrix.rows),
        "kinds": len(matrix.kinds),
        "requests": matrix.requests,
        "clients": matrix.clients,
        "registered": matrix.registered,
        "cases": matrix.cases,
        "stopped": matrix.stopped,
        "left_out": matrix.left_out,
        "plain": len(matrix.plain),
        "proof": {"decisions": proof.decisions, "scopes": proof.scopes, "faults": proof.faults},
    }


def _grant(row: Row, kind: Kind, path: Path) -> dict[str, Any]:
    held = path.conditions
    conditions: dict[str, Any] = {"require": list(held.require), "limit": dict(held.limit)}
    conditions |= {"sources": list(held.sources), "needs": list(held.needs)}
    request = path.wish.request
    return {
        "scope": row.name,
        "risk": row.package.risk,
        "grant_type": kind.grant_type,
        "token_type": kind.token_type,
        "rules": [_rule(rule) for rule in path.rules],
        "gate": [_rule(rule) for rule in path.gate],
        "conditions": conditions,
        "lacks": list(path.lacks),
        "clients": len(path.clients),
        "witness": {
            "issuer": path.wish.issuer,
            "client": request["client"]["id"],
            "scopes": request["scopes"],
            "case": path.case,
        },
    }


def _rule(rule: Rule) -> dict[str, Any]:
    exception = {} if rule.exception is None else {"exception": {**rule.exception}}
    told = {"code": rule.code, "title": rule.title, "file": rule.file, "row": rule.row, "owner": rule.owner}
    return {**told, **exception}


def _never(row: Row, matrix: Matrix) -> dict[str, Any]:
    """Per kind that was not granted: by how many requests it was tried."""
    tried = {kind: row.tried.get(kind, 0) for kind in matrix.kinds if kind not in row.paths}
    return {
        "check": "never",
        "scope": row.name,
        "risk": row.package.risk,
        "owner": row.package.owner,
        "title": row.package.title,
        "file": row.package.file,
        "row": row.package.row,
        "kinds": [{"grant_type": k.grant_type, "token_type": k.token_type, "tried": n} for k, n in tried.items()],
    }
