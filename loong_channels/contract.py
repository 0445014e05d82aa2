"""The seam between the gateway and a platform: the values that travel and the two protocols.

Times ending in `_ms` are milliseconds since the epoch; durations end in `_s`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from .settings import Setting
from .waiting import Deadline, StopToken

__all__ = [
    "MAX_WEBHOOK_BYTES",
    "Account",
    "Address",
    "Attachment",
    "Channel",
    "ChannelSpec",
    "Cursor",
    "Host",
    "Inbound",
    "Media",
    "Outbound",
    "OutboundFile",
    "Preview",
    "Receipt",
    "SendOption",
    "WebhookAnswer",
    "WebhookReceiver",
    "WebhookRequest",
]

# For a kind of file of which the platform says nothing else.
FILE_LIMIT_BYTES = 10 << 20


# The largest body that is taken from a platform that calls us: events are small.
MAX_WEBHOOK_BYTES = 256 << 10


@dataclass(frozen=True)
class Address:
    """Where a message came from and where its answer goes. `account` is the id in the config, not the bot's."""

    channel: str
    account: str
    conversation: str
    thread: str | None = None

    @property
    def lane(self) -> str:
        """The ordering key: messages with the same lane are handled one after the other."""
        lane = f"{self.channel}:{self.account}:{self.conversation}"
        return lane if self.thread is None else f"{lane}:{self.thread}"

    @property
    def surface(self) -> str:
        """The account as it is named in selectors, degraded reasons and counts: `telegram=work`."""
        return f"{self.channel}={self.account}"


@dataclass(frozen=True)
class Attachment:
    """Something that came with a message. `ref` holds the platform's handle; nothing is fetched by itself."""

    kind: str
    name: str | None = None
    mime: str | None = None
    size_bytes: int | None = None
    ref: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Inbound:
    """One message of a user. `event_id` is the platform's delivery id, unique within channel and account.

    `kind` is "direct", "group" or "broadcast". `addressed` says that a group message is meant for the bot
    (mention, reply, command). `edited` marks a changed earlier message, `forwarded` the words of somebody else.
    `extra` holds small JSON values that `Channel.send` needs for the answer.
    """

    address: Address
    event_id: str
    message_id: str | None
    sender_id: str | None
    text: str
    received_ms: int
    sent_ms: int | None = None
    sender_name: str | None = None
    sender_is_bot: bool = False
    kind: str = "direct"
    addressed: bool = True
    edited: bool = False
    attachments: tuple[Attachment, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict)
    forwarded: bool = False


@dataclass(frozen=True)
class Cursor:
    """How far a poller has read; stored in the transaction that stores the batch. Names are per account."""

    name: str
    value: str


@dataclass(frozen=True)
class Media:
    """A file that came with a message, whole and in plain form. `name` and `mime` as far as the platform says."""

    content: bytes = field(repr=False)
    name: str | None = None
    mime: str | None = None


@dataclass(frozen=True)
class OutboundFile:
    """A file of this host that is to be sent. `kind` is "image", "file", "audio" or "video"; `name` is what is shown.

    `path` is absolute and read when the part is sent; the file stays there until the part has ended. It is a copy of
    the gateway's own, which then removes it.
    """

    path: str
    name: str
    kind: str = "file"


@dataclass(frozen=True)
class Outbound:
    """One part to send, already within the platform's limit: a text, or a `file` and then the text is empty.

    `markup` is "markdown" or "plain". `reply_to` is the platform's message id. `idempotency_key` is the same on
    every try. `extra` carries the inbound's `extra` and, for the first part, what `Preview.finish` returned.
    """

    address: Address
    text: str
    idempotency_key: str
    reply_to: str | None = None
    markup: str = "markdown"
    extra: Mapping[str, object] = field(default_factory=dict)
    file: OutboundFile | None = None


@dataclass(frozen=True)
class Receipt:
    """The platform has taken an outbound part under these message ids."""

    message_ids: tuple[str, ...]


@dataclass(frozen=True)
class WebhookRequest:
    """A request with which a platform calls us, whole. Field names are in lower case, values Latin-1 text."""

    method: str
    fields: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class WebhookAnswer:
    """What a platform's request is answered; `body` is JSON, `fields` are added to those every answer has."""

    status: int
    body: bytes = b"{}"
    fields: tuple[tuple[str, str], ...] = ()


class WebhookReceiver(Protocol):
    """Answers the requests of one platform account."""

    def answer(self, request: WebhookRequest) -> WebhookAnswer:
        """Judge a request by what the platform signed, and take it. Called from many threads at once.

        Blocks for a commit; never raises. Nobody has looked at where the request comes from.
        """


