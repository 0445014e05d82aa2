from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator

import pytest

from loong_channels.egress import Egress
from loong_channels.waiting import Deadline
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.loading import validate_source
from loong_gateway.logs.redaction import Redactor
from loong_gateway.messaging.engine import Engine
from loong_gateway.messaging.engine_parts import EngineParts
from loong_gateway.storage import outbox
from loong_gateway.storage.outgoing import Outgoing
from loong_gateway.storage.store import Store
from tests.clocks import HandClock
from tests.gateway.messaging.engine_rig import CONFIG, WAIT_S
from tests.gateway.storage.store_help import opened, part


@contextlib.contextmanager
def engine_at(tmp_path: pathlib.Path, clock: HandClock) -> Iterator[tuple[Engine, Store]]:
    """An engine without channels on a new store."""
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
        yield engine, store
        engine.close()
    assert threads.join_all(Deadline(WAIT_S)) == []


def test_a_reply_does_not_expire_because_the_clock_was_set(tmp_path: pathlib.Path) -> None:
    clock = HandClock()
    with engine_at(tmp_path, clock) as (engine, store):
        store.write(lambda conn: outbox.add(conn, [part("g")], now_ms=clock.wall_ms(), first_sending=False))
        before_ms = store.read(lambda conn: outbox.group(conn, "g"))[0].expires_ms
        engine.tick()
        assert "clock_stepped" not in engine.problems()
        clock.set_wall(2 * 86_400)
        engine.tick()
        store.write(lambda conn: None)
        assert store.read(lambda conn: outbox.group(conn, "g"))[0].expires_ms == before_ms + 2 * 86_400_000
        assert "clock_stepped" in engine.problems()


@pytest.mark.parametrize("when", ["recover", "sweep"])
def test_a_copy_that_nobody_needs_is_removed_at_the_start_and_later(
    tmp_path: pathlib.Path, when: str
) -> None:
    clock = HandClock()
    (tmp_path / "a").write_bytes(b"data")
    copies = Outgoing(str(tmp_path / "outgoing"))
    for age_s in (60, 7200):
        path = copies.path_of(copies.keep(str(tmp_path / "a"), limit_bytes=10), limit_bytes=10)
        os.utime(path, times=(0, clock.wall_ms() / 1000 - age_s))
    with engine_at(tmp_path, clock) as (engine, _):
        getattr(engine, when)()
    assert len(list((tmp_path / "outgoing").iterdir())) == 1
