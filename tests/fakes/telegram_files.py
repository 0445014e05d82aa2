"""Files that people sent to a bot: asked for by id, then fetched under a path that holds for an hour.

https://core.telegram.org/bots/api#getfile
"""

from __future__ import annotations

import re

from .telegram_state import BadRequest, Refusal

FILE_PATH = re.compile(r"/file/bot([^/]*)/(.+)")
MAX_DOWNLOAD_BYTES = 20 << 20
PATH_LIFE_S = 3600.0


class Files:
    """The files of one server. Used under the server's lock.

    `paths` are those that were handed out, with the moment (time.time() of the platform) until which they hold.
    """

    def __init__(self) -> None:
        self.contents: dict[str, tuple[str, bytes]] = {}
        self.paths: dict[str, tuple[bytes, float]] = {}

    def add(self, content: bytes, path: str) -> str:
        """A file that somebody sent; its id."""
        file_id = f"AgAD-{len(self.contents) + 1}"
        self.contents[file_id] = (path, content)
        return file_id

    def get_file(self, file_id: object, now: float) -> dict[str, object]:
        """The File object."""
        if not isinstance(file_id, str) or not file_id:
            raise BadRequest("file_id not specified")
        if file_id not in self.contents:
            raise BadRequest("wrong file_id or the file is temporarily unavailable")
        path, content = self.contents[file_id]
        if len(content) > MAX_DOWNLOAD_BYTES:
            raise BadRequest("file is too big")
        self.paths[path] = (content, now + PATH_LIFE_S)
        return {
            "file_id": file_id,
            "file_unique_id": f"u{file_id}",
            "file_size": len(content),
            "file_path": path,
        }

    def open(self, method: str, path: str, now: float) -> bytes:
        """What a download gets."""
        content, until = self.paths.get(path, (b"", 0.0))
        if method != "GET" or now > until:
            raise Refusal(404, "Not Found")
        return content


def document(file_id: str, name: str, size: int | None = None, mime: str | None = None) -> dict[str, object]:
    """A Document object; without a size as for files that the platform does not know well."""
    made: dict[str, object] = {"file_id": file_id, "file_unique_id": f"u{file_id}", "file_name": name}
    if size is not None:
        made["file_size"] = size
    if mime is not None:
        made["mime_type"] = mime
    return made


def photo(small: str, large: str) -> list[dict[str, object]]:
    """The sizes of a photo, the largest last."""
    sizes = [(small, 90), (large, 1280)]
    return [
        {
            "file_id": file_id,
            "file_unique_id": f"u{file_id}",
            "width": side,
            "height": side,
            "file_size": side,
        }
        for file_id, side in sizes
    ]
