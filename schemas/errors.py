"""The errors of Sluice, and what each one does to the job.

    SluiceError
    ├── Rejected       one event or message is bad: it becomes a dead letter, its neighbours go on
    ├── Unavailable    an outside system does not answer: retried for a bounded time, then the bundle fails
    ├── BreakerOpen    too much is rejected by a fault of our own: the bundle fails, so that lag grows and no topic is emptied
    └── ConfigError    the job cannot start as it was asked to: refused at once, with a hint

Anything else is a bug, and fails the bundle: nothing is caught to be logged and dropped.
"""

from schemas.reasons import Reason


class SluiceError(Exception):
    """The base of every error that Sluice raises on purpose."""


class Rejected(SluiceError):
    """A message or an event that cannot be accepted.

    Args:
        reason: what is wrong, as counted in `outcomes` and shown in `dead_letters`.
        detail: one line that names the field, the value (cut) and the limit.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


class Unavailable(SluiceError):
    """An outside system that did not answer in time; names the host, what was tried and the cause, never a secret."""


class BreakerOpen(SluiceError):
    """A stream of which too many events are rejected, though their teams were accepted before (docs/breaker.md).

    Args:
        stream: the topic or subscription.
        why: the figures.
    """

    def __init__(self, stream: str, why: str) -> None:
        super().__init__(f"breaker open: {why}; see docs/operations.md")
        self.stream = stream
        self.why = why


class ConfigError(SluiceError):
    """A job that is refused at start.

    Args:
        problem: what is wrong, naming the option or field and its value.
        hint: what to do about it.
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(f"{problem}\nhint: {hint}" if hint else problem)
        self.problem = problem
        self.hint = hint
