"""`loong sessions usage`: what the model used, by day or for one conversation."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from loong_gateway.base.wording import plural
from loong_gateway.commands.common import Context
from loong_gateway.commands.render import style_of, table
from loong_gateway.commands.session_access import find, store_of
from loong_gateway.storage import usage
from loong_gateway.storage.usage import COUNTS, KEPT_DAYS
from loong_gateway.views.usage import usage_table

HELP = "show how many tokens the model used, by day (UTC) or for one conversation"
EXAMPLES = ("loong sessions usage --days 7", "loong sessions usage --session default --json")

__all__ = ["EXAMPLES", "HELP", "add_arguments", "run", "usage_line"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument("--days", type=int, default=1, metavar="N", help=f"how many days, 1 to {KEPT_DAYS}")
    parser.add_argument("--session", metavar="ID", help="of this conversation, since it is remembered")


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the sums."""
    days = max(1, min(KEPT_DAYS, args.days))
    now_ms = context.clock.wall_ms()
    session = None if args.session is None else find(context, args.session, verb="sessions usage --session")
    rows = (
        store_of(context).read(
            lambda conn: (
                usage.of_days(conn, days, now_ms) if session is None else usage.of_session(conn, session)
            )
        )
        or []
    )
    if context.json:
        asked = {"days": days} if session is None else {"session_id": session}
        context.document({"command": "usage", "config": context.places.config, **asked, **usage_table(rows)})
        return 0
    if rows:
        lines = [["Day" if session is None else "", "Profile", "Model", "For", *map(str.capitalize, COUNTS)]]
        lines += [
            [
                row.name if session is None else "",
                row.profile,
                row.model,
                row.purpose,
                *(str(row.counts[name]) for name in COUNTS),
            ]
            for row in rows
        ]
        style = style_of(context.stdout, context.environ, no_color=context.no_color)
        for line in table(lines, style, right=tuple(range(4, 4 + len(COUNTS))), identifiers=(2,)):
            context.out(line.strip())
    context.out(usage_line(usage.totals(rows)))
    return 0


def usage_line(counts: Mapping[str, int]) -> str:
    """Sums in one line."""
    text = (
        f"{plural(counts['calls'], 'answer')}, {plural(counts['input'], 'token')} in, {counts['output']} out"
    )
    if counts["silent"]:
        text += f"; {counts['silent']} without figures"
    return text + (f"; {counts['failed']} failed" if counts["failed"] else "")
