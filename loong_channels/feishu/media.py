"""Images and files that users sent, fetched and bounded.

https://open.feishu.cn/document/server-docs/im-v1/message/get-2
"""

from __future__ import annotations

from loong_channels import contract
from loong_channels.faults import BadAnswer
from loong_channels.files import downloaded_as
from loong_channels.waiting import Deadline, StopToken

from .api import Api, path_of

__all__ = ["MAX_DOWNLOAD_BYTES", "Media"]

MAX_DOWNLOAD_BYTES = 100 << 20


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
        return contract.Media(answer.body, *downloaded_as(answer.headers))
