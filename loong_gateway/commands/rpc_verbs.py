"""What the verbs that ask over the WebSocket side share: flags, time limits, one call on a connection of its own."""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Mapping

from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import one_line
from loong_gateway.commands import reaching
from loong_gateway.commands.common import Context
from loong_gateway.commands.rpc_target import own_target, rpc_target

__all__ = ["CALL_S", "ask", "duration_between", "status_call", "table_of"]

# Nobody waits longer for a look at the status.
CALL_S = 2.0


def ask(
    args: argparse.Namespace,
    context: Context,
    method: str,
    params: Mapping[str, object] | None = None,
    *,
    timeout_s: float,
) -> Mapping[str, object]:
    """One call with the least scope that it needs; its payload, {} for one that is no object. Raises CommandError."""
    find = functools.partial(rpc_target, args, context)
    return table_of(reaching.call(find, context, method, params, timeout_s=timeout_s))


def status_call(context: Context) -> dict[str, object]:
    """Ask the owner of this home over the port, as an operator's client would: {ok, error}. Blocks up to 6 s."""
    try:
        reaching.call(functools.partial(own_target, context), context, "status", timeout_s=CALL_S)
    except CommandError as error:
        return {"ok": False, "error": error.message}
    return {"ok": True, "error": None}


def table_of(value: object) -> Mapping[str, object]:
    """A JSON object as it came, {} for anything else."""
    return value if isinstance(value, dict) else {}


def duration_between(given: str, *, least: float, most: float, unit: str) -> float:
    """The value of --timeout. Raises CommandError `rpc.bad_time`."""
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or not least <= value <= most:
        expected = f"from {least:.0f} to {most:.0f} {unit}"
        example = 10_000 if unit == "milliseconds" else 60
        raise CommandError("rpc.bad_time", given=one_line(given, 60), expected=expected, example=example)
    return value
