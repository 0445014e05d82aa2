"""What an operator's tools read: channels, the summary, and the parts that this build does not have."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Callable

from loong_channels.contract import Address
from loong_gateway.acp.dispatch import decide
from loong_gateway.control import ControlPlane
from loong_gateway.views.acp import acp_summary, decision_document, observability_document, sessions_document
from loong_gateway.views.channels import channels_document
from loong_gateway.views.operator import NO_NODES, gateway_summary

from .answers import Answer, error_answer, json_answer
from .fields import BadFields, json_object, optional_text, required_text
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
        Route("GET", "/api/gateway/acp/observability", operator.acp_observability),
        Route("POST", "/v1/acp/dispatch", operator.acp_dispatch),
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
        _, persisted = self._control.agent_sessions(1)
        return acp_summary(self._control.config(), self._control.status(), persisted)

    def acp_observability(self, _request: Request) -> Answer:
        if not self._control.config().acp.enabled:
            return _NO_ACP
        return json_answer(200, observability_document(self._control.config(), self._control.status()))

    def acp_dispatch(self, request: Request) -> Answer:
        """What would become of a message: {channel_id, account_id, thread_id?, input}."""
        config = self._control.config()
        if not config.acp.enabled:
            return _NO_ACP
        try:
            body = json_object(request.body)
            address = Address(
                required_text(body, "channel_id"),
                required_text(body, "account_id"),
                "-",
                optional_text(body, "thread_id"),
            )
            decision = decide(config.acp, address, required_text(body, "input"))
        except BadFields as error:
            return error_answer(400, "invalid_request", str(error))
        return json_answer(200, decision_document(config, decision))

    def acp_sessions(self, request: Request) -> Answer:
        try:
            given = query_of(request.head.query, ("limit",))
            limit = query_number(given, "limit", minimum=1, maximum=MOST_SESSIONS, default=USUAL_SESSIONS)
        except BadFields as error:
            return error_answer(400, "invalid_request", str(error))
        sessions, _ = self._control.agent_sessions(limit or USUAL_SESSIONS)
        return json_answer(200, sessions_document(self._control.config(), None, sessions, live=True))


def _json(look: Callable[[], Json]) -> Callable[[Request], Answer]:
    return lambda _request: json_answer(200, look())


_NO_ACP = error_answer(503, "acp_disabled", "outside agents are switched off (acp.enabled)")
