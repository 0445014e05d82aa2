"""The seam between a provider profile and a protocol: a protocol writes requests and reads answers. No socket."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loong_gateway.config.kinds import Kind
from loong_gateway.config.snapshot import ProviderProfile
from loong_gateway.providers.answer import AnswerStream
from loong_gateway.providers.contract import CallOptions, Completion, Message
from loong_gateway.providers.endpoints import chat_url

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


class Wire:
    """One protocol at the address of one profile; each has a class of its own. Thread-safe: it keeps nothing of a call.

    `url` is for display; `accept` is the media type of a streamed answer.
    """

    accept = "text/event-stream"

    def __init__(self, profile: ProviderProfile, kind: Kind) -> None:
        self.url = chat_url(profile, kind)
        self._profile = profile

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
        raise NotImplementedError

    def read(self, body: bytes, *, model: str, hide: Iterable[str]) -> Completion:
        """The completion in a whole answer of status 200; `hide` are texts no error may show. Raises AttemptFailed."""
        raise NotImplementedError

    def stream(self, *, model: str, hide: Iterable[str]) -> AnswerStream:
        """The reader of one streamed answer."""
        raise NotImplementedError

    def models_query(self, page: object) -> str:  # noqa: ARG002  in most protocols the list is one page
        """The query for the page of the model list after `page`, a JSON value, None for the first; "" for none.

        An empty query for the first page asks without one.
        """
        return ""
