"""`POST /v1/turn`: one question, one answer, as a whole or as it grows."""

from __future__ import annotations

import json
from collections.abc import Mapping

from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.ids import new_id
from loong_gateway.control import ControlPlane
from loong_gateway.control.runs import RunRequest, RunResult
from loong_gateway.messaging.sessions import session_key

from .answers import Answer, BodyStream, StreamedAnswer, error_answer, json_answer
from .fields import (
    LONGEST_ID,
    BadFields,
    bounded_number,
    json_object,
    optional_flag,
    optional_text,
    required_text,
)
from .openai.faults import ApiFault
from .openai.following import Following, Told, relay
from .openai.serving import EVENT_STREAM, AnyAnswer, Patience, data_line, followed, rest_of
from .router import Request, Route
from .wire import PeerGone

__all__ = ["turn_routes"]

LONGEST_TURN_S = 600.0
KEEPALIVE_S = Patience().keepalive_s
# Everything the provider did wrong is a bad gateway to our client, so that nobody takes it for their own credential.
STATUS = {
    "busy": 503,
    "interrupted": 503,
    "rate_limited": 429,
    "stopping": 503,
    "store_unwritable": 503,
    "timed_out": 504,
    "unknown_profile": 400,
}
UNUSED = ("channel_id", "account_id", "conversation_id", "participant_id", "thread_id")


def turn_routes(control: ControlPlane) -> list[Route]:
    """The route over `control.runs`. A run whose client has left is aborted."""

    def turn(request: Request) -> AnyAnswer:
        try:
            document = json_object(request.body)
            patience = Patience() if optional_flag(document, "stream") else None
            return followed(
                control, request, _asked(document), patience=patience, whole=_whole, stream=_stream
            )
        except BadFields as error:
            return error_answer(400, "invalid_request", str(error), shape="plain")
        except StoreUnwritable:
            message = "the gateway cannot write its store; nothing was taken, try again later"
            return error_answer(503, "store_unwritable", message, shape="plain")
        except ApiFault as fault:
            return error_answer(
                STATUS.get(fault.code, fault.status), fault.code, fault.message, shape="plain"
            )
        except PeerGone:
            # Nobody reads it; it only ends the connection.
            return Answer(503, close=True)

    return [Route("POST", "/v1/turn", turn, shape="plain")]


def _asked(document: Mapping[str, object]) -> RunRequest:
    timeout_ms = bounded_number(
        document, "timeout_ms", default=LONGEST_TURN_S * 1000, minimum=1000, maximum=LONGEST_TURN_S * 1000
    )
    for name in UNUSED:
        optional_text(document, name)
    profile, _, model = (optional_text(document, "model") or "").partition(":")
    return RunRequest(
        new_id("turn"),
        required_text(document, "input"),
        session=session_key(required_text(document, "session_id", longest=LONGEST_ID)),
        profile=profile or None,
        model=model or None,
        timeout_s=timeout_ms / 1000,
        origin="turn",
        wants_agent=optional_flag(document, "acp"),
    )


def _stream(following: Following, first: Told | None) -> StreamedAnswer:
    def body(out: BodyStream) -> None:
        said: list[str] = []
        try:
            for told in relay(following, first, out, keepalive_s=KEEPALIVE_S):
                if isinstance(told, RunResult):
                    rest = rest_of(told, "".join(said))
                    if rest:
                        out.write(data_line({"delta": rest}))
                    out.write(data_line(json.loads(_whole(told).body)))
                else:
                    said.append(told)
                    out.write(data_line({"delta": told}))
        except ApiFault as fault:
            out.write(data_line({"error": fault.message}))

    return StreamedAnswer(200, EVENT_STREAM, body, over=following.close)


def _whole(result: RunResult) -> Answer:
    if result.state != "ok":
        code, message = _failure(result)
        return error_answer(STATUS.get(code, 502), code, message, shape="plain")
    return json_answer(
        200,
        {
            "output_text": result.text,
            "state": "completed",
            "stop_reason": "completed",
            "usage": None if result.usage is None else result.usage.counts(),
            "event_count": 0,
        },
    )


def _failure(result: RunResult) -> tuple[str, str]:
    if result.state == "timed_out":
        return "timed_out", "the turn did not end in time"
    if result.state == "aborted":
        if result.stop_reason == "shutdown":
            return "stopping", "the gateway is stopping"
        return "interrupted", "the turn was stopped"
    return result.error_code, result.error
