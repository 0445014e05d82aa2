from __future__ import annotations

import os
import pathlib
import signal
import stat
import subprocess

import pytest

from loong_gateway.base.faults import CommandError
from loong_gateway.storage.lock import StoreLock
from tests.gateway.storage.store_help import run_python

HOLD = """
import sys
from loong_gateway.storage.lock import StoreLock
class Places: store_lock = sys.argv[1]
with StoreLock.hold(Places, 5):
    print("held", flush=True)
    sys.stdin.read()
"""


class Places:
    def __init__(self, directory: pathlib.Path) -> None:
        self.store_lock = str(directory / "store.lock")


def holder(places: Places) -> subprocess.Popen:
    child = run_python(HOLD, places.store_lock, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"held\n"
    return child


def test_a_second_process_is_turned_away_in_time_and_let_in_when_the_first_is_done(
    tmp_path: pathlib.Path,
) -> None:
    places = Places(tmp_path)
    with holder(places) as child:
        with pytest.raises(CommandError) as caught:
            StoreLock.acquire(places, 0.1)
        assert (caught.value.code, caught.value.exit_code) == ("store.locked", 2)
        with pytest.raises(CommandError) as caught:
            StoreLock.acquire(places, 0.0, code="store.locked_at_start")
        assert caught.value.exit_code == 78
        child.stdin.close()
        StoreLock.acquire(places, 10).release()


def test_a_killed_holder_frees_the_lock_at_once(tmp_path: pathlib.Path) -> None:
    places = Places(tmp_path)
    with holder(places) as child:
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        StoreLock.acquire(places, 0.0).release()


def test_the_lock_is_private_stays_on_disk_and_can_be_taken_again(tmp_path: pathlib.Path) -> None:
    places = Places(tmp_path)
    for _ in range(3):
        with StoreLock.hold(places, 0) as lock:
            with pytest.raises(CommandError):
                StoreLock.acquire(places, 0)
            lock.release()
            lock.release()
    assert stat.S_IMODE(os.stat(places.store_lock).st_mode) == 0o600


def test_a_link_in_its_place_is_not_followed(tmp_path: pathlib.Path) -> None:
    places = Places(tmp_path)
    os.symlink(tmp_path / "elsewhere", places.store_lock)
    with pytest.raises(CommandError) as caught:
        StoreLock.acquire(places, 0)
    assert caught.value.code == "store.cannot_open"
    assert not (tmp_path / "elsewhere").exists()
