"""Files that rotate, queues that are bounded."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from loong_channels.waiting import Deadline
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.logs.sinks import QUEUE_BYTES, Entry, RotatingFile, Sink


def test_a_full_file_makes_room_for_the_next(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    file = RotatingFile(str(path), max_bytes=100, files=3)
    for number in range(10):
        file.write(b"%d" % number + b"." * 58 + b"\n")
    file.close()
    assert sorted(os.listdir(tmp_path)) == ["x.log", "x.log.1", "x.log.2"]
    assert [(tmp_path / name).read_bytes()[:1] for name in ("x.log", "x.log.1", "x.log.2")] == [
        b"9",
        b"8",
        b"7",
    ]
    assert all((tmp_path / name).stat().st_mode & 0o777 == 0o600 for name in os.listdir(tmp_path))


def test_one_batch_larger_than_a_file_is_written_whole(tmp_path: Path) -> None:
    file = RotatingFile(str(tmp_path / "x.log"), max_bytes=10, files=2)
    file.write(b"a" * 50 + b"\n")
    file.write(b"b" * 50 + b"\n")
    file.close()
    assert (tmp_path / "x.log").read_bytes() == b"b" * 50 + b"\n"
    assert (tmp_path / "x.log.1").read_bytes() == b"a" * 50 + b"\n"


def test_where_names_cannot_change_the_log_goes_on_within_bounds(tmp_path: Path) -> None:
    # A directory in the place of the older file: no renaming can succeed.
    (tmp_path / "x.log.1" / "full").mkdir(parents=True)
    file = RotatingFile(str(tmp_path / "x.log"), max_bytes=100, files=2)
    for _ in range(100):
        file.write(b"." * 39 + b"\n")
        assert (tmp_path / "x.log").stat().st_size <= 300
    file.close()


def test_only_regular_files_are_rotated() -> None:
    file = RotatingFile("/dev/null", max_bytes=1, files=2)
    for _ in range(3):
        file.write(b"x" * 100)
    file.close()
    assert not os.path.exists("/dev/null.1")


def test_a_pipe_without_a_reader_is_an_error_and_no_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):
        RotatingFile(str(tmp_path / "pipe"), max_bytes=10, files=2).write(b"x")


class StuckWriter:
    """Blocks in its first write until released."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.release = threading.Event()
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.entered.set()
        self.release.wait(10)
        self.written.append(data)

    def close(self) -> None:
        pass


def test_a_queue_that_is_full_drops_counts_and_says_so() -> None:
    writer, threads = StuckWriter(), ThreadRegistry()
    sink = Sink("test", writer, lambda entry: f"{entry.message}\n", threads)
    sink.put(Entry(0, 20, "x", "first"))
    assert writer.entered.wait(10)
    message = "m" * 1000
    for _ in range(QUEUE_BYTES // 1000 + 100):
        sink.put(Entry(0, 20, "x", message))
    assert sink.dropped > 100
    assert not sink.flush(Deadline(0.01))
    writer.release.set()
    assert sink.flush(Deadline(10))
    notice = f"{sink.dropped} log entries were dropped before this one\n".encode()
    assert writer.written[1].startswith(notice)
    sink.close(Deadline(10))
    assert threads.alive() == []
    sink.put(Entry(0, 20, "x", "too late"))
    assert len(writer.written) == 2


def test_closing_does_not_wait_longer_than_its_deadline() -> None:
    writer, threads = StuckWriter(), ThreadRegistry()
    sink = Sink("test", writer, lambda entry: entry.message, threads)
    sink.put(Entry(0, 20, "x", "first"))
    assert writer.entered.wait(10)
    sink.close(Deadline(0.01))
    assert threads.alive() == ["log:test"]
    writer.release.set()
    assert threads.join_all(Deadline(10)) == []
