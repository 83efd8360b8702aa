"""`python -m bench`: one interleaved run of OPA asked directly and of the bridge over the same policies."""

import argparse
import contextlib
import io
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

from bench import authzen, evidence, policies, targets
from bench.report import machine, print_main, print_sizes
from bridge.engines._child import ENVIRONMENT
from bridge.pdp.gather import encode

HERE = Path(__file__).resolve().parents[1]
AT_ONCE = (1, 16, 64)
PARTS = ("main", "authzen", "sizes")
PACKAGES = 1000
BODIES = 200
SIZES: tuple[tuple[policies.Kind, int], ...] = (
    ("scopes", 10),
    ("scopes", 1000),
    ("scopes", 10_000),
    ("prefixes", 10),
    ("prefixes", 1000),
    ("prefixes", 10_000),
)

Slices = dict[tuple[str, int], list[dict[str, Any]]]
"""(target, at once) -> one result for each round."""


def main() -> int:
    """Prints the tables. Exit code 1 when an answer was wrong, and then without a table."""
    options = _options()
    cast("io.TextIOWrapper", sys.stdout).reconfigure(line_buffering=True)  # a file shows how far a long run is
    print(f"{machine()}\n{time.strftime('%Y-%m-%d %H:%M')}, {options.rounds} rounds of {options.seconds:g} s a slice\n")
    with tempfile.TemporaryDirectory(prefix="issuance-bench-", dir=options.folder) as scratch:
        try:
            if options.evidence:
                evidence.run(Path(scratch), options)
                return 0
            if "main" in options.parts:
                _main_part(Path(scratch), options)
            if "authzen" in options.parts:
                _authzen_part(Path(scratch), options)
            if "sizes" in options.parts:
                _sizes_part(Path(scratch), options)
        except RuntimeError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    return 0


def _main_part(scratch: Path, options: argparse.Namespace) -> None:
    folder = policies.write(scratch / "policies", "scopes", PACKAGES)
    bodies = _bodies(folder)
    asked = [targets.question(body) for body in bodies]
    bundle = targets.write_bundle(scratch / "bundle.tar.gz", folder.path)
    with contextlib.ExitStack() as stack:
        plans = {
            "OPA": stack.enter_context(targets.opa_alone(scratch / "opa", bundle, asked, {})),
            "OPA as our child": stack.enter_context(targets.opa_alone(scratch / "child", bundle, asked, ENVIRONMENT)),
            "bridge": stack.enter_context(targets.bridge(scratch / "bridge", folder.path, bodies, HERE)),
        }
        if options.workers > 1:
            name, several = f"bridge, {options.workers} workers", scratch / "workers"
            plans[name] = stack.enter_context(targets.bridge(several, folder.path, bodies, HERE, options.workers))
        for number, code in enumerate(options.against):
            name = f"bridge of {code.name}"
            plans[name] = stack.enter_context(targets.bridge(scratch / f"other-{number}", folder.path, bodies, code))
        slices = _interleaved(plans, options.at_once, options)
    print_main(slices, options.at_once, baseline="OPA", title=f"{PACKAGES:,} scope packages; gate and five scopes")


def _authzen_part(scratch: Path, options: argparse.Namespace) -> None:
    folder = policies.write(scratch / "authzen-policies", "scopes", PACKAGES)
    bodies = [authzen.batch(body) for body in _bodies(folder)]
    asked = [authzen.question(body) for body in bodies]
    bundle = targets.write_bundle(scratch / "authzen.tar.gz", folder.path)
    with contextlib.ExitStack() as stack:
        bridge = targets.bridge(scratch / "authzen-bridge", folder.path, bodies, HERE, door=targets.AUTHZEN)
        plans = {
            "OPA": stack.enter_context(targets.opa_alone(scratch / "authzen-opa", bundle, asked, {})),
            "bridge": stack.enter_context(bridge),
        }
        if options.workers > 1:
            name, several = f"bridge, {options.workers} workers", scratch / "authzen-workers"
            plans[name] = stack.enter_context(
                targets.bridge(several, folder.path, bodies, HERE, options.workers, targets.AUTHZEN)
            )
        for number, code in enumerate(options.against):
            other = targets.bridge(scratch / f"authzen-{number}", folder.path, bodies, code, door=targets.AUTHZEN)
            plans[f"bridge of {code.name}"] = stack.enter_context(other)
        slices = _interleaved(plans, options.at_once, options)
    print_main(slices, options.at_once, baseline="OPA", title="AuthZEN batches of one gate and five scopes")


def _sizes_part(scratch: Path, options: argparse.Namespace) -> None:
    plans, ready = {}, {}
    with contextlib.ExitStack() as stack:
        for kind, count in SIZES if not options.quick else [s for s in SIZES if s[1] <= PACKAGES]:
            name = f"{count:,} {kind}"
            folder = policies.write(scratch / f"{kind}-{count}", kind, count)
            before = time.monotonic()
            bridge = targets.bridge(scratch / f"bridge-{kind}-{count}", folder.path, _bodies(folder), HERE)
            plans[name] = stack.enter_context(bridge)
            ready[name] = time.monotonic() - before
        slices = _interleaved(plans, [16], options)
    print_sizes(slices, ready)


def _interleaved(plans: dict[str, targets.Plan], at_once: list[int], options: argparse.Namespace) -> Slices:
    """Every round asks every target once for each degree of parallelism, beginning with another target each time."""
    slices: Slices = {(name, n): [] for name in plans for n in at_once}
    with contextlib.closing(targets.Generator(plans)) as generator:
        for name in plans:
            generator.run(name, 16, 1.0)
        names = list(plans)
        for turn in range(options.rounds):
            for n in at_once:
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    slices[name, n].append(generator.run(name, n, options.seconds))
    return slices


def _bodies(folder: policies.PolicyFolder) -> list[bytes]:
    draw = random.Random(1)
    auth_time = int(time.time()) - 60
    return [encode(folder.request(draw, auth_time)) for _ in range(BODIES)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds of half a second, no set of 10,000 packages")
    parser.add_argument("--evidence", action="store_true", help="the evidence log alone, beside its budgets")
    parser.add_argument("--entries", type=int, default=None, help="of the log that is verified (default 1,000,000)")
    parser.add_argument("--rounds", type=int, default=None, help="slices for each target (default 5)")
    parser.add_argument("--seconds", type=float, default=None, help="length of a slice (default 2)")
    parser.add_argument("--at-once", type=int, nargs="+", default=list(AT_ONCE), help="requests in flight")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--folder", type=Path, default=None, help="where the log is written: the disk that is measured")
    parser.add_argument("--workers", type=int, default=2, help="also a bridge with so many (default 2; 1: not)")
    parser.add_argument(
        "--against", type=Path, nargs="+", default=[], help="other checkouts, each measured as one more bridge"
    )
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (0.5 if options.quick else 2.0)
    options.against = [code.resolve() for code in options.against]
    return options


if __name__ == "__main__":
    sys.exit(main())
