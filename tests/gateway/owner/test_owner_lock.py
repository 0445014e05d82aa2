"""One home has one owner, whatever was killed, removed or damaged before."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loong_gateway.base import process
from loong_gateway.base.faults import CommandError
from loong_gateway.base.process import boot_clock_ns
from loong_gateway.owner import files
from loong_gateway.owner import lock as owner
from loong_gateway.owner.lock import OwnerLock, lock_state
from loong_gateway.owner.paths import Places, resolve_places
from tests.waiting import wait_until

SCRIPT = str(Path(__file__).with_name("owner_process.py"))
ROOT = str(Path(__file__).resolve().parents[3])


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return resolve_places({}, {"LOONG_HOME": str(tmp_path / "home")})


@pytest.fixture
def lock(places: Places) -> Iterator[OwnerLock]:
    held = OwnerLock.acquire(places, verb="gateway run")
    yield held
    held.release()


def start(places: Places, *arguments: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "LOONG_HOME": places.home, "PYTHONPATH": ROOT}
    return subprocess.Popen(
        [sys.executable, SCRIPT, *arguments], env=environ, stdout=subprocess.PIPE, text=True
    )


@contextlib.contextmanager
def running(places: Places, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = start(places, *arguments)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"held {process.pid}\n"
        yield process
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


# -- the lock ---------------------------------------------------------------------------------------------------------


def test_of_twenty_starts_at_once_one_becomes_the_owner_and_the_others_name_it(places: Places) -> None:
    processes = [start(places) for _ in range(20)]
    lines: list[str] = []
    try:
        for process in processes:
            assert process.stdout is not None
            lines.append(process.stdout.readline())
        winners = [p for p, line in zip(processes, lines) if line.startswith("held")]
        assert len(winners) == 1
        losers = [p for p in processes if p is not winners[0]]
        assert {p.wait(10) for p in losers} == {78}
        told = [line for line in lines if line.startswith("refused")]
        assert all(f"(pid={winners[0].pid})" in line and "by loong gateway run" in line for line in told)
        assert owner.request_stop(places) == "requested"
        assert winners[0].wait(10) == 0
    finally:
        for process in processes:
            process.kill()
            process.wait(10)
            process.stdout.close()


def test_a_killed_owner_frees_the_home_at_once(places: Places) -> None:
    with running(places) as process:
        process.kill()
        process.wait(10)
        OwnerLock.acquire(places, wait_s=0).release()


def test_a_frozen_owner_keeps_its_home(places: Places) -> None:
    with running(places) as process:
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(CommandError, match=rf"\(pid={process.pid}\)") as caught:
            OwnerLock.acquire(places, wait_s=0.1)
        os.kill(process.pid, signal.SIGCONT)
    assert caught.value.exit_code == 78
    assert caught.value.fix == "see it: loong gateway status    stop it: loong gateway stop"


def test_a_look_at_the_lock_does_not_keep_a_start_from_it(places: Places) -> None:
    OwnerLock.acquire(places).release()
    descriptor = os.open(places.owner_lock, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    timer = threading.Timer(0.1, os.close, [descriptor])
    timer.start()
    OwnerLock.acquire(places, wait_s=5).release()
    timer.join()


def test_looking_never_takes_the_lock_away_from_others(lock: OwnerLock, places: Places) -> None:
    assert lock_state(places).held
    assert lock_state(places).held
    lock.release()
    lock.release()
    assert not lock_state(places).held
    assert lock.fileno == -1


def test_a_link_in_place_of_the_lock_is_refused_and_not_followed(places: Places, tmp_path: Path) -> None:
    places.create()
    os.symlink(tmp_path / "target", places.owner_lock)
    with pytest.raises(CommandError, match="symbolic link"):
        OwnerLock.acquire(places)
    assert not (tmp_path / "target").exists()


def test_something_else_in_place_of_the_lock_is_refused(places: Places) -> None:
    places.create()
    os.mkfifo(places.owner_lock)
    with pytest.raises(CommandError, match="not a regular file"):
        OwnerLock.acquire(places)
    os.unlink(places.owner_lock)
    os.mkdir(places.owner_lock)
    with pytest.raises(CommandError, match="is a directory"):
        OwnerLock.acquire(places)
    assert not lock_state(places).held


def test_files_of_ours_that_others_can_read_are_narrowed_at_the_start(places: Places) -> None:
    places.create()
    for path in (places.control_token, places.store, places.owner_lock):
        Path(path).write_text("")
        os.chmod(path, 0o644)
    os.chmod(places.state, 0o755)
    lock = OwnerLock.acquire(places)
    lock.release()
    assert set(lock.repaired) == {places.control_token, places.store, places.owner_lock}
    for path in lock.repaired:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(places.state).st_mode) == 0o700


def test_leftovers_are_cleared_and_damaged_files_set_aside(places: Places) -> None:
    places.create()
    Path(places.owner_active).write_bytes(b"{half a docu")
    Path(places.status_file).write_text("[]")
    Path(places.stop_request).write_text('{"target_owner_token": "old"}')
    Path(places.runtime_dir, ".status.json.1.abc.tmp").write_text("")
    lock = OwnerLock.acquire(places)
    lock.release()
    assert len(lock.set_aside) == 2
    assert Path(lock.set_aside[0]).read_bytes() == b"{half a docu"
    assert {name.partition(".json")[0] for name in os.listdir(places.runtime_dir)} == {
        "owner-active",
        "status",
    }


def test_only_a_few_damaged_files_are_kept(places: Places) -> None:
    for _ in range(6):
        places.create()
        Path(places.status_file).write_text("")
        before = time.time_ns() // 1_000_000
        wait_until(lambda then=before: time.time_ns() // 1_000_000 > then, what="the next millisecond")
        OwnerLock.acquire(places).release()
    assert len([n for n in os.listdir(places.runtime_dir) if "corrupt" in n]) == 3


# -- the heartbeat ----------------------------------------------------------------------------------------------------


def test_the_age_of_a_heartbeat_is_seen_and_a_new_one_makes_it_young(lock: OwnerLock, places: Places) -> None:
    old_ns = boot_clock_ns() - 15_100_000_000
    os.utime(places.owner_lock, ns=(old_ns, old_ns))
    age_ms = lock_state(places).age_ms
    assert age_ms is not None
    assert age_ms > owner.STALE_MS
    assert lock.beat() is None
    age_ms = lock_state(places).age_ms
    assert age_ms is not None
    assert age_ms < owner.STALE_MS


def test_a_time_that_is_no_heartbeat_has_no_age(lock: OwnerLock, places: Places) -> None:
    os.utime(places.owner_lock)
    state = lock_state(places)
    assert (state.held, state.age_ms) == (True, None)


def test_the_lock_file_tells_who_holds_it(lock: OwnerLock, places: Places) -> None:
    holder = lock_state(places).holder
    assert holder["pid"] == os.getpid()
    assert holder["verb"] == "gateway run"
    assert holder["owner_token"] == lock.owner_token
    assert process.is_alive(holder) is (holder["pid_start_ticks"] is not None)
    assert not process.is_alive({**holder, "pid_start_ticks": 1})
    assert not process.is_alive({**holder, "boot_id": "another"})
    assert not process.is_alive({})


def test_a_lock_file_that_was_damaged_is_written_again_at_the_next_beat(
    lock: OwnerLock, places: Places
) -> None:
    Path(places.owner_lock).write_bytes(b"\xff garbage that is much longer" * 100)
    assert lock_state(places).holder == {}
    assert lock.beat() is None
    assert lock_state(places).holder["pid"] == os.getpid()


def test_a_removed_lock_file_is_locked_anew_at_the_next_beat(lock: OwnerLock, places: Places) -> None:
    os.unlink(places.owner_lock)
    assert lock.beat() is None
    assert lock_state(places).held
    with pytest.raises(CommandError, match="already active"):
        OwnerLock.acquire(places, wait_s=0)


def test_an_owner_whose_lock_file_was_taken_over_says_so(lock: OwnerLock, places: Places) -> None:
    os.unlink(places.owner_lock)
    second = OwnerLock.acquire(places, wait_s=0)
    trouble = lock.beat()
    second.release()
    assert trouble == "owner.lock was replaced and another process holds the new one"
    assert lock.beat() is None


def test_a_lock_that_stays_with_another_process_is_lost(places: Places) -> None:
    lock = OwnerLock.acquire(places, lost_after_s=0)
    os.unlink(places.owner_lock)
    assert not lock.is_lost
    second = OwnerLock.acquire(places, wait_s=0)
    lock.beat()
    assert lock.is_lost
    second.release()
    lock.beat()
    assert not lock.is_lost
    lock.release()


def test_a_stop_request_that_may_not_be_read_is_none(lock: OwnerLock, places: Places) -> None:
    os.mkdir(places.stop_request, 0o000)
    assert not files.stop_requested(places, lock.owner_token)
    os.rmdir(places.stop_request)


# -- the files --------------------------------------------------------------------------------------------------------


def test_the_published_document_lies_in_both_files_private(lock: OwnerLock, places: Places) -> None:
    assert files.publish(places, {"phase": "running", "pid": 1}) is None
    for path in (places.owner_active, places.status_file):
        assert json.loads(Path(path).read_text())["phase"] == "running"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_vanished_directory_is_made_again(lock: OwnerLock, places: Places) -> None:
    token = files.write_control_token(places)
    for name in os.listdir(places.runtime_dir):
        os.unlink(os.path.join(places.runtime_dir, name))
    os.rmdir(places.runtime_dir)
    assert files.publish(places, {"phase": "running"}) is None
    assert files.keep_control_token(places, token) is None
    assert Path(places.control_token).read_text() == token + "\n"
    assert stat.S_IMODE(os.stat(places.runtime_dir).st_mode) == 0o700


def test_a_disk_that_refuses_is_told_and_ends_nothing(lock: OwnerLock, places: Places) -> None:
    os.rmdir(places.runtime_dir)
    Path(places.runtime_dir).write_text("in the way")
    said = files.publish(places, {"phase": "running"})
    assert said is not None
    assert said.startswith("the status files cannot be written: ")
    assert str(files.keep_control_token(places, "t")).startswith("the control token cannot be written: ")
    assert str(files.retire(places, {"phase": "stopped"})).startswith("the last status cannot be written: ")
    assert lock.beat() is None


def test_a_control_token_is_fresh_each_time_and_private(
    lock: OwnerLock, places: Places, tmp_path: Path
) -> None:
    first = files.write_control_token(places)
    os.unlink(places.control_token)
    (tmp_path / "target").write_text("precious")
    os.symlink(tmp_path / "target", places.control_token)
    second = files.write_control_token(places)
    assert first != second
    assert len(second) == 43
    assert Path(places.control_token).read_text() == second + "\n"
    assert stat.S_IMODE(os.lstat(places.control_token).st_mode) == 0o600
    assert (tmp_path / "target").read_text() == "precious"


def test_the_last_word_names_the_reason_and_takes_the_rest_away(lock: OwnerLock, places: Places) -> None:
    document: dict[str, object] = {
        "phase": "running",
        "running": True,
        "pid": 7,
        "port": 18789,
        "owner_token": lock.owner_token,
        "shutdown_reason": "shutdown requested: sigterm received",
    }
    files.publish(places, document)
    files.write_control_token(places)
    owner.request_stop(places)
    assert files.retire(places, {**document, "phase": "stopping"}) is None
    assert os.listdir(places.runtime_dir) == ["status.json"]
    last = json.loads(Path(places.status_file).read_text())
    assert (last["phase"], last["running"], last["port"]) == ("stopped", False, None)
    assert last["stopped_at_ms"] > 1_700_000_000_000
    assert last["shutdown_reason"] == "shutdown requested: sigterm received"


def test_a_failed_owner_keeps_its_phase(lock: OwnerLock, places: Places) -> None:
    files.retire(places, {"phase": "failed", "last_error": "no port"})
    last = json.loads(Path(places.status_file).read_text())
    assert (last["phase"], last["last_error"]) == ("failed", "no port")


# -- the stop request -------------------------------------------------------------------------------------------------


def test_a_request_reaches_the_owner_that_it_names_and_no_other(lock: OwnerLock, places: Places) -> None:
    assert not files.stop_requested(places, lock.owner_token)
    assert owner.request_stop(places) == "requested"
    assert owner.request_stop(places) == "already_requested"
    assert files.stop_requested(places, lock.owner_token)
    assert not files.stop_requested(places, "another")
    assert not files.stop_requested(places, "")
    request = json.loads(Path(places.stop_request).read_text())
    assert set(request) == {"requested_at_ms", "requested_by_pid", "target_owner_token"}


def test_a_token_that_the_owner_published_wins_over_the_one_of_the_lock(
    lock: OwnerLock, places: Places
) -> None:
    files.publish(places, {"pid": os.getpid(), "owner_token": "published"})
    owner.request_stop(places)
    assert files.stop_requested(places, "published")


def test_what_a_dead_owner_published_is_not_asked(lock: OwnerLock, places: Places) -> None:
    files.publish(places, {"pid": 1, "owner_token": "of the dead"})
    owner.request_stop(places)
    assert files.stop_requested(places, lock.owner_token)


def test_without_an_owner_there_is_nothing_to_stop(places: Places) -> None:
    assert owner.request_stop(places) == "not_running"
    OwnerLock.acquire(places).release()
    assert owner.request_stop(places) == "not_running"
    assert not os.path.exists(places.stop_request)


def test_a_damaged_request_is_replaced(lock: OwnerLock, places: Places) -> None:
    Path(places.stop_request).write_text("{")
    assert not files.stop_requested(places, lock.owner_token)
    assert owner.request_stop(places) == "requested"
    assert files.stop_requested(places, lock.owner_token)


def test_an_owner_without_readable_files_is_still_stopped(places: Places) -> None:
    with running(places) as process:
        Path(places.owner_active).write_text("damaged")
        assert owner.request_stop(places) == "requested"
        assert process.wait(10) == 0
    assert not lock_state(places).held


def test_a_refused_start_is_remembered_until_the_next_owner(places: Places) -> None:
    error = CommandError("usage.bad_profile", given="x")
    files.note_refused_start(places, error)
    assert not os.path.exists(places.state)
    places.create()
    files.note_refused_start(places, error)
    assert json.loads(Path(places.refused_start).read_text())["code"] == "usage.bad_profile"
    OwnerLock.acquire(places).release()
    assert not os.path.exists(places.refused_start)


def test_identity_tells_this_process_from_every_other() -> None:
    mine = process.identity()
    assert set(mine) == {"pid", "pid_start_ticks", "boot_id", "hostname", "instance_id"}
    assert mine == process.identity()
    assert len(str(mine["instance_id"])) == 32
