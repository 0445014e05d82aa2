"""One process of an agent with one session in it: started, asked, cancelled, ended.

https://agentclientprotocol.com/protocol/prompt-turn
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from typing import Callable, TypeVar

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.acp import protocol
from loong_gateway.base.stdio_peer import PeerFailed, PeerLimits, PeerProgram, StdioPeer
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.base.timers import Timers

__all__ = ["CLOSE_S", "GRACE_S", "AgentLink", "Permit", "Said"]

logger = logging.getLogger("loong.acp")

# How long an agent that was told to cancel may take to end its turn, and then its process to end.
GRACE_S = 1.5
CLOSE_S = 1.2
MOST_CHARACTERS = 1 << 20
MOST_QUESTIONS = 100
LIMITS = PeerLimits()
_T = TypeVar("_T")

# Whether an agent may do what its title says. Blocks until the token is set at the latest.
Permit = Callable[[str, StopToken], bool]


@dataclass(frozen=True)
class Said:
    """How a turn ended: `stop_reason` as the protocol names it.

    `cancelled` is why the gateway cancelled it: "stopped", "timed_out", or "". `is_cut` says that more was said.
    """

    text: str
    stop_reason: str
    cancelled: str = ""
    is_cut: bool = False


@dataclass
class _Turn:
    """A turn that goes on. Pieces come in the peer's thread; `ending` is set when it is cancelled."""

    on_text: Callable[[str], None] | None
    permit: Permit
    pieces: list[str] = field(default_factory=list)
    length: int = 0
    questions: int = 0
    ending: StopToken = field(default_factory=StopToken)


class AgentLink:
    """One turn at a time, from one thread; `close` from any."""

    def __init__(
        self,
        program: PeerProgram,
        threads: ThreadRegistry,
        timers: Timers,
    ) -> None:
        """Start the process. Raises PeerFailed."""
        self._timers = timers
        self._turn: _Turn | None = None
        self.session = ""
        self._peer = StdioPeer(
            program, threads, on_request=self._asked, on_notice=self._noticed, limits=LIMITS
        )

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._peer.alive

    def initialize(self, deadline: Deadline, stop: StopToken) -> protocol.AgentFacts:
        """What the agent says of itself. Blocks; raises PeerFailed."""
        result = self._peer.request("initialize", protocol.INITIALIZE, deadline=deadline, stop=stop)
        return _read(protocol.read_initialize, result)

    def open_session(
        self, cwd: str, known: str | None, can_load: bool, deadline: Deadline, stop: StopToken
    ) -> bool:
        """Go on with a session of an earlier process where that is possible, else begin one; True when it goes on.

        Blocks; raises PeerFailed.
        """
        params: dict[str, object] = {"cwd": cwd, "mcpServers": []}
        if known is not None and can_load:
            try:
                # What was said before is told again; nobody listens.
                self._peer.request(
                    "session/load", {**params, "sessionId": known}, deadline=deadline, stop=stop
                )
            except PeerFailed as failed:
                if failed.kind != "refused" or failed.code == protocol.AUTH_REQUIRED:
                    raise
                logger.info("an agent does not know its session any more; a new one is begun")
            else:
                self.session = known
                return True
        result = self._peer.request("session/new", params, deadline=deadline, stop=stop)
        self.session = _read(protocol.read_session, result)
        return False

    def prompt(
        self,
        text: str,
        *,
        limit_s: float,
        stop: StopToken,
        permit: Permit,
        on_text: Callable[[str], None] | None,
        cancelling: Callable[[], None],
    ) -> Said:
        """What the agent says. Blocks for `limit_s` and a grace; raises PeerFailed when it gave nothing usable.

        When `stop` is set or the time is over it is told to cancel, and `cancelling` is called; one that does not end
        its turn then has failed with "timed_out". `on_text` is called in a thread of the peer.
        """
        self._turn = turn = _Turn(on_text, permit)
        cut = StopToken()
        undo: list[Callable[[], None]] = []

        def end(reason: str) -> None:
            if not turn.ending.is_set():
                turn.ending.set(reason)
                cancelling()
                undo.append(self._later(GRACE_S, cut.set))
                with contextlib.suppress(PeerFailed):
                    # One that is gone fails the request.
                    self._peer.notify("session/cancel", {"sessionId": self.session})

        undo.append(self._later(limit_s, lambda: end("timed_out")))
        try:
            with stop.watch(lambda: end("stopped")):
                result = self._peer.request(
                    "session/prompt",
                    protocol.prompt(self.session, text),
                    deadline=Deadline(limit_s + 2 * GRACE_S),
                    stop=cut,
                )
        except PeerFailed as failed:
            if failed.kind == "interrupted":
                raise PeerFailed("timed_out", "it did not end its turn when it was told to") from None
            raise
        finally:
            self._turn = None
            # Whoever is still asked for a permission need not answer any more.
            turn.ending.set()
            for take_back in undo:
                take_back()
        stop_reason = _read(protocol.read_stop_reason, result)
        return Said("".join(turn.pieces), stop_reason, turn.ending.reason, turn.length >= MOST_CHARACTERS)

    def close(self, deadline: Deadline) -> None:
        """End the process. Blocks; idempotent."""
        self._peer.close(deadline)

    def _later(self, delay_s: float, action: Callable[[], None]) -> Callable[[], None]:
        try:
            return self._timers.later(delay_s, action)
        except RuntimeError:
            # No thread now; the deadline of the request ends it all the same.
            return _nothing

    def _noticed(self, method: str, params: object) -> None:
        turn = self._turn
        if turn is None or method != "session/update" or protocol.session_of(params) != self.session:
            return
        piece = protocol.chunk_of(params)[: MOST_CHARACTERS - turn.length]
        if piece:
            turn.length += len(piece)
            turn.pieces.append(piece)
            # What comes after the cancelling belongs to no answer any more.
            if turn.on_text is not None and not turn.ending.is_set():
                turn.on_text(piece)

    def _asked(self, method: str, params: object) -> object:
        if method != "session/request_permission":
            raise PeerFailed("refused", "this client offers no such method", code=protocol.METHOD_NOT_FOUND)
        turn = self._turn
        if turn is None or turn.ending.is_set() or protocol.session_of(params) != self.session:
            return protocol.permission_answer(params, allowed=None)
        turn.questions += 1
        allowed = turn.questions <= MOST_QUESTIONS and turn.permit(
            protocol.permission_title(params), turn.ending
        )
        return protocol.permission_answer(params, allowed=None if turn.ending.is_set() else allowed)


def _read(reader: Callable[[object], _T], result: object) -> _T:
    try:
        return reader(result)
    except ValueError as error:
        raise PeerFailed("invalid", str(error)) from None


def _nothing() -> None:
    """There is nothing to take back."""
