"""Files to the platform: announced, sent in pieces, finished; then a message may name them by their media id.

https://developer.work.weixin.qq.com/document/path/101463 - an upload may go on for 30 minutes, in any order and with
repetitions, and its media id lives for three days. So what a try did is remembered for the next one.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Callable

from loong_channels.contract import OutboundFile
from loong_channels.faults import BadAnswer, Refused, Throttled, Unreachable, before_the_request
from loong_channels.files import read_file, sender_name
from loong_channels.remembered import Remembered
from loong_channels.waiting import Deadline, StopToken, Turn

from .answers import upload_fault
from .frames import UPLOAD_CHUNK, UPLOAD_FINISH, UPLOAD_INIT, Frame, as_text
from .link import Link
from .quota import Quota
from .spec import SPEC

__all__ = ["Uploads"]

_PER_MINUTE = 30
_PER_HOUR = 1000
# A little less than the platform's own, whose clocks start later than ours.
_SESSION_S = 29 * 60.0
_MEDIA_S = 71 * 3600.0
_MAX_REMEMBERED = 256
_BOT = "uploads"
# The platform takes 512 KiB and 100 pieces. Smaller ones let a ping through sooner on a slow line.
CHUNK_BYTES = 256 << 10
_LEAST_BYTES = 5
_MAX_VOICE_BYTES = 2 << 20
_MAX_NAME = 120
# The only sound that it plays.
_AMR = b"#!AMR"


@dataclass(frozen=True)
class _Source:
    """A file as the platform is told of it; `kind` is its word."""

    kind: str
    name: str
    data: bytes = field(repr=False)

    @property
    def chunks(self) -> int:
        return -(-len(self.data) // CHUNK_BYTES)

    @property
    def about(self) -> Mapping[str, object]:
        """What is announced."""
        return {
            "type": self.kind,
            "filename": self.name,
            "total_size": len(self.data),
            "total_chunks": self.chunks,
            "md5": hashlib.md5(self.data, usedforsecurity=False).hexdigest(),
        }

    def chunk(self, index: int) -> str:
        """One piece as it travels; the first has the index 0."""
        return base64.b64encode(self.data[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]).decode("ascii")


@dataclass
class _Upload:
    """How far an upload has come. `about` is what was announced, `done` the number of pieces that were taken."""

    about: Mapping[str, object]
    upload_id: str
    until: float
    done: int = 0
    media_id: str | None = None


@dataclass(frozen=True)
class _Way:
    link: Link
    deadline: Deadline
    stop: StopToken


class Uploads:
    """The uploads of one robot, one after the other: the platform stumbles over several at once. Thread-safe.

    `clock` returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turn = Turn()
        self._quota = Quota(_PER_MINUTE, _PER_HOUR, clock)
        self._closed_until = 0.0
        self._known: Remembered[str, _Upload] = Remembered(_MAX_REMEMBERED)

    def message(
        self, link: Link, file: OutboundFile, key: str, *, deadline: Deadline, stop: StopToken
    ) -> dict[str, object]:
        """The body of a message that shows a file, uploaded unless it was before under this key.

        Blocks; raises faults, Refused for a file that cannot be sent. None of them leaves a message behind.
        """
        # In turn, so that no more than one file is held.
        with self._turn.hold(deadline, stop):
            source = _read(file)
            try:
                media_id = self._media_id(_Way(link, deadline, stop), source, key)
            except (BadAnswer, Unreachable) as fault:
                # Nobody sees a file before a message names it.
                raise before_the_request(fault) from fault
        return {"msgtype": source.kind, source.kind: {"media_id": media_id}}

    def forget(self, key: str) -> None:
        """The platform does not know the file any more: the next message uploads it again."""
        self._known.pop(key)

    def _media_id(self, way: _Way, source: _Source, key: str) -> str:
        about = source.about
        known = self._known.get(key)
        if known is not None and known.about == about and self._clock() < known.until:
            if known.media_id is not None:
                return known.media_id
            try:
                return self._go_on(way, source, known)
            except Refused:
                # The platform may have given it up earlier than we thought.
                self.forget(key)
        upload = self._begin(way, about)
        self._known.put(key, upload)
        try:
            return self._go_on(way, source, upload)
        except Refused:
            self.forget(key)
            raise

    def _begin(self, way: _Way, about: Mapping[str, object]) -> _Upload:
        wait_s = self._closed_until - self._clock()
        if wait_s > 0:
            raise Throttled("the platform takes no uploads at the moment", retry_after_s=wait_s)
        self._quota.check(_BOT)
        answer = self._step(way, UPLOAD_INIT, about, leaving=lambda: self._quota.spend(_BOT))
        return _Upload(about, _id_in(answer, "upload_id"), self._clock() + _SESSION_S)

    def _go_on(self, way: _Way, source: _Source, upload: _Upload) -> str:
        while upload.done < source.chunks:
            data = source.chunk(upload.done)
            body = {"upload_id": upload.upload_id, "chunk_index": upload.done, "base64_data": data}
            self._step(way, UPLOAD_CHUNK, body)
            upload.done += 1
        answer = self._step(way, UPLOAD_FINISH, {"upload_id": upload.upload_id})
        upload.media_id = _id_in(answer, "media_id")
        upload.until = self._clock() + _MEDIA_S
        return upload.media_id

    def _step(
        self, way: _Way, cmd: str, body: Mapping[str, object], leaving: Callable[[], None] | None = None
    ) -> Frame:
        answer = way.link.call(cmd, body, deadline=way.deadline, stop=way.stop, leaving=leaving)
        if answer.code != 0:
            fault = upload_fault(answer)
            if isinstance(fault, Throttled):
                self._closed_until = self._clock() + fault.retry_after_s
            raise fault
        return answer


def _read(file: OutboundFile) -> _Source:
    if file.kind not in SPEC.file_kinds:
        raise Refused(f"WeCom has no messages of the kind {file.kind!a}", code="file_kind")
    name = (sender_name(file.name) or "file")[:_MAX_NAME]
    data = read_file(file, SPEC.file_limit(file.kind))
    if len(data) < _LEAST_BYTES:
        raise Refused(f"{name} has less than {_LEAST_BYTES} bytes", code="empty")
    if file.kind != "audio":
        return _Source(file.kind, name, data)
    if not data.startswith(_AMR):
        # Better a file than nothing.
        return _Source("file", name, data)
    if len(data) > _MAX_VOICE_BYTES:
        raise Refused(f"{name} has more than {_MAX_VOICE_BYTES >> 20} MB", code="too_large")
    return _Source("voice", name, data)


def _id_in(answer: Frame, name: str) -> str:
    found = as_text(answer.body.get(name))
    if found is None:
        raise BadAnswer(f"upload: the answer holds no {name}")
    return found
