"""`gateway status` beyond its plain form: with a question over the port, or about a gateway that an address names."""

from __future__ import annotations

import argparse

from loong_gateway.base.wording import one_line
from loong_gateway.commands import gateway_status
from loong_gateway.commands.common import Context
from loong_gateway.commands.rpc_client import READ, RpcClient
from loong_gateway.commands.rpc_target import rpc_target, wants_remote
from loong_gateway.commands.rpc_verbs import CALL_S, status_call, table_of
from loong_gateway.owner.lock import lock_state


def run(args: argparse.Namespace, context: Context) -> int:
    """As gateway_status.run; the status call is part of the verdict."""
    if wants_remote(args, context):
        return _remote(args, context)
    deep = status_call(context) if lock_state(context.places).held else None
    return gateway_status.run(args, context, deep)


def _remote(args: argparse.Namespace, context: Context) -> int:
    """0 when the gateway there answers, 2 when it cannot be asked; a refusal of the question is a bad answer, 1."""
    target = rpc_target(args, context)
    with RpcClient.connect(target, [READ], timeout_s=CALL_S) as client:
        status = table_of(client.call("status", timeout_s=CALL_S))
        server = table_of(client.hello.get("server"))
    if context.json:
        context.document(
            {"schema_version": 1, "url": target.url, "rpc_probe": "ok", "server": server, **status}
        )
        return 0
    context.out(f"Gateway at {target.address} answers.")
    context.out("RPC probe: ok")
    if status.get("phase"):
        context.out(
            f"Runtime: {one_line(status['phase'], 60)}, {'ready' if status.get('ready') else 'not ready'}"
        )
    reasons = status.get("degradedReasons")
    if isinstance(reasons, list) and reasons:
        context.out(f"Degraded: {', '.join(one_line(reason, 120) for reason in reasons[:20])}")
    context.out(f"Owner: loong {one_line(server.get('version') or status.get('runtimeVersion') or '-')}")
    return 0
