"""A gateway's engine on a store, which accepts runs as long as it is asked to: to be killed at any moment.

python -m tests.e2e.run_process STORE        reads lines "ID SESSION TEXT", prints "accepted ID", "idle" at the end
"""

from __future__ import annotations

import os
import sys

from loong_channels.egress import Egress
from loong_channels.waiting import Deadline
from loong_gateway.base.clock import Clock
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.loading import validate_source
from loong_gateway.control.runs import RunRequest, RunTicket
from loong_gateway.logs.redaction import Redactor
from loong_gateway.messaging.engine import Engine
from loong_gateway.messaging.engine_parts import EngineParts
from loong_gateway.storage.outgoing import Outgoing
from loong_gateway.storage.store import Store
from tests.waiting import wait_until


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def accepted(ticket: RunTicket) -> None:
    say(f"accepted {ticket.run_id}")


def main(path: str) -> None:
    config, _ = validate_source("config.toml", b'[provider]\nkind = "echo"\n', environ={})
    assert config is not None
    threads = ThreadRegistry()
    store = Store.open(path, threads=threads)
    parts = EngineParts(
        store=store,
        threads=threads,
        egress=Egress(environ={}),
        environ={},
        redactor=Redactor(),
        clock=Clock(),
        changed=lambda: None,
        outgoing=Outgoing(f"{path}-outgoing"),
    )
    engine = Engine(config, parts)
    engine.recover()
    for line in sys.stdin:
        run_id, session, text = line.split()
        engine.runs.start(RunRequest(run_id, text, session=session, durable=True), admitted=accepted)
    wait_until(lambda: not engine.runs.active(), what="the end of all runs")
    say("idle")
    engine.close()
    store.close(Deadline(10))


if __name__ == "__main__":
    main(sys.argv[1])
