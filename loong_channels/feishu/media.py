"""Images and files that users sent, fetched and bounded.

https://open.feishu.cn/document/server-docs/im-v1/message/get-2
"""

from __future__ import annotations

import contextlib
import re
from urllib.parse import unquote

from loong_channels import contract
from loong_channels.faults import BadAnswer
from loong_channels.text import one_line
from loong_channels.waiting import Deadline, StopToken

from .api import Api, path_of

__all__ = ["MAX_DOWNLOAD_BYTES", "Media"]

MAX_DOWNLOAD_BYTES = 100 << 20
_MAX_NAME = 200
_NAME_STAR = re.compile(r"filename\*\s*=\s*(?:UTF-8|utf-8)'[^']*'([^;\s]+)")
_NAME = re.compile(r'filename\s*=\s*(?:"([^"]*)"|([^;\s]+))')


class Media:
    """Downloads of one bot. Stateless, so thread-safe. Whole bodies are held in memory."""

    def __init__(self, api: Api) -> None:
        self._api = api

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


def _file_name(disposition: str) -> str | None:
    """The name in a Content-Disposition, its encoded form first: https://www.rfc-editor.org/rfc/rfc6266"""
    encoded = _NAME_STAR.search(disposition)
    if encoded is not None:
        return _last_part(unquote(encoded.group(1), errors="replace"))
    plain = _NAME.search(disposition)
    if plain is None:
        return None
    name = plain.group(1) or plain.group(2) or ""
    # Servers write UTF-8 here, and header bytes are read as Latin-1.
    with contextlib.suppress(UnicodeError):
        name = name.encode("latin-1").decode("utf-8")
    return _last_part(unquote(name))


def _last_part(name: str) -> str | None:
    """Who sent it chose the name: nothing of a path is believed."""
    return one_line(name.replace("\\", "/").rpartition("/")[2], _MAX_NAME) or None
