"""`loong runtime acp dispatch`: whether a message would reach an outside agent, and why. Nothing is sent."""

from __future__ import annotations

import argparse

from loong_channels.contract import Address
from loong_gateway.acp.dispatch import ALLOWED, decide
from loong_gateway.commands.common import Context
from loong_gateway.commands.config_access import load_config
from loong_gateway.views.acp import decision_document

HELP = "show whether a message would reach an outside agent; nothing is sent"
EXAMPLES = (
    "loong runtime acp dispatch --channel telegram --message '@codex look'",
    "loong runtime acp dispatch --channel feishu --account work --thread 7 --json",
)
EXIT_CODES = "0 it would; 1 it would not; 2 it could not run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument("--channel", default="telegram", metavar="NAME", help="the channel it comes from")
    parser.add_argument("--account", default="default", metavar="ID", help="the account it comes to")
    parser.add_argument("--thread", metavar="ID", help="the thread it stands in")
    parser.add_argument("-m", "--message", default="", metavar="TEXT", help="the message")


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the decision; the exit code is the decision, too."""
    config = load_config(context)
    address = Address(args.channel, args.account, "-", args.thread)
    decision = decide(config.acp, address, args.message)
    if context.json:
        context.document(decision_document(config, decision))
    elif decision.reason == ALLOWED:
        context.out(f"allowed: agent {decision.agent} ({decision.activation_origin})")
    else:
        context.out(f"no agent: {decision.reason}")
    return 0 if decision.reason == ALLOWED else 1
