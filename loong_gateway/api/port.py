"""What the port answers: every route of the gateway's own, in one list."""

from __future__ import annotations

from loong_gateway.config.snapshot import Config
from loong_gateway.control import ControlPlane

from .router import Route
from .routes import control_routes

__all__ = ["all_routes"]


def all_routes(control: ControlPlane, config: Config) -> list[Route]:
    """The routes over `control`; `config` says which of them are switched off."""
    return [*control_routes(control)]
