"""`gateway stop` asks the owner, waits for its end, and says which of the two happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loong_gateway.owner.files import stop_requested
from loong_gateway.owner.lock import OwnerLock, lock_state
from loong_gateway.owner.paths import Places, resolve_places

ROOT = Path(__file__).resolve().parents[2]
OWNER_PROCESS = ROOT / "tests" / "gateway" / "owner" / "owner_process.py"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    home = str(tmp_path / "home")
    return {"LOONG_HOME": home, "HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}


@pytest.fixture
def places(environ: dict[str, str]) -> Places:
    return resolve_places({}, environ)


@pytest.fixture
def live(environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(OWNER_PROCESS)], env=environ, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("held")
    yield process
    process.kill()
    process.wait(10)
    process.stdout.close()


def stop(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "loong.py"), "gateway", "stop", *arguments],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_nothing_to_stop_is_no_error(environ: dict[str, str], places: Places) -> None:
    done = stop(environ)
    assert (done.stdout, done.stderr, done.returncode) == ("gateway is not running\n", "", 0)
    assert not os.path.exists(places.home)


def test_a_live_owner_is_asked_and_its_end_awaited(
    environ: dict[str, str], places: Places, live: subprocess.Popen[str]
) -> None:
    done = stop(environ)
    assert (done.stdout, done.returncode) == ("gateway stop requested\ngateway stopped\n", 0)
    assert not lock_state(places).held
    assert live.wait(10) == 0
    assert json.loads(Path(places.status_file).read_text())["phase"] == "stopped"


def test_without_waiting_it_says_only_that_it_asked_and_repeating_is_no_error(
    environ: dict[str, str], places: Places
) -> None:
    lock = OwnerLock.acquire(places)
    outputs = [stop(environ, "--no-wait").stdout for _ in range(2)]
    asked = stop_requested(places, lock.owner_token)
    lock.release()
    assert outputs == ["gateway stop requested\n", "gateway stop already requested\n"]
    assert asked


def test_an_owner_that_does_not_end_is_exit_1_with_what_to_do(
    environ: dict[str, str], live: subprocess.Popen[str]
) -> None:
    os.kill(live.pid, signal.SIGSTOP)
    done = stop(environ, "--timeout", "0.2")
    assert done.stdout == "gateway stop requested\n"
    assert done.stderr.splitlines() == [
        f"error: the gateway still runs 0.2 s after the stop was asked for (pid={live.pid})",
        "  fix: wait longer: loong gateway stop --timeout 60    or look at it: loong gateway status",
    ]
    assert done.returncode == 1


def test_json_tells_the_outcome_in_one_document(environ: dict[str, str], live: subprocess.Popen[str]) -> None:
    done = stop(environ, "--json", "--timeout", "20")
    expected = {"outcome": "requested", "message": "gateway stop requested", "stopped": True}
    assert json.loads(done.stdout) == expected
    assert json.loads(stop(environ, "--json").stdout)["outcome"] == "not_running"


@pytest.mark.parametrize("value", ["-1", "x", "nan", "1e9"])
def test_a_timeout_that_is_none_is_refused(environ: dict[str, str], value: str) -> None:
    done = stop(environ, f"--timeout={value}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --timeout: expected 0 to 86400 seconds, got {value}\n")
