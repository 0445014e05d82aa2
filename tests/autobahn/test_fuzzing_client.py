"""The Autobahn fuzzing client judges the WebSocket side. Skipped where it is not installed, see CONTRIBUTING.md.

https://github.com/crossbario/autobahn-testsuite
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
WSTEST = os.environ.get("LOONG_WSTEST") or shutil.which("wstest")
# All but compression, which is never agreed on.
CASES = [f"{section}.*" for section in range(1, 11)]
MOST_NON_STRICT = 14
RUN_S = 300


@pytest.mark.skipif(WSTEST is None, reason="no wstest: neither LOONG_WSTEST nor PATH leads to it")
def test_every_case_is_passed(tmp_path: pathlib.Path) -> None:
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "ws_echo_server.py"), "--port", "0"], stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().split()[1])
        spec = {
            "outdir": str(tmp_path / "reports"),
            "servers": [{"agent": "loong", "url": f"ws://127.0.0.1:{port}"}],
            "cases": CASES,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        (tmp_path / "spec.json").write_text(json.dumps(spec))
        assert WSTEST is not None
        subprocess.run(
            [WSTEST, "-m", "fuzzingclient", "-s", str(tmp_path / "spec.json")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
            timeout=RUN_S,
            check=True,
        )
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0
        server.stdout.close()
    results = json.loads((tmp_path / "reports" / "index.json").read_text())["loong"]
    assert len(results) > 200
    verdicts = {name: {row["behavior"], row["behaviorClose"]} for name, row in results.items()}
    failed = {name: v for name, v in verdicts.items() if v - {"OK", "INFORMATIONAL", "NON-STRICT"}}
    assert failed == {}
    assert sum("NON-STRICT" in verdict for verdict in verdicts.values()) <= MOST_NON_STRICT
