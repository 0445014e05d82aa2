"""Every method of the WebSocket side, in one list."""

from __future__ import annotations

from loong_gateway.control import ControlPlane

from . import methods_core
from .calls import Method
from .toolbox import Toolbox

__all__ = ["all_methods"]


def all_methods(control: ControlPlane, toolbox: Toolbox) -> list[Method]:
    """The methods over `control`; `toolbox` is what belongs to the connections."""
    return [
        *methods_core.methods(control, toolbox),
    ]
