"""`loong sessions archive`: puts a conversation away, out of the list, until something is said in it."""

from __future__ import annotations

import argparse

from loong_gateway.commands.common import Context
from loong_gateway.commands.session_access import add_session, find_row
from loong_gateway.commands.through_gateway import change
from loong_gateway.messaging.sessions import display_name
from loong_gateway.storage import transcripts

HELP = "leave a conversation out of the list until something is said in it; nothing is removed"
EXAMPLES = ("loong sessions archive old-notes", "loong sessions archive old-notes --undo")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    add_session(parser)
    parser.add_argument("--undo", action="store_true", help="list it again")
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")


def run(args: argparse.Namespace, context: Context) -> int:
    """Do it, unless it is so already."""
    row = find_row(context, args.session, verb="sessions archive")
    changes = (row.archived_ms is None) is not args.undo
    if changes and not args.dry_run:
        at_ms = None if args.undo else context.clock.wall_ms()
        params = {"key": row.route, "undo": args.undo}
        change(context, "sessions.archive", params, lambda conn: transcripts.archive(conn, row.route, at_ms))
    if context.json:
        context.document(
            {
                "command": "archive",
                "config": context.places.config,
                "session_id": row.route,
                "dry_run": args.dry_run,
                "archived": not args.undo,
                "changed": changes,
            }
        )
        return 0
    word = "listed" if args.undo else "archived"
    verb = f"would be {word}" if args.dry_run else f"is {word}" if changes else f"was {word} already"
    context.out(f"{display_name(row.route)} {verb}")
    return 0
