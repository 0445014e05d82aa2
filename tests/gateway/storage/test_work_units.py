"""Work units on a real database: who gets which, when they come back, what is refused."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from loong_channels.waiting import Deadline
from loong_gateway.base.faults import CommandError
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.control.work_units import VERBS, checked
from loong_gateway.storage import migrations, work_units
from loong_gateway.storage.store import Store
from loong_gateway.storage.work_unit_rows import health, oldest_expiry_ms
from loong_gateway.storage.work_unit_rules import MOST_EVENTS, MOST_HEARTBEATS, backoff_ms

ROOT = pathlib.Path(__file__).resolve().parents[3]
NOW = 1_800_000_000_000


class Queue:
    """The verbs over one connection, on a clock that is set by hand."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self.conn = conn
        self.now = NOW

    def __call__(self, verb: str, **given: object) -> dict:
        found = VERBS[verb]
        return found.act(self.conn, checked(found, given), self.now)

    def create(self, **given: object) -> str:
        made = self("create", **{"kind": "issue", "title": "t", **given})
        return made["work_unit"]["work_unit_id"]

    def claim(self, owner: str = "w", **given: object) -> str | None:
        got = self("claim", owner=owner, **given)
        return got["snapshot"]["work_unit"]["work_unit_id"] if got["claimed"] else None

    def status(self, id: str) -> str:
        return self("show", id=id)["work_unit"]["status"]

    def kinds(self, id: str) -> list[str]:
        return [one["event_kind"].removeprefix("work_unit_") for one in self("events", id=id)["events"]]

    def refused(self, verb: str, **given: object) -> str:
        before = self.conn.total_changes
        with pytest.raises(CommandError) as caught:
            self(verb, **given)
        assert self.conn.total_changes == before, "something was changed all the same"
        return caught.value.code


@pytest.fixture
def queue() -> Iterator[Queue]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        migrations.apply(conn)
        yield Queue(conn)


def test_a_new_unit_is_shown_with_every_field_of_the_contract(queue: Queue) -> None:
    parent = queue.create()
    id = queue.create(
        title="Build",
        description="two\nlines",
        priority="high",
        parent_work_unit_id=parent,
        source_kind="github",
        external_ref="#7",
    )
    snapshot = queue("show", id=id)
    assert list(snapshot) == ["work_unit", "lease"]
    assert snapshot["lease"] is None
    assert snapshot["work_unit"] == {
        "work_unit_id": id,
        "kind": "issue",
        "title": "Build",
        "description": "two\nlines",
        "source_ref": {"source": "github", "external_ref": "#7"},
        "status": "ready",
        "priority": "high",
        "assigned_to": None,
        "retry_policy": {"max_attempts": 3, "initial_backoff_ms": 1000, "max_backoff_ms": 60_000},
        "attempt_count": 0,
        "next_run_at_ms": NOW,
        "last_error": None,
        "blocking_reason": None,
        "parent_work_unit_id": parent,
        "blocks_work_unit_ids": [],
        "blocked_by_work_unit_ids": [],
        "result_payload_json": None,
        "created_at_ms": NOW,
        "updated_at_ms": NOW,
        "archived_at_ms": None,
    }
    assert queue.refused("create", kind="ops", title="again", id=id) == "work_unit.exists"
    assert queue.refused("create", kind="ops", title="t", parent_work_unit_id="wu-" + "0" * 16) == (
        "work_unit.not_found"
    )


def test_claims_come_by_priority_then_due_then_change_then_id(queue: Queue) -> None:
    ids = {}
    for priority, due, changed in itertools.product(("low", "normal", "high", "critical"), (2, 1), (2, 1)):
        queue.now = NOW + changed
        ids[priority, due, changed] = queue.create(priority=priority, next_run_at_ms=NOW - 10 + due)
    twins = sorted(queue.create(priority="low", next_run_at_ms=NOW - 1) for _ in range(3))
    queue.create(priority="critical", next_run_at_ms=NOW + 1000)
    queue.create(priority="critical", status="triaged")
    wanted = [
        ids[priority, due, changed]
        for priority in ("critical", "high", "normal", "low")
        for due in (1, 2)
        for changed in (1, 2)
    ]
    queue.now = NOW + 5
    assert [queue.claim() for _ in range(len(ids) + 4)] == [*wanted, *twins, None]


