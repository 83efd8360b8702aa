"""What an audit of a log found."""

from dataclasses import dataclass, field

from bridge.tlog.checkpoint import Checkpoint

MAX_PROBLEMS = 100


@dataclass(slots=True)
class Report:
    """`problems`: the log is not what it says. `notes`: what an auditor should know of."""

    checkpoint: Checkpoint | None = None
    entries: int = 0
    signed_by: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.problems

    def problem(self, text: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(text)
        elif len(self.problems) == MAX_PROBLEMS:
            self.problems.append("and more")

    def verdict(self, text: str) -> None:
        """A problem of the whole, to be seen however many entries have one of their own."""
        self.problems.insert(0, text)
