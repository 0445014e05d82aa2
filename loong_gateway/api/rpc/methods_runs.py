"""Runs and chats over the WebSocket side: `agent`, `agent.wait` and the `chat.*` family.

https://docs.openclaw.ai/gateway/protocol. `agent` and `chat.send` run in their connection's reader although they wait
for one commit: on a pool, what a client sends one after the other could be admitted in another order.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable

from loong_gateway.base.faults import CommandError
from loong_gateway.control import ControlPlane
from loong_gateway.control.runs import ReplyTarget, RunRefused, RunRequest, RunResult, RunTicket
from loong_gateway.messaging.sessions import address_of_key

from .attachments import attached
from .calls import ADMIN, DEFERRED, READ, WRITE, Call, Deferred, Method, RpcFault
from .run_answers import accepted, answer_end, in_flight, wait_payload
from .session_keys import LONGEST_KEY, check_agent, session_of
from .session_rows import defaults, kept, message_row, session_row

__all__ = ["methods"]

LONGEST_RUN_ID = 256
DEFAULT_TIMEOUT_S = 600
LONGEST_TIMEOUT_S = 24 * 3600
DEFAULT_WAIT_MS = 30_000
LONGEST_WAIT_MS = 3_600_000
MOST_MESSAGES = 1000
MOST_SKIPPED = 100_000
HISTORY_BYTES = 6 << 20
LONGEST_SYSTEM = 100_000
LONGEST_LABEL = 512


def methods(control: ControlPlane) -> list[Method]:
    """The methods of this module."""
    verbs = _Verbs(control)
    return [
        Method("agent", WRITE, verbs.agent, starts_work=True),
        Method("agent.wait", WRITE, verbs.wait),
        Method("chat.send", WRITE, verbs.send, starts_work=True),
        Method("chat.abort", WRITE, verbs.abort),
        Method("chat.history", READ, verbs.history, waits=True),
        Method("chat.inject", ADMIN, verbs.inject, waits=True),
    ]


class _Verbs:
    def __init__(self, control: ControlPlane) -> None:
        self._control = control

    def agent(self, call: Call) -> object | Deferred:
        params = call.params
        text = params.required_text("message")
        run_id = params.required_text("idempotencyKey", longest=LONGEST_RUN_ID)
        timeout_s = params.integer("timeout", minimum=0, maximum=LONGEST_TIMEOUT_S)
        check_agent(call)
        session = self._session(params.text("sessionKey", longest=LONGEST_KEY) or "main")
        files = attached(params, text, takes_images=self._control.config().images)
        request = RunRequest(
            run_id,
            files.text,
            session=session,
            images=files.images,
            system=params.text("extraSystemPrompt", longest=LONGEST_SYSTEM) or "",
            profile=params.text("provider", longest=LONGEST_LABEL) or None,
            model=params.text("model", longest=LONGEST_LABEL) or None,
            timeout_s=float(timeout_s or DEFAULT_TIMEOUT_S),
            durable=True,
            deliver=self._target(call, session) if params.flag("deliver") else None,
            label=params.text("label", longest=LONGEST_LABEL) or "",
        )
        ticket = self._start(request, lambda ticket: call.respond(accepted(ticket)))
        if ticket.state == "in_flight":
            return in_flight(ticket)
        if ticket.result is not None:
            answer_end(call, ticket.result)
        else:
            self._control.runs.watch(run_id, functools.partial(answer_end, call))
        return DEFERRED

    def wait(self, call: Call) -> Deferred:
        params = call.params
        run_id = params.required_text("runId", longest=LONGEST_RUN_ID)
        timeout_ms = params.integer("timeoutMs", minimum=0, maximum=LONGEST_WAIT_MS, default=DEFAULT_WAIT_MS)
        _Wait(call, run_id).begin(self._control, (timeout_ms or 0) / 1000)
        return DEFERRED

    def send(self, call: Call) -> object:
        params = call.params
        given = params.required_text("sessionKey", longest=LONGEST_KEY)
        text = params.text("message")
        if "message" not in params:
            text = params.required_text("message")
        run_id = params.required_text("idempotencyKey", longest=LONGEST_RUN_ID)
        timeout_ms = params.integer("timeoutMs", minimum=0, maximum=LONGEST_TIMEOUT_S * 1000)
        check_agent(call)
        if not (text or "").strip() and not params.raw("attachments"):
            raise RpcFault("INVALID_REQUEST", "message or attachment required")
        session = self._session(given)
        files = attached(params, text or "", takes_images=self._control.config().images)
        deliver = _own_target(session, best_effort=True) if params.flag("deliver") else None
        request = RunRequest(
            run_id,
            files.text,
            session=session,
            images=files.images,
            timeout_s=(timeout_ms or DEFAULT_TIMEOUT_S * 1000) / 1000,
            durable=True,
            deliver=deliver,
        )
        ticket = self._start(request, lambda _: call.respond({"runId": run_id, "status": "started"}))
        if ticket.state == "accepted":
            return DEFERRED
        return {"runId": run_id, "status": "in_flight" if ticket.result is None else _status(ticket.result)}

    def abort(self, call: Call) -> object:
        given = call.params.required_text("sessionKey", longest=LONGEST_KEY)
        run_id = call.params.text("runId", longest=LONGEST_RUN_ID)
        check_agent(call)
        found = self._control.runs.abort(session=self._session(given), run_id=run_id)
        return {"ok": True, "aborted": bool(found), "runIds": list(found)}

    def history(self, call: Call) -> object:
        params = call.params
        given = params.required_text("sessionKey", longest=LONGEST_KEY)
        limit = params.integer("limit", minimum=1, maximum=MOST_MESSAGES, default=200) or 1
        skipped = params.integer("offset", minimum=0, maximum=MOST_SKIPPED, default=0) or 0
        longest = params.integer("maxChars", minimum=1, maximum=500_000)
        check_agent(call)
        key = self._session(given)
        if params.text("cursor") is not None:
            # Changes since a moment are not told apart here: the client is to read everything anew.
            return {"kind": "reset"}
        sessions = self._control.sessions
        found = kept(lambda: sessions.history(key, limit=limit + skipped, max_bytes=HISTORY_BYTES))
        shown = found.messages[: len(found.messages) - skipped] if skipped else found.messages
        info = kept(lambda: sessions.describe(key))
        answer: dict[str, object] = {
            "sessionKey": given,
            "messages": [message_row(message, longest) for message in shown],
            "hasMore": found.has_more,
            "totalMessages": found.total,
            "defaults": defaults(self._control),
        }
        if found.session_id is not None:
            answer["sessionId"] = found.session_id
        if info is not None:
            answer["sessionInfo"] = session_row(self._control, info)
        return answer

    def inject(self, call: Call) -> object:
        params = call.params
        given = params.required_text("sessionKey", longest=LONGEST_KEY)
        text = params.required_text("message")
        label = params.text("label", longest=100)
        check_agent(call)
        key = self._session(given)
        said = f"[{label}]\n\n{text}" if label else text
        number = kept(lambda: self._control.sessions.inject(key, said))
        return {"ok": True, "messageId": str(number)}

    def _session(self, given: str) -> str:
        return kept(lambda: session_of(self._control, given))

    def _start(self, request: RunRequest, admitted: Callable[[RunTicket], None]) -> RunTicket:
        try:
            return self._control.runs.start(request, admitted=admitted)
        except RunRefused as refused:
            if refused.code == "unknown_profile":
                raise RpcFault("INVALID_REQUEST", str(refused)) from None
            raise RpcFault("UNAVAILABLE", str(refused), retryable=True) from None
        except CommandError as error:
            raise RpcFault("INVALID_REQUEST", error.message) from None

    def _target(self, call: Call, session: str) -> ReplyTarget | None:
        params = call.params
        best_effort = params.flag("bestEffortDeliver")
        channel = params.text("replyChannel", longest=LONGEST_KEY) or params.text(
            "channel", longest=LONGEST_KEY
        )
        to = params.text("replyTo", longest=LONGEST_KEY) or params.text("to", longest=LONGEST_KEY)
        if channel and to:
            account = params.text("replyAccountId", longest=LONGEST_KEY) or params.text(
                "accountId", longest=LONGEST_KEY
            )
            thread = params.text("threadId", longest=LONGEST_KEY)
            return ReplyTarget(channel, account or None, to, thread or None, best_effort=best_effort)
        own = None if to else _own_target(session, best_effort=best_effort)
        if own is None and not best_effort:
            raise RpcFault("INVALID_REQUEST", "deliver needs channel and to, or a session of a channel")
        return own


class _Wait:
    """One `agent.wait`: answered once, by the end of the run or by the time. `_guard` protects which came first."""

    def __init__(self, call: Call, run_id: str) -> None:
        self._call = call
        self._run_id = run_id
        self._guard = threading.Lock()
        self._answered = False
        self._undo: list[Callable[[], None]] = []

    def begin(self, control: ControlPlane, timeout_s: float) -> None:
        leave = control.runs.watch(self._run_id, self._ended, early=True)
        self._when_over(leave or _nothing)
        if not self._answered:
            self._when_over(self._call.later(timeout_s, self._expired))

    def _ended(self, result: RunResult) -> None:
        self._answer(wait_payload(result))

    def _expired(self) -> None:
        self._answer({"runId": self._run_id, "status": "timeout"})

    def _answer(self, payload: dict[str, object]) -> None:
        with self._guard:
            if self._answered:
                return
            self._answered = True
            undo, self._undo = self._undo, []
        for one in undo:
            one()
        self._call.respond(payload)

    def _when_over(self, action: Callable[[], None]) -> None:
        with self._guard:
            if not self._answered:
                self._undo.append(action)
                return
        action()


def _own_target(session: str, *, best_effort: bool) -> ReplyTarget | None:
    address = address_of_key(session)
    if address is None:
        return None
    return ReplyTarget(
        address.channel, address.account, address.conversation, address.thread, best_effort=best_effort
    )


def _status(result: RunResult) -> str:
    if result.state in ("ok", "error"):
        return result.state
    return "timeout"


def _nothing() -> None:
    """Nobody watches."""
