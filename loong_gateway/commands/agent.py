"""`loong agent`: have the gateway run one turn over its port; it goes on there should this command be ended."""

from __future__ import annotations

import argparse
import functools
import uuid
from collections.abc import Mapping
from typing import Callable

from loong_channels.waiting import Deadline
from loong_gateway.base.faults import CommandError
from loong_gateway.base.pause import pause
from loong_gateway.base.wording import harmless, one_line
from loong_gateway.commands import reaching
from loong_gateway.commands.common import Context, add_target_flags, error_lines
from loong_gateway.commands.rpc_client import CONNECT_S, RpcClient, RpcRefused, least_scope
from loong_gateway.commands.rpc_target import RpcTarget, rpc_target
from loong_gateway.commands.rpc_verbs import duration_between, table_of
from loong_gateway.owner.client import PATIENCE_S, PAUSE_S

HELP = "have the gateway run one turn, print the answer, and deliver it where asked"
EXAMPLES = (
    "loong agent --message 'what is new?' --session-key main",
    "loong agent --message 'good morning' --deliver --channel telegram --to 123456789",
)
EXIT_CODES = "0 done; 1 the run failed or was refused; 2 the gateway could not be asked, or no answer in time"

DEFAULT_TIMEOUT_S = 600
# The gateway ends a run that takes too long, and says so within this time.
MARGIN_S = 10.0
# The longest that `agent.wait` takes.
LONGEST_WAIT_MS = 3_600_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument("-m", "--message", required=True, metavar="TEXT", help="what to say")
    session = parser.add_mutually_exclusive_group()
    session.add_argument("--session-key", metavar="KEY", help="the conversation; otherwise main")
    session.add_argument("--session-id", metavar="ID", help="the same, by the id of its present stretch")
    parser.add_argument("--deliver", action="store_true", help="also send the answer there")
    parser.add_argument("--channel", metavar="CHANNEL", help="with --deliver: by which channel")
    parser.add_argument("--account", metavar="ID", help="with --deliver: by which account")
    parser.add_argument("--to", metavar="TARGET", help="with --deliver: to whom")
    parser.add_argument(
        "--timeout", default=str(DEFAULT_TIMEOUT_S), metavar="SECONDS", help="how long the run may take"
    )
    add_target_flags(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the answer."""
    timeout_s = duration_between(args.timeout, least=1, most=86_400, unit="seconds")
    accepted: list[object] = []
    params = _params(args, int(timeout_s))
    try:
        answer = _ask(functools.partial(rpc_target, args, context), context, params, accepted, timeout_s)
    except RpcRefused as error:
        if not accepted:
            raise
        raise _failed(context, error.text) from error
    except KeyboardInterrupt:
        if accepted:
            context.err(f"the run goes on at the gateway: {one_line(params['idempotencyKey'])}")
        raise
    if context.json:
        context.document(answer)
    if answer.get("status") != "ok":
        return _say_why(answer, context)
    if not context.json:
        for text in _texts(answer):
            context.out(harmless(text))
        delivered = table_of(answer.get("result")).get("deliveryStatus")
        if delivered is not None:
            context.err(f"delivery: {one_line(delivered)}")
    return 0


def _ask(
    find: Callable[[], RpcTarget],
    context: Context,
    params: Mapping[str, object],
    accepted: list[object],
    timeout_s: float,
) -> Mapping[str, object]:
    """The result of the run, also over a restart of the gateway: its key is never run twice."""
    deadline = Deadline(timeout_s + MARGIN_S)
    scopes = [least_scope("agent")]
    patience = Deadline(PATIENCE_S)
    while True:
        with reaching.connect(find, context, scopes, timeout_s=CONNECT_S, patience=patience) as client:
            try:
                return _result(client, params, accepted, deadline)
            except CommandError as error:
                is_refused = isinstance(error, RpcRefused) and error.is_between and bool(accepted)
                if not (is_refused or error.code == "rpc.closed") or deadline.expired:
                    raise
        if patience is not deadline:
            # From here on the run is on disk there, or as good as never asked for: its key makes one of both.
            patience = deadline
            context.err("the gateway restarts; waiting for the run's answer")
        pause(PAUSE_S)


def _result(
    client: RpcClient, params: Mapping[str, object], accepted: list[object], deadline: Deadline
) -> Mapping[str, object]:
    """Ask for the run by its key until it has a result; when it runs already, wait for its end."""
    run_id = params["idempotencyKey"]
    while True:
        left_s = deadline.remaining()
        answer = table_of(client.call("agent", params, timeout_s=left_s, on_accepted=accepted.append))
        if answer.get("status") != "in_flight":
            return answer
        accepted.append(answer)
        left_s = deadline.remaining()
        wait_ms = min(LONGEST_WAIT_MS, int((left_s + MARGIN_S) * 1000))
        client.call("agent.wait", {"runId": run_id, "timeoutMs": wait_ms}, timeout_s=left_s)


def _failed(context: Context, detail: str) -> CommandError:
    return CommandError("rpc.run_failed", detail=detail, look=context.places.command("logs --lines 50"))


def _say_why(answer: Mapping[str, object], context: Context) -> int:
    """What became of a run that has no answer; its document was printed where one was asked for."""
    said = answer.get("summary") or answer.get("status") or "no reason was given"
    error = _failed(context, one_line(said))
    if not context.json:
        return context.report(error)
    for line in error_lines(error):
        context.err(line)
    return error.exit_code


def _params(args: argparse.Namespace, timeout_s: int) -> dict[str, object]:
    params: dict[str, object] = {
        # Bytes of the command line that are no text come as lone surrogates, which no JSON may hold.
        "message": args.message.encode("utf-8", "replace").decode("utf-8"),
        "idempotencyKey": str(uuid.uuid4()),
        "deliver": args.deliver,
        "timeout": timeout_s,
    }
    for name, value in (
        ("sessionKey", args.session_key),
        ("sessionId", args.session_id),
        ("channel", args.channel),
        ("account", args.account),
        ("to", args.to),
    ):
        if value is not None:
            params[name] = value
    return params


def _texts(answer: Mapping[str, object]) -> list[str]:
    payloads = table_of(answer.get("result")).get("payloads")
    found = [table_of(one).get("text") for one in payloads] if isinstance(payloads, list) else []
    return [text for text in found if isinstance(text, str)]
