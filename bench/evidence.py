"""`python -m bench --evidence`: the budgets of the evidence log, each figure beside its budget.

CPU time decides where it can: the machine is shared. Nothing here is a test: a figure that misses ends with code 0.
"""

import argparse
from pathlib import Path
from statistics import median

from bench import answers, auditing, biglog, hotpath, publishing
from bench.auditing import Times
from bridge.evidence.files import LOG, VKEY

SIZE, QUICK_SIZE = 1_000_000, 50_000


class Budgets:
    """Collects what was measured, and says at the end what is met."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str, bool]] = []

    def take(self, what: str, measured: str, budget: str, *, met: bool) -> None:
        self._rows.append((what, measured, budget, met))

    def show(self) -> None:
        print(f"{'budget':58}{'at':24}measured")
        for what, measured, budget, met in self._rows:
            print(f"{what:58}{budget:24}{measured}: {'met' if met else 'MISSED'}")


def run(folder: Path, options: argparse.Namespace) -> None:
    """Measures and prints. RuntimeError when something that is measured went wrong."""
    budgets = Budgets()
    one, five = (answers.ask(folder / f"policies-{scopes}", scopes, 500) for scopes in (1, 5))
    _hot_path(folder, one, five, options, budgets)
    _publishing(folder, one, options, budgets)
    size = options.entries or (QUICK_SIZE if options.quick else SIZE)
    _auditing(biglog.kept(size, folder / "policies-log"), size, options, budgets)
    budgets.show()


def _hot_path(
    folder: Path,
    one: list[answers.Answer],
    five: list[answers.Answer],
    options: argparse.Namespace,
    budgets: Budgets,
) -> None:
    entries = 2_000 if options.quick else 10_000
    runs = hotpath.measure(folder, one, five, options.rounds, entries)
    print(f"The decision path, {hotpath.AT_ONCE} at once, {entries:,} entries a slice; us an entry, median (range)")
    print(f"{'':40}{'CPU of this process':24}wall")
    for name, slices in runs.items():
        print(f"{name:40}{_spread([r.cpu_us for r in slices]):24}{_spread([r.wall_us for r in slices])}")
    print()
    whole = median(r.cpu_us for r in runs[hotpath.WHOLE])
    budgets.take("CPU an entry on the decision path", f"{whole:.0f} us", "at most 100 us", met=whole <= 100)


def _publishing(folder: Path, one: list[answers.Answer], options: argparse.Namespace, budgets: Budgets) -> None:
    print("Publishing, on its own thread; CPU us an entry, median (range)")
    for each in (publishing.PER_STEP, 10):
        costs = publishing.cost(folder / f"cost-{each}", one, 8 if options.quick else 30, each)
        print(f"{f'{each} new entries a step':40}{_spread(costs)}")
    lag = publishing.lag(folder / "lag", one, 4 if options.quick else 15)
    print(
        f"{f'lag at {lag.per_s:.0f} entries/s':40}median {lag.median:.2f} s, at most {lag.most:.2f} s; "
        f"{lag.cpu_us:.0f} us CPU an entry, publishing included\n"
    )
    reached = lag.per_s >= 0.95 * publishing.RATE
    measured = f"{lag.most:.2f} s at {lag.per_s:.0f}/s"
    budgets.take(
        f"checkpoint lag at {publishing.RATE:,} entries/s", measured, "at most 2 s", met=reached and lag.most <= 2
    )


def _auditing(folder: Path, size: int, options: argparse.Namespace, budgets: Budgets) -> None:
    print(f"A log of {size:,} entries")
    print(f"{'':40}{'CPU':32}wall")
    proofs = auditing.proofs(folder, 50 if options.quick else 200)
    print(_row("a proof, ms", proofs, 1e3))
    tables = auditing.tables(folder)
    print(_row("query tables made anew, us an entry", tables, 1e6 / size))
    asked = auditing.queries(folder, options.rounds)
    for name, times in asked.items():
        print(f"{_row(f'{name}, ms', times, 1e3):96}{times.found[0]} found")
    for name, times in auditing.reports(folder).items():
        row = _row(f"report on {name}, us an entry", times, 1e6 / size)
        print(f"{row:96}{times.found[0]} found")
    vkey = ("--vkey", str(folder / VKEY))
    alone = auditing.command(folder, "verify", "--folder", str(folder / LOG), *vkey)
    print(_row("log verify, published files, us an entry", alone, 1e6 / size))
    beside = auditing.command(folder, "verify", *vkey)
    print(_row("log verify, with database, us an entry", beside, 1e6 / size))
    shown = auditing.command(folder, "prove", str(size // 2), "--output", str(folder / "proof"), *vkey, rounds=3)
    print(f"{_row('log prove, whole command, ms', shown, 1e3)}\n")
    what = f"log of {size:,}"
    for name, times in (("published files", alone), ("and the database", beside)):
        rate = size / times.cpu[0]
        measured = f"{rate:,.0f}/s of CPU, {size / times.wall[0]:,.0f}/s of wall"
        budgets.take(f"log verify, {name}, {what}", measured, "at least 15,000 /s", met=rate >= 15_000)
    proof = median(proofs.cpu) * 1e3
    budgets.take(f"a proof, {what}", f"{proof:.1f} ms", "at most 10 ms", met=proof <= 10)
    slowest = max(asked, key=lambda name: median(asked[name].cpu))
    slow = median(asked[slowest].cpu) * 1e3
    budgets.take(f"the slowest query, {what}", f"{slow:.1f} ms ({slowest})", "under 50 ms", met=slow < 50)


def _row(name: str, times: Times, factor: float) -> str:
    return f"{name:40}{_spread([t * factor for t in times.cpu]):32}{_spread([t * factor for t in times.wall])}"


def _spread(values: list[float]) -> str:
    return f"{median(values):.1f} ({min(values):.1f}-{max(values):.1f})"
