"""Tools without a desk: a configuration, a context, and one call."""

from __future__ import annotations

import json
import tempfile
from types import SimpleNamespace

from loong_channels.egress import Egress
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.config.snapshot import Config
from loong_gateway.control.origin import Origin
from loong_gateway.tools.contract import Tool, ToolContext
from tests.gateway.config.reading import valid

BASE = '[provider]\nkind = "echo"\n'


def config_of(more: str = "") -> Config:
    return valid(BASE + more, {"TELEGRAM_BOT_TOKEN": "110201543:telegram-secret-value"})


def context(
    seconds: float = 5.0,
    *,
    entry: str = "chat",
    turn: str = "inbox:1",
    session: str | None = "agent:main:a",
    stop: StopToken | None = None,
    is_direct: bool = False,
) -> ToolContext:
    return ToolContext(Origin(entry, turn, session), Deadline(seconds), stop or StopToken(), is_direct)


def by_name(tools: list[Tool]) -> SimpleNamespace:
    """Tools as attributes, dots as underlines; each takes its arguments by keyword, defaults filled in."""
    return SimpleNamespace(**{tool.name.replace(".", "_"): Called(tool) for tool in tools})


class Called:
    """A tool, to be called with keywords."""

    def __init__(self, tool: Tool) -> None:
        self.tool = tool

    def __call__(self, where: ToolContext | None = None, /, **given: object) -> dict:
        defaults = {
            name: schema["default"] for name, schema in self.tool.arguments.items() if "default" in schema
        }
        result = self.tool.run({**defaults, **given}, where or context())
        json.dumps(result)
        return dict(result)


def quiet_egress(**settings: object) -> Egress:
    return Egress(environ={}, **settings)


def toml(value: object) -> str:
    return json.dumps(value)


def temporary() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="loong-tools-")
