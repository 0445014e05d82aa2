"""`loong sessions delete`: forgets everything that was said in a conversation."""

from __future__ import annotations

import argparse
import shlex

from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import plural
from loong_gateway.commands.common import Context
from loong_gateway.commands.session_access import add_session, find_row
from loong_gateway.commands.through_gateway import change
from loong_gateway.messaging.sessions import display_name
from loong_gateway.storage import transcripts

HELP = "forget everything that was said in a conversation, for good"
EXAMPLES = ("loong sessions delete old-notes --yes", "loong sessions delete telegram:work:1001 --yes --json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    add_session(parser)
    parser.add_argument("--yes", action="store_true", help="that is what is meant")


def run(args: argparse.Namespace, context: Context) -> int:
    """Forget it."""
    row = find_row(context, args.session, verb="sessions delete")
    name = display_name(row.route)
    if not args.yes:
        fix = context.places.command(f"sessions delete {shlex.quote(name)} --yes")
        raise CommandError("sessions.not_sure", name=name, count=plural(row.messages, "message"), fix=fix)
    change(
        context,
        "sessions.delete",
        {"key": row.route},
        lambda conn: transcripts.forget(conn, row.route),
    )
    if context.json:
        context.document(
            {
                "command": "delete",
                "config": context.places.config,
                "session_id": row.route,
                "deleted": True,
            }
        )
    else:
        context.out(f"{name} is forgotten")
    return 0
