"""Lists the Rego lines that no test reached, from `opa test --coverage` on standard input; exit 1 when there is one."""

import json
import sys


def uncovered(report: dict[str, dict[str, dict[str, list[dict[str, dict[str, int]]]]]]) -> list[str]:
    """FILE:ROW of each, sorted."""
    return [
        f"{file}:{row}"
        for file, seen in sorted(report["files"].items())
        for part in seen.get("not_covered", [])
        for row in range(part["start"]["row"], part["end"]["row"] + 1)
    ]


if __name__ == "__main__":
    lines = list(dict.fromkeys(uncovered(json.load(sys.stdin))))
    for line in lines:
        print(f"{line}: no test reaches this")
    sys.exit(bool(lines))
