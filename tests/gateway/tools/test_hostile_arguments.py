"""Ten thousand hostile arguments: nothing outside of the policy is touched."""

from __future__ import annotations

import contextlib
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


def test_a_name_that_becomes_a_link_meanwhile_leads_nowhere(tmp_path: pathlib.Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for directory in (root / "flip", outside):
        directory.mkdir(parents=True)
        (directory / "a.txt").write_text(directory.name)
    (root / "b.txt").write_text("flip")
    config = config_of(f"[tools]\nfile_root = {toml(str(root))}\n")
    files = by_name(file_tools(lambda: config, []))
    done = threading.Event()

    def flip() -> None:
        while not done.is_set():
            os.rename(root / "flip", root / "kept")
            os.symlink(outside, root / "flip")
            os.symlink(outside / "a.txt", root / "link")
            os.replace(root / "link", root / "b.txt")
            os.unlink(root / "flip")
            os.rename(root / "kept", root / "flip")
            (root / "made").write_text("flip")
            os.replace(root / "made", root / "b.txt")

    flipper = threading.Thread(target=flip)
    flipper.start()
    try:
        for number in range(2000):
            # It may be a link, or not there, at that moment.
            with contextlib.suppress(ToolFailed):
                if number % 4 == 0:
                    files.file_write(path="flip/a.txt", text="new")
                read = files.file_read(path="b.txt" if number % 2 else "flip/a.txt")
                assert read["text"] in ("flip", "new", "")
    finally:
        done.set()
        flipper.join()
    assert [path.name for path in outside.iterdir()] == ["a.txt"]
    assert (outside / "a.txt").read_text() == "outside"
