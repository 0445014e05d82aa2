"""Which tools may be called, as the configuration says it, and the names by which a model knows them. Pure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Iterable

from loong_gateway.config.snapshot import Config
from loong_gateway.tools.contract import Tool

__all__ = ["HARD_DENIED", "needs_approval", "port_may_call", "turns_may_call", "wire_names"]

# Whatever is behind these names acts on the host, on others' sessions or on the gateway itself: never by the port.
HARD_DENIED = frozenset(
    {
        "apply_patch",
        "cron",
        "exec",
        "fs_delete",
        "fs_move",
        "fs_write",
        "gateway",
        "nodes",
        "sessions_send",
        "sessions_spawn",
        "shell",
        "spawn",
    }
)
# What the services take as the name of a function: https://platform.openai.com/docs/api-reference/chat/create
LONGEST_WIRE = 64
_NOT_ON_THE_WIRE = re.compile(r"[^a-zA-Z0-9_-]")


def turns_may_call(config: Config, name: str) -> bool:
    """Whether the model may, in a turn of whatever entry."""
    tools = config.tools
    return _listed(name, tools.allow) and not _listed(name, tools.deny)


def port_may_call(config: Config, name: str) -> bool:
    """Whether a client of the port may by itself."""
    settings = config.gateway
    listed = _listed(name, settings.tools_allow) and not _listed(name, settings.tools_deny)
    return listed and name not in HARD_DENIED


def needs_approval(config: Config, tool: Tool) -> bool:
    """Whether a call waits for a person."""
    mode = config.tools.approval.mode
    return mode == "strict" or (mode == "medium_balanced" and tool.acts)


def wire_names(names: Iterable[str]) -> dict[str, str]:
    """Names as models are given them -> our own. Two that would be the same get a mark made of the whole name."""
    found: dict[str, str] = {}
    for name in sorted(names):
        wire = _NOT_ON_THE_WIRE.sub("_", name)
        if len(wire) > LONGEST_WIRE or wire in found:
            mark = f"_{zlib.crc32(name.encode('utf-8', 'surrogatepass')):08x}"
            wire = wire[: LONGEST_WIRE - len(mark)] + mark
        found[wire] = name
    return found


def _listed(name: str, names: Collection[str]) -> bool:
    """`mcp.SERVER.*` stands for all tools of a server."""
    if name in names:
        return True
    server, dot, _ = name.rpartition(".")
    return dot == "." and name.startswith("mcp.") and f"{server}.*" in names
