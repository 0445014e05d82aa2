"""What `loong` says when nothing was asked: where things stand and what to type next."""

from __future__ import annotations

import argparse
import os

from loong_gateway.commands.common import Context
from loong_gateway.owner import verdict
from loong_gateway.owner.status import Observation, exit_code, observe

HELP = "a gateway between chat channels and a language-model provider"
EXAMPLES = ("loong gateway status", "loong --dev gateway run --session demo")
JSON = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the global flags only."""
    del parser


def run(args: argparse.Namespace, context: Context) -> int:
    """Print ten lines. Always succeeds: the verdict is the business of `gateway status`."""
    del args
    seen = observe(context.places)
    for line in (verdict.headline(seen, context.places), f"  next: {_next_step(seen, context)}", *_VERBS):
        context.out(line)
    return 0


_VERBS = (
    "",
    "loong --dev gateway run --session demo   try it here: no account, no configuration",
    "loong gateway run | status | stop        the gateway of this home",
    "loong channels list | status             what is configured, and how it fares",
    "loong ask --message TEXT                 one question, one answer",
    "loong validate-config                    check config.toml",
    "loong doctor                             look for what is wrong on this host",
    "loong --help                             every verb; loong VERB --help for one",
)


def _next_step(seen: Observation, context: Context) -> str:
    places = context.places
    if seen.document["lock_held"]:
        healthy = exit_code(seen.document) == 0
        return places.command("status" if healthy else "gateway status")
    if seen.never_started and not os.path.exists(places.config) and not places.dev:
        return f"write {places.config}, then: {places.command('validate-config')}"
    return verdict.start_command(places)
