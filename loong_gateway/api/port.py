"""What the port answers: every route of the gateway's own, in one list."""

from __future__ import annotations

from loong_gateway.config.snapshot import Config
from loong_gateway.control import ControlPlane

from .restart_routes import restart_routes
from .router import Route
from .routes import control_routes

__all__ = ["all_routes"]

# Which endpoint of settings.HTTP_ENDPOINTS a path belongs to.
ENDPOINT_OF = {"/v1/turn": "turn"}


def all_routes(control: ControlPlane, config: Config) -> list[Route]:
    """The routes over `control`; `config` says which of them are switched off."""
    routes = [
        *control_routes(control),
        *restart_routes(control),
    ]
    off = config.gateway.endpoints_off
    return [route for route in routes if ENDPOINT_OF.get(route.path) not in off]
