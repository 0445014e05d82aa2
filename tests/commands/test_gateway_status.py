"""`gateway status` tells the truth on line 1, in the exit code and in JSON, whatever happened to the owner."""

from __future__ import annotations

import http.server
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loong_gateway.base.faults import CommandError
from loong_gateway.base.process import boot_clock_ns
from loong_gateway.owner import files
from loong_gateway.owner.lock import OwnerLock
from loong_gateway.owner.paths import resolve_places
from loong_gateway.owner.status import collect, exit_code
from tests.fakes.gateway_port import Fault, GatewayPort

ROOT = Path(__file__).resolve().parents[2]
OWNER_PROCESS = ROOT / "tests" / "gateway" / "owner" / "owner_process.py"
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
CONTRACT_FIELDS = """
runtime_dir phase running stale pid mode version config_path attached_cli_session started_at_ms
last_heartbeat_at stopped_at_ms shutdown_reason last_error configured_surface_count
running_surface_count bind_address port port_source token_path
""".split()
ADDED_FIELDS = [
    "schema_version",
    "ready",
    "lock_held",
    "rpc_probe",
    "degraded_reasons",
    "surfaces",
    "uptime_ms",
    "provider",
]


class Answers(http.server.BaseHTTPRequestHandler):
    """What stands on the port of the staged gateway."""

    def do_GET(self) -> None:
        status = 401 if self.path != "/healthz" and not self.headers["Authorization"] else self.server.status
        body = b'{"ok":true,"status":"live"}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Stage:
    """A home whose owner is this very process, put into any state by hand."""

    def __init__(self, home: Path) -> None:
        self.environ = {"LOONG_HOME": str(home), "HOME": str(home.parent), "PATH": "/usr/bin:/bin"}
        self.places = resolve_places({}, self.environ)
        self.now_ms = time.time_ns() // 1_000_000
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.server.status = 200
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()
        self.lock: OwnerLock | None = None
        self.document: dict[str, object] = {}

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        if self.lock is not None:
            self.lock.release()

    def own(self, **overrides: object) -> None:
        """Be the owner, three days and four hours old, and publish."""
        self.lock = OwnerLock.acquire(self.places, verb="gateway run")
        self.rewrite_lock(started_boot_ms=boot_clock_ns() // 1_000_000 - (3 * DAY + 4 * HOUR + SECOND))
        self.publish(**overrides)
        self.beat_ago(2 * SECOND)

    def rewrite_lock(self, **overrides: object) -> None:
        path = Path(self.places.owner_lock)
        path.write_text(json.dumps({**json.loads(path.read_text()), **overrides}))

    def publish(self, **overrides: object) -> None:
        surfaces = overrides.get("surfaces", healthy(self.now_ms))
        self.document = {
            "phase": "running",
            "running": True,
            "ready": True,
            "pid": os.getpid(),
            "mode": "gateway_headless",
            "version": "0.3.0",
            "config_path": self.places.config,
            "attached_cli_session": None,
            "started_at_ms": self.now_ms - 3 * DAY,
            "last_heartbeat_at": self.now_ms,
            "stopped_at_ms": None,
            "shutdown_reason": None,
            "last_error": None,
            "configured_surface_count": len(surfaces),
            "running_surface_count": len(surfaces),
            "bind_address": "127.0.0.1",
            "port": self.server.server_address[1],
            "port_source": "default",
            "token_path": self.places.control_token,
            "degraded_reasons": [],
            "surfaces": surfaces,
            "owner_token": "never to be shown",
            "a_field_of_tomorrow": {"x": 1},
            **overrides,
        }
        assert files.publish(self.places, self.document) is None

    def beat_ago(self, age_ms: int) -> None:
        moment = boot_clock_ns() - age_ms * 1_000_000
        os.utime(self.places.owner_lock, ns=(moment, moment))

    def edit(self, path: str, **overrides: object) -> None:
        Path(path).write_text(json.dumps({**json.loads(Path(path).read_text()), **overrides}))

    def die(self) -> None:
        """End as after a kill: the lock is free, everything else stays."""
        assert self.lock is not None
        self.lock.release()

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "loong.py"), "gateway", "status", *arguments],
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )

    def text(self) -> tuple[list[str], int]:
        """The lines before the `key=value` part, with what differs from run to run made equal; the exit code."""
        done = self.run()
        assert done.stderr == ""
        head, _, tail = done.stdout.partition("\nruntime_dir=")
        assert tail.count("\n") == 7
        for real, shown in (
            (str(self.server.server_address[1]), "18789"),
            (f"pid {os.getpid()}", "pid 4121"),
            (f"kill -9 {os.getpid()}", "kill -9 4121"),
            (self.places.home, "/home/loong/.loong"),
        ):
            head = head.replace(real, shown)
        return head.splitlines(), done.returncode


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path / "home")
    yield made
    made.close()


