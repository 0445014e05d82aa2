"""A disk that is really full: by a limit on file sizes in a child, and by a small file system where root may."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.storage import counters, inbox
from loong_gateway.storage.file import StoreFile
from tests.gateway.storage.store_help import NOW_MS, events, message, opened, run_python
from tests.small_disk import mounted, occupy
from tests.waiting import wait_until

# Writes until the limit bites, shows that it is refused and that submits are kept, lifts the limit, goes on.
CYCLES = """
import resource, sys
from tests.gateway.storage.store_help import NOW_MS, events, keep, message, opened
from tests.waiting import wait_until
from loong_gateway.storage import counters, inbox
from loong_gateway.base.faults import StoreUnwritable

acknowledged = []

def fill(store):
    while True:
        event = f"m{len(acknowledged):05}"
        try:
            store.write(lambda conn: inbox.add(conn, [message(event, text="x" * 5000)], NOW_MS))
        except StoreUnwritable:
            return
        acknowledged.append(event)

with opened(sys.argv[1], probe_s=0.05) as store:
    for cycle in range(5):
        resource.setrlimit(resource.RLIMIT_FSIZE, ((cycle + 1) * 300_000, resource.RLIM_INFINITY))
        fill(store)
        assert store.unwritable_reason()
        store.submit(lambda conn: counters.bump(conn, "kept"))
        store.submit(lambda conn: counters.bump(conn, "kept"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        wait_until(lambda: store.unwritable_reason() is None)
        event = f"m{len(acknowledged):05}"
        keep(store, event)
        acknowledged.append(event)
        assert store.read(events) == acknowledged, cycle
    assert store.read(counters.counters)["kept"] == 10
    assert store.set_aside is None
print(len(acknowledged))
"""


def test_a_limit_on_file_sizes_stops_the_store_and_lifting_it_starts_it_again(tmp_path: pathlib.Path) -> None:
    child = run_python(CYCLES, str(tmp_path / "s"), stdout=subprocess.PIPE)
    with child:
        output, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    with opened(tmp_path / "s") as store:
        assert store.read(events) == [f"m{n:05}" for n in range(int(output))]


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    with mounted(tmp_path, "4m") as disk:
        yield disk


def test_a_full_file_system_is_survived_and_recovers_alone(small_disk: pathlib.Path) -> None:
    acknowledged = []
    with opened(small_disk / "s", probe_s=0.05) as store:

        def fill() -> None:
            while True:
                event = f"m{len(acknowledged):05}"
                add = functools.partial(inbox.add, batch=[message(event, text="y" * 3000)], now_ms=NOW_MS)
                try:
                    store.write(add)
                except StoreUnwritable:
                    return
                acknowledged.append(event)

        for _ in range(5):
            filler = occupy(small_disk)
            fill()
            assert "full" in store.unwritable_reason()
            assert store.read(events) == acknowledged
            for _ in range(3):
                store.submit(lambda conn: counters.bump(conn, "kept"))
            with pytest.raises(StoreUnwritable):
                store.write(lambda conn: counters.bump(conn, "not kept"))
            filler.unlink()
            wait_until(lambda: store.unwritable_reason() is None, 10)
            store.write(
                lambda conn: conn.execute("DELETE FROM inbox WHERE seq < (SELECT max(seq) FROM inbox)")
            )
            del acknowledged[:-1]
        assert store.read(counters.counters)["kept"] == 15
        assert "not kept" not in store.read(counters.counters)
        assert store.set_aside is None


def test_opening_on_a_full_file_system_is_a_clear_error_and_works_once_there_is_space(
    small_disk: pathlib.Path,
) -> None:
    filler = occupy(small_disk)
    with pytest.raises(CommandError) as caught:
        StoreFile(str(small_disk / "s")).open()
    assert (caught.value.code, caught.value.exit_code) == ("store.disk", 75)
    assert "free some space" in caught.value.fix
    filler.unlink()
    with opened(small_disk / "s") as store:
        store.write(lambda conn: inbox.add(conn, [message("a")], NOW_MS))
    occupy(small_disk)
    with contextlib.suppress(CommandError), opened(small_disk / "s"):
        pass
    os.unlink(small_disk / "filler")
    with opened(small_disk / "s") as store:
        assert store.read(events) == ["a"]
