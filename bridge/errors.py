"""Everything that can go wrong, as exceptions. A denial is not here: a denial is a value (`model.decision`)."""

from collections.abc import Sequence


class BridgeError(Exception):
    """Root of our own errors; `str(error)` is for operators and never leaves through a door."""


class ConfigFault(BridgeError):
    """The configuration cannot be used; the text says which key and what is allowed."""


class MalformedRequest(BridgeError):
    """The caller's body breaks the door's contract.

    `problems` pairs a JSON pointer with a sentence that says what is allowed; both are safe to send back.
    """

    def __init__(self, problems: Sequence[tuple[str, str]], status: int = 400) -> None:
        super().__init__("; ".join(f"{pointer or '/'}: {text}" for pointer, text in problems))
        self.problems = tuple(problems)
        self.status = status


class PolicyRefused(BridgeError):
    """A policy set was not accepted; `reasons` has one line each."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = tuple(reasons)


class SetNotKept(BridgeError):
    """A policy set that decided is not there any more (`missing`), or what is there is another one."""

    def __init__(self, text: str, *, missing: bool = False) -> None:
        super().__init__(text)
        self.missing = missing


class EngineFault(BridgeError):
    """The engine gave no usable answer."""


class EngineUnavailable(EngineFault):
    """Not there, refusing, or answering nonsense. Asking for less would not help."""


class EvaluationFailed(EngineFault):
    """The query ran and failed inside some package; a smaller query tells which one."""


class EngineTimeout(EngineFault):
    """No answer within the query's deadline."""


class PolicyMismatch(EngineFault):
    """The answer carries the digest of a policy set that the bridge has not accepted."""


class SourceFailed(BridgeError):
    """A source gave no usable answer; the text holds nothing of key, value or credentials.

    `alive`: it did answer, so that asking for another key may help.
    """

    def __init__(self, text: str, *, alive: bool = False) -> None:
        super().__init__(text)
        self.alive = alive


class EvidenceUnavailable(BridgeError):
    """The log cannot take an entry; nothing may be granted."""


class NotEnded(BridgeError):
    """What shall begin anew has never ended."""


class LogoutRefused(BridgeError):
    """A logout token is not believed. `what`: the part at fault, a word of ours; both are safe to send back."""

    def __init__(self, what: str, text: str) -> None:
        super().__init__(f"{what}: {text}")
        self.what = what


class ReportOfAnother(BridgeError):
    """Somebody reports a token for a decision that another caller asked for."""


class EvidenceLocked(BridgeError):
    """Another bridge writes to this evidence folder."""


class EvidenceInvalid(BridgeError):
    """Bytes that pose as evidence are ill-formed, or prove something else; the text is safe to show to an auditor."""


class WitnessFailed(BridgeError):
    """A witness gave no usable answer; it is asked again later."""


class LogForked(BridgeError):
    """What is on disk is not what was signed. Nothing more is signed; only a person can say which one is right."""
