"""What the double of WeCom does with files that are uploaded to it: it refuses whatever is not as announced."""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

__all__ = ["MAX_CHUNK_BYTES", "SIZES", "UploadedFile", "Uploads"]

MAX_CHUNK_BYTES = 512 << 10
MAX_CHUNKS = 100
MIN_BYTES = 5
SIZES = {"image": 10 << 20, "video": 10 << 20, "voice": 2 << 20, "file": 20 << 20}
SESSION_S = 30 * 60
MEDIA_S = 3 * 86_400
PER_MINUTE = 30
BAD_PARAMETER = 40058
TOO_FREQUENT = 45009


@dataclass
class UploadedFile:
    """A file that is there; `kind` is the platform's word."""

    kind: str
    name: str
    content: bytes = field(repr=False)
    born: float


@dataclass
class Session:
    """An upload under way. `pieces` are what came, by index."""

    about: Mapping[str, Any]
    born: float
    pieces: dict[int, bytes] = field(default_factory=dict)


class Uploads:
    """Not thread-safe: called under the lock of the double. `clock` is that of the platform."""

    commands = ("aibot_upload_media_init", "aibot_upload_media_chunk", "aibot_upload_media_finish")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._numbers = itertools.count(1)
        self._moments: deque[float] = deque()
        self.per_minute = PER_MINUTE
        self.sessions: dict[str, Session] = {}
        self.files: dict[str, UploadedFile] = {}

    def take(self, cmd: str, body: Mapping[str, Any]) -> tuple[int, dict[str, object]]:
        """Answer a command: the code and the body."""
        step = dict(zip(self.commands, (self._init, self._chunk, self._finish)))
        return step[cmd](body)

    def find(self, media_id: str, kind: str) -> UploadedFile | None:
        """What a message may show."""
        file = self.files.get(media_id)
        if file is None or file.kind != kind or self._clock() - file.born > MEDIA_S:
            return None
        return file

    def forget_all(self) -> None:
        """No file and no upload is known any more."""
        self.sessions.clear()
        self.files.clear()

    def _init(self, body: Mapping[str, Any]) -> tuple[int, dict[str, object]]:
        kind, size, chunks = body.get("type"), body.get("total_size"), body.get("total_chunks")
        good = (
            kind in SIZES
            and isinstance(body.get("filename"), str)
            and 0 < len(body["filename"]) <= 256
            and "/" not in body["filename"]
            and type(size) is int
            and MIN_BYTES <= size <= SIZES[str(kind)]
            and type(chunks) is int
            and 1 <= chunks <= MAX_CHUNKS
            and chunks <= size <= chunks * MAX_CHUNK_BYTES
            and re.fullmatch(r"[0-9a-f]{32}", str(body.get("md5"))) is not None
        )
        if not good:
            return BAD_PARAMETER, {}
        while self._moments and self._moments[0] <= self._clock() - 60:
            self._moments.popleft()
        if len(self._moments) >= self.per_minute:
            return TOO_FREQUENT, {}
        self._moments.append(self._clock())
        upload_id = f"upload-{next(self._numbers)}"
        self.sessions[upload_id] = Session(dict(body), self._clock())
        return 0, {"upload_id": upload_id}

    def _chunk(self, body: Mapping[str, Any]) -> tuple[int, dict[str, object]]:
        session = self._session(body)
        index = body.get("chunk_index")
        if session is None or type(index) is not int or not 0 <= index < session.about["total_chunks"]:
            return BAD_PARAMETER, {}
        try:
            piece = base64.b64decode(str(body.get("base64_data")), validate=True)
        except binascii.Error:
            return BAD_PARAMETER, {}
        if not 0 < len(piece) <= MAX_CHUNK_BYTES:
            return BAD_PARAMETER, {}
        session.pieces[index] = piece
        return 0, {}

    def _finish(self, body: Mapping[str, Any]) -> tuple[int, dict[str, object]]:
        session = self._session(body)
        if session is None:
            return BAD_PARAMETER, {}
        about = session.about
        content = b"".join(piece for _, piece in sorted(session.pieces.items()))
        if (
            len(session.pieces) != about["total_chunks"]
            or len(content) != about["total_size"]
            or hashlib.md5(content, usedforsecurity=False).hexdigest() != about["md5"]
            or (about["type"] == "voice" and not content.startswith(b"#!AMR"))
        ):
            return BAD_PARAMETER, {}
        del self.sessions[str(body["upload_id"])]
        media_id = f"media-{next(self._numbers)}"
        self.files[media_id] = UploadedFile(about["type"], about["filename"], content, self._clock())
        return 0, {"type": about["type"], "media_id": media_id, "created_at": str(int(self._clock()))}

    def _session(self, body: Mapping[str, Any]) -> Session | None:
        session = self.sessions.get(str(body.get("upload_id")))
        if session is None or self._clock() - session.born > SESSION_S:
            return None
        return session
