"""`loong sessions show`: one conversation, what it used, and its summary."""

from __future__ import annotations

import argparse

from loong_gateway.base.wording import ago, harmless
from loong_gateway.commands.common import Context
from loong_gateway.commands.session_access import (
    add_session,
    find_row,
    running_sessions,
    session_document,
    store_of,
)
from loong_gateway.commands.sessions_usage import usage_line
from loong_gateway.messaging.sessions import display_name
from loong_gateway.storage import summaries, usage
from loong_gateway.views.usage import usage_table

HELP = "show one conversation: its state, what the model used for it, and its summary"
EXAMPLES = ("loong sessions show default", "loong sessions show telegram:work:1001 --json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    add_session(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    """Print it."""
    row = find_row(context, args.session, verb="sessions show")
    store = store_of(context)
    used = store.read(lambda conn: usage.of_session(conn, row.route)) or []
    upto, summary = store.read(lambda conn: summaries.get(conn, row.id)) or (0, "")
    running = running_sessions(context)
    document = session_document(row, running)
    if context.json:
        context.document(
            {
                "command": "show",
                "config": context.places.config,
                "session": document,
                "usage": usage_table(used),
                "summary": {"upto": upto, "text": summary} if summary else None,
            }
        )
        return 0
    now_ms = context.clock.wall_ms()
    rows = [
        ("Session", display_name(row.route)),
        ("Key", row.route),
        ("State", f"{document['state']}{', archived' if row.archived_ms is not None else ''}"),
        (
            "Messages",
            f"{row.messages}, the last {ago(row.last_ms, now_ms)}, begun {ago(row.started_ms, now_ms)}",
        ),
        ("Model", usage_line(usage.totals(used))),
    ]
    for name, text in rows:
        context.out(f"{name:<8}  {harmless(text)}")
    if summary:
        context.out(f"Summary   {harmless(summary)}")
    return 0
