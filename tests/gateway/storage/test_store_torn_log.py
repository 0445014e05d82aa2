from __future__ import annotations

import functools
import pathlib
import random
import shutil

import pytest

from loong_gateway.base.faults import CommandError
from loong_gateway.storage import inbox
from loong_gateway.storage.file import StoreFile
from loong_gateway.storage.store import Store
from tests.gateway.storage.store_help import events, keep, opened, run_python

ROWS = 25
FRAME_BYTES = 24 + 4096
# Leaves a log behind as a killed process does.
WRITE = f"""
import os, sys
from tests.gateway.storage.store_help import keep
from loong_channels.waiting import Deadline
from loong_gateway.storage.store import Store
from loong_gateway.base.threads import ThreadRegistry
store = Store.open(sys.argv[1], threads=ThreadRegistry())
store.close(Deadline(10))
store = Store.open(sys.argv[1], threads=ThreadRegistry())
for n in range({ROWS}):
    keep(store, f"m{{n:02}}")
os._exit(0)
"""
EXPECTED = [f"m{n:02}" for n in range(ROWS)]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("torn") / "s"
    assert run_python(WRITE, str(path)).wait(30) == 0
    return path


def log_of(path: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(f"{path}-wal")


def copy(template: pathlib.Path, directory: pathlib.Path, log: bytes) -> pathlib.Path:
    for leftover in directory.iterdir():
        leftover.unlink()
    shutil.copy(template, directory / "s")
    log_of(directory / "s").write_bytes(log)
    return directory / "s"


def surviving(path: pathlib.Path) -> list[str]:
    file = StoreFile(str(path))
    file.open()
    try:
        assert file.set_aside is None
        for seq, _ in inbox.pending_lanes(file.reader):
            assert inbox.load(file.reader, seq) is not None
        return events(file.reader)
    finally:
        file.close()


def test_a_log_cut_off_anywhere_holds_the_first_commits_without_a_gap(
    template: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    log = log_of(template).read_bytes()
    frames = (len(log) - 32) // FRAME_BYTES
    assert frames > ROWS
    anywhere = random.Random(3)
    cuts = [32 + n * FRAME_BYTES for n in range(frames + 1)]
    cuts += [anywhere.randrange(len(log)) for _ in range(60)]
    found = {}
    for cut in cuts:
        rows = surviving(copy(template, tmp_path, log[:cut]))
        assert rows == EXPECTED[: len(rows)]
        found[cut] = len(rows)
    counts = [found[cut] for cut in sorted(found)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, ROWS)


def test_a_log_with_a_flipped_byte_holds_the_first_commits_without_a_gap(
    template: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    log = log_of(template).read_bytes()
    anywhere = random.Random(4)
    shorter = 0
    for _ in range(80):
        spoiled = bytearray(log)
        spoiled[anywhere.randrange(len(log))] ^= 1 << anywhere.randrange(8)
        rows = surviving(copy(template, tmp_path, bytes(spoiled)))
        assert rows == EXPECTED[: len(rows)]
        shorter += len(rows) < ROWS
    assert shorter > 40


def test_a_flipped_byte_in_the_file_never_crashes_and_never_passes_for_a_message(
    template: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    whole = copy(template, tmp_path, log_of(template).read_bytes())
    assert surviving(whole) == EXPECTED
    data = whole.read_bytes()
    anywhere = random.Random(5)
    for _ in range(150):
        spoiled = bytearray(data)
        for _ in range(3):
            spoiled[anywhere.randrange(len(data))] ^= 1 << anywhere.randrange(8)
        path = copy(template, tmp_path, b"")
        log_of(path).unlink()
        path.write_bytes(spoiled)
        try:
            with opened(path) as store:
                for row in _loaded(store):
                    assert row.inbound.event_id in EXPECTED
                    assert row.inbound.text == "hello"
                keep(store, "new")
                assert store.unwritable_reason() is None
        except CommandError as refused:
            # What is hit in the name of a step looks like the step of a newer version.
            assert refused.code == "store.newer"


def _loaded(store: Store) -> list[inbox.InboxRow]:
    store.write(lambda conn: conn.execute("UPDATE inbox SET state = 'claimed' WHERE state = 'new'"))
    recovered = store.write(lambda conn: inbox.recover(conn, max_crashes=10))
    rows = [store.write(functools.partial(inbox.load, seq=seq)) for seq, _ in recovered.pending]
    return [row for row in rows if row is not None] + recovered.failed
