"""A gateway whose provider refuses every key: another one answers, and nobody is told that all is well."""

from __future__ import annotations

import json
import os
import pathlib
import stat

from tests.e2e.gateway import Gateway, config_for
from tests.fakes.model import FakeModel
from tests.fakes.telegram import FakeTelegram

OLD = ("old-key-number-one", "old-key-number-two")


def test_a_spare_provider_answers_and_the_status_says_so(tmp_path: pathlib.Path) -> None:
    with (
        FakeTelegram() as telegram,
        FakeModel(key="replaced-long-ago") as main,
        FakeModel(key="key-of-the-spare") as spare,
    ):
        tables = [
            f'[providers.{name}]\nkind = "custom"\nmodel = "test-model"\nbase_url = "{model.base_url}"\n'
            f'api_key = {{ env = "{name.upper()}_KEY" }}\n'
            for name, model in (("main", main), ("spare", spare))
        ]
        chosen = 'active_provider = "main"\nfallback_providers = ["spare"]\n'
        config = chosen + "".join(tables) + config_for(telegram, None)
        environ = {"MAIN_KEY": ";".join(OLD), "SPARE_KEY": "key-of-the-spare"}
        with Gateway(tmp_path, config, environ=environ) as gateway:
            telegram.add_private(1001)
            gateway.start()
            before = gateway.wait_status(lambda document: bool(document["ready"]))["provider"]
            assert (before["keys"], before["fallbacks"][0]["keys"]) == (None, None)
            telegram.say("is anybody there?")
            (answer,) = telegram.wait_messages(1)
            assert "is anybody there?" in answer.text
            assert len(main.refused) == 2 and len(spare.calls) == 1
            status = gateway.wait_status(lambda document: bool(document["provider"]["answered_by"]))
            assert status["degraded_reasons"] == ["provider_unavailable"]
            provider = status["provider"]
            assert provider["answered_by"] == "spare"
            assert [provider["keys"][name] for name in ("count", "cooling", "disabled")] == [2, 0, 2]
            shown = gateway.run("status")
            assert "auth_rejected; spare answers instead; of 2 keys 2 disabled" in shown.stdout
            everything = shown.stdout + gateway.output()
        (state,) = pathlib.Path(tmp_path).rglob("provider-profile-state.json")
        kept = state.read_text(encoding="utf-8")
        assert stat.S_IMODE(os.stat(state).st_mode) == 0o600
        assert len(json.loads(kept)["profiles"]["main"]) == 2
        assert not any(key in kept + everything for key in (*OLD, "key-of-the-spare"))
