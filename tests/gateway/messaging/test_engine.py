from __future__ import annotations

import pathlib

from loong_channels.egress import Egress
from loong_channels.waiting import Deadline
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.loading import validate_source
from loong_gateway.logs.redaction import Redactor
from loong_gateway.messaging.engine import Engine, EngineParts
from loong_gateway.storage import outbox
from loong_gateway.storage.outgoing import Outgoing
from tests.clocks import HandClock
from tests.gateway.messaging.engine_rig import CONFIG, WAIT_S
from tests.gateway.storage.store_help import opened, part


def test_a_reply_does_not_expire_because_the_clock_was_set(tmp_path: pathlib.Path) -> None:
    clock = HandClock()
    config, _ = validate_source("config.toml", CONFIG, environ={})
    threads = ThreadRegistry()
    with opened(tmp_path / "s") as store:
        engine = Engine(
            config,
            EngineParts(
                store=store,
                threads=threads,
                egress=Egress(environ={}),
                environ={},
                redactor=Redactor(),
                clock=clock,
                changed=lambda: None,
                outgoing=Outgoing(str(tmp_path / "outgoing")),
            ),
        )
        store.write(lambda conn: outbox.add(conn, [part("g")], now_ms=clock.wall_ms(), first_sending=False))
        before_ms = store.read(lambda conn: outbox.group(conn, "g"))[0].expires_ms
        engine.tick()
        assert "clock_stepped" not in engine.problems()
        clock.set_wall(2 * 86_400)
        engine.tick()
        store.write(lambda conn: None)
        assert store.read(lambda conn: outbox.group(conn, "g"))[0].expires_ms == before_ms + 2 * 86_400_000
        assert "clock_stepped" in engine.problems()
        engine.close()
    assert threads.join_all(Deadline(WAIT_S)) == []
