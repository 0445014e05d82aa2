"""What the handlers of this API share: their services, their refusals, and the form of their streams."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Union

from loong_gateway.api.answers import Answer, StreamedAnswer
from loong_gateway.api.fields import BadFields, json_object
from loong_gateway.api.router import Request
from loong_gateway.api.wire import PeerGone
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.control import ControlPlane
from loong_gateway.control.runs import RunRequest, RunResult
from loong_gateway.providers.contract import Usage

from .faults import ApiFault
from .following import Following, Told

__all__ = [
    "DONE",
    "EVENT_STREAM",
    "AnyAnswer",
    "Patience",
    "checked",
    "data_line",
    "event_line",
    "followed",
    "rest_of",
    "usage_of",
]

EVENT_STREAM = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"

AnyAnswer = Union[Answer, StreamedAnswer]


@dataclass(frozen=True)
class Patience:
    """`first_s` is how long an answer's first piece is awaited before the stream begins, so that a provider that
    refuses at once is an error of its own status; `keepalive_s` how long a stream is silent at most.
    """

    first_s: float = 10.0
    keepalive_s: float = 15.0


def checked(
    handler: Callable[[Request, Mapping[str, object]], AnyAnswer],
) -> Callable[[Request], AnyAnswer]:
    """The handler over the body's members, with what it refuses turned into answers."""

    def run(request: Request) -> AnyAnswer:
        try:
            return handler(request, json_object(request.body))
        except ApiFault as fault:
            return fault.answer()
        except BadFields as error:
            param, colon, _ = str(error).partition(":")
            return ApiFault(400, "invalid_value", str(error), param if colon else None).answer()
        except StoreUnwritable:
            message = "the gateway cannot write its store; nothing was taken, try again later"
            return ApiFault(503, "store_unwritable", message, retry_after_s=5.0).answer()
        except PeerGone:
            # Nobody reads it; it only ends the connection.
            return Answer(503, close=True)

    return run


def followed(
    control: ControlPlane,
    request: Request,
    asked: RunRequest,
    *,
    patience: Patience | None,
    whole: Callable[[RunResult], Answer],
    stream: Callable[[Following, Told | None], StreamedAnswer],
) -> AnyAnswer:
    """The answer of a run: as a `stream` with `patience`, else as a `whole` once it has ended. Raises ApiFault."""
    following = Following(control.runs, request)
    try:
        following.start(asked, streams=patience is not None)
        if patience is None:
            return whole(following.result())
        first = following.first(patience.first_s)
        if isinstance(first, RunResult) and first.state != "ok":
            return whole(first)
        answer = stream(following, first)
    except BaseException:
        following.close()
        raise
    return answer


def data_line(document: Mapping[str, object]) -> bytes:
    """An event without a name."""
    return b"data: " + json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n\n"


def event_line(kind: str, document: Mapping[str, object]) -> bytes:
    """An event that is named by its type."""
    return f"event: {kind}\n".encode() + data_line({"type": kind, **document})


def rest_of(result: RunResult, said: str) -> str:
    """What of the answer was not streamed; a run may end with more than it told on the way."""
    return result.text[len(said) :] if result.text.startswith(said) else ""


def usage_of(usage: Usage | None, input_name: str, output_name: str) -> dict[str, int] | None:
    """Token counts under the names of this API; None when nothing was counted."""
    if usage is None:
        return None
    asked, said = usage.input or 0, usage.output or 0
    total = usage.total if usage.total is not None else asked + said
    return {input_name: asked, output_name: said, "total_tokens": total}
