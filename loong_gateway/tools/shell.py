"""shell.run: programs that the configuration names, started with a list of words. There is no shell."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping

from loong_gateway.base.child import run_child
from loong_gateway.base.child_process import NotStarted
from loong_gateway.config.snapshot import Config
from loong_gateway.tools.contract import BadArgument, Tool, ToolContext, ToolFailed

__all__ = ["shell_tools"]

PATH = "/usr/local/bin:/usr/bin:/bin"
MAX_WORDS = 64
MAX_OUTPUT = 262_144


def shell_tools(config: Callable[[], Config]) -> list[Tool]:
    """The one tool. It is not there without tools.file_root, where programs run."""

    def run(given: Mapping[str, object], context: ToolContext) -> Mapping[str, object]:
        settings = config().tools
        program = str(given["program"])
        words = given.get("args")
        arguments = [str(word) for word in words] if isinstance(words, list) else []
        if program not in settings.shell_allow:
            raise BadArgument("args.program: is none of tools.shell_allow")
        if any("\0" in word for word in arguments):
            raise BadArgument("args.args: holds characters that no argument may hold")
        path = program if os.path.isabs(program) else shutil.which(program, path=PATH)
        if settings.file_root is None or path is None:
            raise ToolFailed("the program cannot be found" if path is None else "there is no tools.file_root")
        try:
            result = run_child(
                [path, *arguments],
                cwd=settings.file_root,
                env=_environment(settings.file_root),
                max_bytes=MAX_OUTPUT,
                deadline=context.deadline,
                stop=context.stop,
            )
        except NotStarted as error:
            raise ToolFailed(f"cannot be started: {error}") from None
        return {
            "exitCode": result.code,
            "ending": result.ending,
            "stdout": result.stdout.decode("utf-8", "replace"),
            "stderr": result.stderr.decode("utf-8", "replace"),
        }

    return [
        Tool(
            "shell.run",
            "run one of the programs that the configuration names; no shell, no input",
            run,
            {
                "program": {"type": "string", "maxLength": 256},
                "args": {
                    "type": "array",
                    "items": {"type": "string", "maxLength": 4096},
                    "maxItems": MAX_WORDS,
                },
            },
            required=frozenset({"program"}),
            acts=True,
            available=lambda: bool(config().tools.shell_allow) and config().tools.file_root is not None,
        )
    ]


def _environment(root: str) -> dict[str, str]:
    return {"PATH": PATH, "HOME": root, "TMPDIR": root, "LANG": "C.UTF-8"}
