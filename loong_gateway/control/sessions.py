"""Sessions: the conversations that are remembered, for people who look at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from loong_gateway.storage.usage import UsageRow

__all__ = ["SessionInfo", "SessionPage", "Sessions", "Transcript", "TranscriptMessage"]


@dataclass(frozen=True)
class SessionInfo:
    """`key` is the stored key of the conversation, `session_id` that of its present stretch. Times in wall-clock ms.

    `kind`: "direct", "group", "global" or "unknown". `channel` is "" for one of the port or a terminal.
    `messages` counts both sides of the present stretch; `preview` is the beginning of the last message, if asked for.
    `archived_ms` is when it was put away, None for most.
    """

    key: str
    session_id: str
    kind: str
    channel: str
    display_name: str
    started_ms: int
    updated_ms: int
    messages: int
    preview: str = ""
    archived_ms: int | None = None


@dataclass(frozen=True)
class SessionPage:
    """Some sessions, latest activity first, and how many there are in all."""

    rows: tuple[SessionInfo, ...]
    total: int


@dataclass(frozen=True)
class TranscriptMessage:
    """One message. `role` is "user", "assistant" or "system", `number` grows within the store."""

    number: int
    role: str
    text: str
    at_ms: int


@dataclass(frozen=True)
class Transcript:
    """The newest messages of a session, oldest first. `session_id` is None for a session that is not known."""

    key: str
    session_id: str | None
    messages: tuple[TranscriptMessage, ...]
    total: int
    has_more: bool


class Sessions(Protocol):
    """Thread-safe; each method blocks for one look into the store or one commit. All raise StoreUnwritable."""

    def resolve(self, given: str) -> str | None:
        """The stored key that a name, short form or key means, preferring one that exists.

        None for a key of another agent. A name that nothing is stored under yet resolves, too.
        """

    def list(
        self,
        *,
        limit: int,
        offset: int = 0,
        search: str = "",
        active_since_ms: int = 0,
        previews: bool = False,
        archived: bool = True,
    ) -> SessionPage:
        """Sessions by activity. `search` is a part of the key or the shown name, in any case.

        With `archived` False those that were put away are left out; a search finds them all the same.
        """

    def describe(self, key: str, *, preview: bool = False) -> SessionInfo | None:
        """One session; None when nothing is stored under the key."""

    def history(
        self, key: str, *, limit: int, before: int | None = None, max_bytes: int = 6 << 20
    ) -> Transcript:
        """The last messages, those with smaller numbers than `before`; the oldest go when they are too many bytes."""

    def previews(self, keys: Sequence[str], *, limit: int, max_chars: int) -> Sequence[Transcript]:
        """The last messages of several sessions, each text cut."""

    def reset(self, key: str) -> str:
        """Begin a fresh stretch; returns its id. What was said before stays stored."""

    def delete(self, key: str) -> bool:
        """Forget everything said in this conversation; False when nothing was."""

    def archive(self, key: str, *, undo: bool = False) -> bool:
        """Leave it out of lists until something is said in it, or with `undo` no longer; False when it is not there."""

    def fork(self, key: str, target: str) -> int:
        """Copy the present stretch into a session that is not there yet; how many messages, 0 when nothing was done."""

    def compact(self, key: str) -> bool:
        """Have the model squeeze all that was said into the summary; False when there is nothing new to tell.

        Blocks for the call; raises ProviderFault as well.
        """

    def usage(self, key: str) -> Sequence[UsageRow]:
        """What the model used for this conversation since it is stored."""

    def usage_by_day(self, days: int) -> Sequence[UsageRow]:
        """What the model used in the last days, of all conversations, newest first."""

    def inject(self, key: str, text: str, *, role: str = "assistant") -> int:
        """Add a message without asking the model; returns its number.

        One of the assistant is told as a `chat` event.
        """
