"""Work units and the audit journal of a real gateway, by commands beside it and without it."""

from __future__ import annotations

import json
import os
import pathlib
import re
import stat

from tests.e2e.world import staged
from tests.gateway.api.rpc.rpc_kit import WsClient
from tests.waiting import wait_until

CANARY = "canary-text-8271"
GUESS = "canary-guess-5514"
VERB = ("runtime", "work-unit")


def test_the_verbs_say_the_same_beside_a_gateway_and_without_one(tmp_path: pathlib.Path) -> None:
    with staged(tmp_path) as (gateway, _, _):
        said = []
        for id in ("wu-" + "a" * 16, "wu-" + "b" * 16):
            lines = []
            for words in (
                ("create", "--kind", "issue", "--title", "Fix it", "--id", id),
                ("claim", "--owner", "w"),
                ("start", "--id", id, "--owner", "other"),
                ("complete", "--id", id, "--owner", "w", "--disposition", "completed"),
                ("claim", "--owner", "w"),
                ("update", "--id", id, "--status", "leased"),
            ):
                done = gateway.run(*VERB, *words)
                text = re.sub(r"=[0-9]{13}", "=N", (done.stdout + done.stderr).replace(id, "ID"))
                lines.append((words[0], done.returncode, text))
            said.append(lines)
            if not gateway.process:
                gateway.start()
        alone, beside = said
        for one, other in zip(alone, beside):
            assert one == other
        assert [code for _, code, _ in alone] == [0, 0, 1, 0, 0, 2]
        assert "start did not find a matching active lease" in alone[2][2]
        assert alone[4][2] == "claimed=false\n"


def test_leases_of_dead_workers_come_back_by_themselves(tmp_path: pathlib.Path) -> None:
    with staged(tmp_path) as (gateway, _, _):
        made = json.loads(gateway.run(*VERB, "create", "--kind", "ops", "--title", "t", "--json").stdout)
        id = made["work_unit"]["work_unit_id"]
        gateway.run(*VERB, "claim", "--owner", "gone", "--ttl-ms", "1")
        gateway.start()

        def status() -> str:
            shown = json.loads(gateway.run(*VERB, "show", "--id", id, "--json").stdout)
            return str(shown["work_unit"]["status"])

        # The first look at leases comes at the start.
        wait_until(lambda: status() == "retry_pending")
        document = json.loads(gateway.run("status", "--json").stdout)
        assert document["work_units"]["health"]["retry_pending_count"] == 1


def test_the_journal_tells_what_was_done_and_nothing_that_was_said(tmp_path: pathlib.Path) -> None:
    with staged(tmp_path, more='[gateway.auth]\ntoken = { env = "PORT_TOKEN" }') as (
        gateway,
        telegram,
        _,
    ):
        gateway.environ["PORT_TOKEN"] = "canary-port-secret-993311"
        gateway.start()
        journal = pathlib.Path(gateway.home) / "audit" / "events.jsonl"
        telegram.say(CANARY)
        telegram.wait_messages(1)
        sent = gateway.run("channels", "send", "telegram", "--target", "1001", "--text", CANARY)
        assert sent.returncode == 0, sent.stderr
        token = (pathlib.Path(gateway.home) / "gateway-runtime" / "control-token").read_text().strip()
        with WsClient(f"ws://127.0.0.1:{gateway.port}/") as client:
            client.next()
            client.connect(token=token)
            again = {"channel": "telegram", "to": "1001", "message": CANARY, "idempotencyKey": CANARY}
            assert client.ask("send", again)["ok"] is True
        assert gateway.run("gateway", "channel", "restart", "telegram").returncode == 0
        gateway.run("secrets", "reload")
        refused = gateway.run(
            *(
                "health",
                "--url",
                f"ws://127.0.0.1:{gateway.port}",
                "--token-file",
                str(write(tmp_path, GUESS)),
            )
        )
        assert refused.returncode == 2
        with WsClient(f"ws://127.0.0.1:{gateway.port}/") as client:
            client.next()
            client.connect(token=token, scopes=["operator.read"])
            for _ in range(3):
                client.ask("config.patch", {"raw": CANARY, "baseHash": "x"})
        with WsClient(f"ws://127.0.0.1:{gateway.port}/") as client:
            client.next()
            client.connect(token=token)
            seen = client.ask("config.get")["payload"]
            change = {"raw": json.dumps({"gateway": {"drain_s": 7}}), "baseHash": seen["hash"]}
            assert client.ask("config.patch", change)["ok"] is True
        wait_until(lambda: b'"config"' in journal.read_bytes())
        assert gateway.run("audit", "verify").returncode == 0
        live = json.loads(gateway.run("status", "--json").stdout)["audit"]
        assert (live["mode"], live["path"], live["lost"]) == ("jsonl", str(journal), 0)
        assert live["events"] >= 1
        assert gateway.run("audit", "repair").returncode == 2
        gateway.stop()
        told = json.loads(gateway.run("audit", "recent", "--json").stdout)
        assert (told["command"], told["journal_path"]) == ("recent", str(journal))
        kinds = [one["kind"] for one in told["events"]]
        named = [
            (name, facts.get("operation") or facts.get("reason"))
            for one in kinds
            for name, facts in one.items()
        ]
        assert named == [
            ("PlaneInvoked", "start"),
            ("ConnectorInvoked", "send"),
            ("ConnectorInvoked", "send"),
            ("PlaneInvoked", "restart"),
            ("PlaneInvoked", "reload"),
            ("AuthorizationDenied", "wrong_credential"),
            ("AuthorizationDenied", "missing_scope"),
            ("PlaneInvoked", "patch"),
            ("PlaneInvoked", "stop"),
        ]
        assert kinds[-2]["PlaneInvoked"]["changed"] == ["gateway.drain_s"]
        data = journal.read_text()
        secrets = [
            CANARY,
            GUESS,
            token,
            "canary-port-secret",
            "sk-test-0123456789abcdef",
            "AAExample",
            "hello",
        ]
        assert [one for one in secrets if one in data] == []
        assert stat.S_IMODE(os.stat(journal).st_mode) == 0o600
        assert gateway.run("audit", "summary").stdout.startswith("9 events, the newest ones, by kind\n")
        journal.write_text(data.replace('"operation":"send"', '"operation":"none"'))
        broken = gateway.run("audit", "verify", "--json")
        assert broken.returncode == 1
        assert json.loads(broken.stdout)["first_break"]["line"] == 2


def test_without_a_journal_the_commands_say_when_there_will_be_one(tmp_path: pathlib.Path) -> None:
    with staged(tmp_path) as (gateway, _, _):
        missing = gateway.run("audit", "recent")
        assert missing.returncode == 2
        assert "audit journal not found; it appears when" in missing.stderr


def test_a_journal_that_cannot_be_written_degrades_and_stops_nothing(tmp_path: pathlib.Path) -> None:
    with staged(tmp_path) as (gateway, telegram, _):
        (pathlib.Path(gateway.home) / "audit").write_text("in the way")
        gateway.start()
        wait_until(lambda: "audit_unwritable" in gateway.run("gateway", "status", "--json").stdout)
        telegram.say("hello")
        telegram.wait_messages(1)
        (pathlib.Path(gateway.home) / "audit").unlink()
        gateway.stop()
        kinds = [one["kind"] for one in json.loads(gateway.run("audit", "recent", "--json").stdout)["events"]]
        assert [next(iter(one.values()))["operation"] for one in kinds] == ["start", "stop"]


def write(directory: pathlib.Path, text: str) -> pathlib.Path:
    path = directory / "guess"
    path.write_text(text)
    return path