def surface(channel: str, account: str, **facts: object) -> dict[str, object]:
    return {"channel": channel, "account": account, "phase": "ready", "restarts": 0, **facts}


def healthy(now: int) -> list[dict[str, object]]:
    return [
        surface(
            "telegram",
            "bot_123456",
            since_ms=now - 3 * DAY - 4 * HOUR,
            last_inbound_ms=now - 6 * HOUR,
            last_outbound_ms=now - 6 * HOUR,
            restarts=1,
        ),
        surface(
            "feishu",
            "work",
            since_ms=now - 2 * DAY - HOUR,
            last_inbound_ms=now - 40 * SECOND,
            last_outbound_ms=now - 38 * SECOND,
        ),
        surface("wecom", "alerts", since_ms=now - 3 * DAY - 4 * HOUR, last_outbound_ms=now - 12 * MINUTE),
    ]


def troubled(now: int) -> list[dict[str, object]]:
    telegram, feishu, wecom = healthy(now)
    telegram.update(
        phase="auth_failed",
        since_ms=now - 18 * MINUTE,
        last_inbound_ms=now - 19 * MINUTE,
        last_outbound_ms=now - 19 * MINUTE,
        next_try_ms=now + 9 * MINUTE + 30 * SECOND,
        last_error="the platform refused the token (HTTP 401)",
        where="telegram.accounts.bot_123456.bot_token (file /home/loong/.loong/secrets/telegram)",
        fix="put the new token there, then: loong secrets reload",
        outbox={"queued": 4},
    )
    wecom.update(
        phase="conflict",
        since_ms=now - 4 * MINUTE,
        last_inbound_ms=now - 4 * MINUTE,
        last_outbound_ms=now - 5 * MINUTE,
        next_try_ms=now + 3 * MINUTE + 30 * SECOND,
        fix="stop the other holder, then: loong gateway channel restart wecom=alerts",
        outbox={"queued": 2},
        restarts=3,
    )
    return [feishu, telegram, wecom]


def assert_lines(found: list[str], expected: str) -> None:
    assert found == [line.rstrip() for line in expected.strip("\n").splitlines()]


# -- one test per state -----------------------------------------------------------------------------------------------


def test_never_started(stage: Stage) -> None:
    lines, code = stage.text()
    assert code == 3
    assert_lines(
        lines,
        """
Gateway is not running; it was never started here.
Runtime: stopped
RPC probe: skipped
  start: loong gateway run
""",
    )
    assert not os.path.exists(stage.places.home)


def test_running_and_ready(stage: Stage) -> None:
    stage.own()
    lines, code = stage.text()
    assert code == 0
    assert_lines(
        lines,
        """
Gateway is running and ready: 3 of 3 surfaces ready.
Runtime: running
RPC probe: ok
Owner: loong 0.3.0, pid 4121, up 3 d 4 h, heartbeat 2 s ago, http://127.0.0.1:18789

SURFACE              PHASE  SINCE    LAST IN   LAST OUT    IN  OUT  RESTARTS
feishu/work          ready  2 d 1 h  40 s ago  38 s ago     0    0         0
telegram/bot_123456  ready  3 d 4 h  6 h ago   6 h ago      0    0         1
wecom/alerts         ready  3 d 4 h  never     12 min ago   0    0         0
""",
    )


def test_the_contract_lines_follow_the_text(stage: Stage) -> None:
    stage.own()
    lines = stage.run().stdout.splitlines()[-7:]
    home, pid, port = stage.places.home, os.getpid(), stage.server.server_address[1]
    beat = lines[2].split()[1]
    assert lines == [
        f"runtime_dir={home}/gateway-runtime",
        (
            f"phase=running running=true stale=false pid={pid} mode=gateway_headless"
            f" config={home}/config.toml session=- version=0.3.0"
        ),
        f"started_at_ms={stage.now_ms - 3 * DAY} {beat} stopped_at_ms=-",
        "surfaces configured=3 running=3",
        "shutdown_reason=-",
        "last_error=-",
        f"bind_address=127.0.0.1 port={port} token_path={home}/gateway-runtime/control-token",
    ]
    assert beat.startswith("last_heartbeat_at_ms=1")


