"""What the port answers: every route of the gateway's own, in one list."""

from __future__ import annotations

from collections.abc import Mapping

from loong_gateway.config.snapshot import Config
from loong_gateway.control import ControlPlane

from .auth import Auth
from .events_stream import events_routes
from .hooks import hook_routes
from .metrics_page import metrics_routes
from .openai import openai_routes
from .operator_routes import operator_routes
from .restart_routes import restart_routes
from .router import Route
from .routes import control_routes
from .tools_routes import tools_routes
from .turn_route import turn_routes

__all__ = ["all_routes"]

# Which endpoint of settings.HTTP_ENDPOINTS a path belongs to.
ENDPOINT_OF = {
    "/v1/chat/completions": "chatCompletions",
    "/v1/embeddings": "embeddings",
    "/v1/models": "models",
    "/v1/responses": "responses",
    "/api/diagnostics/prometheus": "metrics",
    "/metrics": "metrics",
    "/tools/invoke": "toolsInvoke",
    "/v1/turn": "turn",
}


def all_routes(
    control: ControlPlane, config: Config, environ: Mapping[str, str], hooks: Auth | None
) -> list[Route]:
    """The routes over `control`; `config` says which of them are switched off.

    `environ` is where the accounts' secrets may be; `hooks` judges hook tokens, None where hooks are off.
    """
    routes = [
        *control_routes(control),
        *operator_routes(control, environ),
        *events_routes(control),
        *metrics_routes(control),
        *tools_routes(control),
        *openai_routes(control),
        *turn_routes(control),
        *restart_routes(control),
    ]
    if hooks is not None:
        routes += hook_routes(control, config.hooks, hooks)
    off = config.gateway.endpoints_off
    return [route for route in routes if ENDPOINT_OF.get(route.path) not in off]
