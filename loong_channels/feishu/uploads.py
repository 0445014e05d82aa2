"""Images and files that are sent: uploaded first, then named in a message by the key that the platform gave.

https://open.feishu.cn/document/server-docs/im-v1/image/create and .../im-v1/file/create.
"""

from __future__ import annotations

from collections.abc import Mapping

from loong_channels.contract import Outbound, OutboundFile
from loong_channels.faults import BadAnswer, Unreachable, before_the_request
from loong_channels.files import ending, form_with, read_file
from loong_channels.remembered import Remembered
from loong_channels.text import one_line
from loong_channels.waiting import Deadline, StopToken

from .api import Api, path_of
from .content import Content, keyed_content
from .spec import SPEC

__all__ = ["Uploads"]

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
_MAX_REMEMBERED = 256


class Uploads:
    """The files of one bot on their way up. Thread-safe. Holds whole files."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._done: Remembered[str, Content] = Remembered(_MAX_REMEMBERED)

    def content(self, outbound: Outbound, *, deadline: Deadline, stop: StopToken) -> Content:
        """What names the file of a part, uploaded once per part as long as it is remembered. Blocks.

        Raises faults; none of them leaves open whether a message was sent.
        """
        assert outbound.file is not None
        key = outbound.idempotency_key
        content = self._done.get(key)
        if content is not None:
            return content
        try:
            content = self._upload(outbound.file, outbound.extra, deadline, stop)
        except (BadAnswer, Unreachable) as fault:
            raise before_the_request(fault) from fault
        self._done.put(key, content)
        return content

    def forget(self, outbound: Outbound) -> None:
        """A part is out: its key is not needed again."""
        self._done.pop(outbound.idempotency_key)

    def _upload(
        self, file: OutboundFile, extra: Mapping[str, object], deadline: Deadline, stop: StopToken
    ) -> Content:
        data = read_file(file, SPEC.file_limit(file.kind))
        if file.kind == "image":
            form = form_with({"image_type": "message"}, "image", file.name, data)
            path = path_of("im", "v1", "images")
            found = self._api.data("image upload", "POST", path, body=form, deadline=deadline, stop=stop)
            return keyed_content("image_key", _key("image upload", found.get("image_key")))
        shown = one_line(file.name, _MAX_NAME) or "file"
        file_type = str(extra.get("file_type") or _FILE_TYPES.get(ending(shown), "stream"))
        form = form_with({"file_type": file_type, "file_name": shown}, "file", shown, data)
        path = path_of("im", "v1", "files")
        found = self._api.data("file upload", "POST", path, body=form, deadline=deadline, stop=stop)
        return keyed_content("file_key", _key("file upload", found.get("file_key")), file_type)


def _key(what: str, value: object) -> str:
    if isinstance(value, str) and value:
        return value
    raise BadAnswer(f"{what}: the answer holds no key")
