"""`loong gateway probe`: how far this user gets with a gateway: connected, admitted, allowed to read."""

from __future__ import annotations

import argparse
import time

from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import one_line
from loong_gateway.commands.common import Context, add_target_flags
from loong_gateway.commands.render import latency
from loong_gateway.commands.rpc_client import READ, RpcClient
from loong_gateway.commands.rpc_target import rpc_target
from loong_gateway.commands.rpc_verbs import duration_between, table_of

HELP = "see how far one gets with a gateway: reached, admitted, allowed to read"
EXAMPLES = ("loong gateway probe", "loong gateway probe --url ws://10.0.0.5:18789 --token-file token.txt")
EXIT_CODES = "0 all was answered; 1 admitted, but a question was refused; 2 not reached, or not admitted"

DEFAULT_TIMEOUT_MS = 10_000
# What the other verbs build on.
QUESTIONS = ("health", "status", "system-presence", "config.get")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument(
        "--timeout", default=str(DEFAULT_TIMEOUT_MS), metavar="MS", help="how long to wait, in milliseconds"
    )
    add_target_flags(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    """Print what was reached, then one line per question."""
    timeout_s = duration_between(args.timeout, least=1, most=600_000, unit="milliseconds") / 1000
    target = rpc_target(args, context)
    began_s = time.monotonic()
    with RpcClient.connect(target, [READ], mode="probe", timeout_s=timeout_s) as client:
        connected_s = time.monotonic() - began_s
        answers = [(method, *_ask(client, method, timeout_s)) for method in QUESTIONS]
    refused = [method for method, _, error in answers if error is not None]
    server, auth = table_of(client.hello.get("server")), table_of(client.hello.get("auth"))
    scopes = auth.get("scopes")
    if context.json:
        context.document(
            {
                "schema_version": 1,
                "ok": not refused,
                "url": target.url,
                "connect_ms": round(connected_s * 1000),
                "server": server,
                "auth": auth,
                "calls": [
                    {"method": method, "ok": error is None, "elapsed_ms": elapsed_ms, "error": error}
                    for method, elapsed_ms, error in answers
                ],
            }
        )
        return 1 if refused else 0
    granted = (
        ", ".join(one_line(scope) for scope in scopes) if isinstance(scopes, list) and scopes else "none"
    )
    verdict = "answers" if not refused else f"admits, but refused {len(refused)} of {len(answers)} questions"
    context.out(f"Gateway at {target.address} {verdict}.")
    context.out(f"Connect: ok {latency(connected_s)}, version {one_line(server.get('version') or '-')}")
    context.out(f"Scopes:  {granted}")
    width = max(len(method) for method in QUESTIONS)
    for method, elapsed_ms, error in answers:
        context.out(f"{method:<{width}}  " + (f"ok {elapsed_ms} ms" if error is None else f"failed: {error}"))
    return 1 if refused else 0


def _ask(client: RpcClient, method: str, timeout_s: float) -> tuple[int, str | None]:
    """How long the answer took, and why it is none."""
    began_s = time.monotonic()
    error = None
    try:
        client.call(method, timeout_s=timeout_s)
    except CommandError as failed:
        error = failed.message
    return round((time.monotonic() - began_s) * 1000), error
