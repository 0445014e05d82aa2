"""`loong secrets reload`: have the running gateway read the secrets of its channel accounts again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from loong_gateway.base.wording import one_line
from loong_gateway.commands.common import Context, add_target_flags
from loong_gateway.commands.rpc_target import wants_remote
from loong_gateway.commands.rpc_verbs import ask
from loong_gateway.owner.client import ControlClient

HELP = "have the running gateway read its channel secrets again; restarts the accounts that need it"
EXAMPLES = ("loong secrets reload", "loong secrets reload --json")
EXIT_CODES = "0 all could be read; 1 one could not; 2 the gateway could not be asked"
# A secret may come from a program that takes its time, for each account in turn.
PATIENCE_S = 60.0
LATER = "the provider's key is read again by itself; a variable keeps its value until the next start"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    add_target_flags(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    """Ask the owner and say what it did, one line per account."""
    if args.token_file or wants_remote(args, context):
        return _remote(args, context)
    client = ControlClient(context.places)
    client.check()
    answer = client.post("/api/gateway/secrets/reload", {}, timeout_s=PATIENCE_S)
    listed = answer.get("accounts")
    accounts = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    if context.json:
        context.document(answer)
    else:
        for line in _lines(accounts):
            context.out(line)
    return 1 if any(one.get("outcome") == "unavailable" for one in accounts) else 0


def _remote(args: argparse.Namespace, context: Context) -> int:
    """The same over the port; that answer only counts what could not be read."""
    answer = ask(args, context, "secrets.reload", timeout_s=PATIENCE_S)
    counted = answer.get("warningCount")
    failed = counted if isinstance(counted, int) else 0
    if context.json:
        context.document(answer)
    else:
        context.out(f"secrets were read again: {f'{failed} could not be' if failed else 'all could be'}")
        context.out(LATER)
    return 1 if failed or answer.get("ok") is not True else 0


def _lines(accounts: Sequence[dict[str, object]]) -> list[str]:
    lines = [
        one_line(
            f"{one.get('channel')}/{one.get('account')}: {one.get('outcome')}"
            + (f", {one['detail']}" if one.get("detail") else "")
        )
        for one in accounts
    ]
    lines = lines or ["the gateway serves no channel"]
    return [*lines, LATER]
