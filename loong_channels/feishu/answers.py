"""What an answer of the open platform means: its object, or the fault that it stands for. Pure.

Every answer is {"code": int, "msg": str, ...}, and only code 0 is success. The HTTP status proves nothing: a refusal
may come with 200, a rate limit with 400 or 429. Codes: https://open.feishu.cn/document/server-docs/api-call-guide/
generic-error-code and, for messages, .../server-docs/im-v1/message/create.
"""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import re
from collections.abc import Iterable, Mapping
from typing import Any

from loong_channels.decoding import load_json
from loong_channels.faults import (
    BadAnswer,
    BadCredentials,
    Fault,
    Overloaded,
    Refused,
    Throttled,
    Unreachable,
)
from loong_channels.net import HttpAnswer
from loong_channels.text import one_line

__all__ = ["TokenRefused", "envelope", "interpret", "tidy"]

_TOKEN_CODES = frozenset({99991663, 99991664, 99991665, 99991666, 99991668, 99991671})
# The app's id or secret is wrong, or the app is switched off: nothing but a person can change that.
_CREDENTIAL_CODES = frozenset({10003, 10014, 99991543, 99991662, 99991673})
_APP_RATE = 99991400
_CHAT_RATE = 230020
# 2200 and 1771001-5: the platform itself fails. 11232, 11233, 11247: it is pushing too much, mostly on the hour.
_OVERLOAD_CODES = frozenset({2200, 11232, 11233, 11247, *range(1771001, 1771006)})
_BEING_SENT = 230049
# Their texts quote what was to be sent.
_OWN_WORDS = {
    230022: "the message holds words that the platform refuses",
    230028: "the message was refused by data loss prevention",
    230099: "the card was refused",
}

_SECRET_SHAPE = re.compile(r"(?<![A-Za-z0-9])[atu]-[A-Za-z0-9_.\-]{10,}")
_SUB_CODE = re.compile(r"ErrCode: *(\d{1,12})")
_LOG_ID = re.compile(r"[A-Za-z0-9_\-]{1,80}")
# From here on a text may quote what was sent.
_QUOTE = re.compile(r"[{\"'`“]")
_MAX_WORDS = 200
_MAX_VIOLATIONS = 3
_CHAT_RETRY_S = 1.0
_APP_RETRY_S = 5.0
_MAX_RETRY_S = 60.0


class TokenRefused(BadCredentials):
    """Raised when the tenant token is not accepted; a new one may be."""


def envelope(answer: HttpAnswer) -> Mapping[str, Any] | None:
    """The object of an answer, None when it is not one that the platform writes."""
    try:
        body = load_json(answer.body)
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    code = body.get("code")
    return body if isinstance(code, int) and not isinstance(code, bool) else None


def interpret(what: str, answer: HttpAnswer, hide: Iterable[str] = ()) -> Mapping[str, Any]:
    """The object of a successful answer. Raises the fault that any other one stands for.

    `what` names the call in messages; the values of `hide` never appear in one.
    """
    body = envelope(answer)
    if body is None:
        raise _foreign(what, answer)
    if body["code"] == 0:
        return body
    raise _fault(what, answer, body, hide)


def tidy(text: object, hide: Iterable[str] = ()) -> str:
    """The platform's words on one line, without what might quote a message and without secrets."""
    words = str(text) if isinstance(text, str) else ""
    words = _QUOTE.split(words, maxsplit=1)[0]
    for value in hide:
        if value:
            words = words.replace(value, "***")
    return one_line(_SECRET_SHAPE.sub("***", words), _MAX_WORDS)


def _foreign(what: str, answer: HttpAnswer) -> Fault:
    """The fault for an answer that the platform itself did not write, such as a proxy's page."""
    status = answer.status
    if status == 429:
        wait_s = _retry_after(answer, _APP_RETRY_S)
        return Throttled(
            f"{what}: 429 without an answer of the platform", retry_after_s=wait_s, whole_account=True
        )
    if status >= 500:
        # Something in front of the platform gave up waiting; the request may have got through.
        return Unreachable(f"{what}: {status} without an answer of the platform", maybe_processed=True)
    return BadAnswer(f"{what}: the answer ({status}) is not one of the platform{_log_id(answer, {})}")


def _fault(what: str, answer: HttpAnswer, body: Mapping[str, Any], hide: Iterable[str]) -> Fault:
    code: int = body["code"]
    message = _message(what, answer, body, hide)
    if code in _TOKEN_CODES:
        return TokenRefused(message)
    if code in _CREDENTIAL_CODES:
        return BadCredentials(message)
    if code in (_CHAT_RATE, _APP_RATE) or answer.status == 429:
        of_chat = code == _CHAT_RATE
        wait_s = _retry_after(answer, _CHAT_RETRY_S if of_chat else _APP_RETRY_S)
        return Throttled(message, retry_after_s=wait_s, whole_account=not of_chat)
    if code == _BEING_SENT:
        return Unreachable(message, maybe_processed=True)
    if code in _OVERLOAD_CODES or answer.status >= 500:
        return Overloaded(message, retry_after_s=_retry_hint(answer))
    return Refused(message, code=str(code))


def _message(what: str, answer: HttpAnswer, body: Mapping[str, Any], hide: Iterable[str]) -> str:
    code = body["code"]
    said = body.get("msg")
    words = _OWN_WORDS.get(code) or tidy(said, hide) or "no reason given"
    sub_code = _SUB_CODE.search(said) if isinstance(said, str) else None
    if sub_code is not None:
        words += f", code {sub_code.group(1)}"
    details = body.get("error")
    details = details if isinstance(details, dict) else {}
    return f"{what}: {code} {words}{_violations(details, hide)}{_log_id(answer, details)}"


def _violations(details: Mapping[str, Any], hide: Iterable[str]) -> str:
    """The fields that the platform complains of, without their values."""
    found = details.get("field_violations")
    rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    shown = [f"{tidy(row.get('field'), hide)}: {tidy(row.get('description'), hide)}" for row in rows]
    return f" [{'; '.join(shown[:_MAX_VIOLATIONS])}]" if shown else ""


def _log_id(answer: HttpAnswer, details: Mapping[str, Any]) -> str:
    """What the vendor's support asks for."""
    value = answer.headers.get("x-tt-logid") or details.get("log_id")
    known = isinstance(value, str) and _LOG_ID.fullmatch(value)
    return f" (log id {value})" if known else ""


def _retry_after(answer: HttpAnswer, default_s: float) -> float:
    hint = _retry_hint(answer)
    return default_s if hint is None else hint


def _retry_hint(answer: HttpAnswer) -> float | None:
    """How long to wait, 1 to 60 s: the platform's own header first, then the general one, a number or a date."""
    for name in ("x-ogw-ratelimit-reset", "retry-after"):
        seconds = _seconds(answer.headers.get(name, "").strip())
        if seconds is not None:
            return min(max(seconds, 1.0), _MAX_RETRY_S)
    return None


def _seconds(text: str) -> float | None:
    if len(text) < 20 and text.isascii() and text.replace(".", "", 1).isdecimal():
        return float(text)
    with contextlib.suppress(TypeError, ValueError):
        # Neither a number nor a date, or a date without a zone: no hint.
        moment = email.utils.parsedate_to_datetime(text)
        return (moment - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    return None
