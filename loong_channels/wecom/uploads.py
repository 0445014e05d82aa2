"""Files to the platform: announced, sent in pieces, finished; then a message may name them by their media id.

https://developer.work.weixin.qq.com/document/path/101463 - an upload may go on for 30 minutes, in any order and with
repetitions, and its media id lives for three days. So what a try did is remembered for the next one.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable

from loong_channels.contract import OutboundFile
from loong_channels.faults import BadAnswer, Refused, Throttled, TimedOut, Unreachable
from loong_channels.waiting import Deadline, StopToken

from .answers import upload_fault
from .frames import UPLOAD_CHUNK, UPLOAD_FINISH, UPLOAD_INIT, Frame, as_text
from .link import Link
from .memory import Remembered
from .quota import Quota
from .source import Source, opened
from .turn import Turn

__all__ = ["Uploads"]

_PER_MINUTE = 30
_PER_HOUR = 1000
# A little less than the platform's own, whose clocks start later than ours.
_SESSION_S = 29 * 60.0
_MEDIA_S = 71 * 3600.0
_MAX_REMEMBERED = 256
_BOT = "uploads"


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
        self._known: Remembered[_Upload] = Remembered(_MAX_REMEMBERED)

    def message(
        self, link: Link, file: OutboundFile, key: str, *, deadline: Deadline, stop: StopToken
    ) -> dict[str, object]:
        """The body of a message that shows a file, uploaded unless it was before under this key.

        Blocks; raises faults, Refused for a file that cannot be sent. None of them leaves a message behind.
        """
        with opened(file) as source, self._turn.hold(deadline, stop):
            way = _Way(link, deadline, stop)
            try:
                media_id = self._media_id(way, source, key)
            except Unreachable as fault:
                # Nobody sees a file before a message names it.
                kind = TimedOut if isinstance(fault, TimedOut) else Unreachable
                raise kind(f"upload: {fault}", maybe_processed=False) from fault
        return {"msgtype": source.kind, source.kind: {"media_id": media_id}}

    def forget(self, key: str) -> None:
        """The platform does not know the file any more: the next message uploads it again."""
        self._known.pop(key)

    def _media_id(self, way: _Way, source: Source, key: str) -> str:
        about = _announcement(source)
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

    def _go_on(self, way: _Way, source: Source, upload: _Upload) -> str:
        while upload.done < source.chunks:
            data = base64.b64encode(source.chunk(upload.done)).decode("ascii")
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


def _announcement(source: Source) -> Mapping[str, object]:
    return {
        "type": source.kind,
        "filename": source.name,
        "total_size": source.size,
        "total_chunks": source.chunks,
        "md5": source.md5,
    }


def _id_in(answer: Frame, name: str) -> str:
    found = as_text(answer.body.get(name))
    if found is None:
        raise BadAnswer(f"upload: the answer holds no {name}")
    return found
