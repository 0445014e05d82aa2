"""Calls over the WebSocket side that outlive a restart: what was surely not carried out is asked once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Callable

from loong_channels.waiting import Deadline
from loong_gateway.base.faults import CommandError
from loong_gateway.base.pause import pause
from loong_gateway.commands.common import Context
from loong_gateway.commands.rpc_client import CONNECT_S, READ, RpcClient, RpcRefused, least_scope
from loong_gateway.commands.rpc_target import RpcTarget
from loong_gateway.owner.client import PATIENCE_S, PAUSE_S, ControlClient

__all__ = ["call", "connect", "is_away"]

Find = Callable[[], RpcTarget]


def call(
    find: Find,
    context: Context,
    method: str,
    params: Mapping[str, object] | None = None,
    *,
    timeout_s: float,
    on_accepted: Callable[[object], None] | None = None,
) -> object:
    """One call on a connection of its own, with the least scope that it needs; its payload.

    `find` says anew where the gateway is. Blocks up to `timeout_s` for the answer, and before that for PATIENCE_S while
    the gateway is between two processes. Raises as RpcClient, or what `find` raises.
    """
    scope = least_scope(method)
    patience = Deadline(min(PATIENCE_S, timeout_s))
    while True:
        with connect(
            find, context, [scope], timeout_s=min(timeout_s, CONNECT_S), patience=patience
        ) as client:
            try:
                return client.call(method, params, timeout_s=timeout_s, on_accepted=on_accepted)
            except CommandError as error:
                # A look may be repeated even if the gateway has heard of it.
                again = error.is_between if isinstance(error, RpcRefused) else _is_look(error, scope)
                if not again or patience.expired:
                    raise
        pause(PAUSE_S)


def connect(
    find: Find, context: Context, scopes: Sequence[str], *, timeout_s: float, patience: Deadline
) -> RpcClient:
    """As RpcClient.connect, and again until `patience` is over while the gateway is between two processes."""
    while True:
        target = None
        try:
            target = find()
            return RpcClient.connect(target, scopes, timeout_s=timeout_s)
        except CommandError as error:
            if patience.expired or not is_away(error, target, context):
                raise
        pause(PAUSE_S)


def is_away(error: CommandError, target: RpcTarget | None, context: Context) -> bool:
    """Whether a connection failed because the gateway is between two processes, as far as that can be told.

    `target` is what was tried, None when there was none to be found.
    """
    if error.code in ("control.not_yet", "rpc.closed"):
        return True
    if error.code == "rpc.not_admitted":
        return bool(error.values.get("is_between"))
    if target is None or target.is_remote or error.code not in ("rpc.unreachable", "rpc.unauthorized"):
        return False
    return ControlClient(context.places).has_moved(target.found)


def _is_look(error: CommandError, scope: str) -> bool:
    return error.code == "rpc.closed" and scope == READ
