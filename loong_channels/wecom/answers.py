"""What the platform's error codes mean, as faults.

https://developer.work.weixin.qq.com/document/path/101463 - codes decide, never the words beside them.
"""

from __future__ import annotations

from loong_channels.faults import (
    BadAnswer,
    BadCredentials,
    Fault,
    Overloaded,
    Refused,
    Throttled,
    Unreachable,
)

from .frames import UNREADABLE, Frame, tidy_message

__all__ = [
    "ALREADY_RESPONDED",
    "BAD_MEDIA_ID",
    "BAD_REQ_ID",
    "NOT_SUBSCRIBED",
    "TOO_FREQUENT",
    "TOO_LONG",
    "fault_of",
    "pushable",
    "subscribe_fault",
    "upload_fault",
]

BAD_REQ_ID = 846605
ALREADY_RESPONDED = 846606
TOO_FREQUENT = 846607
NOT_SUBSCRIBED = 846609
TOO_LONG = 45002
BAD_MEDIA_ID = 40007
_API_LIMIT = 45009
_BAD_CREDENTIALS = frozenset({853000, 40058})
_SYSTEM_ERRORS = frozenset({-1, *range(500, 600)})
# About what is said or to whom: pushing it instead of replying would be refused in the same way.
_ABOUT_CONTENT = frozenset({40201, 93006})
_API_PAUSE_S = 60.0
_SYSTEM_PAUSE_S = 5.0
_FIRST_PAUSE_S = 3.0


def fault_of(action: str, answer: Frame) -> Fault:
    """The fault that a refusal of a message stands for; `action` is what was asked, for people."""
    code = answer.code
    message = f"{action}: {code} {tidy_message(answer.errmsg)}"
    if code == NOT_SUBSCRIBED:
        # Nothing was done, and the connection looks alive for a minute; whoever reads it closes it.
        return Unreachable(message, maybe_processed=False)
    if code == UNREADABLE:
        return BadAnswer(f"{action}: the answer has no code that can be read")
    if code == TOO_FREQUENT:
        return Throttled(message, retry_after_s=_FIRST_PAUSE_S)
    if code == _API_LIMIT:
        return Throttled(message, retry_after_s=_API_PAUSE_S, whole_account=True)
    if code in _SYSTEM_ERRORS:
        return Overloaded(message, retry_after_s=_SYSTEM_PAUSE_S)
    return Refused(message, code=str(code))


def subscribe_fault(answer: Frame) -> Fault:
    """The fault that a refused subscription stands for."""
    code = answer.code
    message = f"subscribe: {code} {tidy_message(answer.errmsg)}"
    if code in _BAD_CREDENTIALS:
        return BadCredentials(f"the platform refused bot_id and secret ({message})")
    if code == _API_LIMIT:
        return Throttled(message, retry_after_s=_API_PAUSE_S, whole_account=True)
    if code in _SYSTEM_ERRORS:
        return Overloaded(message, retry_after_s=_SYSTEM_PAUSE_S)
    return BadAnswer(message)


def upload_fault(answer: Frame) -> Fault:
    """The fault that a refused step of an upload stands for: the limit on uploads is none on messages."""
    fault = fault_of("upload", answer)
    if isinstance(fault, Throttled):
        return Throttled(str(fault), retry_after_s=_API_PAUSE_S)
    return fault


def pushable(code: int) -> bool:
    """Whether a refused reply is worth one try as a message of its own; what should only wait is not."""
    waits = code in _SYSTEM_ERRORS or code in (UNREADABLE, NOT_SUBSCRIBED, TOO_FREQUENT, _API_LIMIT)
    return not waits and code not in _ABOUT_CONTENT
