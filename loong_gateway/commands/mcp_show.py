"""`loong runtime mcp show NAME`, `loong show-mcp-server NAME`: one tool server and its tools."""

from __future__ import annotations

import argparse

from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import one_line
from loong_gateway.commands.common import Context, add_target_flags
from loong_gateway.commands.config_access import load_config
from loong_gateway.commands.mcp_list import Row, asks_gateway, line_of, of_gateway
from loong_gateway.commands.rpc_target import wants_remote
from loong_gateway.tools.mcp import look_once

HELP = "show one tool server and the names of its tools; what the gateway does not run is started once"
EXAMPLES = ("loong runtime mcp show files", "loong show-mcp-server files --json")
EXIT_CODES = "0 it works; 1 it fails; 2 there is none of this name, or the gateway could not be asked"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    parser.add_argument("name", metavar="NAME", help="the server, as [mcp.servers.NAME] calls it")
    add_target_flags(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the server and its tools; 1 when it fails."""
    row = _row(args, context)
    if context.json:
        context.document(dict(row))
    else:
        context.out(line_of(row))
        for key, title in (("tools", "tool"), ("skipped", "left out")):
            listed = row.get(key)
            for one in listed if isinstance(listed, list) else []:
                context.out(f"  {title}: {one_line(one)}")
    return 1 if row.get("state") == "failed" else 0


def _row(args: argparse.Namespace, context: Context) -> Row:
    rows = of_gateway(args, context) if asks_gateway(args, context) else []
    row = next((one for one in rows if one.get("name") == args.name), None)
    if row is not None and row.get("state") != "stopped":
        return row
    if args.token_file or wants_remote(args, context):
        known = {str(one.get("name")) for one in rows}
    else:
        # No list allows it yet; its tools have to be known before a list can name them.
        config = load_config(context)
        server = config.mcp.get(args.name)
        if server is not None and server.enabled:
            return look_once(config, args.name, context.environ)
        known = set(config.mcp)
    if row is None:
        raise CommandError(
            "usage.bad_arguments",
            detail=f'there is no tool server "{one_line(args.name, 60)}"; known: '
            f"{', '.join(sorted(known)) or 'none'}",
            fix="loong runtime mcp list",
        )
    return row
