"""`loong gateway resume`: switch the channels on again that the crash-loop breaker keeps off."""

from __future__ import annotations

import argparse

from loong_gateway.commands.common import Context
from loong_gateway.owner.boots import Boots
from loong_gateway.owner.client import ControlClient

HELP = "switch the channels on again after too many starts that ended early"
EXAMPLES = ("loong gateway resume", "loong --profile test gateway resume --json")
EXIT_CODES = "0 done, or nothing was off; 2 the gateway could not be asked"

SENTENCES = {
    "resumed": "the channels are being started",
    "already_running": "the channels are on already",
    "forgotten": "the gateway is not running; its next start begins with the channels on",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This verb has no flags of its own."""


def run(args: argparse.Namespace, context: Context) -> int:  # noqa: ARG001  every verb has this shape
    """Tell the owner, or forget the failed starts when there is none."""
    client = ControlClient(context.places)
    if client.available():
        outcome = str(client.post("/api/gateway/resume", {}).get("outcome"))
    else:
        Boots(context.places, context.clock).resume()
        outcome = "forgotten"
    if context.json:
        context.document({"outcome": outcome})
    else:
        context.out(SENTENCES.get(outcome, outcome))
    return 0
