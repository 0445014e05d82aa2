"""config.* over a real file: the document, the words of every refusal, what a write says."""

from __future__ import annotations

import json
import pathlib

import pytest
import tomli

from loong_gateway.api.rpc.calls import ADMIN, READ
from loong_gateway.api.rpc.methods_config import methods
from loong_gateway.base.faults import StoreUnwritable
from tests.gateway.api.small_call import ask, refusal
from tests.gateway.daemon.desk_rig import TOKEN, desk_of

CONFIG = f'# mine\n[gateway]\nport = 1 # usual\n\n[telegram]\nbot_token = "{TOKEN}"\nallowed_chat_ids = []\n'
DOCUMENT = {
    "path",
    "exists",
    "valid",
    "raw",
    "parsed",
    "config",
    "hash",
    "configRevisionHash",
    "appliedConfigHash",
    "issues",
    "warnings",
}


class Control:
    """What the methods need of a control plane."""

    def __init__(self, path: pathlib.Path) -> None:
        path.write_text(CONFIG)
        path.chmod(0o600)
        self.path = path
        self.settings = desk_of(path)
        self.methods = methods(self)

    def call(self, name: str, **params: object) -> dict[str, object]:
        return ask(self.methods, name, params)

    def refusal(self, name: str, **params: object) -> tuple[str, str]:
        fault = refusal(self.methods, name, params)
        return fault.code, str(fault)

    @property
    def hash(self) -> object:
        return self.call("config.get")["hash"]


@pytest.fixture
def control(tmp_path: pathlib.Path) -> Control:
    return Control(tmp_path / "config.toml")


def test_scopes(control: Control) -> None:
    assert {one.name: (one.scope, one.writes_config) for one in control.methods} == {
        "config.get": (READ, False),
        "config.schema": (READ, False),
        "config.schema.lookup": (READ, False),
        "config.set": (ADMIN, True),
        "config.apply": (ADMIN, True),
        "config.patch": (ADMIN, True),
    }


def test_get(control: Control) -> None:
    found = control.call("config.get")
    assert set(found) == DOCUMENT
    assert found["path"] == str(control.path)
    assert (found["exists"], found["valid"], found["issues"]) == (True, True, [])
    assert found["hash"] == found["configRevisionHash"] == found["appliedConfigHash"]
    assert found["parsed"] == found["config"] == tomli.loads(found["raw"])
    assert found["parsed"]["telegram"]["bot_token"] == "__LOONG_REDACTED__"
    assert TOKEN not in json.dumps(found)


def test_values_that_json_has_not_are_texts(control: Control) -> None:
    control.path.write_text("[ui]\nwhen = 2026-11-20T07:54:27Z\nmuch = inf\nlist = [nan, 07:54:27]\n")
    assert control.call("config.get")["parsed"]["ui"] == {
        "when": "2026-11-20T07:54:27+00:00",
        "much": "inf",
        "list": ["nan", "07:54:27"],
    }


@pytest.mark.parametrize(
    "raw", ['{"gateway": {"port": 2}}', ' {\n"gateway": {"port": 2}}', "[gateway]\nport = 2"],
    ids=["json", "json_indented", "toml"],
)  # fmt: skip
def test_patch(control: Control, raw: str) -> None:
    before = control.hash
    answer = control.call("config.patch", raw=raw, baseHash=before)
    assert set(answer) == {*DOCUMENT, "ok", "changed", "restart"}
    assert answer["ok"] is True
    assert answer["changed"] == ["gateway.port"]
    assert answer["restart"] == {"required": True, "paths": ["gateway.port"]}
    assert answer["appliedConfigHash"] == before != answer["hash"]
    assert control.path.read_text() == CONFIG.replace("port = 1", "port = 2")
    assert TOKEN not in json.dumps(answer)


@pytest.mark.parametrize("name", ["config.set", "config.apply"])
def test_set(control: Control, name: str) -> None:
    found = control.call("config.get")
    raw = str(found["raw"]).replace("port = 1", "port = 3")
    control.call(name, raw=raw, baseHash=found["hash"])
    assert control.path.read_text() == CONFIG.replace("port = 1", "port = 3")


@pytest.mark.parametrize("name", ["config.set", "config.apply", "config.patch"])
def test_refusals_of_every_write(control: Control, name: str) -> None:
    raw = "[gateway]\nport = 70000\n"
    assert control.refusal(name, raw=raw) == (
        "INVALID_REQUEST",
        "config base hash required; re-run config.get and retry",
    )
    assert control.refusal(name, raw=raw, baseHash="0") == (
        "INVALID_REQUEST",
        "config changed since last load; re-run config.get and retry",
    )
    fault = refusal(control.methods, name, {"raw": raw, "baseHash": control.hash})
    message = "70000 is outside 0 to 65535"
    assert (fault.code, str(fault)) == ("INVALID_REQUEST", f"invalid config: gateway.port: {message}")
    assert fault.details == {"issues": [{"path": "gateway.port", "message": message}]}
    assert control.path.read_text() == CONFIG


def test_a_text_that_is_neither(control: Control) -> None:
    for raw in ("{", "port: 1", "{" * 5000):
        assert control.refusal("config.patch", raw=raw, baseHash=control.hash) == (
            "INVALID_REQUEST",
            "invalid config: the patch is neither JSON nor TOML",
        )
    code, message = control.refusal("config.set", raw="port: 1", baseHash=control.hash)
    assert (code, message.startswith("invalid config: not valid TOML")) == ("INVALID_REQUEST", True)


def test_a_patch_without_bottom(control: Control) -> None:
    raw = '{"a":' * 900 + "1" + "}" * 900
    code, message = control.refusal("config.patch", raw=raw, baseHash=control.hash)
    assert (code, "nested too deeply" in message) == ("INVALID_REQUEST", True)


def test_a_first_file_needs_no_hash(control: Control) -> None:
    control.path.unlink()
    assert control.call("config.get")["exists"] is False
    control.call("config.patch", raw='{"gateway":{"port":5}}')
    assert control.path.read_text() == "[gateway]\nport = 5\n"


def test_a_disk_that_refuses(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    base = control.hash

    def full(raw: str, base: str) -> None:
        raise StoreUnwritable("the config was not written: no space left on device")

    monkeypatch.setattr(control.settings, "replace", full)
    fault = refusal(control.methods, "config.set", {"raw": "x = 1", "baseHash": base})
    assert (fault.code, fault.retryable) == ("UNAVAILABLE", True)


def test_schema_and_lookup(control: Control) -> None:
    schema = control.call("config.schema")
    assert set(schema) == {"schema", "uiHints", "version", "generatedAt"}
    assert "telegram" in schema["schema"]["properties"]
    found = control.call("config.schema.lookup", path="gateway.port")
    assert set(found) <= {"path", "schema", "reloadKind", "hint", "hintPath", "children"}
    assert found["schema"]["type"] == "integer"
    assert control.refusal("config.schema.lookup", path="nothing.there") == (
        "INVALID_REQUEST",
        "config schema path not found",
    )
