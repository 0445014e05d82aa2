"""file.read, file.list and file.write: files below tools.file_root."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence

from loong_gateway.config.snapshot import Config
from loong_gateway.tools.contract import BadArgument, Tool, ToolContext, ToolFailed
from loong_gateway.tools.file_root import MAX_PATH, FileRoot, path_parts

__all__ = ["file_tools"]

MAX_READ = 262_144
MAX_WRITE = 1 << 20
MAX_OFFSET = 1 << 50
MAX_ENTRIES = 1000
PATH = {"type": "string", "maxLength": MAX_PATH, "description": "relative to the directory of files"}


def file_tools(config: Callable[[], Config], protected: Sequence[str]) -> list[Tool]:
    """All three; `protected` are the paths of the gateway itself."""
    files = _Files(config, protected)
    has_root = files.has_root
    return [
        Tool(
            "file.read",
            "a part of a text file",
            files.read,
            {
                "path": PATH,
                "offset": {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0},
                "limit": {"type": "integer", "minimum": 1, "maximum": MAX_READ, "default": 65_536},
            },
            required=frozenset({"path"}),
            available=has_root,
        ),
        Tool(
            "file.list",
            "the files in a directory",
            files.list,
            {"path": {**PATH, "default": "."}},
            available=has_root,
        ),
        Tool(
            "file.write",
            "replace a text file, or make it in a directory that exists",
            files.write,
            {"path": PATH, "text": {"type": "string", "maxLength": MAX_WRITE}},
            required=frozenset({"path", "text"}),
            acts=True,
            available=has_root,
        ),
    ]


class _Files:
    """Each public method but the first is the body of a tool."""

    def __init__(self, config: Callable[[], Config], protected: Sequence[str]) -> None:
        self._config = config
        self._protected = protected

    def has_root(self) -> bool:
        return self._config().tools.file_root is not None

    def read(self, given: Mapping[str, object], _context: ToolContext) -> Mapping[str, object]:
        offset, limit = _number(given["offset"]), _number(given["limit"])
        with _told(), self._root().file(_parts(given)) as handle:
            size = os.fstat(handle).st_size
            data = os.pread(handle, limit, offset)
        return {
            "path": given["path"],
            "bytes": size,
            "nextOffset": offset + len(data) if offset + len(data) < size else None,
            "text": data.decode("utf-8", "replace"),
        }

    def list(self, given: Mapping[str, object], _context: ToolContext) -> Mapping[str, object]:
        rows: list[dict[str, object]] = []
        parts = path_parts(str(given["path"]))
        with _told(), self._root().directory(parts) as handle, os.scandir(handle) as entries:
            for entry in entries:
                if len(rows) == MAX_ENTRIES:
                    return {"path": given["path"], "entries": rows, "truncated": True}
                # It may be gone already.
                with contextlib.suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    kind = "directory" if stat.S_ISDIR(found.st_mode) else "other"
                    kind = "file" if stat.S_ISREG(found.st_mode) else kind
                    rows.append({"name": _shown(entry.name), "type": kind, "bytes": found.st_size})
        rows.sort(key=lambda row: str(row["name"]))
        return {"path": given["path"], "entries": rows, "truncated": False}

    def write(self, given: Mapping[str, object], _context: ToolContext) -> Mapping[str, object]:
        data = str(given["text"]).encode("utf-8", "replace")
        if len(data) > MAX_WRITE:
            raise BadArgument(f"args.text: is longer than {MAX_WRITE} bytes")
        with _told():
            self._root().write(_parts(given), data)
        return {"path": given["path"], "bytes": len(data)}

    def _root(self) -> FileRoot:
        root = self._config().tools.file_root
        if root is None:
            raise ToolFailed("there is no tools.file_root")
        return FileRoot(root, self._protected)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Say an error of the system without the path that the system quotes."""
    try:
        yield
    except OSError as error:
        raise ToolFailed((error.strerror or "it cannot be used").lower()) from None


def _parts(given: Mapping[str, object]) -> Sequence[str]:
    parts = path_parts(str(given["path"]))
    if not parts:
        raise BadArgument("args.path: names no file")
    return parts


def _shown(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
