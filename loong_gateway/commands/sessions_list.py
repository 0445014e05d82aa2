"""`loong sessions list`: the conversations that are remembered, latest activity first."""

from __future__ import annotations

import argparse

from loong_gateway.base.wording import ago, plural
from loong_gateway.commands.common import Context
from loong_gateway.commands.render import style_of, table
from loong_gateway.commands.session_access import running_sessions, session_document, store_of
from loong_gateway.messaging.sessions import DEFAULT_SESSION, display_name, kind_of, session_key
from loong_gateway.storage import transcripts
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.transcripts import SessionRow

HELP = "list the conversations that are remembered, latest activity first"
EXAMPLES = ("loong sessions list", "loong sessions list --limit 50 --include-archived --json")
STATES = ("ready", "running", "completed", "failed", "timed_out")
KINDS = ("root", "delegate_child")
MOST = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument("--limit", type=int, default=20, metavar="N", help=f"how many, 1 to {MOST}")
    parser.add_argument("--state", choices=STATES, help="only those in this state")
    parser.add_argument("--kind", choices=KINDS, help="only those of this kind")
    parser.add_argument("--include-archived", action="store_true", help="also those that were put away")


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the list; an empty one is no failure."""
    limit = max(1, min(MOST, args.limit))
    running = running_sessions(context)
    rows, matched = _matching(args, context, limit, running)
    if context.json:
        context.document(
            {
                "command": "list",
                "config": context.places.config,
                "current_session_id": session_key(DEFAULT_SESSION),
                "filters": {
                    "limit": limit,
                    "state": args.state,
                    "kind": args.kind,
                    "include_archived": args.include_archived,
                },
                "matched_count": matched,
                "returned_count": len(rows),
                "sessions": [session_document(row, running) for row in rows],
            }
        )
        return 0
    _print(context, rows, matched, running)
    return 0


def _matching(
    args: argparse.Namespace, context: Context, limit: int, running: set[str]
) -> tuple[list[SessionRow], int]:
    """Those that are shown, and how many there are. Conversations are all of kind root, and never end by themselves."""
    if args.kind == "delegate_child" or args.state not in (None, "ready", "running"):
        return [], 0
    archived = args.include_archived

    def look(conn: Connection) -> tuple[list[SessionRow], int]:
        busy = [row for key in running if (row := transcripts.route(conn, key)) is not None]
        busy = sorted(
            (row for row in busy if archived or row.archived_ms is None), key=lambda row: -row.last_ms
        )
        if args.state == "running":
            return busy[:limit], len(busy)
        total = transcripts.count_routes(conn, archived=archived)
        if args.state is None:
            return transcripts.routes(conn, limit, archived=archived), total
        names = {row.route for row in busy}
        rows = transcripts.routes(conn, limit + len(names), archived=archived)
        return [row for row in rows if row.route not in names][:limit], total - len(names)

    return store_of(context).read(look) or ([], 0)


def _print(context: Context, rows: list[SessionRow], matched: int, running: set[str]) -> None:
    if not rows:
        context.out("no such session is stored; see all: loong sessions list --include-archived")
        return
    now_ms = context.clock.wall_ms()
    lines = [["Session", "Chat", "State", "Messages", "Last"]]
    lines += [
        [
            display_name(row.route),
            kind_of(row.route),
            "running" if row.route in running else "archived" if row.archived_ms is not None else "ready",
            str(row.messages),
            ago(row.last_ms, now_ms),
        ]
        for row in rows
    ]
    style = style_of(context.stdout, context.environ, no_color=context.no_color)
    for line in table(lines, style, right=(3,), identifiers=(0,)):
        context.out(line)
    if matched > len(rows):
        context.out(f"{len(rows)} of {plural(matched, 'session')}; more with --limit")
