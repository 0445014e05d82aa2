"""python -m contrib.bench [name ...] [--loong PATH] [--json] [--only SUBJECT]

Each benchmark prints one JSON line; then the table. Without --loong, a clean virtual environment is made and the
checkout is installed into it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time

from .goals import passed, ratios, table
from .install import make_environment, python_of
from .measures import MEASURES
from .stand import host


def main() -> int:
    """Run the chosen benchmarks. 1 when a goal is missed."""
    if sys.platform != "linux":
        print("the benchmarks read /proc and run on Linux only", file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(prog="contrib.bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *MEASURES], metavar="name", help=", ".join(MEASURES))
    parser.add_argument("--loong", metavar="PATH", help="console script of an installation to measure")
    parser.add_argument("--only", choices=("loong", "floor"), help="measure one subject")
    parser.add_argument("--json", action="store_true", help="JSON lines only, no table")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="loong-bench-env-") as directory:
        needs_loong = args.only != "floor"
        script = args.loong or (make_environment(directory) if needs_loong else "")
        python = python_of(script) if script else sys.executable
        results = {name: _measure(name, args.only, script, python) for name in args.names or MEASURES}
    if not args.json:
        print(table(results))
    return 1 if any(passed(name, figures) is False for name, figures in results.items()) else 0


def _measure(name: str, only: str | None, script: str, python: str) -> dict[str, dict[str, float]]:
    begin = time.monotonic()
    figures = {}
    for subject in ("floor", "loong"):
        if only in (None, subject):
            figures[subject] = MEASURES[name](subject, script, python)
    line = {
        "id": f"bench.{name}",
        "pass": passed(name, figures),
        **figures,
        "ratio": ratios(name, figures),
        "duration_s": round(time.monotonic() - begin, 1),
        "host": host(),
    }
    print(json.dumps(line), flush=True)
    return figures


if __name__ == "__main__":
    sys.exit(main())
