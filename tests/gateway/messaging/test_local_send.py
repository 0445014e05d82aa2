"""Sending without a gateway: every part and every outcome is on disk."""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from loong_channels import catalog
from loong_channels.contract import Address, Outbound, Receipt
from loong_channels.faults import BadCredentials, Fault, Moved, Refused, Throttled, TimedOut, Unreachable
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import CommandError
from loong_gateway.messaging.local_send import DirectSend, Fate
from loong_gateway.messaging.parts import Contents, operator_parts
from loong_gateway.owner.paths import Places, resolve_places
from loong_gateway.storage.local import LocalStore
from loong_gateway.storage.lock import StoreLock

SPEC = catalog.spec("telegram")
HERE = Address("telegram", "work", "1001")


class ScriptedChannel:
    """Raises the next fault of its script, or takes the part; `before` runs at each try."""

    def __init__(self, *script: Fault | None, before: Callable[[], None] = lambda: None) -> None:
        self.script = list(script)
        self.tries: list[Outbound] = []
        self.before = before

    def send(self, outbound: Outbound, *, deadline: Deadline, stop: StopToken) -> Receipt:
        self.before()
        self.tries.append(outbound)
        fault = self.script.pop(0) if self.script else None
        if fault is not None:
            raise fault
        return Receipt((str(len(self.tries)),))


def places(tmp_path: pathlib.Path) -> Places:
    return resolve_places({}, {"LOONG_HOME": str(tmp_path / "home")})


def deliver(tmp_path: pathlib.Path, channel: Any, text: str = "hello", wait_s: float = 10.0) -> Fate:
    sender = DirectSend(channel, LocalStore(places(tmp_path), lock_s=0.2), Clock())
    expires_ms = Clock().wall_ms() + 60_000
    parts = operator_parts(SPEC, HERE, Contents(text), group="send-1", expires_ms=expires_ms)
    return sender.send(parts, deadline=Deadline(wait_s), stop=StopToken())


def states(tmp_path: pathlib.Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(places(tmp_path).store)) as conn, conn:
        return [row[0] for row in conn.execute("SELECT state FROM outbox ORDER BY n")]


def test_the_part_is_on_disk_as_sending_before_it_leaves(tmp_path: pathlib.Path) -> None:
    seen: list[list[str]] = []
    fate = deliver(tmp_path, ScriptedChannel(before=lambda: seen.append(states(tmp_path))))
    assert seen == [["sending"]]
    assert states(tmp_path) == ["sent"]
    assert (fate.sent, fate.parts, fate.message_ids, fate.fault) == (1, 1, ("1",), None)


def test_the_store_is_free_while_the_platform_is_asked(tmp_path: pathlib.Path) -> None:
    def take_the_lock() -> None:
        with StoreLock.hold(places(tmp_path), 0.0):
            pass

    assert deliver(tmp_path, ScriptedChannel(before=take_the_lock)).recorded


def test_a_long_text_records_each_part_before_the_next_leaves(tmp_path: pathlib.Path) -> None:
    seen: list[list[str]] = []
    text = "\n".join("x" * 3000 for _ in range(3))
    fate = deliver(tmp_path, ScriptedChannel(before=lambda: seen.append(states(tmp_path))), text)
    assert fate.sent == 3
    assert seen == [
        ["sending", "queued", "queued"],
        ["sent", "sending", "queued"],
        ["sent", "sent", "sending"],
    ]


def test_what_may_not_have_arrived_is_tried_again_under_the_same_key(tmp_path: pathlib.Path) -> None:
    channel = ScriptedChannel(Unreachable("reset", maybe_processed=False), None)
    assert deliver(tmp_path, channel).fault is None
    assert len({tried.idempotency_key for tried in channel.tries}) == 1
    assert len(channel.tries) == 2


def test_a_short_wait_that_the_platform_asks_for_is_kept(tmp_path: pathlib.Path) -> None:
    channel = ScriptedChannel(Throttled("slow down", retry_after_s=0.05), None)
    assert deliver(tmp_path, channel).sent == 1


@pytest.mark.parametrize(
    "fault",
    [
        Throttled("slow down", retry_after_s=600),
        Refused("chat not found", code="400"),
        BadCredentials("the token is not accepted"),
        TimedOut("no answer", maybe_processed=True),
    ],
)
def test_what_cannot_be_helped_ends_at_once_and_is_recorded(tmp_path: pathlib.Path, fault: Fault) -> None:
    channel = ScriptedChannel(fault)
    fate = deliver(tmp_path, channel)
    assert fate.fault is fault
    assert len(channel.tries) == 1
    assert states(tmp_path) == ["failed"]


def test_a_chat_that_moved_is_followed_once(tmp_path: pathlib.Path) -> None:
    text = "\n".join("x" * 3000 for _ in range(2))
    channel = ScriptedChannel(Moved("moved", conversation="-100"), None, None)
    assert deliver(tmp_path, channel, text).sent == 2
    assert [tried.address.conversation for tried in channel.tries] == ["1001", "-100", "-100"]


def test_parts_after_a_refused_one_are_given_up(tmp_path: pathlib.Path) -> None:
    text = "\n".join("x" * 3000 for _ in range(3))
    channel = ScriptedChannel(None, Refused("no", code="400"))
    fate = deliver(tmp_path, channel, text)
    assert (fate.sent, fate.parts, len(channel.tries)) == (1, 3, 2)
    assert states(tmp_path) == ["sent", "failed", "failed"]


def test_a_store_that_was_taken_over_meanwhile_is_said_and_not_an_error(tmp_path: pathlib.Path) -> None:
    held: list[StoreLock] = []
    channel = ScriptedChannel(before=lambda: held.append(StoreLock.acquire(places(tmp_path), 1.0)))
    fate = deliver(tmp_path, channel)
    held[0].release()
    assert fate.fault is None
    assert not fate.recorded


def test_reading_changes_nothing_and_an_absent_store_is_none(tmp_path: pathlib.Path) -> None:
    store = LocalStore(places(tmp_path))
    assert store.read(lambda conn: 1) is None
    assert not (tmp_path / "home").exists()
    deliver(tmp_path, ScriptedChannel())
    before = sorted(path.name for path in (tmp_path / "home").iterdir())
    assert store.read(lambda conn: conn.execute("SELECT count(*) FROM outbox").fetchone()[0]) == 1
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == before


def test_a_store_can_be_read_beside_its_holder(tmp_path: pathlib.Path) -> None:
    deliver(tmp_path, ScriptedChannel())
    with StoreLock.hold(places(tmp_path), 1.0):
        count = LocalStore(places(tmp_path)).read(lambda conn: conn.execute("SELECT 7").fetchone()[0])
    assert count == 7


def test_a_file_that_is_no_store_is_an_error_with_its_path(tmp_path: pathlib.Path) -> None:
    home = places(tmp_path)
    home.create()
    pathlib.Path(home.store).write_bytes(b"not a database at all" * 100)
    with pytest.raises(CommandError) as caught:
        LocalStore(home).read(lambda conn: conn.execute("SELECT count(*) FROM outbox").fetchone())
    assert caught.value.code == "store.unreadable"
    assert caught.value.where == home.store


def test_ctrl_c_gives_up_what_was_not_sent(tmp_path: pathlib.Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deliver(tmp_path, ScriptedChannel(before=interrupt))
    assert states(tmp_path) == ["failed"]
