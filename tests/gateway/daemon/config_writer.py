"""python -m tests.gateway.daemon.config_writer CONFIG BASE KEY: one try to write, for the test of two at once.

Waits for a line on standard input, then prints "written" or "conflict".
"""

from __future__ import annotations

import pathlib
import sys

from loong_gateway.control.settings import ConfigConflict
from tests.gateway.daemon.desk_rig import desk_of


def main() -> None:
    path, base, name = sys.argv[1:]
    desk = desk_of(pathlib.Path(path))
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        desk.patch({"cli": {"system_prompt": name}}, base)
    except ConfigConflict:
        print("conflict", flush=True)
    else:
        print("written", flush=True)


if __name__ == "__main__":
    main()
