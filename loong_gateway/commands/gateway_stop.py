"""Ask the owner to finish what it does and end, and wait until it is gone."""

from __future__ import annotations

import argparse
import time

from loong_gateway.base.faults import CommandError
from loong_gateway.base.pause import pause
from loong_gateway.base.wording import duration
from loong_gateway.commands.common import Context
from loong_gateway.commands.wait_flags import add_wait_flags
from loong_gateway.owner.lock import lock_state, request_stop

HELP = "ask the running gateway to finish what it does, and wait until it has ended"
EXAMPLES = ("loong gateway stop", "loong gateway stop --timeout 120")
EXIT_CODES = "0 stopped, or nothing ran; 1 still running after the timeout; 2 it could not be asked"

DEFAULT_TIMEOUT_S = 35
_LOOK_EVERY_S = 0.05
_SENTENCES = {
    "requested": "gateway stop requested",
    "already_requested": "gateway stop already requested",
    "not_running": "gateway is not running",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    add_wait_flags(parser, default_s=DEFAULT_TIMEOUT_S, what="how long to wait for the end")


def run(args: argparse.Namespace, context: Context) -> int:
    """Print what became of the request, wait, and print the end."""
    outcome = request_stop(context.places)
    if not context.json:
        context.out(_SENTENCES[outcome])
        context.stdout.flush()
    stopped = outcome == "not_running"
    if not stopped and not args.no_wait:
        stopped = _wait(context, args.timeout)
        if not stopped:
            raise _still_running(context, args.timeout)
        if not context.json:
            context.out("gateway stopped")
    if context.json:
        context.document({"outcome": outcome, "message": _SENTENCES[outcome], "stopped": stopped})
    return 0


def _wait(context: Context, timeout_s: float) -> bool:
    """True once nobody holds the lock. The kernel tells nobody who waits, so it is looked at again and again."""
    end = time.monotonic() + timeout_s
    while lock_state(context.places).held:
        left = end - time.monotonic()
        if left <= 0:
            return False
        pause(min(_LOOK_EVERY_S, left))
    return True


def _still_running(context: Context, timeout_s: float) -> CommandError:
    return CommandError(
        "owner.still_running",
        waited=duration(timeout_s),
        pid=lock_state(context.places).holder.get("pid", "unknown"),
        stop=context.places.command(f"gateway stop --timeout {max(60, round(timeout_s * 4))}"),
        status=context.places.command("gateway status"),
    )