def test_no_surface_at_all_is_a_healthy_gateway(stage: Stage) -> None:
    stage.own(surfaces=[])
    lines, code = stage.text()
    assert (lines[0], code) == ("Gateway is running and ready: no surface is enabled.", 0)
    assert len(lines) == 4


def test_degraded_by_two_surfaces(stage: Stage) -> None:
    reasons = ["auth_failed:telegram=bot_123456", "conflict:wecom=alerts"]
    stage.own(surfaces=troubled(stage.now_ms), degraded_reasons=reasons)
    lines, code = stage.text()
    assert code == 1
    assert_lines(
        lines,
        """
Gateway is running, degraded: 1 of 3 surfaces ready, 2 need attention.
Runtime: running
RPC probe: ok
Owner: loong 0.3.0, pid 4121, up 3 d 4 h, heartbeat 2 s ago, http://127.0.0.1:18789

SURFACE              PHASE        SINCE    LAST IN     LAST OUT    IN  OUT  RESTARTS
telegram/bot_123456  auth_failed  18 min   19 min ago  19 min ago   0    4         1
wecom/alerts         conflict     4 min    4 min ago   5 min ago    0    2         3
feishu/work          ready        2 d 1 h  40 s ago    38 s ago     0    0         0

telegram/bot_123456: the platform refused the token (HTTP 401) 18 min ago; next try in 9 min. 4 replies are kept.
  where: telegram.accounts.bot_123456.bot_token (file /home/loong/.loong/secrets/telegram)
  fix:   put the new token there, then: loong secrets reload
wecom/alerts: another process took this bot's connection 4 min ago; next try in 3 min.
  fix: stop the other holder, then: loong gateway channel restart wecom=alerts
""",
    )


@pytest.mark.parametrize(
    ("phase", "error", "said"),
    [
        (
            "auth_failed",
            "the platform refused the token (HTTP 401)",
            "the platform refused the token (HTTP 401)",
        ),
        ("auth_failed", None, "the platform refused the credential"),
        (
            "backoff",
            "no answer from api.telegram.org within 10 s.",
            "no answer from api.telegram.org within 10 s",
        ),
        ("backoff", None, "the platform could not be reached"),
        ("conflict", None, "another process took this bot's connection"),
        ("degraded", "half\nof it", "half of it"),
    ],
)
def test_one_surface_in_trouble_is_told_on_the_first_line(
    stage: Stage, phase: str, error: str | None, said: str
) -> None:
    stage.own(surfaces=[surface("telegram", "work", phase=phase, last_error=error)])
    lines, code = stage.text()
    assert lines[0] == f"Gateway is running, degraded: 0 of 1 surface ready; telegram/work: {said}."
    assert code == 1
    assert any(line.startswith("  fix: ") for line in lines)


@pytest.mark.parametrize(
    ("reasons", "first", "fix"),
    [
        (
            ["provider_missing"],
            "Gateway is running, degraded: no provider is configured, so nothing can be answered.",
            "  fix:   add a [provider] block there, then: loong validate-config",
        ),
        (
            ["config_reload_refused", "crash_loop"],
            "Gateway is running, degraded: the changed config was refused and the old one is still in use, and 1 more.",
            "  fix:   find the cause: loong logs --lines 50    then: loong gateway resume",
        ),
        (
            ["a_reason_of_tomorrow"],
            "Gateway is running, degraded: a reason of tomorrow.",
            "  fix: loong logs --lines 50",
        ),
        (
            ["secret_missing:discord=ops"],
            "Gateway is running, degraded: discord/ops: its secret cannot be read.",
            "  fix: loong validate-config",
        ),
    ],
)
def test_degraded_by_the_gateway_itself(stage: Stage, reasons: list[str], first: str, fix: str) -> None:
    stage.own(degraded_reasons=reasons)
    lines, code = stage.text()
    assert (lines[0], code) == (first, 1)
    assert fix in lines


def test_running_but_not_ready(stage: Stage) -> None:
    stage.own(ready=False, degraded_reasons=["store_unwritable"])
    lines, code = stage.text()
    assert lines[0] == "Gateway is running, not ready: the store cannot be written, so no message is taken."
    assert code == 1