@dataclass(frozen=True)
class Account:
    """One configured account of a channel, its secrets resolved to plain text. Never log `settings`."""

    channel: str
    id: str
    label: str
    settings: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True)
class SendOption:
    """Something that an operator may ask of a send beyond a text or a file. It travels in `Outbound.extra` as `name`.

    `kind` is "flag" (True), "choice" (one of `choices`), "text" (printable), "json" (an object) or "key" (a text that
    makes a repetition of the whole send harmless; parts after the first get it with their number), the last three of
    at most `longest` characters. `goes_with` says which parts carry it: "text", "file", "all" of them, or "alone",
    when it is a part of its own as a file is. With `markdown` the text is read as Markdown; a channel that has such
    an option sends an operator's text as it is written without it.
    """

    name: str
    kind: str
    help: str
    goes_with: str = "all"
    choices: tuple[str, ...] = ()
    longest: int = 200
    markdown: bool = False


@dataclass(frozen=True)
class ChannelSpec:
    """What the gateway must know of a channel without importing its transport.

    `serves` tells whether it can receive; `sends` whether it can send. `secrets` are the settings without which it
    cannot run; each row of `secrets_when` (setting, value, secrets) adds what it needs to receive while a setting
    has that value, and these secrets are never looked at otherwise. `conversation_setting` and `sender_setting` name
    its allow-lists; the gateway checks them, so a channel cannot forget to; `conversation_word` is what people call
    what the first one lists. `wildcard` allows "*" there. `text_limit` counts in `limit_unit`: "utf16", "utf8" or
    "codepoint". For `idempotent_s` after its first try the platform takes a part that is sent again under its key
    for the same one; None where a repetition may appear twice. `threads` says that a target may be written as
    `conversation:thread`. `send_options` is what an operator may ask of a send beyond a text, `file_kinds` which
    kinds of OutboundFile can be sent and `file_limits` how many bytes of a kind. `reconnect_s` is the longest wait
    before the first retry after an established connection was lost; a setting `reconnect_interval_s` wins.
    `probe_takes_over` says that a probe from outside would take the account away from whoever serves it. `redelivers`
    says whether the platform sends again what nobody acknowledged. `webhook_when`
    (setting, value) tells the accounts whose platform calls us: at the path of their setting `webhook_path`, and on a
    listener of their own where `webhook_bind` (host:port) is set, which is `webhook_default_bind` where there is no
    port to share; with `webhook_encrypts` what they send has to be decrypted.
    """

    name: str
    label: str
    transport: str
    settings: tuple[Setting, ...]
    secrets: tuple[str, ...]
    conversation_setting: str
    sender_setting: str
    text_limit: int
    limit_unit: str
    aliases: tuple[str, ...] = ()
    serves: bool = True
    sends: bool = True
    wildcard: bool = False
    idempotent_s: float | None = None
    reconnect_s: float = 5.0
    probe_takes_over: bool = False
    redelivers: bool = True
    target_kinds: tuple[str, ...] = ("conversation",)
    threads: bool = False
    conversation_word: str = "conversation id"
    secrets_when: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    send_options: tuple[SendOption, ...] = ()
    file_kinds: tuple[str, ...] = ()
    file_limits: tuple[tuple[str, int], ...] = ()
    webhook_when: tuple[str, str] | None = None
    webhook_default_bind: str = ""
    webhook_encrypts: bool = False

    def file_limit(self, kind: str) -> int:
        """The most bytes that a file of this kind may have."""
        return dict(self.file_limits).get(kind, FILE_LIMIT_BYTES)

    def webhook_path(self, settings: Mapping[str, object]) -> str | None:
        """The path at which the platform calls an account with these settings; None where it does not."""
        if self.webhook_when is None or settings.get(self.webhook_when[0]) != self.webhook_when[1]:
            return None
        default = next((s.default for s in self.settings if s.name == "webhook_path"), "")
        return "/" + str(settings.get("webhook_path") or default).lstrip("/")

    def needs_crypto(self, settings: Mapping[str, object]) -> bool:
        """Whether an account with these settings cannot receive without the package that decrypts, see `aes`."""
        return self.webhook_encrypts and self.webhook_path(settings) is not None

    def secrets_needed(self, settings: Mapping[str, object], *, receiving: bool = True) -> tuple[str, ...]:
        """The secrets that an account with these settings cannot do without, `receiving` or only sending."""
        needed = self.secrets
        for setting, value, secrets in self.secrets_when:
            if receiving and settings.get(setting) == value:
                needed += secrets
        return needed

    def secrets_unused(self, settings: Mapping[str, object], *, receiving: bool = True) -> frozenset[str]:
        """The secrets that mean nothing under these settings: whether they can be had must not matter."""
        conditional = {name for _, _, secrets in self.secrets_when for name in secrets}
        return frozenset(conditional.difference(self.secrets_needed(settings, receiving=receiving)))