def test_claiming_reads_one_index_whatever_else_is_there(queue: Queue) -> None:
    plan = queue.conn.execute(
        "EXPLAIN QUERY PLAN SELECT work_unit_id FROM work_units WHERE status IN ('ready', 'retry_pending')"
        " AND open_blockers = 0 AND priority = ? AND next_run_at_ms <= ?"
        " ORDER BY next_run_at_ms, updated_at_ms, work_unit_id LIMIT 1",
        (1, 2),
    ).fetchall()
    assert len(plan) == 1
    assert "work_unit_due (priority=? AND next_run_at_ms<?)" in plan[0][-1]


def test_only_the_owner_of_a_lease_acts_and_only_until_it_expires(queue: Queue) -> None:
    id = queue.create()
    lease = queue("claim", owner="anna", ttl_ms=1000)["snapshot"]["lease"]
    assert lease == {
        "work_unit_id": id,
        "owner": "anna",
        "lease_version": 1,
        "acquired_at_ms": NOW,
        "heartbeat_at_ms": NOW,
        "expires_at_ms": NOW + 1000,
    }
    end = {"id": id, "disposition": "completed"}
    assert queue.refused("start", id=id, owner="bert") == "work_unit.no_lease"
    assert queue.refused("heartbeat", id=id, owner="bert") == "work_unit.no_lease"
    assert queue.refused("complete", **end, owner="bert") == "work_unit.no_lease"
    assert queue.refused("complete", **end, owner="anna", lease_version=2) == "work_unit.no_lease"
    assert queue("start", id=id, owner="anna")["work_unit"]["status"] == "running"
    assert queue.refused("start", id=id, owner="anna") == "work_unit.no_lease"
    queue.now += 999
    assert queue("heartbeat", id=id, owner="anna", ttl_ms=10)["lease"]["expires_at_ms"] == NOW + 1009
    queue.now += 10
    for verb, given in (("heartbeat", {"id": id}), ("complete", end)):
        assert queue.refused(verb, **given, owner="anna") == "work_unit.no_lease"
    assert queue.refused("start", id="wu-" + "0" * 16, owner="anna") == "work_unit.not_found"
    try:
        queue("start", id=id, owner="anna")
    except CommandError as error:
        assert error.message == "start did not find a matching active lease"


def test_a_failure_waits_twice_as_long_each_time_then_is_final(queue: Queue) -> None:
    id = queue.create(max_attempts=3, initial_backoff_ms=100, max_backoff_ms=150)
    for pause in (100, 150):
        assert queue.claim() == id
        unit = queue("complete", id=id, owner="w", disposition="retry_pending", error="no")["work_unit"]
        assert (unit["status"], unit["last_error"]) == ("retry_pending", "no")
        assert unit["next_run_at_ms"] == queue.now + pause
        queue.now += pause - 1
        assert queue.claim() is None
        queue.now += 1
    assert queue.claim() == id
    unit = queue("complete", id=id, owner="w", disposition="retry_pending")["work_unit"]
    assert (unit["status"], unit["attempt_count"]) == ("failed_terminal", 3)
    assert queue.claim() is None
    assert queue.kinds(id)[-2:] == ["leased", "failed_terminal"]
    assert [backoff_ms(n, 1000, 60_000) for n in (1, 2, 3, 6, 7, 500)] == [
        1000,
        2000,
        4000,
        32_000,
        60_000,
        60_000,
    ]


def test_expired_leases_come_back_until_the_attempts_are_used_up(queue: Queue) -> None:
    id = queue.create(max_attempts=2)
    other = queue.create()
    assert oldest_expiry_ms(queue.conn) is None
    assert queue.claim("a", ttl_ms=10) == min(id, other)
    second = queue.claim("a", ttl_ms=1_000_000)
    assert oldest_expiry_ms(queue.conn) == NOW + 10
    first = min(id, other)
    assert queue("recover") == {"recovered_count": 0, "work_unit_ids": [], "has_more": False}
    queue.now += 10
    assert health(queue.conn, queue.now)["expired_lease_count"] == 1
    assert queue("recover")["work_unit_ids"] == [first]
    unit = queue("show", id=first)
    assert (unit["work_unit"]["status"], unit["lease"]) == ("retry_pending", None)
    assert unit["work_unit"]["last_error"] == "the lease of a expired"
    assert queue.status(second) == "leased"
    queue("update", id=id, status="ready") if queue.status(id) == "retry_pending" else None
    queue.conn.execute("UPDATE work_units SET attempt_count = max_attempts - 1, next_run_at_ms = 0")
    assert queue.claim("b", ttl_ms=10) == first
    assert queue("show", id=first)["lease"]["lease_version"] == 2
    queue.now += 10
    queue("recover")
    assert queue.status(first) == "failed_terminal"
    assert queue.kinds(first)[-1] == "lease_expired_recovered"


