"""What verbs change in the store: the gateway of this home does it, or the command itself when none runs."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Callable, TypeVar

from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.commands import reaching
from loong_gateway.commands.common import Context
from loong_gateway.commands.rpc_target import own_target
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.local import LocalStore

__all__ = ["change"]

T = TypeVar("T")
CALL_S = 30.0


def change(
    context: Context,
    method: str,
    params: Mapping[str, object],
    local: Callable[[Connection], T],
    *,
    timeout_s: float = CALL_S,
) -> T | object:
    """Have it done: the payload of `method`, or what `local` gives. Blocks; raises CommandError.

    Nothing was changed with `store.unwritable`, and with what the store refused.
    """
    find_owner = functools.partial(own_target, context)
    try:
        return reaching.call(find_owner, context, method, params, timeout_s=timeout_s)
    except CommandError as error:
        if error.code != "control.not_running":
            raise
    try:
        return LocalStore(context.places).write(local)
    except StoreUnwritable as error:
        raise CommandError("store.unwritable", reason=str(error), path=context.places.store) from error
