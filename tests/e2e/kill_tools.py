"""As kill_at, with two tools: `note.add` writes a line to the file of LOONG_TEST_NOTES, `look.up` changes nothing.

    python -m tests.e2e.kill_tools N FILE

LOONG_TEST_DIE names where the process ends: "before" or "after" the line is written, "looking", or nowhere.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

from loong_gateway.messaging.engine import Engine
from loong_gateway.tools.contract import Tool, ToolContext
from tests.e2e.kill_at import Fuse, main

TEXT = {"text": {"type": "string"}}


def die(where: str) -> None:
    """End here if this is the place."""
    if os.environ.get("LOONG_TEST_DIE") == where:
        os.kill(os.getpid(), signal.SIGKILL)


def prepare(engine: Engine, _fuse: Fuse) -> None:
    """Give the engine the tools."""

    def add(given: Mapping[str, object], _context: ToolContext) -> Mapping[str, object]:
        die("before")
        with open(os.environ["LOONG_TEST_NOTES"], "a", encoding="utf-8") as notes:
            notes.write(f"{given['text']}\n")
        die("after")
        return {"added": True}

    def look(_given: Mapping[str, object], _context: ToolContext) -> Mapping[str, object]:
        die("looking")
        return {"found": True}

    tools = [
        Tool("note.add", "adds a line", add, TEXT, frozenset({"text"}), acts=True),
        Tool("look.up", "looks", look, TEXT, frozenset({"text"})),
    ]
    engine.answering.tools.add(lambda: tools)


if __name__ == "__main__":
    main(prepare)
