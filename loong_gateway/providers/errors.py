"""What a provider's refusals mean: which are worth another try, which another model, and how to say them.

The code in the body counts before the status: 403 is not always the key, and 429 is not always worth waiting for.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

from loong_channels.faults import BadAnswer, Fault, Interrupted, TimedOut, Unreachable
from loong_channels.net import CertificateRefused, EgressInvalid
from loong_gateway.base.wording import one_line
from loong_gateway.providers.contract import ProviderFault

__all__ = [
    "AttemptFailed",
    "ErrorBody",
    "Failure",
    "Subject",
    "classify_answer",
    "classify_fault",
    "clean",
    "provider_fault",
    "read_error",
    "retry_after_s",
    "shape_failure",
]

DETAIL_CHARS = 300
HIDE_MIN_CHARS = 6
LONGEST_WAIT_S = 86_400.0

_MODEL_WORDS = (
    "only supports",
    "only available",
    "this endpoint",
    "/v1/responses",
    "model does not exist",
    "model identifier",
)
_NEXT_KEY = ("auth_rejected", "rate_limited", "provider_overloaded")
_CONTEXT_WORDS = ("maximum context length", "context length exceeded", "context window")
_OPTIONAL = (
    "temperature",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "reasoning_effort",
    "reasoning",
    "thinking",
    "stop",
    "top_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "parallel_tool_calls",
    "stream_options",
    "store",
    "stream",
    "tools",
)
_UNWANTED = re.compile(
    r"unsupported|not (?:be )?support|unknown|unrecogni[sz]ed|unexpected|not permitted|not allowed|extra "
    r"|invalid|does ?n.t support|deprecated|only the default"
)
# A server may quote the beginning of a picture that it did not like.
_PICTURE = re.compile(r"data:image/[\w.+-]+;base64,[\w+/=]*")
_REQUEST_IDS = ("x-request-id", "request-id", "x-amzn-requestid")
_REQUEST_ID = re.compile(r"[Rr]equest id:\s*([\w.-]{4,80})")


@dataclass(frozen=True)
class Failure:
    """Why one attempt gave nothing. `kind` is that of ProviderFault, `text` the row of the texts table.

    `retry` is "no", "once" or "yes" and concerns the same model; `next_model` says whether another one may help.
    `parameter` is an optional part of the request that the provider named. `detail` is clean.
    """

    kind: str
    text: str
    detail: str = ""
    status: int = 0
    provider_code: str = ""
    request_id: str = ""
    parameter: str = ""
    retry: str = "no"
    next_model: bool = False
    retry_after_s: float | None = None

    @property
    def next_key(self) -> bool:
        """Whether another key of the same profile may help; never once something was shown to the reader."""
        return self.kind in _NEXT_KEY and self.text != "provider.broken_stream"


@dataclass(frozen=True)
class _Verdict:
    kind: str
    text: str
    retry: str = "no"
    next_model: bool = False


_KEY_REFUSED = _Verdict("auth_rejected", "provider.auth_rejected")
_ACCOUNT_REFUSED = _Verdict("auth_rejected", "provider.account")
_OUT_OF_QUOTA = _Verdict("rate_limited", "provider.quota")
_SLOW_DOWN = _Verdict("rate_limited", "provider.rate_limited", "yes", next_model=True)
_FAILING = _Verdict("provider_overloaded", "provider.overloaded", "yes", next_model=True)
_FILTERED = _Verdict("request_rejected", "provider.content_filter")
_TOO_LONG = _Verdict("request_rejected", "provider.context_length")
_NO_SUCH_MODEL = _Verdict("model_mismatch", "provider.model_mismatch", next_model=True)
_NO_SUCH_ADDRESS = _Verdict("request_rejected", "provider.wrong_address")
_REDIRECTED = _Verdict("request_rejected", "provider.redirected")
_PARAMETER_REFUSED = _Verdict("payload_incompatible", "provider.payload_incompatible", next_model=True)
_REFUSED = _Verdict("request_rejected", "provider.request_rejected")

# Beginnings of codes, in lower case.
_BY_CODE: tuple[tuple[tuple[str, ...], _Verdict], ...] = (
    (("authenticationerror", "invalidapikey", "invalid_api_key", "authentication_error"), _KEY_REFUSED),
    (("accountoverdueerror", "operationdenied.serviceoverdue", "invalidaccountstatus"), _ACCOUNT_REFUSED),
    (("invalidsubscription", "accessdenied", "billing_error"), _ACCOUNT_REFUSED),
    (("insufficient_quota", "quotaexceeded", "setlimitexceeded"), _OUT_OF_QUOTA),
    (("serveroverloaded", "inflightbatchsizeexceeded", "requestbursttoofast"), _SLOW_DOWN),
    (("inputtextsensitivecontent", "outputtextsensitivecontent", "content_filter"), _FILTERED),
    (("content_policy_violation",), _FILTERED),
    (("context_length_exceeded", "outofcontexterror"), _TOO_LONG),
    (("model_not_found", "unsupported_model", "invalid_model"), _NO_SUCH_MODEL),
    (("invalidendpointormodel", "invalidendpoint.notfound", "modelnotopen"), _NO_SUCH_MODEL),
    (("operationdenied.servicenotopen", "unsupportedmodel"), _NO_SUCH_MODEL),
)
_BY_STATUS = {
    401: _KEY_REFUSED,
    402: _OUT_OF_QUOTA,
    403: _KEY_REFUSED,
    404: _NO_SUCH_ADDRESS,
    405: _NO_SUCH_ADDRESS,
    408: _FAILING,
    409: _FAILING,
    410: _NO_SUCH_ADDRESS,
    413: _TOO_LONG,
    425: _FAILING,
    429: _SLOW_DOWN,
}


class AttemptFailed(Exception):
    """Raised inside the providers when one attempt failed. `again` asks for an immediate, changed attempt.

    `tries` and `model` are filled in by whoever counts them.
    """

    def __init__(self, failure: Failure, *, again: bool = False) -> None:
        super().__init__(failure.kind)
        self.failure = failure
        self.again = again
        self.tries = 1
        self.model = ""


@dataclass(frozen=True)
class Subject:
    """What an error text is about: names and places, no secrets. `source` says where the key came from,
    `elsewhere` is the root of the same service in another region."""

    profile: str
    where: str
    setting: str
    source: str
    url: str
    elsewhere: str = ""


@dataclass(frozen=True)
class ErrorBody:
    """What could be read from an error answer. `is_json` is False for pages and plain text."""

    message: str = ""
    code: str = ""
    parameter: str = ""
    is_json: bool = False


def provider_fault(failed: AttemptFailed, subject: Subject) -> ProviderFault:
    """The error for the caller of a provider."""
    failure = failed.failure
    hint = "" if failure.retry_after_s is None else f", for {max(1, round(failure.retry_after_s))} s"
    return ProviderFault.of(
        failure.text,
        failure.kind,
        retry_after_s=failure.retry_after_s,
        profile=subject.profile,
        where=subject.where,
        setting=subject.setting,
        source=subject.source,
        url=subject.url,
        model=failed.model,
        status=_status_words(failure),
        detail=failure.detail or "no reason given",
        hint=hint,
        tries=f" after {failed.tries} tries" if failed.tries > 1 else "",
        region=f'; a key of the other region needs base_url = "{subject.elsewhere}"'
        if subject.elsewhere
        else "",
    )


def _status_words(failure: Failure) -> str:
    words = [f"HTTP {failure.status}"] if failure.status else []
    words += [part for part in (failure.provider_code,) if part]
    words += [f"request id {failure.request_id}"] if failure.request_id else []
    return ", ".join(words) or "no status"


def classify_fault(fault: Fault) -> Failure:
    """What a fault of the network means for the attempt."""
    detail = str(fault)
    if isinstance(fault, Interrupted):
        return Failure("interrupted", "provider.interrupted", detail)
    if isinstance(fault, TimedOut):
        return Failure("timed_out", "provider.timed_out", detail, retry="once", next_model=True)
    if isinstance(fault, BadAnswer):
        return shape_failure(detail, decode=True)
    if isinstance(fault, Unreachable) and not isinstance(fault, (CertificateRefused, EgressInvalid)):
        # Calls are billed: one that may have been processed is repeated once only.
        retry = "once" if fault.maybe_processed else "yes"
        return Failure("transport_failure", "provider.transport", detail, retry=retry, next_model=True)
    text = "provider.certificate" if isinstance(fault, CertificateRefused) else "provider.transport"
    return Failure("transport_failure", text, detail)


def shape_failure(detail: str, *, decode: bool = False) -> Failure:
    """An answer that is not what the protocol says: not decodable, or without the parts that must be there."""
    if decode:
        return Failure("response_decode_failure", "provider.not_json", detail, retry="once", next_model=True)
    return Failure("response_shape_invalid", "provider.shape", detail, retry="once", next_model=True)


def classify_answer(
    status: int, headers: Mapping[str, str], body: bytes, *, hide: Iterable[str] = ()
) -> Failure:
    """What an error answer means; `hide` are texts that must not show up in the detail (key, messages)."""
    error = read_error(body)
    request_id = next((headers[name] for name in _REQUEST_IDS if headers.get(name)), "")
    if not error.code:
        # Amazon's services say it beside the body.
        error = replace(error, code=headers.get("x-amzn-errortype", "").partition(":")[0])
    tail = _REQUEST_ID.search(error.message)
    if not request_id and tail:
        request_id = tail.group(1)
    verdict = _verdict(status, error)
    retry = verdict.retry
    hint = retry_after_s(headers) if retry != "no" else None
    advice = headers.get("x-should-retry", "").strip().lower()
    if advice == "false":
        retry = "no"
    elif advice == "true" and retry == "no" and verdict.kind not in ("auth_rejected", "model_mismatch"):
        retry = "yes"
    return Failure(
        verdict.kind,
        verdict.text,
        detail=clean(error.message, hide),
        status=status,
        provider_code=clean(error.code, hide)[:64],
        request_id=clean(request_id, hide)[:80],
        parameter=_named_parameter(error) if status in (400, 422) else "",
        retry=retry,
        next_model=verdict.next_model,
        retry_after_s=hint,
    )


def _verdict(status: int, error: ErrorBody) -> _Verdict:
    code = error.code.lower()
    for beginnings, verdict in _BY_CODE:
        if code.startswith(beginnings):
            return verdict
    by_words = _verdict_by_words(status, error)
    if by_words is not None:
        return by_words
    if status >= 500:
        return _FAILING
    return _BY_STATUS.get(status, _REDIRECTED if 300 <= status < 400 else _REFUSED)


def _verdict_by_words(status: int, error: ErrorBody) -> _Verdict | None:
    message = error.message.lower()
    if status in (400, 413, 422) and any(words in message for words in _CONTEXT_WORDS):
        return _TOO_LONG
    if status in (400, 404, 410, 422) and any(words in message for words in _MODEL_WORDS):
        return _NO_SUCH_MODEL
    if status in (404, 410) and error.is_json and "model" in message:
        return _NO_SUCH_MODEL
    if status in (400, 422) and error.parameter == "model":
        return _NO_SUCH_MODEL
    return _PARAMETER_REFUSED if status in (400, 422) and _named_parameter(error) else None


def _named_parameter(error: ErrorBody) -> str:
    """The optional parameter that an error is about, "" when it is about something else."""
    message = error.message.lower()
    said_by_code = error.code.lower() in ("unsupported_parameter", "unsupported_value", "unknown_parameter")
    if not said_by_code and not _UNWANTED.search(message):
        return ""
    if error.parameter in _OPTIONAL:
        return error.parameter
    found = []
    for name in _OPTIONAL:
        place = re.search(rf"(?<![\w-]){name}(?![\w-])", message)
        if place:
            found.append((place.start(), name))
    return min(found)[1] if found else ""


def read_error(body: bytes) -> ErrorBody:
    """The message, code and parameter of an error body in any of the shapes that servers use."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        text = body[:2000].decode("utf-8", "replace").strip()
        return ErrorBody("" if text.startswith("<") else text)
    if not isinstance(document, dict):
        return ErrorBody(is_json=True)
    error = document.get("error", document)
    if isinstance(error, str):
        return ErrorBody(error, is_json=True)
    if not isinstance(error, dict):
        error = document
    code = error.get("code")
    if not isinstance(code, str) or not code:
        code = error.get("type")
    parameter = error.get("param")
    return ErrorBody(
        _first_text(
            error.get("message"), error.get("detail"), document.get("message"), document.get("detail")
        ),
        code if isinstance(code, str) else "",
        parameter if isinstance(parameter, str) else "",
        is_json=True,
    )


def _first_text(*candidates: object) -> str:
    for candidate in candidates:
        if isinstance(candidate, str) and candidate.strip():
            return candidate
        if isinstance(candidate, list):
            # A validation list; its members also quote the input, which must not be shown.
            words = [part.get("msg") for part in candidate if isinstance(part, dict)]
            found = [word for word in words if isinstance(word, str)]
            if found:
                return "; ".join(found)
    return ""


def clean(text: str, hide: Iterable[str] = ()) -> str:
    """One line of at most 300 characters without control characters and without the texts to hide."""
    for secret in hide:
        if len(secret) >= HIDE_MIN_CHARS:
            text = text.replace(secret, "[hidden]")
    text = _PICTURE.sub("[hidden]", text)
    return one_line(text[: DETAIL_CHARS * 8], DETAIL_CHARS)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the answer asks to wait: `retry-after-ms`, or `Retry-After` as seconds or date; None without.

    More than a day is nobody's plan, and a client that believes it would be gone for good: it counts as a day.
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if re.fullmatch(r"-?\d{1,9}(\.\d+)?", value):
            return min(max(0.0, float(value) * scale), LONGEST_WAIT_S)
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return min(max(0.0, moment - time.time()), LONGEST_WAIT_S)
