"""`loong gateway call`: one method of the port, its answer as it came."""

from __future__ import annotations

import argparse
import functools
import json

from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import one_line
from loong_gateway.commands import reaching
from loong_gateway.commands.common import Context, add_target_flags
from loong_gateway.commands.rpc_client import RpcRefused
from loong_gateway.commands.rpc_target import rpc_target
from loong_gateway.commands.rpc_verbs import duration_between

HELP = "call one method of a gateway's port and print its answer as JSON"
EXAMPLES = (
    "loong gateway call health",
    "loong gateway call logs.tail --params '{\"limit\":5}' --json",
)
EXIT_CODES = "0 answered; 1 the gateway refused the call; 2 it could not be asked, or gave no answer in time"

DEFAULT_TIMEOUT_MS = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument("method", metavar="METHOD", help="its name, as health or channels.status")
    parser.add_argument("--params", default="{}", metavar="JSON", help="its parameters, a JSON object")
    parser.add_argument(
        "--expect-final", action="store_true", help="wait for the result, not only for `accepted`"
    )
    parser.add_argument(
        "--timeout", default=str(DEFAULT_TIMEOUT_MS), metavar="MS", help="how long to wait, in milliseconds"
    )
    add_target_flags(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the payload: indented for people, in one document with its method for --json."""
    timeout_s = duration_between(args.timeout, least=1, most=86_400_000, unit="milliseconds") / 1000
    params = _params(args.params)
    method = args.method.strip()
    accepted: list[object] = []
    try:
        payload = reaching.call(
            functools.partial(rpc_target, args, context),
            context,
            method,
            params or None,
            timeout_s=timeout_s,
            on_accepted=accepted.append if args.expect_final else None,
        )
    except RpcRefused as error:
        if error.payload is not None and not context.json:
            # A run that failed says more beside its error.
            context.document(error.payload)
        raise
    context.document(payload)
    return 0


def _params(given: str) -> dict[str, object]:
    try:
        params = json.loads(given)
    except (ValueError, RecursionError) as error:
        detail = one_line(getattr(error, "msg", "it is nested too deeply")).lower()
        raise CommandError("rpc.bad_params", detail=detail) from error
    if not isinstance(params, dict):
        raise CommandError("rpc.bad_params", detail=f"it is {type(params).__name__}")
    return params
