"""The routes of the first floor: probes without credential, control and turns with one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Callable

from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.control import MOST_FILES, ChannelRequest, ControlPlane, SendFile, SendRequest

from .answers import Answer, error_answer, json_answer
from .fields import (
    LONGEST_ID,
    LONGEST_TEXT,
    BadFields,
    bounded_number,
    json_object,
    object_list,
    optional_flag,
    optional_object,
    optional_text,
    required_text,
)
from .router import Request, Route

__all__ = ["control_routes"]

LONGEST_WAIT_S = 120.0
MOST_OPTIONS = 32
LONGEST_PROBE_S = 30.0
CHANNEL_ACTIONS = ("start", "stop", "restart")
STOP_MESSAGES = {
    "requested": "gateway stop requested",
    "already_requested": "gateway stop already requested",
}
_Handler = Callable[[Request], Answer]


def control_routes(control: ControlPlane) -> list[Route]:
    """The routes over `control`. The probes touch nothing but memory."""
    probes = _Probes(control)
    verbs = _Verbs(control)
    return [
        *(Route("GET", path, probes.live, access="open", probe=True) for path in ("/health", "/healthz")),
        *(Route("GET", path, probes.ready, access="optional", probe=True) for path in ("/ready", "/readyz")),
        *(
            Route("GET", path, probes.started, access="optional", probe=True)
            for path in ("/startup", "/startupz")
        ),
        Route("GET", "/api/gateway/status", verbs.status),
        Route("GET", "/v1/status", verbs.status),
        Route("POST", "/api/gateway/stop", _checked(verbs.stop, shape="control")),
        Route("POST", "/api/gateway/resume", _checked(verbs.resume, shape="control")),
        Route("POST", "/api/gateway/channel", _checked(verbs.channel, shape="control")),
        Route("POST", "/api/gateway/probe", _checked(verbs.probe, shape="control")),
        Route("POST", "/api/gateway/secrets/reload", _checked(verbs.reload_secrets, shape="control")),
        Route("POST", "/api/gateway/send", _checked(verbs.send, shape="control")),
    ]


class _Probes:
    """Answers for load balancers and supervisors: alive, ready, started."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
        self._live = json_answer(200, {"ok": True, "status": "live"})

    def live(self, _request: Request) -> Answer:
        return self._live

    def ready(self, request: Request) -> Answer:
        failing = self._control.ready()
        status = 503 if failing else 200
        if not request.authenticated:
            return json_answer(status, {"ready": not failing})
        return json_answer(status, {"ready": not failing, "failing": list(failing), **self._uptime()})

    def started(self, request: Request) -> Answer:
        stopping = "stopping" in self._control.ready()
        started = self._control.started() and not stopping
        document: dict[str, object] = {
            "ok": started,
            "status": "draining" if stopping else "started" if started else "starting",
        }
        if request.authenticated:
            document.update(self._uptime(), version=self._control.status().get("version"))
        return json_answer(200 if started else 503, document)

    def _uptime(self) -> dict[str, object]:
        return {"uptimeMs": self._control.status().get("uptime_ms")}


class _Verbs:
    """What an operator's tools ask of the gateway."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control

    def status(self, _request: Request) -> Answer:
        return json_answer(200, self._control.status())

    def stop(self, request: Request) -> Answer:
        json_object(request.body)
        outcome = self._control.request_stop("gateway stop requested")
        return json_answer(200, {"outcome": outcome, "message": STOP_MESSAGES.get(outcome, outcome)})

    def resume(self, request: Request) -> Answer:
        json_object(request.body)
        return json_answer(200, {"outcome": "resumed" if self._control.resume() else "already_running"})

    def channel(self, request: Request) -> Answer:
        document = json_object(request.body)
        action = required_text(document, "action", longest=LONGEST_ID)
        if action not in CHANNEL_ACTIONS:
            raise BadFields(f"action must be one of {', '.join(CHANNEL_ACTIONS)}")
        outcome = self._control.channel(
            ChannelRequest(
                action,
                channel=required_text(document, "channel", longest=LONGEST_ID),
                account=optional_text(document, "account"),
                wait_s=bounded_number(document, "wait_s", default=20.0, minimum=0.0, maximum=LONGEST_WAIT_S),
            )
        )
        return json_answer(200, vars(outcome))

    def probe(self, request: Request) -> Answer:
        document = json_object(request.body)
        outcome = self._control.probe_channel(
            required_text(document, "channel", longest=LONGEST_ID),
            required_text(document, "account", longest=LONGEST_ID),
            timeout_s=bounded_number(
                document, "timeout_s", default=5.0, minimum=0.1, maximum=LONGEST_PROBE_S
            ),
        )
        return json_answer(200, vars(outcome))

    def reload_secrets(self, request: Request) -> Answer:
        json_object(request.body)
        return json_answer(200, {"accounts": [vars(outcome) for outcome in self._control.reload_secrets()]})

    def send(self, request: Request) -> Answer:
        document = json_object(request.body)
        outcome = self._control.send(
            SendRequest(
                channel=required_text(document, "channel", longest=LONGEST_ID),
                account=optional_text(document, "account"),
                target=required_text(document, "target", longest=LONGEST_ID),
                target_kind=optional_text(document, "target_kind") or "",
                text=optional_text(document, "text", longest=LONGEST_TEXT) or "",
                wait_s=bounded_number(document, "wait_s", default=30.0, minimum=0.0, maximum=LONGEST_WAIT_S),
                idempotency_key=optional_text(document, "idempotency_key"),
                options=_options(document),
                files=tuple(_file(one) for one in object_list(document, "files", most=MOST_FILES)),
            )
        )
        return json_answer(
            200,
            {
                "id": outcome.id,
                "state": outcome.state,
                "account": outcome.account,
                "message_ids": list(outcome.message_ids),
                "error": outcome.error,
            },
        )


def _options(document: Mapping[str, object]) -> Mapping[str, object]:
    options = optional_object(document, "options", most=MOST_OPTIONS)
    # Before there were options, this one was a member of the body.
    return {**options, "card": True} if optional_flag(document, "card") else options


def _file(member: Mapping[str, object]) -> SendFile:
    return SendFile(
        copy=required_text(member, "copy", longest=LONGEST_ID),
        name=required_text(member, "name", longest=LONGEST_ID),
        kind=optional_text(member, "kind") or "file",
    )


def _checked(handler: _Handler, *, shape: str) -> _Handler:
    """The handler with the refusals of the gateway turned into answers of the route's shape."""

    def run(request: Request) -> Answer:
        try:
            return handler(request)
        except BadFields as error:
            return error_answer(400, "invalid_request", str(error), shape=shape)
        except CommandError as error:
            details = {"where": error.where, "fix": error.fix, "exit_code": error.exit_code}
            return error_answer(400, error.code, error.message, shape=shape, details=details)
        except StoreUnwritable:
            message = "the gateway cannot write its store; nothing was taken, try again later"
            answer = error_answer(503, "store_unwritable", message, shape=shape)
            return Answer(503, answer.body, headers=(("Retry-After", "5"),))

    return run
