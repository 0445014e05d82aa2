"""What happens when a command meets a defect of loong itself: one line for the operator, a report for us."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback

from loong_gateway import VERSION
from loong_gateway.base.atomic import remove, write_private
from loong_gateway.base.faults import CommandError
from loong_gateway.commands.common import Context
from loong_gateway.owner.paths import Places

__all__ = ["tell"]

_KEPT_REPORTS = 10


def tell(context: Context, error: BaseException) -> int:
    """Write a report beside the logs, print the error, and return the exit code of a defect."""
    report = _write_report(context.places, error)
    if context.verbose:
        context.stderr.write("".join(traceback.format_exception(type(error), error, error.__traceback__)))
    return context.report(CommandError("usage.internal", detail=_summary(error), report=report))


def _summary(error: BaseException) -> str:
    """Kind and place of the error. Its own text stays in the report: it may hold what a user wrote."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    return f"{type(error).__name__} in {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}"


def _write_report(places: Places, error: BaseException) -> str:
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    # A command that only looks does not make the home of a gateway that never ran.
    directory = places.logs if os.path.isdir(places.state) else tempfile.gettempdir()
    path = os.path.join(directory, f"loong-crash-{stamp}-{os.getpid()}.txt")
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    head = f"loong {VERSION}, Python {sys.version.split()[0]}, {sys.platform}\n"
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        write_private(path, (head + text).encode("utf-8", "backslashreplace"), durable=False)
        reports = sorted(name for name in os.listdir(directory) if name.startswith("loong-crash-"))
    except OSError as trouble:
        return f"no report: {path}: {(trouble.strerror or str(trouble)).lower()}"
    for name in reports[:-_KEPT_REPORTS]:
        remove(os.path.join(directory, name))
    return path
