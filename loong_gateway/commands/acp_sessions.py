"""`loong runtime acp sessions`: the conversations with outside agents that are stored."""

from __future__ import annotations

import argparse

from loong_gateway.base.wording import ago, one_line
from loong_gateway.commands.common import Context
from loong_gateway.commands.config_access import load_config, status_or_none
from loong_gateway.commands.render import style_of, table
from loong_gateway.storage import acp_sessions
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.local import LocalStore
from loong_gateway.views.acp import sessions_document

HELP = "list the conversations with outside agents"
EXAMPLES = ("loong runtime acp sessions", "loong list-acp-sessions --json")
EXIT_CODES = "0 done; 2 it could not run"
MOST = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This verb has no flags of its own."""


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the sessions, the one that was used last first: {config, sqlite_path, sessions} for --json."""
    del args
    config = load_config(context)
    sessions = LocalStore(context.places).read(_stored) or []
    live = bool((status_or_none(context) or {}).get("lock_held"))
    document = sessions_document(config, context.places.store, sessions, live=live)
    if context.json:
        context.document(document)
        return 0
    if not sessions:
        context.out("No conversation with an agent is stored.")
        return 0
    now_ms = context.clock.wall_ms()
    shown = document["sessions"]
    assert isinstance(shown, list)
    rows = [
        [
            str(one["session_key"]),
            str(one["state"]),
            ago(one["last_activity_ms"], now_ms),
            one_line(str(one["last_error"] or "-"), 80),
        ]
        for one in shown
    ]
    style = style_of(context.stdout, context.environ, no_color=context.no_color)
    for line in table([["SESSION", "STATE", "USED", "LAST ERROR"], *rows], style, identifiers=(0,)):
        context.out(line)
    return 0


def _stored(conn: Connection) -> list[acp_sessions.AcpSession]:
    # A store that is older than agents has no such table.
    return acp_sessions.sessions(conn, MOST) if acp_sessions.count(conn) else []
