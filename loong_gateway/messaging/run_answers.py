"""Answers one run: a command or the model, then one commit of everything that follows from it. Runs on lane workers."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from loong_channels.waiting import StopToken
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.config.snapshot import AccountConfig, Config
from loong_gateway.control import SendRequest
from loong_gateway.control.origin import Origin
from loong_gateway.control.runs import ReplyTarget, RunRequest, RunResult
from loong_gateway.messaging.asking import Answer, Asking
from loong_gateway.messaging.chat_commands import ChatCommand, parse_command
from loong_gateway.messaging.conversation import Question
from loong_gateway.messaging.operator_sends import OperatorSends
from loong_gateway.messaging.run import Run
from loong_gateway.messaging.run_rows import encode_result
from loong_gateway.providers.contract import ProviderFault
from loong_gateway.storage import acp_sessions, outbox, runs, transcripts, usage
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.outbox import Part
from loong_gateway.storage.store import Store
from loong_gateway.storage.usage import Spent

__all__ = ["Answered", "RunAnswers"]

logger = logging.getLogger("loong.runs")

TIMED_OUT = "the turn did not end in time"
SHUTDOWN = "shutdown"

Obey = Callable[[ChatCommand, str], str]


@dataclass(frozen=True)
class Answered:
    """How a run ended, before it is kept. `is_remembered` says that question and answer go into the history.

    `begun_in` is the session that it was asked in, `spent` what the answer took.
    """

    result: RunResult
    is_remembered: bool = False
    begun_in: str | None = None
    spent: Spent | None = None


class RunAnswers:
    """Thread-safe; holds nothing. `obey` does what a chat command asks for."""

    def __init__(
        self,
        store: Store,
        sends: OperatorSends,
        *,
        config: Callable[[], Config],
        asking: Asking,
        obey: Obey,
        clock: Clock,
    ) -> None:
        self._store = store
        self._sends = sends
        self._config = config
        self._asking = asking
        self._obey = obey
        self._clock = clock

    def check(self, target: ReplyTarget) -> None:
        """Raise CommandError for a target that cannot be reached, unless that is all the same."""
        if not target.best_effort:
            self._sends.prepare(_send(target, "."), "check")

    def unwritable(self) -> bool:
        """Whether an answer could not be kept now."""
        return self._store.unwritable_reason() is not None

    def answer(self, run: Run, stop: StopToken) -> Answered | None:
        """How the run ends; None when the gateway stops and the run waits for the next start. Blocks."""
        request = run.request
        if request.durable:
            self._store.submit_lazy(functools.partial(runs.claim, id=request.run_id))
        try:
            return self._answer(run, stop)
        except ProviderFault as fault:
            if stop.is_set() or run.deadline.expired:
                return self._stopped(run, stop)
            if fault.kind == "timed_out":
                return Answered(self.ended(run, "timed_out", error=TIMED_OUT, error_code="timed_out"))
            words = f"{fault}. {fault.fix}" if fault.fix and request.origin != "turn" else str(fault)
            return Answered(
                self.ended(
                    run, "error", error=words, error_code=fault.kind, retry_after_s=fault.retry_after_s
                )
            )
        except StoreUnwritable as fault:
            return Answered(self.ended(run, "error", error=str(fault), error_code="store_unwritable"))
        except Exception:
            # A bug must not leave those waiting who asked.
            logger.exception("run %s failed unexpectedly", request.run_id)
            return Answered(self.ended(run, "error", error="internal error", error_code="internal"))

    def keep(self, run: Run, answered: Answered) -> RunResult | None:
        """Store how it ended, in one transaction: history, what is to be sent, the run's own row. Blocks.

        None when it was settled elsewhere; then nothing was stored. Raises StoreUnwritable.
        """
        request, result = run.request, answered.result
        account, parts, delivery = self._delivery(request, result)
        result = replace(result, delivery=delivery)
        if not (answered.is_remembered or parts or request.durable):
            self._asking.keep_spent(answered.spent)
            return result
        now_ms = self._clock.wall_ms()
        also = self._alongside(request, answered, parts, now_ms)

        def store(conn: Connection) -> RunResult | None:
            kept = result
            # Looked for first: an end that is already there must leave no trace of this one.
            row = runs.find(conn, request.run_id) if request.durable else None
            if row is not None and row.state == "ended":
                return None
            if answered.is_remembered and request.session is not None:
                session = transcripts.remember(
                    conn, request.session, request.text, result.text, now_ms, answered.begun_in
                )
                kept = replace(kept, session_id=session)
            if request.durable and not runs.end(conn, request.run_id, encode_result(kept), now_ms):
                return None
            for change in also:
                change(conn)
            return kept

        kept = self._store.write(store)
        self._asking.rounds.kept.cleared(_turn(request))
        if kept is not None and parts and account is not None:
            self._sends.release(account, parts)
        if kept is not None and answered.is_remembered:
            self._asking.answer_kept(request.session)
        return kept

    def _alongside(
        self, request: RunRequest, answered: Answered, parts: list[Part], now_ms: int
    ) -> list[Callable[[Connection], object]]:
        """What else is stored together with the end of a run."""
        also: list[Callable[[Connection], object]] = [
            functools.partial(acp_sessions.forget, turn=_turn(request))
        ]
        clear_rounds = self._asking.rounds.kept.clearing(_turn(request))
        if clear_rounds is not None:
            also.append(clear_rounds)
        if parts:
            also.append(functools.partial(outbox.add, parts=parts, now_ms=now_ms, first_sending=False))
        if answered.spent is not None:
            also.append(functools.partial(usage.add, spent=answered.spent, now_ms=now_ms))
        return also

    def keep_soon(self, run: Run, result: RunResult) -> None:
        """Store that a run ended without an answer, without waiting: after a crash before that it is begun again."""
        if run.request.durable:
            row, now_ms = encode_result(result), self._clock.wall_ms()
            try:
                self._store.submit(lambda conn: runs.end(conn, result.run_id, row, now_ms))
            except StoreUnwritable as error:
                logger.warning("the end of run %s could not be stored: %s", result.run_id, error)

    def ended(self, run: Run, state: str, **how: Any) -> RunResult:
        """A result with what is known of the run."""
        request, config = run.request, self._config()
        name = request.profile or config.active_provider or ""
        profile = config.providers.get(name)
        known = RunResult(
            request.run_id,
            state,
            text=run.say(),
            provider=name,
            model=request.model or ("" if profile is None else profile.model),
            session=request.session,
            started_ms=run.started_ms,
            ended_ms=self._clock.wall_ms(),
        )
        return replace(known, **how)

    def _answer(self, run: Run, stop: StopToken) -> Answered | None:
        request = run.request
        command = parse_command(request.text) if request.session and not request.messages else None
        if command is not None:
            text = self._obey(command, str(request.session))
            return Answered(self.ended(run, "ok", text=text, provider="", model=""))
        question = Question(
            request.text,
            request.images,
            messages=request.messages,
            system=request.system,
            model=request.model,
            options=request.options,
        )
        answer = self._asking.complete(
            Origin(
                request.origin,
                _turn(request),
                request.session,
                durable=request.durable,
                wants_agent=request.wants_agent,
            ),
            question,
            run.deadline,
            stop,
            profile=request.profile,
            on_text=run.grown if run.wants_stream else None,
            on_tool=run.used_tool,
        )
        if stop.is_set():
            self._asking.keep_spent(answer.spent)
            return self._stopped(run, stop)
        return self._completed(run, answer)

    def _completed(self, run: Run, answer: Answer) -> Answered:
        completion = answer.completion
        result = self.ended(
            run,
            "ok",
            text=completion.text,
            model=completion.model,
            usage=completion.usage,
            truncated=completion.truncated,
            tool_calls=completion.tool_calls,
        )
        # The caller goes on with the results of its tools; what it then has is worth remembering.
        is_remembered = run.request.session is not None and not completion.tool_calls
        return Answered(result, is_remembered, answer.begun_in, answer.spent)

    def _stopped(self, run: Run, stop: StopToken) -> Answered | None:
        if run.stop.is_set():
            return Answered(self.ended(run, "aborted", stop_reason=run.stop.reason))
        if stop.is_set() and stop.reason == "stopping":
            if not run.request.durable:
                return Answered(self.ended(run, "aborted", stop_reason=SHUTDOWN))
            self._store.submit(functools.partial(runs.give_back, id=run.request.run_id))
            return None
        if stop.is_set() and stop.reason == "user":
            return Answered(self.ended(run, "aborted", stop_reason="user"))
        return Answered(self.ended(run, "timed_out", error=TIMED_OUT, error_code="timed_out"))

    def _delivery(
        self, request: RunRequest, result: RunResult
    ) -> tuple[AccountConfig | None, list[Part], str | None]:
        """What is to be sent besides, and what is said of it."""
        if request.deliver is None or result.state != "ok" or not result.text.strip():
            return None, [], None
        try:
            # Made of the run's id, so that a run that is begun again after a crash sends nothing twice.
            account, parts = self._sends.prepare(
                _send(request.deliver, result.text), f"send-run-{request.run_id}"
            )
        except CommandError as error:
            logger.warning("the answer of run %s cannot be sent: %s", request.run_id, error)
            return None, [], "refused"
        return account, parts, "queued"


def _turn(request: RunRequest) -> str:
    return f"run:{request.run_id}"


def _send(target: ReplyTarget, text: str) -> SendRequest:
    to = target.target if target.thread is None else f"{target.target}:{target.thread}"
    return SendRequest(target.channel, target.account, to, "", text)
