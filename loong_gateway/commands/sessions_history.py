"""`loong sessions history`: what was said, page by page from the end."""

from __future__ import annotations

import argparse
import time

from loong_gateway.base.wording import harmless, one_line
from loong_gateway.commands.common import Context
from loong_gateway.commands.session_access import add_session, find_row, store_of
from loong_gateway.messaging.sessions import display_name
from loong_gateway.storage import transcripts

HELP = "show what was said in the present stretch of a conversation, the last messages first to be had"
EXAMPLES = (
    "loong sessions history default",
    "loong sessions history default --limit 200 --before 1234 --json",
)
MOST = 200
LONGEST = 2000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    add_session(parser)
    parser.add_argument("--limit", type=int, default=50, metavar="N", help=f"how many messages, 1 to {MOST}")
    parser.add_argument("--before", type=int, metavar="NUMBER", help="only those with smaller numbers")


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the messages, oldest first."""
    limit = max(1, min(MOST, args.limit))
    row = find_row(context, args.session, verb="sessions history")
    found, total = store_of(context).read(
        lambda conn: transcripts.history(conn, row.id, limit + 1, args.before)
    ) or ([], 0)
    shown, more = found[-limit:], len(found) > limit
    if context.json:
        context.document(
            {
                "command": "history",
                "config": context.places.config,
                "session_id": row.route,
                "limit": limit,
                "before": args.before,
                "total": total,
                "has_more": more,
                "messages": [
                    {"number": one.number, "role": one.role, "at_ms": one.at_ms, "text": one.text}
                    for one in shown
                ],
            }
        )
        return 0
    for one in shown:
        at = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.at_ms / 1000))
        context.out(f"{at}  {one.role}> {harmless(one_line(one.text, LONGEST))}")
    if more:
        verb = f"sessions history {display_name(row.route)} --before {shown[0].number}"
        context.err(f"there is more: {context.places.command(verb)}")
    return 0
