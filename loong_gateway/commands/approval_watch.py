"""Says at a terminal which calls of tools wait for a decision, while the answer that they hold up is waited for."""

from __future__ import annotations

import functools
from types import TracebackType

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.faults import CommandError
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.base.wording import one_line
from loong_gateway.commands import reaching
from loong_gateway.commands.common import Context
from loong_gateway.commands.rpc_target import own_target
from loong_gateway.commands.rpc_verbs import CALL_S, table_of

__all__ = ["ApprovalWatch"]

LOOK_S = 1.0
END_S = 1.0


class ApprovalWatch:
    """Looks every second while it is entered, and names each waiting call of `session` once, on stderr."""

    def __init__(self, context: Context, session: str) -> None:
        self._context = context
        self._session = session
        self._over = StopToken()
        self._threads = ThreadRegistry()
        self._told: set[object] = set()

    def __enter__(self) -> None:
        self._threads.spawn("approvals", self._watch)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set("answered")
        self._threads.join_all(Deadline(END_S))

    def _watch(self) -> None:
        find = functools.partial(own_target, self._context)
        while not self._over.wait(LOOK_S):
            try:
                answer = table_of(reaching.call(find, self._context, "exec.approval.list", timeout_s=CALL_S))
            except CommandError:
                # The answer itself tells of a gateway that is in trouble.
                continue
            rows = answer.get("approvals")
            for row in rows if isinstance(rows, list) else []:
                if row.get("sessionKey") == self._session and row.get("id") not in self._told:
                    self._told.add(row.get("id"))
                    self._say(one_line(row["id"], 20), one_line(row["tool"], 80), one_line(row["summary"]))

    def _say(self, id: str, tool: str, summary: str) -> None:
        command = self._context.places.command
        self._context.err(f"waiting: {tool}{f' with {summary}' if summary else ''} needs a decision")
        self._context.err(f"  allow it, in another shell: {command(f'approvals approve {id}')}")
        self._context.err(f"  refuse it: {command(f'approvals deny {id}')}")
