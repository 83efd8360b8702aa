"""Prints what was measured: medians over the slices, and ratios of slices of the same round with their spread."""

import os
import platform
from collections.abc import Sequence
from statistics import median
from typing import Any

from bridge.kernel import OPA_VERSION

Slices = dict[tuple[str, int], list[dict[str, Any]]]
AIM_AT, AIM_RATIO, AIM_MORE_MS = 16, 0.4, 1.5
_HEAD = (
    f"{'':24}{'CPU us a request':>24}{'':>11}{'answers':>10}{'p50':>8}{'p99':>8}   ratio to OPA (range)\n"
    f"{'at once, target':24}{'bridge':>8}{'OPA':>8}{'total':>8}{'generator':>11}{'a second':>10}{'ms':>8}{'ms':>8}"
    f"   {'by CPU':20}by throughput"
)


def machine() -> str:
    """One line about where this was measured."""
    cores = f"{os.cpu_count()} cores, shared with the load generator"
    return f"{platform.machine()}, {cores}, Python {platform.python_version()}, OPA {OPA_VERSION}"


def print_main(slices: Slices, at_once: Sequence[int], *, baseline: str, title: str) -> None:
    """The main table, and how it stands to the aims."""
    print(f"{title}\n{_HEAD}")
    names = list(dict.fromkeys(name for name, _ in slices))
    for n in at_once:
        for name in names:
            runs, base = slices[name, n], slices[baseline, n]
            by_cpu = _spread([_cpu(b) / _cpu(r) for r, b in zip(runs, base, strict=True)])
            by_rate = _spread([r["per_s"] / b["per_s"] for r, b in zip(runs, base, strict=True)])
            print(f"{n:<4}{name:20}{_row(runs)}   {by_cpu:20}{by_rate}")
        print()
    if AIM_AT in at_once:
        _print_aims(slices, baseline)


def print_sizes(slices: Slices, ready: dict[str, float]) -> None:
    """Cost against the number of packages."""
    print("The bridge, 16 at once, by number of packages (every request meets the gate and five of them)")
    print(f"{'':22}{'CPU us a request':>24}{'answers':>10}{'p50':>8}{'p99':>8}{'ready':>9}")
    print(f"{'packages':22}{'bridge':>8}{'OPA':>8}{'total':>8}{'a second':>10}{'ms':>8}{'ms':>8}{'after s':>9}")
    for (name, _), runs in slices.items():
        parts = [median(r["cpu_us"][p] for r in runs) for p in ("bridge", "opa")]
        rate, p50, p99 = (median(r[k] for r in runs) for k in ("per_s", "p50_ms", "p99_ms"))
        print(
            f"{name:22}{parts[0]:8.0f}{parts[1]:8.0f}{sum(parts):8.0f}{rate:10.0f}{p50:8.2f}{p99:8.2f}{ready[name]:9.1f}"
        )


def _print_aims(slices: Slices, baseline: str) -> None:
    bridge, base = slices["bridge", AIM_AT], slices[baseline, AIM_AT]
    ratio = median(r["per_s"] / b["per_s"] for r, b in zip(bridge, base, strict=True))
    verdict = "met" if ratio >= AIM_RATIO else "MISSED"
    print(f"Aim: at least {AIM_RATIO} of OPA's throughput at {AIM_AT} at once: {ratio:.2f}, {verdict}")
    if ("bridge", 1) in slices:
        # With more at once a closed loop's p50 says nothing new: it is their number divided by the throughput.
        more = median(r["p50_ms"] - b["p50_ms"] for r, b in zip(slices["bridge", 1], slices[baseline, 1], strict=True))
        verdict = "met" if more <= AIM_MORE_MS else "MISSED"
        print(f"Aim: p50 at most {AIM_MORE_MS} ms above OPA's, 1 at once: {more:.2f} ms, {verdict}")
    print()


def _row(runs: list[dict[str, Any]]) -> str:
    own = [r["cpu_us"].get("bridge", 0.0) for r in runs]
    opa = [r["cpu_us"]["opa"] for r in runs]
    total = [_cpu(r) for r in runs]
    rate, p50, p99, generator = (median(r[k] for r in runs) for k in ("per_s", "p50_ms", "p99_ms", "generator_us"))
    cells = f"{median(own):8.0f}{median(opa):8.0f}{median(total):8.0f}{generator:11.0f}"
    return f"{cells}{rate:10.0f}{p50:8.2f}{p99:8.2f}"


def _cpu(run: dict[str, Any]) -> float:
    return float(sum(run["cpu_us"].values()))


def _spread(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})"
