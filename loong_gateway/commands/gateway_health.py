"""`loong gateway health`, `loong health`: ask a gateway over its port whether it works, and what its channels do."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from loong_gateway.base.wording import one_line, plural
from loong_gateway.commands.common import Context, add_target_flags
from loong_gateway.commands.rpc_verbs import ask, duration_between, table_of

HELP = "ask a gateway over its port whether it works"
EXAMPLES = ("loong gateway health", "loong gateway health --url ws://10.0.0.5:18789 --token-file token.txt")
EXIT_CODES = "0 it works; 1 it answers, and a channel does not work; 2 it could not be asked"

DEFAULT_TIMEOUT_MS = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument(
        "--timeout", default=str(DEFAULT_TIMEOUT_MS), metavar="MS", help="how long to wait, in milliseconds"
    )
    add_target_flags(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    """Print one line, and one per channel that does not work."""
    timeout_s = duration_between(args.timeout, least=1, most=600_000, unit="milliseconds") / 1000
    health = ask(args, context, "health", timeout_s=timeout_s)
    broken = _broken(health)
    if context.json:
        context.document(health)
    else:
        channels = table_of(health.get("channels"))
        works = f"{len(channels) - len({name for name, _ in broken})} of {plural(len(channels), 'channel')}"
        took = health.get("durationMs")
        answered = f" in {took} ms" if isinstance(took, (int, float)) else ""
        context.out(f"Gateway answers{answered}: " + (f"{works} work." if channels else "no channel runs."))
        for name, detail in broken:
            context.out(f"  {name}: {detail}")
    return 0 if health.get("ok") is True and not broken else 1


def _broken(health: Mapping[str, object]) -> list[tuple[str, str]]:
    """The channels that are configured and do not run, or say what is wrong with them."""
    found = []
    for name, value in sorted(table_of(health.get("channels")).items()):
        channel = table_of(value)
        if channel.get("configured") is False:
            continue
        error = channel.get("lastError")
        if channel.get("running") is False or error:
            found.append((one_line(name, 60), one_line(error or "it does not run")))
    return found
