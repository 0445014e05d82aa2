"""python -m contrib.fuzz [decoder ...] [-n COUNT] [--seed N]

Feeds random and mutated input to everything that reads what comes from outside, and prints one JSON line per decoder:
what became of the inputs, the slowest of them, and the memory. A finding is printed with the input that made it.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys

from .decoders import DECODERS
from .run import run

STUCK_S = 900


def main() -> int:
    """Run the chosen decoders. 1 when something was found."""
    parser = argparse.ArgumentParser(prog="contrib.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="decoder", help=", ".join(DECODERS))
    parser.add_argument("-n", type=int, default=100_000, help="inputs per decoder, default 100000")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    unknown = sorted(set(args.names) - set(DECODERS))
    if unknown:
        parser.error(f"unknown decoder {unknown[0]}; there are {', '.join(DECODERS)}")
    good = True
    for name in args.names or DECODERS:
        # A decoder that hangs ends the program, with the place where it does.
        faulthandler.dump_traceback_later(STUCK_S, exit=True)
        outcome = run(name, args.n, args.seed)
        faulthandler.cancel_dump_traceback_later()
        print(outcome.line(), flush=True)
        good = good and outcome.passed
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
