"""The seam between a provider profile and a protocol: a protocol writes requests and reads answers. No socket."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from loong_gateway.providers.answer import AnswerStream
from loong_gateway.providers.contract import CallOptions, Completion, Message

__all__ = ["Request", "Wire"]


@dataclass(frozen=True)
class Request:
    """One question as it is sent. `streams` says that the answer was asked for piece by piece.

    `optional` names the parts that a server may refuse and that can be left out, "stream" among them.
    """

    url: str
    body: Mapping[str, Any] = field(repr=False)
    streams: bool
    optional: Collection[str]


class Wire(Protocol):
    """One protocol at the address of one profile. Thread-safe: it keeps nothing of a call.

    `url` is for display; `headers` go with every request; `accept` is the media type of a streamed answer.
    """

    url: str
    headers: Mapping[str, str]
    accept: str

    def request(
        self,
        model: str,
        messages: Sequence[Message],
        options: CallOptions,
        *,
        stream: bool,
        without: frozenset[str],
    ) -> Request:
        """A question without the named optional parts. What the caller wants goes before what the profile says."""

    def read(self, body: bytes, *, model: str, hide: Iterable[str]) -> Completion:
        """The completion in a whole answer of status 200; `hide` are texts no error may show. Raises AttemptFailed."""

    def stream(self, *, model: str, hide: Iterable[str]) -> AnswerStream:
        """The reader of one streamed answer."""

    def models_query(self, page: object) -> str:
        """The query for the page of the model list after `page`, a JSON value, None for the first; "" for none.

        An empty query for the first page asks without one.
        """
