"""`loong gateway restart`: have the running gateway finish what it does and begin anew, and wait until it is ready."""

from __future__ import annotations

import argparse
import time

from loong_gateway.base.faults import CommandError
from loong_gateway.base.pause import pause
from loong_gateway.base.wording import duration, one_line
from loong_gateway.commands.common import Context
from loong_gateway.commands.wait_flags import add_wait_flags
from loong_gateway.owner.client import ControlClient
from loong_gateway.owner.files import read_document
from loong_gateway.owner.lock import lock_state
from loong_gateway.owner.status import collect

HELP = "have the running gateway finish what it does and begin anew, and wait until it is ready"
EXAMPLES = ("loong gateway restart", "loong gateway restart --timeout 120")
EXIT_CODES = (
    "0 restarted, or with --no-wait asked for; 1 refused, or not ready in time; 2 it could not be asked"
)

DEFAULT_TIMEOUT_S = 60
# The gateway reads its configuration and its own secret, which may come from a program, before it agrees.
ASK_S = 30.0
# A gateway that is busy is not one that is frozen.
CHECK_S = 5.0
LOOK_EVERY_S = 0.1
# How long a free lock with the word "failed" behind it is looked at before it counts as the end.
FREE_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    add_wait_flags(
        parser, default_s=DEFAULT_TIMEOUT_S, what="how long to wait for the new one, once the restart begins"
    )


def run(args: argparse.Namespace, context: Context) -> int:
    """Ask, say what became of it, wait, and say that the new gateway is ready."""
    # What one that ends already says is the answer here.
    client = ControlClient(context.places, patience_s=0.0)
    answer = _ask(client, context, waits=not args.no_wait)
    message = one_line(answer.get("message") or "")
    if not context.json:
        context.out(message)
        context.stdout.flush()
    ready = False
    if not args.no_wait:
        due_in_s = answer.get("due_in_s")
        patience_s = args.timeout + (due_in_s if isinstance(due_in_s, (int, float)) else 0.0)
        began_s = time.monotonic()
        _wait(context, answer.get("instance_id"), patience_s)
        ready = True
        took = duration(time.monotonic() - began_s)
        message = f"gateway restarted: ready after {took}, pid {_pid(context)}"
        if not context.json:
            context.out(message)
    if context.json:
        context.document({**answer, "message": message, "ready": ready})
    return 0


def _ask(client: ControlClient, context: Context, *, waits: bool) -> dict[str, object]:
    asked = lock_state(context.places).holder.get("instance_id")
    try:
        client.check(timeout_s=CHECK_S)
        return client.post("/api/gateway/restart", {}, timeout_s=ASK_S)
    except CommandError as error:
        if error.code == "control.failed":
            # It answered, and the answer is no.
            error.exit_code = 1
        elif waits and error.code != "control.not_running":
            leaving = _on_its_way(context, asked)
            if leaving is not None:
                # Somebody else's request was faster than the answer to this one.
                message = "the gateway was ending already; waiting for the next one"
                return {"outcome": "already_requested", "message": message, "instance_id": leaving}
        raise


def _on_its_way(context: Context, asked: object) -> object | None:
    """The instance that is about to be followed by another one, "" when that one starts already; else None."""
    holder = lock_state(context.places).holder.get("instance_id")
    document = collect(context.places, probe=False)
    if not document["lock_held"]:
        return None
    if document["phase"] in ("stopping", "stopped"):
        return holder
    if document["phase"] == "starting":
        return ""
    return asked if holder != asked else None


def _wait(context: Context, asked: object, patience_s: float) -> None:
    """Until another instance than the one that was asked is ready. Raises CommandError."""
    end = time.monotonic() + patience_s
    free_since: float | None = None
    while True:
        state = lock_state(context.places)
        now = time.monotonic()
        if state.held:
            free_since = None
            if state.holder.get("instance_id") not in (None, asked) and _is_ready(context):
                return
        else:
            free_since = now if free_since is None else free_since
            if _has_failed(context) and now - free_since >= FREE_S:
                raise CommandError(
                    "restart.ended",
                    detail=_last_error(context),
                    look=context.places.command("logs --lines 50"),
                )
        if now >= end:
            raise CommandError(
                "restart.not_ready",
                waited=duration(patience_s),
                detail=_state(context),
                status=context.places.command("gateway status"),
            )
        pause(min(LOOK_EVERY_S, end - now))


def _is_ready(context: Context) -> bool:
    return collect(context.places)["ready"] is True


def _has_failed(context: Context) -> bool:
    """Whether what is left behind is no clean end: after one, a service manager is about to start the next."""
    document = collect(context.places, probe=False)
    return not document["lock_held"] and document["phase"] == "failed"


def _last_error(context: Context) -> str:
    return one_line(collect(context.places, probe=False)["last_error"] or "it left no word")


def _state(context: Context) -> str:
    document = collect(context.places, probe=False)
    if not document["lock_held"]:
        return "nothing runs"
    reasons = document["degraded_reasons"]
    phase = one_line(document["phase"])
    return f"{phase}, {', '.join(reasons)}" if isinstance(reasons, list) and reasons else phase


def _pid(context: Context) -> object:
    return (read_document(context.places.owner_active) or {}).get("pid", "unknown")
