"""Files below one directory, and nothing beside it."""

from __future__ import annotations

import os
import pathlib
import resource
import shutil
import subprocess
from types import SimpleNamespace

import pytest

from loong_gateway.tools.contract import BadArgument, ToolFailed
from loong_gateway.tools.files import file_tools
from tests.gateway.tools.tool_rig import by_name, config_of, toml


@pytest.fixture(name="root")
def _root(tmp_path: pathlib.Path) -> pathlib.Path:
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "a.txt").write_text("hello")
    (tmp_path / "outside.txt").write_text("outside")
    return root


def tools(root: pathlib.Path, *protected: pathlib.Path) -> SimpleNamespace:
    config = config_of(f"[tools]\nfile_root = {toml(str(root))}\n")
    return by_name(file_tools(lambda: config, [str(path) for path in protected]))


def test_a_file_is_read_in_parts(root: pathlib.Path) -> None:
    files = tools(root)
    assert files.file_read(path="a.txt") == {"path": "a.txt", "bytes": 5, "nextOffset": None, "text": "hello"}
    assert files.file_read(path="a.txt", offset=1, limit=2)["nextOffset"] == 3
    assert files.file_read(path="a.txt", offset=99)["text"] == ""
    (root / "a.txt").write_bytes(b"\xff\xfe")
    assert files.file_read(path="a.txt")["text"] == "��"


def test_a_file_is_written_whole_and_private(root: pathlib.Path) -> None:
    files = tools(root)
    assert files.file_write(path="inner/ü.txt", text="ü") == {"path": "inner/ü.txt", "bytes": 2}
    assert (root / "inner/ü.txt").read_text() == "ü"
    assert (root / "inner/ü.txt").stat().st_mode & 0o777 == 0o600
    files.file_write(path="a.txt", text="")
    assert (root / "a.txt").read_bytes() == b""
    assert sorted(path.name for path in root.iterdir()) == ["a.txt", "inner"]
    assert files.file_write.tool.acts
    assert not files.file_read.tool.acts


def test_a_directory_is_listed(root: pathlib.Path) -> None:
    (root / "link").symlink_to("/etc")
    (root / "a\u202etxt").write_text("")
    rows = tools(root).file_list(path=".")["entries"]
    assert [(row["name"], row["type"]) for row in rows] == [
        ("a.txt", "file"),
        ("a?txt", "file"),
        ("inner", "directory"),
        ("link", "other"),
    ]
    assert tools(root).file_list(path="inner")["entries"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../outside.txt",
        "inner/../../outside.txt",
        "inner//../a.txt",
        "./a.txt",
        "a.txt/",
        "a\0b",
        "a\nb",
        "a\u202eb",
        "\udcff",
        "x" * 256,
        "ü" * 200,
        "/".join("x" * 40),
    ],
)
def test_a_path_that_is_none_of_the_root_makes_no_sense(root: pathlib.Path, path: str) -> None:
    files = tools(root)
    for call in (files.file_read, files.file_list, lambda path: files.file_write(path=path, text="x")):
        with pytest.raises(BadArgument):
            call(path=path)


def test_no_link_leads_out(root: pathlib.Path) -> None:
    files = tools(root)
    (root / "file").symlink_to(root.parent / "outside.txt")
    (root / "dir").symlink_to(root.parent)
    (root / "inside").symlink_to("a.txt")
    os.link(root.parent / "outside.txt", root / "hard")
    for path in ("file", "dir/outside.txt", "inside", "hard"):
        with pytest.raises(ToolFailed):
            files.file_read(path=path)
        with pytest.raises(ToolFailed):
            files.file_write(path=path, text="x")
    with pytest.raises(ToolFailed):
        files.file_list(path="dir")
    assert (root.parent / "outside.txt").read_text() == "outside"
    assert (root / "hard").stat().st_nlink == 2


def test_a_file_that_becomes_a_link_after_it_was_looked_at_is_not_opened(
    root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.stat

    def look_and_swap(path: object, **options: object) -> os.stat_result:
        row = real(path, **options)
        if path == "a.txt":
            (root / "a.txt").unlink()
            (root / "a.txt").symlink_to(root.parent / "outside.txt")
        return row

    files = tools(root)
    monkeypatch.setattr(os, "stat", look_and_swap)
    with pytest.raises(ToolFailed):
        files.file_read(path="a.txt")
    assert (root / "a.txt").is_symlink()


def test_only_regular_files_are_opened(root: pathlib.Path) -> None:
    files = tools(root)
    os.mkfifo(root / "pipe")
    for path in ("pipe", "inner", "missing", "a.txt/b"):
        with pytest.raises(ToolFailed) as caught:
            files.file_read(path=path)
        assert str(root) not in str(caught.value)
    for path in ("pipe", "inner", "missing/b"):
        with pytest.raises(ToolFailed):
            files.file_write(path=path, text="x")
    assert sorted(path.name for path in root.iterdir()) == ["a.txt", "inner", "pipe"]
    for path in (".", ""):
        with pytest.raises(BadArgument):
            files.file_read(path=path)


def test_what_cannot_be_written_leaves_nothing_behind(root: pathlib.Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(ToolFailed, match="file too large"):
            tools(root).file_write(path="a.txt", text="x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (root / "a.txt").read_text() == "hello"
    assert sorted(path.name for path in root.iterdir()) == ["a.txt", "inner"]


def test_the_gateways_own_directory_stays_closed(root: pathlib.Path) -> None:
    config = root / "other.toml"
    config.write_text("secret")
    files = tools(root, root / "inner", config)
    (root / "inner/b").write_text("secret")
    for path in ("inner/b", "other.toml"):
        with pytest.raises(ToolFailed, match="belongs to the gateway"):
            files.file_read(path=path)
        with pytest.raises(ToolFailed, match="belongs to the gateway"):
            files.file_write(path=path, text="x")
    with pytest.raises(ToolFailed, match="own directory"):
        tools(root / "inner", root).file_list(path=".")
    assert config.read_text() == "secret"


def test_the_gateways_own_directory_is_known_by_another_name_too(root: pathlib.Path) -> None:
    known = root.parent / "known"
    known.mkdir()
    mount = ["mount", "--bind", root, known]
    if not shutil.which("mount") or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        with pytest.raises(ToolFailed, match="own directory"):
            tools(root / "inner", known).file_list(path=".")
        with pytest.raises(ToolFailed, match="belongs to the gateway"):
            tools(root, known).file_list(path=".")
    finally:
        subprocess.run(["umount", known], check=True)


def test_without_a_root_there_are_no_such_tools() -> None:
    for tool in file_tools(config_of, []):
        assert not tool.available()
    with pytest.raises(ToolFailed):
        by_name(file_tools(config_of, [])).file_read(path="a")
