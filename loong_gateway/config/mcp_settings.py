"""[mcp.servers.NAME]: programs that offer tools over the Model Context Protocol on their standard streams."""

from __future__ import annotations

import re
from collections.abc import Mapping

from loong_channels.settings import Setting
from loong_gateway.config.agent_snapshot import McpServer
from loong_gateway.config.section import Section, number
from loong_gateway.config.tables import Table

__all__ = ["MCP_SECTIONS", "MCP_SERVER", "read_mcp"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
MCP_SECTIONS = (Section("mcp", (), tables=("servers",)),)
MCP_SERVER = Section(
    "mcp.servers",
    (
        Setting("enabled", "bool", True, "whether the server is used", reload="restart"),
        Setting("command", "text", None, "program to start, by name or path", reload="restart"),
        Setting("args", "texts", (), "its arguments", reload="restart"),
        Setting("cwd", "path", None, "its working directory; absent = that of the config", reload="restart"),
        Setting(
            "env",
            "env",
            {},
            "variables that are set for it: text, or references to secrets",
            reload="restart",
        ),
        Setting("pass_env", "texts", (), "variables of the gateway that it is given", reload="restart"),
        Setting("read_only", "texts", (), "its tools that change nothing and need no approval"),
        number("startup_timeout_ms", 15_000, 100, 600_000, "how long it may take to be ready", "restart"),
    ),
)


def read_mcp(root: Table) -> Mapping[str, McpServer]:
    """The servers by name; findings go where the table says."""
    table = root.child("mcp")
    table.read_all(MCP_SECTIONS[0])
    found: dict[str, McpServer] = {}
    folded: dict[str, str] = {}
    for name, server in table.children("servers").items():
        found[name] = read = McpServer(name, **server.read_all(MCP_SERVER))
        first = folded.setdefault(name.lower(), name)
        if not _NAME.fullmatch(name):
            _invalid(server, "is no name for a server", "write letters, digits, - and _, at most 32")
        elif first != name:
            _invalid(server, f"is the name of {first} in other letters", "choose another name")
        elif read.enabled and not read.command:
            _invalid(server, "has no command", 'write, for example: command = "my-server"')
    return found


def _invalid(server: Table, detail: str, fix: str) -> None:
    server.add("config.value.invalid", detail=detail, suggestion="", fix=fix)
