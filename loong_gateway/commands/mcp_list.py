"""`loong runtime mcp list`, `loong list-mcp-servers`: the tool servers, and whether they work."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from loong_gateway.base.wording import one_line, plural
from loong_gateway.commands.common import Context, add_target_flags
from loong_gateway.commands.config_access import load_config
from loong_gateway.commands.rpc_target import wants_remote
from loong_gateway.commands.rpc_verbs import CALL_S, ask
from loong_gateway.owner.client import ControlClient
from loong_gateway.tools.mcp import look_once

__all__ = ["Row", "asks_gateway", "line_of", "of_gateway"]

HELP = "list the tool servers; without a running gateway each is started once to see whether it works"
EXAMPLES = ("loong runtime mcp list", "loong list-mcp-servers --json")
EXIT_CODES = "0 none fails; 1 one does; 2 the gateway could not be asked"

Row = Mapping[str, object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    add_target_flags(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    """One line for each server; 1 when one fails."""
    rows = of_gateway(args, context) if asks_gateway(args, context) else _own(context)
    if context.json:
        context.document({"servers": [dict(row) for row in rows]})
    else:
        for row in rows:
            context.out(line_of(row))
        if not rows:
            context.out("no tool server is configured; see [mcp.servers.NAME] in docs/tools.md")
    return 1 if any(row.get("state") == "failed" for row in rows) else 0


def asks_gateway(args: argparse.Namespace, context: Context) -> bool:
    """Whether there is a gateway to ask: one that was named, or the one of this home."""
    return bool(args.token_file) or wants_remote(args, context) or ControlClient(context.places).available()


def of_gateway(args: argparse.Namespace, context: Context) -> Sequence[Row]:
    """What the gateway says of its servers. Raises CommandError."""
    servers = ask(args, context, "tools.servers", timeout_s=CALL_S).get("servers")
    return [row for row in servers if isinstance(row, dict)] if isinstance(servers, list) else []


def line_of(row: Row) -> str:
    """One server in one line."""
    name, state, tools = row.get("name"), row.get("state"), row.get("tools")
    if not row.get("enabled"):
        return one_line(f"{name}: switched off")
    words = str(state)
    if state == "ready":
        words += f", {plural(len(tools) if isinstance(tools, list) else 0, 'tool')}"
    if row.get("restarts"):
        words += f", started again {plural(_number(row['restarts']), 'time')}"
    if row.get("last_error") and state != "ready":
        words += f": {row['last_error']}"
    if not row.get("allowed"):
        words += f"; not used: tools.allow names none of its tools (mcp.{name}.*)"
    return one_line(f"{name}: {words}", 600)


def _own(context: Context) -> Sequence[Row]:
    config = load_config(context)
    off = {"state": "stopped", "tools": [], "skipped": [], "restarts": 0, "last_error": None}
    return [
        look_once(config, name, context.environ)
        if server.enabled
        else {"name": name, "enabled": False, "allowed": False, **off}
        for name, server in sorted(config.mcp.items())
    ]


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
