"""Small files are replaced whole, stay private, and are never reached through a link."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from loong_gateway.base.atomic import read_private, remove, sync_directory, write_private


def test_what_is_written_is_read_and_private(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    old = os.umask(0)
    try:
        write_private(path, b"one")
    finally:
        os.umask(old)
    assert read_private(path, 100) == b"one"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    write_private(path, b"two", durable=False)
    assert read_private(path, 100) == b"two"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (tmp_path / "link").symlink_to(target)
    write_private(str(tmp_path / "link"), b"new")
    assert target.read_bytes() == b"precious"
    assert not (tmp_path / "link").is_symlink()


def test_reading_a_link_or_a_pipe_is_refused_and_does_not_block(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(OSError, match=r"regular|symbolic"):
            read_private(str(tmp_path / name), 100)


def test_a_missing_file_is_none_and_a_long_one_an_error(tmp_path: Path) -> None:
    assert read_private(str(tmp_path / "none"), 10) is None
    write_private(str(tmp_path / "long"), b"x" * 11)
    with pytest.raises(OSError, match="larger than expected"):
        read_private(str(tmp_path / "long"), 10)
    assert read_private(str(tmp_path / "long"), 11) == b"x" * 11


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "child").write_text("")
    with pytest.raises(OSError, match=r"."):
        write_private(str(tmp_path / "directory"), b"new")
    assert sorted(os.listdir(tmp_path)) == ["directory"]
    with pytest.raises(FileNotFoundError):
        write_private(str(tmp_path / "nowhere" / "file"), b"new")


def test_a_reader_sees_one_of_the_texts_never_a_mixture(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    texts = [bytes([65 + n]) * 5_000 for n in range(4)]
    write_private(path, texts[0])

    def writer(text: bytes) -> None:
        for _ in range(40):
            write_private(path, text, durable=False)

    threads = [threading.Thread(target=writer, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert read_private(path, 10_000) in texts
    for thread in threads:
        thread.join()
    assert os.listdir(tmp_path) == ["file"]


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    remove(str(tmp_path / "none"))
    remove(str(tmp_path))
    assert tmp_path.is_dir()


def test_a_file_system_that_cannot_sync_directories_is_no_error(tmp_path: Path) -> None:
    sync_directory(str(tmp_path))
    without = "/proc/self"
    if not os.path.isdir(without):
        pytest.skip("this host has no directory that is known to refuse")
    descriptor = os.open(without, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match=r".") as refusal:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    assert refusal.value.errno == errno.EINVAL
    sync_directory(without)
    with pytest.raises(FileNotFoundError):
        sync_directory(str(tmp_path / "none"))
