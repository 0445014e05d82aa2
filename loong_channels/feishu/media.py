"""Images and files: what users sent is fetched, ours is uploaded. Everything is bounded.

https://open.feishu.cn/document/server-docs/im-v1/message/get-2, .../im-v1/image/create and .../im-v1/file/create.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Mapping
from urllib.parse import unquote

from loong_channels import contract
from loong_channels.faults import BadAnswer, Refused
from loong_channels.text import one_line
from loong_channels.waiting import Deadline, StopToken

from .api import Api, Upload, path_of

__all__ = ["MAX_DOWNLOAD_BYTES", "MAX_FILE_BYTES", "MAX_IMAGE_BYTES", "Media"]

MAX_IMAGE_BYTES = 10 << 20
MAX_FILE_BYTES = 30 << 20
MAX_DOWNLOAD_BYTES = 100 << 20
_FILE_TYPES = {
    "opus": "opus",
    "mp4": "mp4",
    "pdf": "pdf",
    "doc": "doc",
    "docx": "doc",
    "xls": "xls",
    "xlsx": "xls",
    "ppt": "ppt",
    "pptx": "ppt",
}
_MAX_NAME = 200
_NAME_STAR = re.compile(r"filename\*\s*=\s*(?:UTF-8|utf-8)'[^']*'([^;\s]+)")
_NAME = re.compile(r'filename\s*=\s*(?:"([^"]*)"|([^;\s]+))')


class Media:
    """Uploads and downloads of one bot. Stateless, so thread-safe. Whole bodies are held in memory."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def upload_image(self, data: bytes, *, deadline: Deadline, stop: StopToken | None = None) -> str:
        """Upload an image of 1 byte to 10 MB and return its `image_key`. Blocks; raises faults."""
        _check_size("image", data, MAX_IMAGE_BYTES)
        upload = _multipart({"image_type": "message"}, "image", "image", data)
        path = path_of("im", "v1", "images")
        found = self._api.data("image upload", "POST", path, body=upload, deadline=deadline, stop=stop)
        return _key("image upload", found.get("image_key"))

    def upload_file(
        self,
        name: str,
        data: bytes,
        *,
        duration_ms: int | None = None,
        deadline: Deadline,
        stop: StopToken | None = None,
    ) -> str:
        """Upload a file of 1 byte to 30 MB under its name and return its `file_key`. Blocks; raises faults.

        What the file is follows from the name's ending; `duration_ms` is for sounds and films.
        """
        _check_size("file", data, MAX_FILE_BYTES)
        shown = one_line(name, _MAX_NAME) or "file"
        ending = shown.rpartition(".")[2].lower() if "." in shown else ""
        fields = {"file_type": _FILE_TYPES.get(ending, "stream"), "file_name": shown}
        if duration_ms is not None:
            fields["duration"] = str(duration_ms)
        path = path_of("im", "v1", "files")
        upload = _multipart(fields, "file", shown, data)
        found = self._api.data("file upload", "POST", path, body=upload, deadline=deadline, stop=stop)
        return _key("file upload", found.get("file_key"))

    def resource(
        self,
        message_id: str,
        file_key: str,
        kind: str,
        *,
        max_bytes: int = MAX_DOWNLOAD_BYTES,
        deadline: Deadline,
        stop: StopToken | None = None,
    ) -> contract.Media:
        """Fetch what came with a message; `kind` is "image", or "file" for everything else.

        The key must be one of that message. Blocks; raises faults, Refused (too_large) beyond `max_bytes`.
        """
        answer = self._api.download(
            "resource",
            path_of("im", "v1", "messages", message_id, "resources", file_key),
            query={"type": "image" if kind == "image" else "file"},
            max_bytes=max_bytes,
            deadline=deadline,
            stop=stop,
        )
        if not answer.body:
            # A message that the platform does not know is answered like this.
            raise BadAnswer("resource: an answer without the file")
        mime = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        return contract.Media(
            answer.body, _file_name(answer.headers.get("content-disposition", "")), mime or None
        )


def _check_size(what: str, data: bytes, limit: int) -> None:
    if not data:
        raise Refused(f"the {what} is empty", code="empty")
    if len(data) > limit:
        raise Refused(f"the {what} has more than {limit} bytes", code="too_large")


def _key(what: str, value: object) -> str:
    if isinstance(value, str) and value:
        return value
    raise BadAnswer(f"{what}: the answer holds no key")


def _multipart(fields: Mapping[str, str], name: str, file_name: str, data: bytes) -> Upload:
    """A form with one file. https://www.rfc-editor.org/rfc/rfc7578"""
    boundary = secrets.token_hex(16)
    pieces = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    escaped = file_name.replace('"', "%22")
    pieces.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{escaped}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
    )
    pieces += [data, f"\r\n--{boundary}--\r\n".encode()]
    return Upload(b"".join(pieces), f"multipart/form-data; boundary={boundary}")


def _file_name(disposition: str) -> str | None:
    """The name in a Content-Disposition, its encoded form first: https://www.rfc-editor.org/rfc/rfc6266"""
    encoded = _NAME_STAR.search(disposition)
    if encoded is not None:
        return one_line(unquote(encoded.group(1), errors="replace"), _MAX_NAME) or None
    plain = _NAME.search(disposition)
    if plain is None:
        return None
    name = plain.group(1) or plain.group(2) or ""
    # Servers write UTF-8 here, and header bytes are read as Latin-1.
    with contextlib.suppress(UnicodeError):
        name = name.encode("latin-1").decode("utf-8")
    return one_line(unquote(name), _MAX_NAME) or None
