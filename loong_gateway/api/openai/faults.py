"""Refusals in the form of the OpenAI API, and what the ends of runs mean there."""

from __future__ import annotations

import math
from collections.abc import Mapping

from loong_gateway.api.answers import Answer, error_answer, openai_error
from loong_gateway.control.runs import RunRefused, RunResult

__all__ = ["ApiFault", "provider_fault", "refused_fault", "result_fault"]

# What the provider did wrong is a bad gateway to our client, so that nobody takes it for their own credential.
_STATUS = {
    "busy": 503,
    "internal": 500,
    "interrupted": 503,
    "not_supported": 501,
    "payload_incompatible": 400,
    "provider_missing": 503,
    "provider_overloaded": 503,
    "rate_limited": 429,
    "request_rejected": 400,
    "secret_missing": 503,
    "stopping": 503,
    "store_unwritable": 503,
    "timed_out": 504,
}
# Another try would end the same way; the clients ask this field before they try.
_FINAL = ("auth_rejected", "internal", "not_supported", "provider_missing", "secret_missing")
_RETRY_S = {"busy": 1.0, "stopping": 5.0, "store_unwritable": 5.0}


class ApiFault(Exception):
    """Raised for a request that gets an error. `param` is the member it is about, None for none.

    `is_final` tells clients that another try would end the same way.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        *,
        retry_after_s: float | None = None,
        is_final: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.is_final = is_final

    def answer(self) -> Answer:
        """The error as a whole answer."""
        plain = error_answer(
            self.status, self.code, self.message, shape="openai", details={"param": self.param}
        )
        headers = []
        if self.retry_after_s is not None:
            headers.append(("Retry-After", str(max(1, math.ceil(self.retry_after_s)))))
        if self.is_final:
            headers.append(("X-Should-Retry", "false"))
        return Answer(plain.status, plain.body, headers=tuple(headers))

    def member(self) -> Mapping[str, object]:
        """The error as it stands inside of other documents."""
        return openai_error(self.status, self.code, self.message, param=self.param)


def provider_fault(
    kind: str, message: str, *, is_model_named: bool = False, retry_after_s: float | None = None
) -> ApiFault:
    """A provider's fault class, or a run's own error code, and its words. `is_model_named`: see `result_fault`."""
    if kind == "model_mismatch" and is_model_named:
        return ApiFault(404, "model_not_found", message, "model")
    return ApiFault(
        _STATUS.get(kind, 502),
        kind,
        message,
        retry_after_s=retry_after_s if retry_after_s is not None else _RETRY_S.get(kind),
        is_final=kind in _FINAL,
    )


def result_fault(result: RunResult, *, is_model_named: bool) -> ApiFault | None:
    """Why a run gave no answer, None when it did. `is_model_named` says that the client chose the model itself."""
    if result.state == "ok":
        return None
    if result.state == "aborted":
        if result.stop_reason == "shutdown":
            return ApiFault(503, "stopping", "the gateway is stopping", retry_after_s=5.0)
        return ApiFault(500, "aborted", "the run was aborted", is_final=True)
    if result.state == "timed_out":
        return ApiFault(504, "timed_out", result.error or "the answer did not come in time")
    return provider_fault(
        result.error_code or "internal",
        result.error or "internal error",
        is_model_named=is_model_named,
        retry_after_s=result.retry_after_s,
    )


def refused_fault(refused: RunRefused) -> ApiFault:
    """Why a run was not admitted."""
    if refused.code == "unknown_profile":
        return ApiFault(404, "model_not_found", str(refused), "model")
    return ApiFault(503, refused.code, str(refused), retry_after_s=_RETRY_S.get(refused.code, 1.0))
