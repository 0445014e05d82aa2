"""All tools that this build has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from loong_channels.egress import Egress
from loong_gateway.control import ControlPlane
from loong_gateway.tools.contract import Tool
from loong_gateway.tools.files import file_tools
from loong_gateway.tools.looks import built_in_tools
from loong_gateway.tools.messages import message_tools
from loong_gateway.tools.shell import shell_tools
from loong_gateway.tools.web import web_tools

__all__ = ["all_tools"]


def all_tools(
    control: ControlPlane, now_ms: Callable[[], int], egress: Egress, own_paths: Sequence[str]
) -> list[Tool]:
    """Those that look and those that act. `own_paths` are the directories and files of the gateway itself."""
    return [
        *built_in_tools(control, now_ms),
        *web_tools(control.config, egress),
        *file_tools(control.config, own_paths),
        *shell_tools(control.config),
        *message_tools(control),
    ]
