"""Every method of the WebSocket side, in one list."""

from __future__ import annotations

from loong_gateway.control import ControlPlane

from . import (
    methods_approvals,
    methods_channels,
    methods_config,
    methods_core,
    methods_gateway,
    methods_logs,
    methods_models,
    methods_runs,
    methods_sessions,
    methods_tools,
    methods_work_units,
)
from .calls import Method
from .toolbox import Toolbox

__all__ = ["all_methods"]


def all_methods(control: ControlPlane, toolbox: Toolbox) -> list[Method]:
    """The methods over `control`; `toolbox` is what belongs to the connections."""

    return [
        *methods_approvals.methods(control),
        *methods_core.methods(control, toolbox),
        *methods_channels.methods(control, toolbox.prober.ask, toolbox.wall_ms),
        *methods_config.methods(control),
        *methods_gateway.methods(control, announce=toolbox.announce),
        *methods_logs.methods(control, toolbox.scrub),
        *methods_models.methods(control),
        *methods_runs.methods(control),
        *methods_sessions.methods(control),
        *methods_tools.methods(control),
        *methods_work_units.methods(control),
    ]
