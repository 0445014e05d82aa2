"""All tools under hostile arguments."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence

from tests.gateway.tools.tool_siege import Siege

from .report import Outcome

__all__ = ["run"]


def run(count: int, seed: int, command: Sequence[str] = ()) -> Outcome:  # noqa: ARG001  in this process
    """So many calls of tools with arguments that want to get at what no tool may touch.

    Held: nothing outside of the directory of files was read or changed, nothing but the public address was connected
    to, nothing was sent elsewhere, no result told a canary, and no tool failed in a way that is not its own.
    """
    outcome = Outcome("tools-siege", count, seed)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="loong-tools-") as directory:
        siege = Siege(directory)
        siege.run(seed, count)
    outcome.failures += siege.failures
    outcome.metrics.update({f"{tool} {how}": n for (tool, how), n in sorted(siege.outcomes.items())})
    outcome.duration_s = time.monotonic() - begin
    return outcome
