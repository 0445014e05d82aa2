"""What came with a message, fetched inside its turn and made readable for the model. Nothing of it is kept on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from loong_channels.aes import CryptoMissing
from loong_channels.contract import Attachment, Inbound, Media
from loong_channels.faults import Fault, Interrupted, Overloaded, Refused, Unreachable
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.metrics import Metrics
from loong_gateway.config.snapshot import Config
from loong_gateway.messaging.conversation import Question
from loong_gateway.messaging.file_texts import (
    FileText,
    expected,
    image_type,
    is_named_file,
    label,
    placed,
    read_text,
)
from loong_gateway.messaging.surfaces import Surface
from loong_gateway.providers.contract import Image, ProviderFault
from loong_gateway.storage.inbox import InboxRow

__all__ = ["TEXT_BYTES", "Attachments"]

logger = logging.getLogger("loong.attachments")

# For all files of a message together; half of a turn at most, the other half is the model's.
FETCH_LIMIT_S = 30.0
# Of one file the model is shown so much. Its history keeps as much of all files of a message.
TEXT_BYTES = 64 << 10


@dataclass(frozen=True)
class _Found:
    """What became of one attachment. Without text and label, what the channel wrote for it stays."""

    attachment: Attachment
    label: str = ""
    text: FileText | None = None
    image: Image | None = None

    def piece(self, limit_bytes: int) -> tuple[Attachment, str]:
        return self.attachment, self.label if self.text is None else self.text.block(limit_bytes)


@dataclass(frozen=True)
class _Errand:
    """What all fetches of one message share."""

    row: InboxRow
    surface: Surface
    deadline: Deadline
    stop: StopToken
    config: Config


class Attachments:
    """Fetches for turns. Thread-safe; what it remembers is whether it has named a missing package."""

    def __init__(self, config: Callable[[], Config], metrics: Metrics) -> None:
        self._config = config
        self._metrics = metrics
        self._named_package = False

    def must_wait(self, inbound: Inbound, surface: Surface) -> bool:
        """Whether something is to be fetched over an account that is not connected: no answer could leave either."""
        return bool(inbound.attachments) and not surface.can_send() and any(self._wanted(inbound, surface))

    def question(self, row: InboxRow, surface: Surface, deadline: Deadline, stop: StopToken) -> Question:
        """The message with what came with it. Blocks for at most 30 s; a file that cannot be had becomes a note.

        Raises ProviderFault (interrupted) when stopped.
        """
        inbound = row.inbound
        if not inbound.attachments:
            return Question(inbound.text)
        config = self._config()
        limit = deadline.within(min(FETCH_LIMIT_S, deadline.remaining() / 2))
        errand = _Errand(row, surface, limit, stop, config)
        left = most = config.media.max_files
        found = []
        for attachment, is_wanted in zip(inbound.attachments, self._wanted(inbound, surface)):
            if not is_wanted:
                found.append(_left_alone(attachment, attachment.name, attachment.size_bytes))
            elif left == 0:
                note = f"not read, only {most} of a message are"
                found.append(_Found(attachment, label(attachment, attachment.name, note=note)))
            else:
                left -= 1
                found.append(self._read(attachment, errand))
        return _composed(inbound.text, found)

    def _wanted(self, inbound: Inbound, surface: Surface) -> list[bool]:
        config = self._config()
        if config.media.max_files == 0 or not surface.allows(inbound.address):
            return [False] * len(inbound.attachments)
        wanted = {"text", "unknown", "image"} if config.images else {"text", "unknown"}
        return [expected(a.kind, a.name, a.mime) in wanted for a in inbound.attachments]

    def _read(self, attachment: Attachment, errand: _Errand) -> _Found:
        try:
            media = self._fetch(attachment, errand)
        except Fault as fault:
            if errand.stop.is_set():
                raise ProviderFault("interrupted", "stopped while a file was fetched") from fault
            too_large = isinstance(fault, Refused) and fault.code == "too_large"
            self._failed(errand, self._reason(fault))
            note = "too large" if too_large else "could not be fetched"
            return _Found(attachment, label(attachment, attachment.name, note=note))
        except Exception as error:  # noqa: BLE001 - a bug of a channel must not cost the message its answer
            # Its words might hold the address, and who knows that has the file.
            self._failed(errand, f"internal error, {type(error).__name__}")
            return _Found(attachment, label(attachment, attachment.name, note="could not be fetched"))
        self._metrics.add(f"attachments_read:{errand.row.inbound.address.surface}")
        return _understood(attachment, media, images=errand.config.images)

    def _fetch(self, attachment: Attachment, errand: _Errand) -> Media:
        """The file; a connection that breaks is no reason to give up at once. Raises faults."""
        max_bytes = errand.config.media.max_bytes
        if (attachment.size_bytes or 0) > max_bytes:
            raise Refused(f"it has {attachment.size_bytes} bytes", code="too_large")
        deadline, stop = errand.deadline, errand.stop
        try:
            return errand.surface.channel.fetch(attachment, max_bytes=max_bytes, deadline=deadline, stop=stop)
        except (Unreachable, Overloaded, Interrupted):
            if stop.is_set() or deadline.expired:
                raise
        return errand.surface.channel.fetch(attachment, max_bytes=max_bytes, deadline=deadline, stop=stop)

    def _reason(self, fault: Fault) -> str:
        if not isinstance(fault, CryptoMissing):
            return str(fault)
        if self._named_package:
            return "the Python package cryptography is missing"
        self._named_package = True
        return str(fault)

    def _failed(self, errand: _Errand, reason: str) -> None:
        address = errand.row.inbound.address
        self._metrics.add(f"attachments_failed:{address.surface}")
        logger.warning("a file of message %d in %s was not read: %s", errand.row.seq, address.lane, reason)


def _understood(attachment: Attachment, media: Media, *, images: bool) -> _Found:
    """What a file is, now that its bytes are here, and often its name."""
    name = attachment.name or media.name
    likely = expected(attachment.kind, name, attachment.mime or media.mime)
    picture = image_type(media.content) if likely in ("image", "unknown") else None
    if picture is not None and images:
        return _Found(attachment, image=Image(picture, media.content))
    if picture is None and likely in ("text", "unknown"):
        if not media.content:
            return _Found(attachment, label(attachment, name, note="empty"))
        text = read_text(attachment, name, media.content, TEXT_BYTES)
        if text is not None:
            return _Found(attachment, text=text)
        if likely == "text":
            return _Found(attachment, label(attachment, name, note="not readable as text"))
    return _left_alone(attachment, name, len(media.content))


def _left_alone(attachment: Attachment, name: str | None, size_bytes: int | None) -> _Found:
    """A file that the model is told of and nothing more."""
    if not is_named_file(attachment) or (size_bytes is None and name == attachment.name):
        return _Found(attachment)
    return _Found(attachment, label(attachment, name, size_bytes=size_bytes))


def _composed(text: str, found: list[_Found]) -> Question:
    texts = sum(1 for one in found if one.text is not None)
    asked = placed(text, [one.piece(TEXT_BYTES) for one in found])
    # A history repeats it with every question to come.
    kept = asked if texts < 2 else placed(text, [one.piece(TEXT_BYTES // texts) for one in found])
    return Question(asked, tuple(one.image for one in found if one.image is not None), kept)
