"""python -m contrib.reliability [id ...] [--ci] [--seed N] [-n N] [--loong PATH]

Each experiment prints one JSON line; contrib/README.md tells what they do. The size of R2 is a stride: 1 takes every
point. That of the others is how many faults, seconds, hours, turns or minutes. --ci runs the short form.
"""

from __future__ import annotations

import argparse
import random
import sys
from typing import Callable

from . import acks, acp_kills, disconnects, kills, pings, points, port_runs, siege, tool_kills, tools
from .report import Outcome

SIZES = {
    "R1": (12, 200),
    "R2-wire": (7, 1),
    "R2-store": (9, 1),
    "R1-mixed": (8, 200),
    "R2-wire-mixed": (25, 1),
    "R2-store-mixed": (40, 1),
    "R1-port": (10, 200),
    "tool-kills": (6, 100),
    "acp-kills": (6, 100),
    "disconnects": (15, 1000),
    "disconnects-real": (5, 25),
    "acks": (3, 20),
    "acks-late": (7, 7),
    "pings": (10, 100),
    "takeover": (4, 60),
    "port-siege": (100, 1000),
    "tools-siege": (10_000, 100_000),
}
RUNS: dict[str, Callable[..., Outcome]] = {
    "R1": kills.run,
    "R2-wire": points.run_wire,
    "R2-store": points.run_store,
    "R1-mixed": kills.run_mixed,
    "R2-wire-mixed": points.run_wire_mixed,
    "R2-store-mixed": points.run_store_mixed,
    "R1-port": port_runs.run,
    "tool-kills": tool_kills.run,
    "acp-kills": acp_kills.run,
    "disconnects": disconnects.run,
    "disconnects-real": disconnects.run_real,
    "acks": acks.run,
    "acks-late": acks.run_late,
    "pings": pings.run,
    "takeover": pings.run_takeover,
    "port-siege": siege.run,
    "tools-siege": tools.run,
}


def main() -> int:
    """Run the chosen experiments. 1 when something did not hold."""
    parser = argparse.ArgumentParser(prog="contrib.reliability", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="id", help=", ".join(RUNS))
    parser.add_argument("--ci", action="store_true", help="short form")
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed in the line")
    parser.add_argument("--loong", metavar="PATH", help="console script of an installation")
    parser.add_argument("-n", type=int, default=None, help="the size, instead of the usual one")
    args = parser.parse_args()
    unknown = sorted(set(args.ids) - set(RUNS))
    if unknown:
        parser.error(f"unknown experiment {unknown[0]}; there are {', '.join(RUNS)}")
    good = True
    for name in args.ids or RUNS:
        seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1_000_000)
        short, full = SIZES[name]
        size = args.n or (short if args.ci else full)
        outcome = RUNS[name](size, seed, [args.loong] if args.loong else ())
        print(outcome.line(), flush=True)
        good = good and outcome.passed
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