def test_a_silent_port_is_told(stage: Stage) -> None:
    stage.own()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stage.publish(port=silent.getsockname()[1])
        lines, code = stage.text()
        port = silent.getsockname()[1]
    said = f"the port 127.0.0.1:{port} does not answer (no answer within 1 s)"
    assert lines[0] == f"Gateway is running, degraded: {said}."
    assert lines[2] == "RPC probe: failed (no answer within 1 s)"
    assert code == 1
    stage.publish(port=port)
    assert stage.text()[0][2] == "RPC probe: failed (connection refused)"
    stage.publish()
    stage.server.status = 503
    assert stage.text()[0][2] == "RPC probe: failed (answered 503)"


def test_a_listener_on_every_address_is_asked_on_loopback(stage: Stage) -> None:
    stage.own(bind_address="0.0.0.0")
    lines, code = stage.text()
    assert (lines[2], code) == ("RPC probe: ok", 0)


def test_starting_before_the_owner_has_said_anything(stage: Stage) -> None:
    stage.lock = OwnerLock.acquire(stage.places)
    stage.rewrite_lock(started_boot_ms=boot_clock_ns() // 1_000_000 - 2_100)
    stage.beat_ago(0)
    lines, code = stage.text()
    assert lines[:3] == [
        "Gateway is starting: pid 4121 began 2 s ago.",
        "Runtime: running",
        "RPC probe: failed (no port is open)",
    ]
    assert code == 1


def test_a_surface_that_still_connects_is_neither_ready_nor_trouble(stage: Stage) -> None:
    stage.own(surfaces=[surface("telegram", "work", phase="connecting")])
    lines, code = stage.text()
    assert lines[0] == "Gateway is running: 0 of 1 surface ready, 1 still connecting."
    assert code == 0


def test_a_store_that_was_set_aside_needs_no_doctor(stage: Stage) -> None:
    stage.own(degraded_reasons=["store_set_aside"])
    lines, code = stage.text()
    assert code == 1
    assert "shown until that file is gone" in lines[0]
    assert "  where: /home/loong/.loong/loong.sqlite3.damaged-*" in lines
    assert not any("loong doctor" in line for line in lines)


def test_an_owner_that_never_says_anything_is_no_longer_starting(stage: Stage) -> None:
    stage.own()
    os.unlink(stage.places.owner_active)
    os.unlink(stage.places.status_file)
    lines, code = stage.text()
    assert lines[0] == "Gateway is running, not ready: the owner runs but says nothing about itself."
    assert code == 1


def test_what_an_earlier_owner_said_is_not_believed_of_the_present_one(stage: Stage) -> None:
    stage.own(pid=1, version="0.0.1")
    document = collect(stage.places)
    assert (document["pid"], document["ready"]) == (os.getpid(), False)


def test_stopping(stage: Stage) -> None:
    stage.own()
    stage.publish(phase="stopping", shutdown_reason="shutdown requested: gateway stop requested")
    lines, code = stage.text()
    assert lines[0] == "Gateway is stopping: pid 4121, shutdown requested: gateway stop requested."
    assert code == 1
    files.retire(stage.places, stage.document)
    assert stage.text()[0][0].startswith("Gateway is stopping: pid 4121")


def test_stalled(stage: Stage) -> None:
    stage.own()
    stage.beat_ago(48 * SECOND)
    stage.publish(port=None)
    lines, code = stage.text()
    assert code == 1
    assert_lines(
        lines,
        """
Gateway is stalled: pid 4121 holds the lock but its last heartbeat is 48 s old.
Runtime: stalled
RPC probe: failed (no port is open)
  look:    loong logs --lines 50
  restart: kill -9 4121; loong gateway run
""",
    )
    document = collect(stage.places)
    assert (document["stale"], document["running"], document["lock_held"]) == (True, False, True)
    assert document["degraded_reasons"] == ["stalled"]


def test_a_stalled_owner_that_cannot_be_told_from_others_is_not_to_be_killed(stage: Stage) -> None:
    stage.own()
    stage.rewrite_lock(pid_start_ticks=1)
    stage.beat_ago(48 * SECOND)
    lines, _ = stage.text()
    assert lines[-1] == "  holder:  lsof /home/loong/.loong/owner.lock"


def test_stopped_on_request(stage: Stage) -> None:
    stage.own()
    ended = stage.now_ms - 2 * HOUR
    stage.document.update(
        stopped_at_ms=ended,
        last_heartbeat_at=ended,
        shutdown_reason="shutdown requested: sigterm received",
    )
    files.retire(stage.places, stage.document)
    stage.die()
    lines, code = stage.text()
    assert code == 3
    assert_lines(
        lines,
        """
Gateway is not running; it was stopped 2 h ago (shutdown requested: sigterm received).
Runtime: stopped
RPC probe: skipped
  start: loong gateway run
""",
    )


def test_failed(stage: Stage) -> None:
    stage.own()
    ended = stage.now_ms - 2 * HOUR
    error = "another gateway instance is already listening on 127.0.0.1:19000 (EADDRINUSE)"
    stage.document.update(phase="failed", stopped_at_ms=ended, last_heartbeat_at=ended, last_error=error)
    files.retire(stage.places, stage.document)
    stage.die()
    lines, code = stage.text()
    assert (lines[0], code) == (f"Gateway is not running; it failed 2 h ago: {error}.", 3)
    assert lines[-1] == "  why:   loong logs --lines 50"


def test_killed(stage: Stage) -> None:
    surfaces = healthy(stage.now_ms)
    surfaces[0].update(inbox={"new": 7, "claimed": 1}, outbox={"queued": 1, "sending": 1})
    surfaces[1].update(inbox={"new": 4}, outbox={"unknown": 1, "failed": 9})
    stage.own(surfaces=surfaces, last_heartbeat_at=stage.now_ms - 3 * MINUTE)
    stage.die()
    lines, code = stage.text()
    assert code == 3
    assert_lines(
        lines,
        """
Gateway is not running; pid 4121 ended without a stop 3 min ago. 12 messages and 3 replies are kept and resume at the next start.
Runtime: stopped
RPC probe: skipped
  start: loong gateway run
  why:   loong logs --lines 50
""",  # noqa: E501
    )
    document = collect(stage.places)
    assert (document["phase"], document["running"], document["stale"]) == ("failed", False, False)
    assert document["last_error"] == f"pid {os.getpid()} ended without a stop"
    assert document["degraded_reasons"] == ["ended_without_stop"]
    assert (document["port"], document["uptime_ms"]) == (None, None)


def test_an_owner_killed_after_its_last_word_had_stopped(stage: Stage) -> None:
    stage.own(phase="stopping")
    active = Path(stage.places.owner_active).read_bytes()
    files.retire(stage.places, stage.document)
    Path(stage.places.owner_active).write_bytes(active)
    stage.die()
    assert stage.text()[0][0] == "Gateway is not running; it was stopped 0 s ago."


def test_killed_with_nothing_waiting_or_with_the_host(stage: Stage) -> None:
    stage.own(last_heartbeat_at=stage.now_ms - 3 * MINUTE)
    stage.die()
    assert stage.text()[0][0] == "Gateway is not running; pid 4121 ended without a stop 3 min ago."
    stage.edit(stage.places.owner_active, boot_id="an earlier one")
    assert stage.text()[0][0].endswith("ended without a stop when the host went down 3 min ago.")


def test_the_installed_service_is_what_starts_it(stage: Stage) -> None:
    units = Path(stage.environ["HOME"], ".config/systemd/user")
    units.mkdir(parents=True)
    (units / "loong-gateway.service").write_text("")
    del stage.environ["LOONG_HOME"]
    assert "  start: systemctl --user start loong-gateway.service" in stage.run().stdout


def test_a_start_that_was_refused_is_told_until_something_newer_happened(stage: Stage) -> None:
    stage.places.create()
    error = CommandError("owner.no_locks", path="/mnt", detail="no locks available")
    files.note_refused_start(stage.places, error)
    lines, code = stage.text()
    said = "the file system of the state directory keeps no locks: no locks available"
    assert lines[0] == f"Gateway is not running; the last start was refused 0 s ago: {said}."
    assert lines[3] == "  where: /mnt"
    assert lines[4].startswith("  fix:   put the state on a local disk")
    assert code == 3
    document = collect(stage.places)
    assert (document["degraded_reasons"], document["last_error"]) == (["owner_no_locks"], said)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"x" * 2_000_000])
