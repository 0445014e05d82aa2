"""One turn: the message, its history, the model, and the reply's rows, committed together. Runs on lane workers."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from loong_channels.contract import Inbound
from loong_channels.remembered import Remembered
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.metrics import Metrics
from loong_gateway.base.notices import Notices
from loong_gateway.config.snapshot import Config
from loong_gateway.control.origin import Origin
from loong_gateway.messaging.asking import Asking
from loong_gateway.messaging.attachments import Attachments
from loong_gateway.messaging.chat_commands import (
    DECISIONS,
    HELP_TEXT,
    NEW_SESSION_TEXT,
    NOTHING_WAITS_TEXT,
    STOPPED_TEXT,
    ChatCommand,
    parse_command,
)
from loong_gateway.messaging.delivery import STORE_GATE, Delivery, DeliveryTask
from loong_gateway.messaging.lanes import Later
from loong_gateway.messaging.parts import make_parts
from loong_gateway.messaging.surfaces import Surface, Surfaces
from loong_gateway.messaging.turn_runs import TurnRuns
from loong_gateway.providers.contract import ProviderFault
from loong_gateway.storage import acp_sessions, inbox, outbox, transcripts, usage
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.inbox import InboxRow
from loong_gateway.storage.outbox import OutboxRow, Part
from loong_gateway.storage.store import Store
from loong_gateway.storage.usage import Spent

__all__ = ["Outcome", "SettleTask", "TurnSources", "TurnTask", "Turns"]

logger = logging.getLogger("loong.turns")

TRANSIENT = frozenset({"rate_limited", "provider_overloaded", "transport_failure"})
RETRY_AFTER_S = (2.0, 8.0, 30.0)
LONGEST_RETRY_S = 60.0
STORE_WAIT_S = 5.0
NO_SURFACE_WAIT_S = 60.0
MAX_FRESH = 128
TRUNCATED_MARK = " […]"
TOO_OLD_TEXT = (
    "I was away when you wrote, and did not answer what was older than {minutes} minutes. Please ask again."
)


@dataclass(frozen=True)
class Outcome:
    """How a message ends: the state of its row, what is said about it, and where that is remembered.

    `state` is "done", "failed" or "skipped_old". An empty text says nothing. With a `session`, message and answer go
    into its history, the message as `question` says it, or as it came; `begun_in` is the stretch of it that was
    present when the model was asked. `spent` is what the answer took.
    """

    state: str = "done"
    text: str = ""
    error: str = ""
    markup: str = "plain"
    session: str | None = None
    begun_in: str | None = None
    question: str | None = None
    spent: Spent | None = None
    first_extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class TurnSources:
    """Where a turn gets what may change between two turns, and its answer."""

    config: Callable[[], Config]
    asking: Asking
    status_line: Callable[[], str]


class Turns:
    """Runs turns. Thread-safe: many workers use it, each for another lane."""

    def __init__(
        self,
        store: Store,
        delivery: Delivery,
        surfaces: Surfaces,
        *,
        sources: TurnSources,
        runs: TurnRuns,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._store = store
        self.runs = runs
        self._delivery = delivery
        self._surfaces = surfaces
        self._config = sources.config
        self._asking = sources.asking
        self._attachments = Attachments(sources.config, metrics)
        self._status_line = sources.status_line
        self._metrics = metrics
        self._clock = clock
        self._told_old = Notices(clock)
        # A turn that follows at once need not read from disk what was just written.
        self._fresh: Remembered[int, InboxRow] = Remembered(MAX_FRESH)

    @property
    def limit_s(self) -> float:
        """How long one turn may take, in seconds."""
        return self._config().turn_timeout_s

    def task(self, row: InboxRow) -> TurnTask:
        """The task that answers a message which was stored this moment."""
        self._fresh.put(row.seq, row)
        return TurnTask(self, row.seq)

    def forget(self, seq: int) -> None:
        """Let the store say what became of a message, and not what is remembered of it here."""
        self._fresh.pop(seq)

    def run_message(self, seq: int, stop: StopToken) -> Later | None:
        """Answer one row of the inbox. Blocks until the reply's rows are on disk; the reply is sent by what follows."""
        # An answer that could not be kept would be paid for again and again.
        if self._store.unwritable_reason() is not None:
            return Later(TurnTask(self, seq), STORE_WAIT_S, STORE_GATE)
        try:
            row = self._fresh.pop(seq) or self._store.read(lambda conn: inbox.load(conn, seq))
            if row is None:
                return None
            if row.state not in inbox.PENDING:
                # It was taken back, or settled by a turn that was given up: then its answer waits to be sent.
                self.runs.forget(seq)
                return Later(DeliveryTask(self._delivery, _group(row), again=True), 0.0)
            outcome = self._answer(row, stop)
        except StoreUnwritable:
            return Later(TurnTask(self, seq), STORE_WAIT_S, STORE_GATE)
        return outcome if outcome is None or isinstance(outcome, Later) else self.settle(row, outcome)

    def settle(self, row: InboxRow, outcome: Outcome) -> Later | None:
        """Store how a message ended, in one transaction: its row, the history, the reply's parts. Blocks.

        What was answered is kept while the disk refuses, so that nobody is asked twice.
        """
        inbound = row.inbound
        now_ms = self._clock.wall_ms()
        parts = self._parts(row, outcome, now_ms)
        at_once = bool(parts) and self._delivery.can_send_now(inbound.address)
        rounds = self._asking.rounds.kept
        clear_rounds = rounds.clearing(_turn(row.seq))

        def keep(conn: Connection) -> list[OutboxRow] | None:
            if outcome.spent is None:
                # Not an answer of the model, so it may be that of an agent.
                acp_sessions.forget(conn, _turn(row.seq))
            if clear_rounds is not None:
                clear_rounds(conn)
            # A row that is gone went away with a damaged store; what is known of it here is enough for an answer.
            if not inbox.settle(conn, row.seq, outcome.state, error=outcome.error) and inbox.exists(
                conn, row.seq
            ):
                return None
            if outcome.session is not None:
                question = inbound.text if outcome.question is None else outcome.question
                transcripts.remember(conn, outcome.session, question, outcome.text, now_ms, outcome.begun_in)
            if outcome.spent is not None:
                usage.add(conn, outcome.spent, now_ms)
            return outbox.add(conn, parts, now_ms=now_ms, first_sending=at_once)

        try:
            kept = self._store.write(keep)
        except StoreUnwritable:
            return Later(SettleTask(self, row.seq, outcome), STORE_WAIT_S, STORE_GATE)
        rounds.cleared(_turn(row.seq))
        if kept is None:
            logger.warning("message %d was settled elsewhere; this answer is not sent", row.seq)
            self.runs.forget(row.seq)
            # Perhaps by a turn that was given up while it ended: then its answer waits for somebody to send it.
            return Later(DeliveryTask(self._delivery, _group(row), again=True), 0.0)
        self._metrics.add(f"turns:{inbound.address.surface}")
        self.runs.ended(row.seq, outcome.text, outcome.error)
        self._asking.answer_kept(outcome.session)
        return Later(DeliveryTask(self._delivery, parts[0].group, fresh=kept), 0.0) if parts else None

    def settle_by_seq(self, seq: int, outcome: Outcome) -> Later | None:
        """As `settle`, for a message whose answer waits in memory only."""
        try:
            row = self._store.read(lambda conn: inbox.load(conn, seq))
        except StoreUnwritable:
            return Later(SettleTask(self, seq, outcome), STORE_WAIT_S, STORE_GATE)
        if row is None:
            self.runs.forget(seq)
            return None
        return self.settle(row, outcome)

    def _answer(self, row: InboxRow, stop: StopToken) -> Outcome | Later | None:
        """What a message gets; Later to try again, None when it was given back because we stop."""
        inbound = row.inbound
        surface = self._surfaces.surface(inbound.address.channel, inbound.address.account)
        if surface is None or self._attachments.must_wait(inbound, surface):
            return Later(TurnTask(self, row.seq), NO_SURFACE_WAIT_S, inbound.address.surface)
        if self._too_old(inbound):
            return self._pass_over(inbound)
        self._store.submit_lazy(functools.partial(inbox.claim, seq=row.seq))
        session = surface.session(inbound)
        command = parse_command(inbound.text)
        if command is not None:
            is_decision = command.name in DECISIONS
            return Outcome(
                text=self._decided(command, inbound) if is_decision else self.obey(command, session)
            )
        try:
            return self._ask(surface, row, session, stop)
        except ProviderFault as fault:
            return self._failed(row, surface, fault, stop)
        except StoreUnwritable:
            raise
        except Exception:
            # A bug must neither lose the message nor stop its lane: it counts as a failed attempt.
            logger.exception("the turn of message %d failed unexpectedly", row.seq)
            return self._try_again(row, surface, ProviderFault("internal", "internal error"))

    def _ask(self, surface: Surface, row: InboxRow, session: str, stop: StopToken) -> Outcome:
        inbound = row.inbound
        deadline = Deadline(self.limit_s)
        origin = Origin("chat", _turn(row.seq), session, inbound.address, inbound.sender_id)
        events = self.runs.begun(row.seq, session, stop)
        surface.acknowledge(inbound)
        preview = surface.preview(inbound)
        grown: list[str] = []

        def show(piece: str) -> None:
            grown.append(piece)
            events.grown(piece)
            assert preview is not None
            preview.update("".join(grown))

        try:
            with surface.typing(inbound.address):
                question = self._attachments.question(row, surface, deadline, stop)
                on_text = None if preview is None else show
                answer = self._asking.complete(
                    origin, question, deadline, stop, on_text=on_text, on_tool=events.used_tool
                )
        except BaseException:
            if preview is not None:
                preview.abandon()
            raise
        completion = answer.completion
        text = completion.text + (TRUNCATED_MARK if completion.truncated else "")
        first_extra = {} if preview is None else preview.finish()
        return Outcome(
            text=text,
            markup="markdown",
            session=session,
            begun_in=answer.begun_in,
            question=question.remembered,
            spent=answer.spent,
            first_extra=first_extra,
        )

    def obey(self, command: ChatCommand, session: str) -> str:
        """Do what a conversation asks of the gateway itself; what is said about it. Blocks; raises StoreUnwritable."""
        if command.name == "help":
            return HELP_TEXT
        if command.name == "status":
            return self._status_line()
        if command.name == "stop":
            return STOPPED_TEXT
        if command.name in DECISIONS:
            # Only the conversation that was asked may answer; operators have a way of their own.
            return NOTHING_WAITS_TEXT
        now_ms = self._clock.wall_ms()
        new = self._store.write(lambda conn: transcripts.start_new(conn, session, now_ms))
        return NEW_SESSION_TEXT.format(session=new)

    def _decided(self, command: ChatCommand, inbound: Inbound) -> str:
        """What is said to who has decided about a call of a tool; the decision itself counted when it came in."""
        approvals = self._asking.rounds.approvals
        decided = approvals.decided(command.argument, inbound.address.lane, inbound.sender_id)
        return DECISIONS[command.name] if decided else NOTHING_WAITS_TEXT

    def _parts(self, row: InboxRow, outcome: Outcome, now_ms: int) -> list[Part]:
        inbound = row.inbound
        surface = self._surfaces.surface(inbound.address.channel, inbound.address.account)
        if surface is None:
            return []
        return make_parts(
            surface.spec,
            inbound.address,
            outcome.text,
            group=_group(row),
            expires_ms=now_ms + self._config().delivery.reply_ttl_s * 1000,
            inbox_seq=row.seq,
            reply_to=inbound.message_id,
            markup=outcome.markup,
            extra=inbound.extra,
            first_extra=outcome.first_extra,
        )

    def _too_old(self, inbound: Inbound) -> bool:
        settings = self._config().delivery
        if settings.max_inbound_age_policy == "answer" or inbound.sent_ms is None:
            return False
        # Measured from when the platform handed it over: what waited here, in our own queue, is answered however late.
        return inbound.received_ms - inbound.sent_ms > settings.max_inbound_age_s * 1000

    def _pass_over(self, inbound: Inbound) -> Outcome:
        settings = self._config().delivery
        self._metrics.add(f"skipped_old:{inbound.address.surface}")
        told = settings.max_inbound_age_policy == "notice" and self._told_old.due(inbound.address.lane)
        text = TOO_OLD_TEXT.format(minutes=settings.max_inbound_age_s // 60) if told else ""
        return Outcome("skipped_old", text)

    def _failed(
        self, row: InboxRow, surface: Surface, fault: ProviderFault, stop: StopToken
    ) -> Outcome | Later | None:
        address = row.inbound.address
        if stop.is_set() and stop.reason == "stopping":
            self._store.submit(functools.partial(inbox.give_back, seq=row.seq, count=False))
            self.runs.given_back(row.seq)
            return None
        if stop.is_set() and stop.reason == "user":
            return Outcome()
        self._metrics.add(f"turns_failed:{fault.kind}:{address.surface}")
        logger.warning("turn of message %d in %s failed: %s: %s", row.seq, address.lane, fault.kind, fault)
        too_long = fault.retry_after_s is not None and fault.retry_after_s > LONGEST_RETRY_S
        if fault.kind in TRANSIENT and not too_long:
            return self._try_again(row, surface, fault)
        return self._give_up(surface, fault)

    def _try_again(self, row: InboxRow, surface: Surface, fault: ProviderFault) -> Outcome | Later:
        if row.attempts + 1 >= self._config().delivery.max_attempts:
            return self._give_up(surface, fault)
        wait_s = fault.retry_after_s or RETRY_AFTER_S[min(row.attempts, len(RETRY_AFTER_S) - 1)]
        error = f"{fault.kind}: {fault}"
        self._store.submit(functools.partial(inbox.give_back, seq=row.seq, count=True, error=error))
        return Later(TurnTask(self, row.seq), wait_s)

    def _give_up(self, surface: Surface, fault: ProviderFault) -> Outcome:
        shown = self._config().delivery.failure_text
        if surface.shows_errors:
            shown = f"{fault}. {fault.fix}" if fault.fix else str(fault)
        return Outcome("failed", shown, error=f"{fault.kind}: {fault}")

    def abandoned(self, seq: int) -> SettleTask:
        """What is left to do for a message whose turn could not be stopped, or failed by a bug again and again."""
        self._metrics.add("turns_abandoned")
        text = self._config().delivery.failure_text
        return SettleTask(
            self,
            seq,
            Outcome("failed", text, error="given_up: the turn did not end, or failed again and again"),
        )

    def notice_of_failure(self, row: InboxRow) -> DeliveryTask | None:
        """Store the one notice for a message that was given up at start; its row is failed already."""
        now_ms = self._clock.wall_ms()
        parts = self._parts(row, Outcome(text=self._config().delivery.failure_text), now_ms)
        if not parts:
            return None
        self._store.write(lambda conn: outbox.add(conn, parts, now_ms=now_ms, first_sending=False))
        return DeliveryTask(self._delivery, parts[0].group)


def _turn(seq: int) -> str:
    return f"inbox:{seq}"


def _group(row: InboxRow) -> str:
    return f"reply-{row.seq}"


class TurnTask:
    """A lane's handle on one row of the inbox."""

    user_may_stop = True

    def __init__(self, turns: Turns, seq: int) -> None:
        self._turns = turns
        self.seq = seq

    @property
    def limit_s(self) -> float:
        """The turn's own limit."""
        return self._turns.limit_s

    def run(self, stop: StopToken) -> Later | None:
        """Answer the message."""
        return self._turns.run_message(self.seq, stop)

    def abandoned(self) -> SettleTask:
        """Mark the message as failed and say so, so that it does not block its conversation again."""
        return self._turns.abandoned(self.seq)


class SettleTask:
    """A lane's handle on an answer that is not on disk yet."""

    limit_s = 60.0
    user_may_stop = False

    def __init__(self, turns: Turns, seq: int, outcome: Outcome) -> None:
        self._turns = turns
        self._seq = seq
        self._outcome = outcome

    def run(self, stop: StopToken) -> Later | None:  # noqa: ARG002  storing is short
        """Store it."""
        return self._turns.settle_by_seq(self._seq, self._outcome)

    def abandoned(self) -> None:
        """The message is answered again at the next start."""
