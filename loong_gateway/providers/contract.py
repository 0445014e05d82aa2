"""The seam between a turn and a model: values and the protocol of a provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Callable, Protocol

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.texts import render

__all__ = [
    "CallOptions",
    "Completion",
    "Embeddings",
    "Function",
    "Image",
    "Message",
    "Provider",
    "ProviderCall",
    "ProviderFault",
    "ToolCall",
    "Usage",
]


@dataclass(frozen=True)
class Image:
    """A picture. `mime` is "image/png", "image/jpeg", "image/gif" or "image/webp", and `content` is of that type."""

    mime: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class ToolCall:
    """What a model asks to have called. `arguments` is JSON text as the model wrote it, so it may be broken."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Message:
    """One message of a conversation. `role` is "system", "user", "assistant" or "tool".

    `images` belong to messages of a user; `content` names each with a placeholder, so it can stand without them.
    `tool_calls` belong to messages of the assistant; a message of a tool names the call it answers by its id.
    """

    role: str
    content: str
    images: tuple[Image, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True)
class Usage:
    """Tokens as the provider counted them; None where it did not say.

    `cached` is the part of `input` that was read from the provider's cache, `reasoning` the part of `output` that
    nobody sees.
    """

    input: int | None = None
    output: int | None = None
    total: int | None = None
    cached: int | None = None
    reasoning: int | None = None

    def counts(self) -> dict[str, int]:
        """What the provider said, by name."""
        return {name: count for name, count in vars(self).items() if count is not None}


@dataclass(frozen=True)
class Function:
    """A function that the caller offers to the model. `parameters` is a JSON Schema, None for one without any."""

    name: str
    description: str = ""
    parameters: Mapping[str, object] | None = None
    strict: bool | None = None


@dataclass(frozen=True)
class CallOptions:
    """What the caller wants of the answer; None and empty leave it to the profile and the service.

    `tool_choice` is "auto", "none", "required" or the name of a function after "function:". `response_format` is
    passed on as it is.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    reasoning_effort: str | None = None
    tools: tuple[Function, ...] = ()
    tool_choice: str | None = None
    parallel_tool_calls: bool | None = None
    response_format: Mapping[str, object] | None = None


@dataclass(frozen=True)
class ProviderCall:
    """One question to the model: the system text, the window of history, the new message.

    `model` stands in place of the profile's own for this one call.
    """

    messages: tuple[Message, ...]
    options: CallOptions = field(default_factory=CallOptions)
    model: str | None = None


@dataclass(frozen=True)
class Completion:
    """The whole answer. `truncated` says that the model stopped at its length limit.

    With `tool_calls` the model waits for their results, and `text` may be empty. `profile` is who answered in the end,
    "" where only one could.
    """

    text: str
    model: str
    usage: Usage | None = None
    truncated: bool = False
    tool_calls: tuple[ToolCall, ...] = ()
    profile: str = ""


@dataclass(frozen=True)
class Embeddings:
    """One vector for each text that was asked for, in the same order."""

    vectors: tuple[Sequence[float], ...]
    model: str
    usage: Usage | None = None


class ProviderFault(Exception):
    """Raised when no usable answer came after all retries; `str()` is one line without secrets or message text.

    `kind`: "rate_limited", "provider_overloaded", "auth_rejected", "model_mismatch", "payload_incompatible",
    "request_rejected", "transport_failure", "response_decode_failure", "response_shape_invalid", "provider_missing",
    "secret_missing", "not_supported", "interrupted" or "timed_out". `fix` is a command or instruction for the
    operator, or "".
    `retry_after_s` is what the provider asked for when it was too long to wait.
    """

    def __init__(
        self, kind: str, message: str, *, where: str = "", fix: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.where = where
        self.fix = fix
        self.retry_after_s = retry_after_s

    @classmethod
    def of(
        cls, code: str, kind: str, /, *, retry_after_s: float | None = None, **values: object
    ) -> ProviderFault:
        """The fault of that kind, in the words of a row of the texts."""
        message, where, fix, _ = render(code, values)
        return cls(kind, message, where=where or "", fix=fix or "", retry_after_s=retry_after_s)


class Provider(Protocol):
    """One configured provider profile. Thread-safe: many turns call it at once."""

    profile: str
    kind: str
    model: str

    def complete(
        self,
        call: ProviderCall,
        *,
        deadline: Deadline,
        stop: StopToken,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """Answer. Blocks until the deadline at the latest; setting `stop` ends it at once.

        With `on_text` the answer is streamed: it is called from this thread with each new piece of text.
        Retries inside, never after a piece was handed to `on_text`. Raises ProviderFault.
        """

    def embed(
        self,
        texts: Sequence[str],
        *,
        model: str | None,
        dimensions: int | None,
        deadline: Deadline,
        stop: StopToken,
    ) -> Embeddings:
        """One vector for each text, at least one. Blocks like `complete`; raises ProviderFault.

        `model` None takes the profile's own for this purpose; kind "not_supported" where there is none.
        """

    def models(self, *, deadline: Deadline) -> Sequence[str]:
        """The ids of the models the provider lists, in its order. Blocks; raises ProviderFault."""

    def models_endpoint(self) -> str:
        """The address that `models` asks, for display."""

    def health(self) -> Mapping[str, object]:
        """Counters and cooldowns for status: JSON values, no secrets. Does not block."""
