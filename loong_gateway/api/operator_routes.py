"""What an operator's tools read: channels, the summary, and the parts that this build does not have."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Callable

from loong_gateway.control import ControlPlane
from loong_gateway.views.channels import channels_document
from loong_gateway.views.operator import NO_ACP, NO_NODES, gateway_summary

from .answers import Answer, error_answer, json_answer
from .fields import BadFields
from .query import query_number, query_of
from .router import Request, Route

__all__ = ["operator_routes"]

MOST_SESSIONS = 200
USUAL_SESSIONS = 50

Json = Mapping[str, object]


def operator_routes(control: ControlPlane, environ: Mapping[str, str]) -> list[Route]:
    """The routes over `control`. `environ` is where the accounts' secrets may be; no value of them gets out."""
    operator = _Operator(control, environ)
    both = (
        ("/api/gateway/channels", "/v1/channels", operator.channels),
        ("/api/gateway/runtime-snapshot", "/v1/runtime/snapshot", operator.runtime),
        ("/api/gateway/nodes", "/v1/nodes", operator.nodes),
    )
    return [
        *(Route("GET", path, _json(look)) for first, second, look in both for path in (first, second)),
        Route("GET", "/api/gateway/operator-summary", _json(operator.summary)),
        Route("GET", "/api/gateway/acp/status", _json(operator.acp)),
        Route("GET", "/api/gateway/acp/sessions", operator.acp_sessions),
        Route("GET", "/api/gateway/acp/observability", _no_acp),
        Route("POST", "/v1/acp/dispatch", _no_acp),
    ]


class _Operator:
    """Documents of the moment. Each blocks for a look into the store and for the accounts' secrets."""

    def __init__(self, control: ControlPlane, environ: Mapping[str, str]) -> None:
        self._control = control
        self._environ = environ

    def channels(self) -> Json:
        return channels_document(self._control.config(), self._environ, self._control.status())

    def summary(self) -> Json:
        status = dict(self._control.status())
        # What a reader of the files finds out for himself. Whoever answers here is not stale.
        token_path = status.get("token_path")
        status["runtime_dir"] = os.path.dirname(token_path) if isinstance(token_path, str) else None
        status["stale"] = False
        config = self._control.config()
        tools = [tool.name for tool in self._control.tools.visible()]
        return gateway_summary(config, status, channels_document(config, self._environ, status), tools)

    def runtime(self) -> Json:
        found = self.summary()["runtime"]
        return found if isinstance(found, dict) else {}

    def nodes(self) -> Json:
        return {"devices": [], "bridges": [], **NO_NODES}

    def acp(self) -> Json:
        return NO_ACP

    def acp_sessions(self, request: Request) -> Answer:
        try:
            given = query_of(request.head.query, ("limit",))
            query_number(given, "limit", minimum=1, maximum=MOST_SESSIONS, default=USUAL_SESSIONS)
        except BadFields as error:
            return error_answer(400, "invalid_request", str(error))
        return json_answer(200, {"config": self._control.config().path, "sqlite_path": None, "sessions": []})


def _json(look: Callable[[], Json]) -> Callable[[Request], Answer]:
    return lambda _request: json_answer(200, look())


def _no_acp(_request: Request) -> Answer:
    return error_answer(503, "acp_disabled", "agents of the agent client protocol are not in this build")