def test_what_waits_for_another_is_claimed_after_it_was_completed(queue: Queue) -> None:
    first, second, third = (queue.create(priority=p) for p in ("low", "normal", "high"))
    queue("depend", blocking_id=first, blocked_id=second)
    shown = queue("depend", blocking_id=second, blocked_id=third)
    assert shown["work_unit"]["blocked_by_work_unit_ids"] == [second]
    queue("depend", blocking_id=second, blocked_id=third)  # once more is harmless
    assert queue("show", id=second)["work_unit"]["blocks_work_unit_ids"] == [third]
    assert queue.refused("depend", blocking_id=third, blocked_id=first) == "work_unit.cycle"
    assert queue.refused("depend", blocking_id=first, blocked_id=first) == "work_unit.cycle"
    assert queue("health")["blocked_count"] == 2
    for id in (first, second, third):
        assert (queue.claim(), queue.claim()) == (id, None)
        queue("complete", id=id, owner="w", disposition="completed", result_payload_json={"n": [1, None]})
    assert queue("show", id=third)["work_unit"]["result_payload_json"] == {"n": [1, None]}
    assert queue("health") == {
        "total_count": 3,
        "ready_count": 0,
        "leased_count": 0,
        "running_count": 0,
        "blocked_count": 0,
        "retry_pending_count": 0,
        "terminal_count": 3,
        "archived_count": 0,
        "expired_lease_count": 0,
    }


def test_a_blocker_that_failed_blocks_until_it_is_archived_or_undone(queue: Queue) -> None:
    bad, one, two = queue.create(priority="high"), queue.create(), queue.create()
    for id in (one, two):
        queue("depend", blocking_id=bad, blocked_id=id)
    queue("complete", id=queue.claim(), owner="w", disposition="failed_terminal")
    assert queue.claim() is None
    queue("undepend", blocking_id=bad, blocked_id=one)
    assert queue.refused("undepend", blocking_id=bad, blocked_id=one) == "work_unit.no_dependency"
    assert (queue.claim(), queue.claim()) == (one, None)
    queue("archive", id=bad)
    assert queue.claim() == two
    # A new wait for what is settled already holds nothing up.
    late = queue.create()
    queue("depend", blocking_id=bad, blocked_id=late)
    assert queue.claim() == late


def test_only_what_has_ended_is_archived_and_then_it_stays(queue: Queue) -> None:
    id = queue.create()
    assert queue.refused("archive", id=id) == "work_unit.not_terminal"
    queue("update", id=id, status="cancelled")
    assert queue.refused("update", id=id, status="ready") == "work_unit.ended"
    assert queue("archive", id=id)["work_unit"]["archived_at_ms"] == NOW
    for verb, given in (("update", {"title": "x"}), ("assign", {}), ("note", {"note": "n"})):
        assert queue.refused(verb, id=id, **given) == "work_unit.ended"
    assert queue.kinds(id) == ["created", "cancelled", "archived"]
    assert queue("list")["work_units"] == []
    assert [
        one["work_unit"]["work_unit_id"] for one in queue("list", include_archived=True)["work_units"]
    ] == [id]
    assert work_units.prune(queue.conn, NOW + 89 * 86_400_000, 10) == 0
    assert work_units.prune(queue.conn, NOW + 91 * 86_400_000, 10) == 1
    assert queue.conn.execute("SELECT count(*) FROM work_unit_events").fetchone() == (0,)


