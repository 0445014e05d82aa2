"""What can go wrong between loong and the outside world, as data; texts are derived.

- Fault
  - Unreachable          no usable answer came: name lookup, connect, TLS, reset, time-out
    - TimedOut           a deadline passed
  - Interrupted          the caller's stop token was set
  - BadAnswer            an answer came that is not what the protocol says
  - Overloaded           the other side says it cannot now (5xx)
  - Throttled            the other side says how long to wait (429 and its like)
  - Refused              the other side refuses this request for good
    - Moved              the conversation lives under another id now
  - BadCredentials       the other side does not accept who we are
  - Conflict             somebody else uses the same credential
  - NotAccepted          the gateway could not take an inbound batch; nothing of it may be acknowledged
    - Busy               its lanes are full; try again when there is room
    - NotStored          its disk cannot be written; try again later
"""

from __future__ import annotations

__all__ = [
    "BadAnswer",
    "BadCredentials",
    "Busy",
    "Conflict",
    "Fault",
    "Interrupted",
    "Moved",
    "NotAccepted",
    "NotStored",
    "Overloaded",
    "Refused",
    "Throttled",
    "TimedOut",
    "Unreachable",
    "before_the_request",
    "copied",
]


class Fault(Exception):
    """Base of everything the outside world does to us. `str()` is one line without secrets or message text."""


class Unreachable(Fault):
    """Raised when no usable answer came. `maybe_processed` is False only if the request surely never arrived."""

    def __init__(self, message: str, *, maybe_processed: bool) -> None:
        super().__init__(message)
        self.maybe_processed = maybe_processed


class TimedOut(Unreachable):
    """Raised when a deadline passed before the answer was complete."""


class Interrupted(Fault):
    """Raised when the caller's stop token ended the call; what the other side did is unknown."""


class BadAnswer(Fault):
    """Raised when an answer is not what the protocol says; whether the request was carried out is unknown."""


class Overloaded(Fault):
    """Raised when the other side says it failed or cannot now; the request was not carried out. Try again later."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Throttled(Fault):
    """Raised when the other side asks to wait. `whole_account` tells whether only this conversation is parked."""

    def __init__(self, message: str, *, retry_after_s: float, whole_account: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.whole_account = whole_account


class Refused(Fault):
    """Raised when the request is refused for good; sending it again cannot help. `code` is the platform's own."""

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Moved(Refused):
    """Raised when the conversation continues under `conversation`; send there instead, once."""

    def __init__(self, message: str, *, conversation: str) -> None:
        super().__init__(message, code="moved")
        self.conversation = conversation


class BadCredentials(Fault):
    """Raised when the other side does not accept the credential. Try again slowly, or at once after a reload."""


class Conflict(Fault):
    """Raised when another process uses the same credential. Try again slowly; never fight.

    `retry_after_s` is how long to leave it alone where the channel knows better than its caller; it may be infinite.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotAccepted(Fault):
    """Raised when an inbound batch was not taken; it must not be acknowledged to the platform."""


class Busy(NotAccepted):
    """Raised when a lane or the whole gateway is full."""


class NotStored(NotAccepted):
    """Raised when the batch could not be made durable."""


def before_the_request(fault: Fault) -> Fault:
    """A fault of a preparation (a token, an upload), saying that what it was for has not been asked."""
    if isinstance(fault, TimedOut):
        return TimedOut(str(fault), maybe_processed=False)
    if isinstance(fault, (BadAnswer, Unreachable)):
        return Unreachable(str(fault), maybe_processed=False)
    return fault


def copied(fault: Fault) -> Fault:
    """An exception of one's own: one that several threads raise would collect all their tracebacks."""
    copy = Fault.__new__(type(fault))
    copy.args = fault.args
    copy.__dict__.update(fault.__dict__)
    return copy
