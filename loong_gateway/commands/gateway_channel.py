"""`loong gateway channel start|stop|restart CHANNEL=ACCOUNT`: one account of the running gateway, all others go on."""

from __future__ import annotations

import argparse

from loong_gateway.base.faults import CommandError
from loong_gateway.commands.common import Context
from loong_gateway.owner.client import ControlClient

HELP = "start, stop or restart one channel account of the running gateway"
EXAMPLES = ("loong gateway channel restart wecom=work", "loong gateway channel stop telegram=work --json")
EXIT_CODES = "0 done; 1 asked for, and the account is not ready, or still stopping; 2 it could not be asked"
ACTIONS = ("start", "stop", "restart")
WAIT_S = 20.0

Json = dict[str, object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    parser.add_argument(
        "surface", metavar="CHANNEL=ACCOUNT", help="the account; CHANNEL alone while one is served"
    )


def run(args: argparse.Namespace, context: Context) -> int:
    """Ask the owner, wait for what becomes of it, and say it."""
    channel, _, account = (part.strip() for part in args.surface.partition("="))
    if not channel:
        raise CommandError(
            "usage.bad_arguments",
            detail=f'"{args.surface}" is not CHANNEL=ACCOUNT',
            fix="loong gateway channel --help",
        )
    client = ControlClient(context.places)
    client.check()
    body: Json = {"action": args.action, "channel": channel, "account": account or None, "wait_s": WAIT_S}
    answer = client.post("/api/gateway/channel", body, timeout_s=WAIT_S + 5)
    if context.json:
        context.document(answer)
    else:
        context.out(_sentence(answer))
    wanted = "stopped" if args.action == "stop" else "ready"
    return 0 if answer.get("phase") == wanted else 1


def _sentence(answer: Json) -> str:
    name = f"{answer.get('channel')}/{answer.get('account')}"
    done = str(answer.get("outcome")).replace("already_", "already ")
    phase = str(answer.get("phase"))
    if phase == "ready":
        return f"{name}: {done}, ready as {answer.get('identity')}"
    if phase == "stopped":
        return f"{name}: {done}; it stays off until it is started again, or the gateway is"
    why = answer.get("last_error")
    return f"{name}: {done}, now {phase}{f': {why}' if why else ''}"