def test_an_update_changes_what_it_names_and_a_status_ends_the_lease(queue: Queue) -> None:
    id = queue.create()
    queue.claim("w")
    assert queue("update", id=id, title="new", priority="critical")["lease"] is not None
    shown = queue("update", id=id, status="waiting_review", blocking_reason="review")
    assert (shown["lease"], shown["work_unit"]["blocking_reason"]) == (None, "review")
    assert queue.refused("complete", id=id, owner="w", disposition="completed") == "work_unit.no_lease"
    assert queue.refused("update", id=id) == "work_unit.nothing_to_change"
    assert queue("update", id=id, clear_blocking_reason=True)["work_unit"]["blocking_reason"] is None
    assert queue("assign", id=id, assigned_to="maria")["work_unit"]["assigned_to"] == "maria"
    assert queue("assign", id=id)["work_unit"]["assigned_to"] is None
    queue("note", id=id, note="line one\nline two", actor="me")
    last = queue("events", id=id, limit=1)["events"][0]
    assert (last["event_kind"], last["actor"], last["payload"]) == (
        "work_unit_note_added",
        "me",
        {"note": "line one\nline two"},
    )


def test_events_of_a_unit_have_a_bound_and_heartbeats_go_first(queue: Queue) -> None:
    id = queue.create()
    queue.claim("w")
    for _ in range(MOST_HEARTBEATS + 30):
        queue("heartbeat", id=id, owner="w")
    assert queue.kinds(id).count("heartbeat") == MOST_HEARTBEATS
    assert queue.kinds(id)[:2] == ["created", "leased"]
    for number in range(MOST_EVENTS + 10):
        queue("update", id=id, title=f"t{number}")
    assert len(queue("events", id=id, limit=MOST_EVENTS)["events"]) == MOST_EVENTS


@pytest.mark.parametrize(
    ("verb", "given", "field"),
    [
        ("create", {"kind": "chore", "title": "t"}, "kind"),
        ("create", {"kind": "ops", "title": ""}, "title"),
        ("create", {"kind": "ops", "title": "a\nb"}, "title"),
        ("create", {"kind": "ops", "title": "x" * 201}, "title"),
        ("create", {"kind": "ops", "title": "\ud800"}, "title"),
        ("create", {"kind": "ops", "title": "t", "description": "x" * 20_001}, "description"),
        ("create", {"kind": "ops", "title": "t", "status": "running"}, "status"),
        ("create", {"kind": "ops", "title": "t", "max_attempts": 0}, "max_attempts"),
        ("create", {"kind": "ops", "title": "t", "max_attempts": True}, "max_attempts"),
        ("create", {"kind": "ops", "title": "t", "id": "wu-1"}, "id"),
        ("create", {"kind": "ops"}, "title"),
        ("claim", {"owner": "w", "ttl_ms": 0}, "ttl_ms"),
        ("list", {"limit": 1001}, "limit"),
        ("list", {"include_archived": "yes"}, "include_archived"),
        ("complete", {"id": "wu-" + "a" * 16, "owner": "w", "disposition": "done"}, "disposition"),
        (
            "complete",
            {
                "id": "wu-" + "a" * 16,
                "owner": "w",
                "disposition": "completed",
                "result_payload_json": "x" * 65_536,
            },
            "result_payload_json",
        ),
        (
            "complete",
            {
                "id": "wu-" + "a" * 16,
                "owner": "w",
                "disposition": "completed",
                "result_payload_json": {"half of a pair": ["\ud800"]},
            },
            "result_payload_json",
        ),
    ],
)
def test_bad_values_are_refused_by_name_and_not_repeated(verb: str, given: dict, field: str) -> None:
    with pytest.raises(CommandError) as caught:
        checked(VERBS[verb], given)
    assert caught.value.code == "work_unit.bad_value"
    assert caught.value.message.startswith(f"{field} ")
    assert len(caught.value.message) < 200


def test_an_older_store_gets_the_tables_and_keeps_what_it_has(tmp_path: pathlib.Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "s", isolation_level=None)) as conn:
        steps = migrations.STEPS
        older = [step for step in steps if step[0] != "work_units"]
        conn.execute("CREATE TABLE migration(name TEXT PRIMARY KEY) WITHOUT ROWID")
        for name, step in older:
            step(conn)
            conn.execute("INSERT INTO migration(name) VALUES(?)", (name,))
        conn.execute("INSERT INTO session(id, route, started_ms, last_ms) VALUES('s', 'r', 1, 1)")
        assert not migrations.has(conn, "work_units")
        migrations.apply(conn)
        assert migrations.has(conn, "work_units")
        assert conn.execute("SELECT id FROM session").fetchall() == [("s",)]