def test_damaged_files_are_no_reason_to_fail(stage: Stage, content: bytes) -> None:
    stage.own()
    for path in (stage.places.owner_active, stage.places.status_file):
        Path(path).write_bytes(content)
    assert (
        stage.text()[0][0] == "Gateway is running, not ready: the owner runs but says nothing about itself."
    )
    stage.die()
    lines, code = stage.text()
    assert lines[0] == "Gateway is not running; what it said last cannot be read, its status file is damaged."
    assert code == 3


def test_fields_of_a_wrong_kind_count_as_not_said(stage: Stage) -> None:
    stage.own(
        version=3, port="x", config_path=None, degraded_reasons="no", surfaces=[1, {"phase": 2}], ready="yes"
    )
    document = collect(stage.places)
    assert (document["port"], document["config_path"], document["ready"]) == (None, "-", False)
    assert [s["phase"] for s in document["surfaces"]] == ["unknown"]
    assert stage.text()[1] == 1
    stage.publish(surfaces={}, pid=True)
    assert collect(stage.places)["surfaces"] == []


def test_old_files_of_a_live_owner_are_told(stage: Stage) -> None:
    stage.own()
    for path in (stage.places.owner_active, stage.places.status_file):
        stage.edit(path, published_boot_ms=boot_clock_ns() // 1_000_000 - 20 * SECOND)
    lines, code = stage.text()
    assert "cannot write its status files" in lines[0]
    assert code == 1


def test_a_step_of_the_wall_clock_changes_nothing(stage: Stage) -> None:
    stage.own(last_heartbeat_at=stage.now_ms - 5 * HOUR, started_at_ms=stage.now_ms + 5 * HOUR)
    document = collect(stage.places)
    assert (document["stale"], exit_code(document)) == (False, 0)
    assert abs(document["last_heartbeat_at"] - time.time() * 1000) < 60 * SECOND


# -- JSON -------------------------------------------------------------------------------------------------------------


def test_json_holds_the_contracts_fields_in_order_and_then_ours(stage: Stage) -> None:
    documents = [json.loads(stage.run("--json").stdout)]
    stage.own(surfaces=troubled(stage.now_ms))
    done = stage.run("--json")
    documents.append(json.loads(done.stdout))
    assert done.returncode == 1
    for document in documents:
        assert list(document) == CONTRACT_FIELDS + ADDED_FIELDS
        assert document["schema_version"] == 1
    assert "never to be shown" not in done.stdout
    first = documents[1]["surfaces"][0]
    assert first["inbox"] == {"new": 0, "claimed": 0, "failed": 0, "rejected": 0}
    assert first["outbox"] == {"queued": 0, "sending": 0, "unknown": 0, "failed": 0, "expired": 0}
    reasons = documents[1]["degraded_reasons"]
    assert sorted(reasons) == ["auth_failed:telegram=bot_123456", "conflict:wecom=alerts"]


def test_json_of_a_gateway_that_never_ran_has_the_contracts_defaults(stage: Stage) -> None:
    document = json.loads(stage.run("--json").stdout)
    assert document["phase"] == "stopped"
    assert document["mode"] == "gateway_headless"
    assert document["config_path"] == "-"
    assert document["started_at_ms"] == document["last_heartbeat_at"] == 0
    assert document["pid"] is document["stopped_at_ms"] is document["port"] is None
    assert document["rpc_probe"] == "skipped"


def test_json_is_readable_in_any_locale(stage: Stage) -> None:
    stage.own(last_error="坏了 \ud800")
    for locale in ("C", "C.UTF-8", "POSIX"):
        done = stage.run("--json", LC_ALL=locale, PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
        assert json.loads(done.stdout)["last_error"] == "坏了 \ud800"
    done = stage.run("--json", PYTHONIOENCODING="latin-1")
    assert json.loads(done.stdout)["last_error"] == "坏了 \ud800"
    assert stage.run(PYTHONIOENCODING="ascii:strict").returncode == 0


def test_deep_asks_the_gateway_with_its_token(stage: Stage) -> None:
    with GatewayPort(lambda: Path(stage.places.control_token).read_text().strip()) as port:
        stage.own(port=port.port)
        done = stage.run("--deep")
        assert "Status call: failed (the gateway does not answer" in done.stdout
        assert "its token file is missing" in done.stdout
        assert done.returncode == 1
        files.write_control_token(stage.places)
        assert "\nStatus call: ok\n" in stage.run("--deep").stdout
        assert json.loads(stage.run("--deep", "--json").stdout)["deep"] == {"ok": True, "error": None}
        assert [method for method, _, _ in port.calls] == ["status", "status"]
        port.answers["status"] = Fault("UNAVAILABLE", "it drains")
        failed = stage.run("--deep")
        assert (failed.returncode, "Status call: failed (the gateway refused status" in failed.stdout) == (
            1,
            True,
        )
        stage.die()
        assert stage.run("--deep").returncode == 3


# -- real processes ---------------------------------------------------------------------------------------------------


def test_a_frozen_owner_is_told_in_bounded_time(stage: Stage) -> None:
    environ = {**os.environ, **stage.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, str(OWNER_PROCESS), "--listen"], env=environ, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("held")
        os.kill(process.pid, signal.SIGSTOP)
        stage.beat_ago(20 * SECOND)
        done = stage.run()
        first = f"Gateway is stalled: pid {process.pid} holds the lock but its last heartbeat is 20 s old."
        assert done.stdout.splitlines()[:3] == [
            first,
            "Runtime: stalled",
            "RPC probe: failed (no answer within 1 s)",
        ]
        assert done.returncode == 1
        process.kill()
        process.wait(10)
        done = stage.run()
        assert f"pid {process.pid} ended without a stop" in done.stdout.splitlines()[0]
        assert done.returncode == 3
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


DROP_AND_RUN = """
import os, sys
sys.path.insert(0, {root!r})
import importlib, locale
from loong_gateway.commandline import crash, main as cli, parser, verbs
from loong_gateway.commands import gateway_status, gateway_stop
os.setgroups([]); os.setgid(65534); os.setuid(65534)
os.chdir("/")
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_state_of_another_user_is_unreadable_and_says_whose_it_is(stage: Stage) -> None:
    stage.own()
    os.chmod(stage.places.home, 0o700)
    os.chmod(Path(stage.places.home).parent, 0o755)
    code = DROP_AND_RUN.format(root=str(ROOT))

    def as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=stage.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )

    done = as_nobody("gateway", "status")
    me = pwd.getpwuid(os.geteuid()).pw_name
    nobody = pwd.getpwuid(65534).pw_name
    assert done.stderr.splitlines() == [
        "error: the state of the gateway cannot be read: permission denied",
        f"  where: {stage.places.owner_lock} (owned by {me}, you are {nobody})",
        f"  fix:   sudo -u {me} env LOONG_HOME={stage.places.home} loong gateway status",
    ]
    assert (done.stdout, done.returncode) == ("", 4)
    done = as_nobody("gateway", "status", "--json")
    assert json.loads(done.stdout)["error"]["code"] == "owner.unreadable"
    assert done.returncode == 4
    done = as_nobody("gateway", "stop")
    assert done.stderr.startswith("error: the gateway belongs to another user")
    assert done.returncode == 2


def test_a_lock_that_is_a_link_is_unreadable(stage: Stage) -> None:
    stage.places.create()
    os.symlink("/dev/null", stage.places.owner_lock)
    done = stage.run()
    assert done.returncode == 4
    assert done.stderr.startswith("error: the state of the gateway cannot be read: it is a symbolic link\n")


# -- what it costs ----------------------------------------------------------------------------------------------------

LIGHT = {
    *(
        "__future__",
        "_abc",
        "_bootlocale",
        "_codecs",
        "_collections_abc",
        "_io",
        "_json",
        "_locale",
        "_signal",
    ),
    *(
        "_socket",
        "_stat",
        "_thread",
        "abc",
        "binascii",
        "codecs",
        "errno",
        "fcntl",
        "genericpath",
        "io",
        "ntpath",
    ),
    *("os", "os.path", "posix", "posixpath", "pwd", "stat", "time", "zlib"),
}


@pytest.mark.parametrize("arguments", [["--json"], [], ["--profile", "x", "--no-color", "--dev"]])
def test_the_health_check_imports_next_to_nothing(stage: Stage, arguments: list[str]) -> None:
    stage.own()
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "bare = set(sys.modules)\n"
        "from loong import main\n"
        f"sys.argv = ['loong', 'gateway', 'status', *{arguments!r}]\n"
        "main()\n"
        "print(*sorted(set(sys.modules) - bare), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=stage.environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    modules = done.stderr.split()
    assert "loong_gateway.owner.status" in modules
    assert {m for m in modules if not m.startswith("loong")} <= LIGHT
    ours = [m for m in modules if m.startswith("loong")]
    assert len(ours) <= 26, ours
    assert not [m for m in ours if m.startswith("loong_channels")]
