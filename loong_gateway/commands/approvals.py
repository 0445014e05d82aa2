"""`loong approvals list|approve|deny`: calls of tools that wait for a person."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping

from loong_gateway.base.clock import wall_ms
from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import ago, one_line
from loong_gateway.commands import reaching
from loong_gateway.commands.common import Context, add_target_flags
from loong_gateway.commands.rpc_client import RpcRefused
from loong_gateway.commands.rpc_target import rpc_target
from loong_gateway.commands.rpc_verbs import table_of

HELP = "see the calls of tools that wait for a person, and decide about them"
EXAMPLES = ("loong approvals list", "loong approvals approve k3n7qx")
EXIT_CODES = "0 done; 1 no call waits under this id; 2 the gateway could not be asked"

TIMEOUT_S = 10.0
DECISIONS = {"approve": "allow-once", "deny": "deny"}
DONE = {"approve": "approved", "deny": "refused"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    parser.add_argument("action", nargs="?", choices=("list", *DECISIONS), default="list", help="what to do")
    parser.add_argument("id", nargs="?", metavar="ID", help="the call, as the list names it")
    add_target_flags(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    """Show what waits, or decide about one call."""
    if (args.id is None) != (args.action == "list"):
        detail = "list takes no ID" if args.id else f"{args.action} needs the ID of a call"
        raise CommandError("usage.bad_arguments", detail=detail, fix="loong approvals --help")
    call = functools.partial(
        reaching.call, functools.partial(rpc_target, args, context), context, timeout_s=TIMEOUT_S
    )
    if args.action == "list":
        answer = table_of(call("exec.approval.list"))
        if context.json:
            context.document(answer)
        else:
            _show(answer, context)
        return 0
    params = {"id": args.id, "decision": DECISIONS[args.action]}
    try:
        answer = table_of(call("exec.approval.resolve", params))
    except RpcRefused as error:
        if error.said == "APPROVAL_NOT_FOUND":
            raise CommandError("rpc.no_approval", id=one_line(args.id, 60)) from error
        raise
    if context.json:
        context.document(answer)
    else:
        context.out(f"{args.id}: {DONE[args.action]}")
    return 0


def _show(answer: Mapping[str, object], context: Context) -> None:
    found = answer.get("approvals")
    rows = [table_of(one) for one in (found if isinstance(found, list) else ())]
    if not rows:
        context.out("No call waits for a decision.")
    for row in rows:
        asked = row.get("createdAtMs")
        when = ago(asked, wall_ms()) if isinstance(asked, int) else "-"
        who = one_line(row.get("sessionKey") or row.get("entry") or "-", 80)
        said = one_line(row.get("summary") or "", 16_384)
        context.out(f"{one_line(row.get('id'), 20)}  {one_line(row.get('tool'), 80)}  {said}")
        context.out(f"  asked {when} for {who}")