def test_threads_on_one_store_never_share_a_unit(tmp_path: pathlib.Path) -> None:
    threads = ThreadRegistry()
    store = Store.open(str(tmp_path / "store"), threads=threads)
    claim, create = VERBS["claim"], VERBS["create"]
    for number in range(60):
        given = checked(create, {"kind": "ops", "title": f"{number}"})
        store.submit(lambda conn, given=given: create.act(conn, given, NOW))
    got: list[str] = []

    def work(name: str) -> None:
        request = checked(claim, {"owner": name})
        while True:
            answer = store.write(lambda conn: claim.act(conn, request, NOW))
            if not answer["claimed"]:
                return
            got.append(answer["snapshot"]["work_unit"]["work_unit_id"])

    workers = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    store.close(Deadline(5))
    assert len(got) == len(set(got)) == 60


def test_a_long_chain_grows_at_either_end_without_being_walked(queue: Queue) -> None:
    ids = [queue.create() for _ in range(300)]
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    queue.conn.execute("BEGIN")
    for blocking, blocked in zip(ids[100:], ids[101:]):
        queue("depend", blocking_id=blocking, blocked_id=blocked)
    for blocking, blocked in zip(reversed(ids[:100]), reversed(ids[1:101])):
        queue("depend", blocking_id=blocking, blocked_id=blocked)
    queue.conn.set_progress_handler(count, 100)
    last = queue.create()
    queue("depend", blocking_id=ids[-1], blocked_id=last)
    assert steps < 20
    assert queue.refused("depend", blocking_id=last, blocked_id=ids[0]) == "work_unit.cycle"
    assert steps > 40


CLAIMER = """
import json, sys
from loong_gateway.control.work_units import VERBS, checked
from loong_gateway.owner.paths import resolve_places
from loong_gateway.storage.local import LocalStore
store = LocalStore(resolve_places({}, {"LOONG_HOME": sys.argv[1]}), lock_s=20.0)
claim = VERBS["claim"]
request = checked(claim, {"owner": sys.argv[2]})
while True:
    answer = store.write(lambda conn: claim.act(conn, request, 1800000000000))
    if not answer["claimed"]:
        break
    print(answer["snapshot"]["work_unit"]["work_unit_id"], flush=True)
"""


def test_processes_on_one_home_never_share_a_unit_even_when_one_is_killed(tmp_path: pathlib.Path) -> None:
    from loong_gateway.owner.paths import resolve_places
    from loong_gateway.storage.local import LocalStore

    local = LocalStore(resolve_places({}, {"LOONG_HOME": str(tmp_path / "home")}))
    create = VERBS["create"]

    def fill(conn: sqlite3.Connection) -> None:
        for number in range(40):
            create.act(conn, checked(create, {"kind": "ops", "title": f"{number}"}), NOW)

    local.write(fill)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMER, str(tmp_path / "home"), f"p{number}"],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
        )
        for number in range(3)
    ]
    victim = running[0]
    assert victim.stdout is not None
    said = [victim.stdout.readline().strip()]
    victim.send_signal(signal.SIGKILL)
    # Not `communicate`, which passes over what `readline` has read ahead.
    said += [line.strip() for line in victim.stdout.read().splitlines()]
    victim.wait(30)
    victim.stdout.close()
    said += [
        line.strip() for process in running[1:] for line in process.communicate(timeout=30)[0].splitlines()
    ]
    said = [line for line in said if line]
    assert len(said) == len(set(said))
    stored = local.read(
        lambda conn: conn.execute("SELECT work_unit_id, status, attempt_count FROM work_units").fetchall()
    )
    assert stored is not None
    assert {row[1:] for row in stored} == {("leased", 1)}
    # What the victim had claimed is on disk, told or not; each claim has exactly one event.
    events = local.read(
        lambda conn: conn.execute(
            "SELECT work_unit_id, payload FROM work_unit_events WHERE kind = 'work_unit_leased'"
        ).fetchall()
    )
    assert events is not None
    assert len(events) == len({id for id, _ in events}) == 40
    assert set(said) <= {id for id, _ in events}
    assert len(events) - len(said) <= 1
    assert {json.loads(payload)["owner"] for _, payload in events} <= {"p0", "p1", "p2"}
