"""Many sessions: pages, counts and searches that never hold all of them."""

from __future__ import annotations

import pytest

from loong_gateway.base.bus import Bus
from loong_gateway.messaging import session_desk
from loong_gateway.messaging.session_desk import SessionDesk
from loong_gateway.storage import transcripts
from tests.gateway.messaging.engine_rig import rig_at

SESSIONS = 25


@pytest.fixture
def desk(tmp_path, monkeypatch):
    # A search that reads some at a time reads in several steps here.
    monkeypatch.setattr(session_desk, "SEARCHED_AT_ONCE", 4)
    with rig_at(tmp_path / "store.sqlite3") as rig:

        def fill(conn):
            for number in range(SESSIONS):
                kind = "group" if number % 2 else "direct"
                key = f"agent:main:telegram:work:{kind}:{number}"
                transcripts.remember(conn, key, f"q{number}", "a", 1000 + number * 7 % SESSIONS)
            # Shown as "Zoë: notes", which is not how it is stored.
            transcripts.remember(conn, "agent:main:~b64~Wm_Dqzogbm90ZXM", "q", "a", 1)

        rig.store.write(fill)
        yield SessionDesk(rig.store, rig.clock, Bus(rig.clock.wall_ms))


def pages(desk, limit, **how):
    found, offset = [], 0
    while True:
        page = desk.list(limit=limit, offset=offset, **how)
        assert len(page.rows) <= limit
        found += page.rows
        offset += limit
        if offset >= page.total:
            assert len(found) == page.total
            return found


@pytest.mark.parametrize(("search", "count"), [("", SESSIONS + 1), ("GROUP", 12), ("nowhere", 0)])
def test_pages_hold_every_session_once_the_latest_first(desk, search, count):
    found = pages(desk, 4, search=search)
    assert len({row.key for row in found}) == len(found) == count
    times = [row.updated_ms for row in found]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("search", ["", "telegram"])
def test_only_those_that_were_active_are_listed(desk, search):
    found = pages(desk, 5, search=search, active_since_ms=1015)
    assert sorted(row.updated_ms for row in found) == list(range(1015, 1025))


def test_a_shown_name_is_found(desk):
    (row,) = desk.list(limit=5, search="zoë: n", previews=True).rows
    assert (row.display_name, row.preview) == ("Zoë: notes", "a")
