"""A program that is run to its end for its output: bounded in time and size, and nothing of it is left behind."""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loong_channels.waiting import Deadline, StopToken

from .child_process import signal_group, start_child

__all__ = ["ChildResult", "run_child"]

TERM_S = 1.0
# How often somebody who has lost his child, but not what it wrote to, looks whether it is gone.
LOOK_S = 0.2
PIECE_BYTES = 65_536
GIB = 1 << 30
_LIMITS = ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, GIB), (resource.RLIMIT_DATA, 2 * GIB))


@dataclass(frozen=True)
class ChildResult:
    """What became of it. `code` is negative for the signal that ended it.

    `ending`: "exited", "timed_out", "stopped" or "flooded" (it wrote more than it may).
    """

    code: int
    stdout: bytes
    stderr: bytes
    ending: str


def run_child(
    command: Sequence[str],
    *,
    cwd: str | None,
    env: Mapping[str, str],
    max_bytes: int,
    deadline: Deadline,
    stop: StopToken,
    bounded: bool = True,
) -> ChildResult:
    """Run a program without input, `env` being all of its environment; returns when it and its group are gone.

    At `deadline` the group is told to end, and a second later made to; when `stop` is set or more than `max_bytes`
    came, at once. With `bounded` its memory, files and time of the processor have limits, where the system can set
    them. A program that leaves its group on purpose is not followed. Blocks; raises NotStarted.
    """
    process = start_child(command, cwd=cwd, env=env, is_told=False)
    if bounded:
        _bound(process.pid, int(deadline.remaining()) + 5)
    try:
        with stop.watch(lambda: signal_group(process, signal.SIGKILL)):
            pieces, ending = _outputs(process, max_bytes, deadline, stop)
        if ending == "timed_out":
            signal_group(process, signal.SIGTERM)
            _wait(process, TERM_S)
    finally:
        # Also what a program that has ended left in its group. One that runs as another user cannot be ended.
        signal_group(process, signal.SIGKILL)
        _wait(process, TERM_S)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    code = -signal.SIGKILL if process.returncode is None else process.returncode
    return ChildResult(code, *pieces, "stopped" if stop.is_set() else ending)


def _bound(pid: int, cpu_s: int) -> None:
    """Set limits for a program that has just been started; whatever it did before is not bounded."""
    for what, value in (*_LIMITS, (resource.RLIMIT_CPU, cpu_s)):
        # Not every system has this call, the limits of this process may be lower, and the program may have ended.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            resource.prlimit(pid, what, (value, value))


def _wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it ends in that time."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _outputs(
    process: subprocess.Popen[bytes], max_bytes: int, deadline: Deadline, stop: StopToken
) -> tuple[tuple[bytes, bytes], str]:
    """What it wrote to both its outputs, until both are closed or it ended, and why that was all."""
    assert process.stdout is not None and process.stderr is not None
    got = {process.stdout: bytearray(), process.stderr: bytearray()}
    ending = "exited"
    with selectors.DefaultSelector() as selector:
        for pipe, data in got.items():
            selector.register(pipe, selectors.EVENT_READ, data)
        while selector.get_map():
            ready = selector.select(deadline.bounded(LOOK_S))
            for key, _ in ready:
                piece = os.read(key.fd, PIECE_BYTES)
                key.data.extend(piece)
                if not piece:
                    selector.unregister(key.fileobj)
            if sum(map(len, got.values())) > max_bytes:
                ending = "flooded"
            elif deadline.expired:
                ending = "timed_out"
            elif not stop.is_set() and (ready or process.poll() is None):
                continue
            break
    if ending == "exited" and not stop.is_set():
        # It may close its outputs and go on.
        ending = "exited" if _wait(process, deadline.remaining()) else "timed_out"
    stdout, stderr = (bytes(data[:max_bytes]) for data in got.values())
    return (stdout, stderr), ending
