"""Ten thousand hostile arguments: nothing outside of the policy is touched."""

from __future__ import annotations

import os
import pathlib
import threading

import pytest

from loong_gateway.tools.contract import ToolFailed
from loong_gateway.tools.files import file_tools
from tests.gateway.tools.hostile_arguments import GOOD
from tests.gateway.tools.tool_rig import by_name, config_of, toml
from tests.gateway.tools.tool_siege import Siege

SIZE = 2_500


@pytest.mark.parametrize("seed", range(4))
def test_nothing_outside_of_the_policy_is_touched(tmp_path: pathlib.Path, seed: int) -> None:
    siege = Siege(str(tmp_path))
    siege.run(seed, SIZE)
    assert siege.failures == []
    assert sum(siege.outcomes.values()) == SIZE + len(GOOD)


def test_a_directory_that_becomes_a_link_meanwhile_leads_nowhere(tmp_path: pathlib.Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for directory in (root / "flip", outside):
        directory.mkdir(parents=True)
        (directory / "a.txt").write_text(directory.name)
    config = config_of(f"[tools]\nfile_root = {toml(str(root))}\n")
    files = by_name(file_tools(lambda: config, []))
    done = threading.Event()

    def flip() -> None:
        while not done.is_set():
            os.rename(root / "flip", root / "kept")
            os.symlink(outside, root / "flip")
            os.unlink(root / "flip")
            os.rename(root / "kept", root / "flip")

    flipper = threading.Thread(target=flip)
    flipper.start()
    read = 0
    try:
        for _ in range(300):
            try:
                assert files.file_read(path="flip/a.txt")["text"] in ("flip", "new")
                files.file_write(path="flip/a.txt", text="new")
                read += 1
            except ToolFailed:
                # It was a link, or not there, at that moment.
                continue
    finally:
        done.set()
        flipper.join()
    assert [path.name for path in outside.iterdir()] == ["a.txt"]
    assert (outside / "a.txt").read_text() == "outside"