class Host(Protocol):
    """What a running channel may ask of the gateway. Thread-safe; the only way up."""

    def accept(self, batch: Sequence[Inbound], cursor: Cursor | None = None) -> None:
        """Take a batch and move the cursor; returns when both are on disk. Trust is judged inside.

        Blocks for a commit. Raises faults.Busy or faults.NotStored, and then nothing of it was taken: do not
        acknowledge it, wait, offer the same batch again. What only a full conversation refuses is taken, recorded as
        rejected and told, where the platform would not send it again. A batch that was seen before is taken silently.
        """

    def cursor(self, name: str) -> str | None:
        """The stored value of a cursor of this account, or None."""

    def ready(self, identity: str) -> None:
        """Say that the platform has acknowledged us under this public name (no secret); repeating is cheap."""

    def heard(self) -> None:
        """Say that anything arrived on the transport. Cheap: call it for every frame or poll."""

    def caught_up(self) -> None:
        """Say that a round of receiving is over: what the platform had was taken, or there was nothing. Cheap."""

    @property
    def kept(self) -> dict[str, object]:
        """What is to outlive this channel object, by names of its own; in memory, and used by `run` only."""

    def moved(self, old_conversation: str, new_conversation: str) -> None:
        """Say that a conversation goes on under a new id; believed only while the old one is allowed."""

    def recalled(self, conversation: str, message_id: str) -> None:
        """Say that a message was taken back by who wrote it: what is not answered yet will not be.

        Blocks for a commit at most. Raises faults.NotStored.
        """

    def mounted(self, receiver: WebhookReceiver) -> AbstractContextManager[None]:
        """Let the requests that come to the account's webhook path go to `receiver` while the block runs.

        They come at the gateway's port, at the account's own listener, or both; none is larger than
        MAX_WEBHOOK_BYTES. Raises faults.Unreachable when nothing can listen there.
        """

    def note(self, event: str, **details: object) -> None:
        """Log and count an oddity by name (skipped update, bad frame); ids are fine, text and secrets are not."""


class Preview(Protocol):
    """A message that grows while the model writes. Used by one turn; none of its methods raise."""

    def update(self, text: str) -> None:
        """Show the whole text so far; paced inside, so it may do nothing. May block for one request."""

    def finish(self) -> Mapping[str, object]:
        """End the preview; returns what the first outbound part must carry in `extra` to replace it."""

    def abandon(self) -> None:
        """Take the preview away as far as the platform lets us."""


class Channel(Protocol):
    """One account of one platform. Retries, back-off, trust, splitting, ordering and storage are the gateway's.

    Constructed as `Channel(account: Account, egress: net.Egress)`.
    """

    def run(self, host: Host, stop: StopToken) -> None:
        """Live one connection: connect, authenticate, receive until `stop` is set; then return within 2 s.

        Blocks. Raises a fault when the connection is over; never retries by itself.
        """

    def send(self, outbound: Outbound, *, deadline: Deadline, stop: StopToken) -> Receipt:
        """Send one part. Blocks; called from many threads at once. Raises faults."""

    def preview(
        self, address: Address, *, reply_to: str | None, extra: Mapping[str, object]
    ) -> Preview | None:
        """Start a preview for an answer, or None where the account does not want one. Does not block."""

    def show_typing(self, address: Address, *, deadline: Deadline) -> None:
        """Tell the conversation that an answer is being written. Blocks for one request; raises faults."""

    def acknowledge(self, inbound: Inbound, *, deadline: Deadline) -> None:
        """Mark a message as seen, if the account wants that. Blocks for one request; raises faults."""

    def fetch(self, attachment: Attachment, *, max_bytes: int, deadline: Deadline, stop: StopToken) -> Media:
        """Fetch a file that came with a message. Blocks; raises faults, Refused beyond `max_bytes`."""

    def probe(self, *, deadline: Deadline) -> str:
        """Check the credential without disturbing a running connection; returns the public identity. Raises faults."""

    def interrupt(self) -> None:
        """Wake every blocked call of this object for good. Thread-safe, idempotent."""
