"""The verbs that ask over the WebSocket side of a port: what they print, and every exit code of theirs."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from loong_gateway.commands.secrets_reload import LATER
from tests.commands.loong_cli import ROOT, Loong, Owner, Ran, running_owner
from tests.fakes.gateway_port import Fault, GatewayPort, Hangup, Silence
from tests.waiting import wait_until

WRITE, READ, ADMIN = "operator.write", "operator.read", "operator.admin"


class Far:
    """A gateway that is named by its address, and a home that nobody may touch."""

    def __init__(self, loong: Loong, port: GatewayPort) -> None:
        self.loong = loong
        self.port = port
        self.named = {"LOONG_GATEWAY_URL": port.url, "LOONG_GATEWAY_TOKEN": "port-secret-0001"}

    def __call__(self, *args: str) -> Ran:
        return self.loong(*args, environ=self.named)


@pytest.fixture(name="far")
def far_gateway(tmp_path: pathlib.Path) -> Iterator[Far]:
    loong = Loong(tmp_path)
    with GatewayPort() as port:
        yield Far(loong, port)
    assert list(loong.home.iterdir()) == []


def nobody(far: Far) -> dict[str, str]:
    with GatewayPort() as gone:
        url = gone.url
    return {**far.named, "LOONG_GATEWAY_URL": url}


# --- gateway call


def test_a_call_prints_the_payload(far: Far) -> None:
    far.port.answers["logs.tail"] = {"lines": ["x"], "cursor": 2}
    done = far("gateway", "call", "logs.tail", "--params", '{"limit":5}')
    assert (done.code, done.document, done.err) == (0, {"lines": ["x"], "cursor": 2}, "")
    assert far("gateway", "call", "secrets.reload").code == 0
    assert far("gateway", "call", "agent", "--params", '{"message":"m","idempotencyKey":"k"}').code == 0
    assert [(method, scopes) for method, _, scopes in far.port.calls] == [
        ("logs.tail", [READ]),
        ("secrets.reload", [ADMIN]),
        ("agent", [WRITE]),
    ]


def test_a_call_that_is_refused_ends_with_1(far: Far) -> None:
    far.port.answers["status"] = Fault("UNAVAILABLE", "it drains")
    done = far("gateway", "call", "status", "--json")
    assert done.code == 1
    assert done.document["error"]["message"] == "the gateway refused status with UNAVAILABLE: it drains"
    assert done.err.startswith("error: the gateway refused status with UNAVAILABLE: it drains\n  fix: loong ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "--params", "[1]"),
        ("status", "--params", "{"),
        ("status", "--timeout", "soon"),
        ("status", "--timeout", "0"),
        ("status", "--url", "http://127.0.0.1:1"),
        ("status", "--token-file", "/nowhere"),
    ],
)
def test_a_call_that_cannot_be_made_ends_with_2(far: Far, arguments: tuple[str, ...]) -> None:
    done = far("gateway", "call", *arguments)
    assert (done.code, done.out, far.port.calls) == (2, "", [])
    assert done.err.startswith("error: ")


def test_a_call_without_an_answer_ends_with_2(far: Far) -> None:
    far.port.answers["status"] = Silence
    done = far("gateway", "call", "status", "--timeout", "80")
    assert (done.code, "did not answer within 0.1 s" in done.err) == (2, True)
    far.port.answers["status"] = Hangup()
    done = far("gateway", "call", "status", "--timeout", "150")
    assert (done.code, "it stops or restarts" in done.err) == (2, True)
    assert len(far.port.calls) > 2
    far.port.calls.clear()
    far.port.answers["secrets.reload"] = Hangup()
    # What may have been done is not asked for twice.
    assert (far("gateway", "call", "secrets.reload").code, len(far.port.calls)) == (2, 1)
    refused = far.loong("gateway", "call", "status", environ=nobody(far))
    assert (refused.code, "does not answer: " in refused.err) == (2, True)
    wrong = far.loong("gateway", "call", "status", environ={**far.named, "LOONG_GATEWAY_TOKEN": "wrong"})
    assert (wrong.code, wrong.err.startswith("error: unauthorized: ")) == (2, True)


def test_a_call_waits_for_the_result_where_it_is_told_to(far: Far) -> None:
    far.port.answers["agent"] = [{"runId": "k", "status": "accepted"}, {"runId": "k", "status": "ok"}]
    params = '{"message":"m","idempotencyKey":"k"}'
    assert far("gateway", "call", "agent", "--params", params).document["status"] == "accepted"
    final = far("gateway", "call", "agent", "--params", params, "--expect-final")
    assert (final.code, final.document["status"]) == (0, "ok")


@pytest.mark.parametrize(
    ("method", "meant"), [("helth", "gateway call health"), ("no.such.method", "gateway call health")]
)
def test_an_unknown_method_leads_to_the_nearest_one(far: Far, method: str, meant: str) -> None:
    done = far("gateway", "call", method)
    assert (done.code, done.err.splitlines()[1]) == (1, f"  fix: loong {meant} --url {far.port.url}")


def test_bad_parameters_are_not_mended_by_a_look(far: Far) -> None:
    far.port.answers["status"] = Fault("INVALID_REQUEST", "invalid status params: at /x: unexpected property")
    done = far("gateway", "call", "status")
    assert done.err.splitlines()[1] == "  fix: correct what it names, then ask again"


@pytest.mark.parametrize(
    ("line", "said", "fix"),
    [
        (
            "gateway call health --timeout 0",
            "--timeout 0 is not from 1 to 86400000 milliseconds",
            "give, for example: --timeout 10000",
        ),
        (
            "agent -m x --timeout 0",
            "--timeout 0 is not from 1 to 86400 seconds",
            "give, for example: --timeout 60",
        ),
        (
            "gateway health --token-file x",
            "--token-file is for a gateway that --url names; the one of this home has left its token",
            "loong --profile work gateway health",
        ),
        (
            "gateway health --url ws://[::1]:9",
            "the gateway at [::1]:9 does not answer: connection refused",
            "loong --profile work gateway health --url 'ws://[::1]:9'",
        ),
    ],
)
def test_a_fix_is_one(tmp_path: pathlib.Path, line: str, said: str, fix: str) -> None:
    environ = {"LOONG_GATEWAY_TOKEN": "port-secret-0001"}
    done = Loong(tmp_path)("--profile", "work", *line.split(), environ=environ)
    assert done.code == 2
    assert done.err == f"error: {said}\n  fix: {fix}\n"


# --- health, probe, status


def test_health(far: Far) -> None:
    done = far("gateway", "health")
    assert (done.code, done.out) == (0, "Gateway answers in 3 ms: no channel runs.\n")
    far.port.answers["health"] = {
        "ok": True,
        "channels": {
            "telegram": {"configured": True, "running": True, "lastError": None},
            "wecom": {"configured": True, "running": False, "lastError": "the bot was taken"},
        },
    }
    bad = far("health")
    assert (bad.code, bad.out) == (
        1,
        "Gateway answers: 1 of 2 channels work.\n  wecom: the bot was taken\n",
    )
    assert far("health", "--json").document == far.port.answers["health"]
    assert far.loong("health", environ=nobody(far)).code == 2


def test_probe(far: Far) -> None:
    done = far("gateway", "probe")
    lines = done.out.splitlines()
    address = far.port.url[len("ws://") : -1]
    assert (done.code, lines[0]) == (0, f"Gateway at {address} answers.")
    assert lines[2] == "Scopes:  operator.read"
    assert [line.split()[:2] for line in lines[3:]] == [
        [method, "ok"] for method in ("health", "status", "system-presence", "config.get")
    ]
    assert far.port.hellos[0]["client"]["mode"] == "probe"
    far.port.answers["config.get"] = Fault("FORBIDDEN", "missing scope: operator.admin")
    limited = far("gateway", "probe", "--json")
    assert (limited.code, limited.document["ok"]) == (1, False)
    assert [call["ok"] for call in limited.document["calls"]] == [True, True, True, False]
    assert far.loong("gateway", "probe", environ=nobody(far)).code == 2


def test_status_of_a_gateway_elsewhere(far: Far) -> None:
    done = far("gateway", "status")
    assert (done.code, done.out.splitlines()[1:]) == (0, ["RPC probe: ok", "Owner: loong 1.2.3"])
    assert far("gateway", "status", "--json").document["rpc_probe"] == "ok"
    far.port.answers["status"] = {"phase": "running", "ready": True, "degradedReasons": ["conflict:wecom=a"]}
    said = far("gateway", "status").out.splitlines()
    assert said[2:4] == ["Runtime: running, ready", "Degraded: conflict:wecom=a"]
    far.port.answers["status"] = Fault("UNAVAILABLE", "it drains")
    assert far("gateway", "status").code == 1
    assert far.loong("gateway", "status", environ=nobody(far)).code == 2


# --- agent


def run_result(text: str, **more: object) -> dict[str, object]:
    result = {"payloads": [{"text": text, "mediaUrl": None}], "meta": {}, **more}
    return {"runId": "r", "status": "ok", "summary": "completed", "result": result}


def test_agent_prints_the_answer(far: Far) -> None:
    far.port.answers["agent"] = [{"runId": "r", "status": "accepted"}, run_result("Hello.")]
    done = far("agent", "--message", "hi", "--session-key", "main", "--timeout", "30")
    assert (done.code, done.out, done.err) == (0, "Hello.\n", "")
    ((_, params, scopes),) = far.port.calls
    assert {name: params[name] for name in ("message", "sessionKey", "deliver", "timeout")} == {
        "message": "hi",
        "sessionKey": "main",
        "deliver": False,
        "timeout": 30,
    }
    assert scopes == [WRITE]
    assert far("agent", "--message", "hi", "--json").document["result"]["payloads"][0]["text"] == "Hello."


def test_agent_waits_over_a_restart(far: Far) -> None:
    answers = iter(
        [
            [{"runId": "r", "status": "accepted"}, Hangup()],
            {"runId": "r", "status": "in_flight"},
            run_result("Hello."),
        ]
    )
    far.port.answers["agent"] = lambda _: next(answers)
    far.port.answers["agent.wait"] = {"runId": "r", "status": "ok"}
    done = far("agent", "--message", "hi")
    assert (done.code, done.out) == (0, "Hello.\n")
    assert done.err == "the gateway restarts; waiting for the run's answer\n"
    keys = {params.get("idempotencyKey") or params.get("runId") for _, params, _ in far.port.calls}
    assert ([method for method, _, _ in far.port.calls], len(keys)) == (
        ["agent", "agent", "agent.wait", "agent"],
        1,
    )


def test_agent_delivers(far: Far) -> None:
    far.port.answers["agent"] = [{"status": "accepted"}, run_result("Hello.", deliveryStatus="sent")]
    where = ("--deliver", "--channel", "telegram", "--account", "work", "--to", "1001")
    done = far("agent", "--message", "hi", *where)
    assert (done.code, done.out, done.err) == (0, "Hello.\n", "delivery: sent\n")
    params = far.port.calls[0][1]
    assert (params["deliver"], params["channel"], params["account"], params["to"]) == (
        True,
        *("telegram", "work", "1001"),
    )


def test_agent_says_why_there_is_no_answer(far: Far) -> None:
    failed = Fault("UNAVAILABLE", "the model is away", {"runId": "r", "status": "error"})
    far.port.answers["agent"] = [{"status": "accepted"}, failed]
    done = far("agent", "--message", "hi")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: the run ended without an answer: the model is away\n")
    far.port.answers["agent"] = [{"status": "accepted"}, {"status": "timeout", "summary": "aborted"}]
    done = far("agent", "--message", "hi", "--json")
    assert (done.code, done.document["summary"]) == (1, "aborted")
    far.port.answers["agent"] = Fault("INVALID_REQUEST", "no such session")
    done = far("agent", "--message", "hi")
    assert (done.code, "the gateway refused agent with INVALID_REQUEST" in done.err) == (1, True)
    assert far.loong("agent", "--message", "hi", environ=nobody(far)).code == 2
    assert far("agent", "--message", "hi", "--timeout", "0").code == 2


# --- channels status, secrets reload


def account(**more: object) -> dict[str, object]:
    return {
        "accountId": "work",
        "enabled": True,
        "connected": True,
        "running": True,
        "lastError": None,
        **more,
    }


def test_channels_status_of_a_gateway_elsewhere(far: Far) -> None:
    far.port.answers["channels.status"] = {
        "ts": 100_000,
        "channelAccounts": {
            "telegram": [account(lastInboundAt=40_000, phase="ready", probe={"ok": True, "elapsedMs": 12})],
            "wecom": [account(enabled=False, connected=False)],
        },
    }
    done = far("channels", "status", "--probe")
    assert done.code == 0, done.err
    assert done.first_line == "Gateway answers: 2 of 2 accounts as wanted."
    assert "telegram  work     enabled   ready  1 min ago  never     ok 12 ms   -" in done.out
    assert far.port.calls[0][1] == {"probe": True, "timeoutMs": 5000}
    far.port.answers["channels.status"] = {
        "ts": 1,
        "channelAccounts": {"wecom": [account(connected=False, lastError="taken")]},
    }
    bad = far("channels", "status")
    assert (bad.code, bad.first_line, "taken" in bad.out) == (
        1,
        "Gateway answers: 0 of 1 account as wanted.",
        True,
    )
    assert far.loong("channels", "status", environ=nobody(far)).code == 2


def test_secrets_reload_elsewhere(far: Far) -> None:
    far.port.answers["secrets.reload"] = {"ok": True, "warningCount": 0}
    assert far("secrets", "reload").code == 0
    far.port.answers["secrets.reload"] = {"ok": True, "warningCount": 2}
    done = far("secrets", "reload")
    assert (done.code, done.out) == (1, f"secrets were read again: 2 could not be\n{LATER}\n")
    assert far.loong("secrets", "reload", environ=nobody(far)).code == 2


# --- logs


def log_line(number: int) -> str:
    return json.dumps(
        {
            "time": "2026-11-20T10:00:00+00:00",
            "level": "info",
            "logger": "loong.x",
            "message": f"line {number}",
        }
    )


class Log:
    """A log that is asked for by byte offsets."""

    def __init__(self) -> None:
        self.text = ""
        self.add(1, 2, 3)

    def add(self, *numbers: int) -> None:
        self.text += "".join(log_line(number) + "\n" for number in numbers)

    def __call__(self, params: dict) -> dict[str, object]:
        cursor = params.get("cursor", 0)
        found = self.text[cursor:].splitlines()[-params.get("limit", 500) :]
        return {"file": "/x", "cursor": len(self.text), "size": len(self.text), "lines": found}


def follow(loong: Loong, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "loong.py"), "logs", "--follow", *arguments],
        env={**loong.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


class Lines:
    """What a process prints, line by line, read beside the test."""

    def __init__(self, stream: object) -> None:
        self.seen: list[str] = []
        self._stream = stream
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            self.seen.append(line.strip())

    def wait_for(self, text: str) -> None:
        wait_until(lambda: any(text in line for line in self.seen), what=text)


def test_logs_of_a_gateway_elsewhere(far: Far) -> None:
    far.port.answers["logs.tail"] = Log()
    done = far("logs", "--lines", "2")
    assert (done.code, [line[-6:] for line in done.out.splitlines()]) == (0, ["line 2", "line 3"])
    assert far.loong("logs", environ=nobody(far)).code == 2


def test_following_elsewhere_survives_a_connection_that_ends(far: Far) -> None:
    log = Log()
    far.port.answers["logs.tail"] = log
    process = follow(far.loong, **far.named)
    try:
        out, err = Lines(process.stdout), Lines(process.stderr)
        out.wait_for("line 3")
        far.port.answers["logs.tail"] = Hangup()
        log.add(4)
        wait_until(lambda: far.port.connections > 1, what="a second connection")
        far.port.answers["logs.tail"] = log
        out.wait_for("line 4")
        assert [line[-6:] for line in out.seen] == ["line 1", "line 2", "line 3", "line 4"]
        (said,) = err.seen
        assert "it stops or restarts; it is asked again for " in said
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        process.stdout.close()
        process.stderr.close()


def test_following_here_asks_the_port_and_reads_the_file_when_it_is_silent(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path)
    (loong.home / "logs").mkdir(mode=0o700)
    path = loong.home / "logs" / "gateway.log"
    log = Log()
    path.write_text(log.text)
    token = pathlib.Path(loong.places.control_token)
    with GatewayPort(lambda: token.read_text().strip()) as port:
        port.answers["logs.tail"] = log
        with running_owner(loong, port=port.port):
            process = follow(loong)
            try:
                out, err = Lines(process.stdout), Lines(process.stderr)
                out.wait_for("line 3")
                log.add(4)
                out.wait_for("line 4")
                assert (err.seen, port.calls[0][1]["cursor"]) == ([], path.stat().st_size)
                port.answers["logs.tail"] = Fault("INVALID_REQUEST", "unknown method: logs.tail")
                path.write_text(log.text + log_line(5) + "\n")
                out.wait_for("line 5")
                assert [line[-6:] for line in out.seen] == [f"line {number}" for number in range(1, 6)]
                assert [line[:58] for line in err.seen] == [
                    "the port gives no log, following the file instead: the gat"
                ]
            finally:
                process.send_signal(signal.SIGINT)
                assert process.wait(10) == 0
                process.stdout.close()
                process.stderr.close()


# --- gateway restart


def restarted(loong: Loong, owner: Owner, *arguments: str, **answer: object) -> Ran:
    document = {"outcome": "requested", "message": "gateway restart requested", "due_in_s": 0.0, **answer}
    owner.answers["/api/gateway/restart"] = (200, document)
    return loong("gateway", "restart", *arguments)


def test_restart_exit_codes(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path)
    nothing = loong("gateway", "restart")
    assert (nothing.code, "the gateway is not running" in nothing.err) == (2, True)
    with running_owner(loong) as owner:
        assert restarted(loong, owner, "--no-wait").out == "gateway restart requested\n"
        late = restarted(loong, owner, "--timeout", "0.1", instance_id="another, which never comes to be")
        assert late.code == 0
        same = json.loads(pathlib.Path(loong.places.owner_lock).read_text())["instance_id"]
        late = restarted(loong, owner, "--timeout", "0.1", instance_id=same)
        assert (late.code, "0.1 s later the gateway is not ready: running" in late.err) == (1, True)
        refusal = {"message": "no, because", "where": "config.toml", "fix": "loong validate-config"}
        owner.answers["/api/gateway/restart"] = (409, {"error": {**refusal, "findings": ["config.toml:1"]}})
        refused = loong("gateway", "restart")
        assert refused.code == 1
        assert refused.err.splitlines()[1:] == [
            "  config.toml:1",
            "  where: config.toml",
            "  fix:   loong validate-config",
        ]
    wrong = loong("gateway", "restart", "--timeout", "never")
    assert wrong.code == 2


# --- what others say, on a terminal

STEERING = "\x1b]0;title\x07\x1b[31m\x9b31m\u202e\rmore"


@pytest.mark.parametrize(
    ("method", "answer", "arguments"),
    [
        ("status", {"a": STEERING, STEERING: 1}, ("gateway", "call", "status")),
        ("status", Fault(STEERING, STEERING, {"a": STEERING}), ("gateway", "call", "status")),
        ("status", {"runtimeVersion": STEERING}, ("gateway", "status", "--deep")),
        ("health", {"ok": False, "channels": {STEERING: {"lastError": STEERING}}}, ("health",)),
        ("secrets.reload", {"ok": True, "warningCount": STEERING}, ("secrets", "reload")),
        ("logs.tail", {"lines": [STEERING], "cursor": 1, "skippedBytes": STEERING}, ("logs",)),
        ("logs.tail", {"lines": [STEERING, '{"message":"\x9b"}'], "cursor": 1}, ("logs", "--json")),
        (
            "agent",
            [{"status": "accepted"}, {"status": "ok", "result": {"payloads": [{"text": STEERING}]}}],
            ("agent", "--message", "hi"),
        ),
        ("agent", [{"status": "accepted"}, {"status": STEERING}], ("agent", "--message", "hi")),
        (
            "channels.status",
            {"channelAccounts": {STEERING: [{"accountId": STEERING, "lastError": STEERING}]}},
            ("channels", "status", "--probe"),
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else None,
)
def test_nothing_that_a_gateway_says_steers_the_terminal(far: Far, method, answer, arguments) -> None:
    far.port.answers[method] = answer
    done = far(*arguments)
    assert done.code in (0, 1)
    said = (done.out + done.err).replace("\n", "")
    assert said.replace("\u202e", "").isprintable(), said


def test_a_time_at_the_end_of_the_calendar_is_shown_as_it_is(far: Far) -> None:
    line = '{"time":"9999-12-31T23:59:59-23:59","level":"info","logger":"loong.x","message":"m"}'
    far.port.answers["logs.tail"] = {"lines": [line], "cursor": 1}
    done = far("logs")
    assert (done.code, done.out) == (0, "9999-12-31T23:59:59-23:59 info    x: m\n")


def test_a_token_may_come_of_a_pipe(far: Far) -> None:
    pipe = far.loong.home.parent / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(
        [sys.executable, str(ROOT / "loong.py"), "health", "--url", far.port.url, "--token-file", str(pipe)],
        stdout=subprocess.PIPE,
        env=far.loong.environ,
    ) as asking:
        # Opening it waits for the reader.
        pipe.write_text("port-secret-0001\n")
        assert asking.communicate(timeout=20)[0].startswith(b"Gateway answers")


@pytest.mark.parametrize("behind", ["?token=port-secret-0001", "#port-secret-0001"])
def test_what_stands_behind_the_path_is_refused_unsaid(far: Far, behind: str) -> None:
    done = far("health", "--url", far.port.url + behind)
    assert (done.code, done.out, far.port.calls) == (2, "", [])
    assert done.err.startswith("error: the address of the gateway cannot be used: ")
    assert "port-secret" not in done.err


# --- gateway restart


@pytest.mark.parametrize(
    ("phase", "flags", "code"),
    [
        ("stopping", ("--timeout", "0.1"), 1),
        ("stopped", ("--timeout", "0.1"), 1),
        ("stopping", ("--no-wait",), 2),
        ("running", ("--timeout", "0.1"), 2),
    ],
)
def test_a_restart_that_comes_while_one_goes_on_waits_for_it(
    tmp_path: pathlib.Path, phase: str, flags: tuple[str, ...], code: int
) -> None:
    loong = Loong(tmp_path)
    with running_owner(loong, phase=phase) as owner:
        # As a successor does, whose token is another one.
        owner.answers["/api/gateway/restart"] = (401, {"error": {"message": "no"}})
        done = loong("gateway", "restart", *flags)
    assert done.code == code, done.err
    waited = "the gateway was ending already; waiting for the next one\n"
    assert (done.out, "is not ready" in done.err) == ((waited, True) if code == 1 else ("", False))
