"""A small owner as a process of its own, for tests: takes the lock, publishes, beats, and ends when asked.

Run by path with LOONG_HOME set. Prints one line: `held PID`, or `refused` and the error. With `--listen` it opens a
port that it never answers on and publishes it.
"""

from __future__ import annotations

import os
import select
import socket
import sys

from loong_gateway.base.faults import CommandError
from loong_gateway.owner import files
from loong_gateway.owner import lock as owner
from loong_gateway.owner.paths import resolve_places


def main() -> int:
    places = resolve_places({}, dict(os.environ))
    try:
        lock = owner.OwnerLock.acquire(places, verb="gateway run")
    except CommandError as error:
        print("refused", error.message, flush=True)
        return error.exit_code
    document: dict[str, object] = {
        "phase": "running",
        "running": True,
        "ready": True,
        "pid": os.getpid(),
        "started_at_ms": 1,
        "owner_token": lock.owner_token,
        "surfaces": [],
    }
    listener = None
    if "--listen" in sys.argv:
        listener = socket.create_server(("127.0.0.1", 0))
        document.update(bind_address="127.0.0.1", port=listener.getsockname()[1])
    files.publish(places, document)
    print("held", os.getpid(), flush=True)
    while not files.stop_requested(places, lock.owner_token):
        lock.beat()
        select.select([], [], [], 0.02)
    files.retire(places, {**document, "shutdown_reason": "shutdown requested: gateway stop requested"})
    lock.release()
    return 0


if __name__ == "__main__":
    sys.exit(main())
