"""models.list: closed rows, the configured model marked, the words for what cannot be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from loong_gateway.api.rpc.methods_models import methods
from loong_gateway.api.rpc.params import BadParam
from loong_gateway.config.snapshot import Config
from tests.gateway.api.small_call import ask
from tests.gateway.config.reading import valid

CONFIG = """
active_provider = "main"
[providers.main]
kind = "ollama"
model = "m"
images = true
[providers.other]
kind = "openai"
"""
SEES = ["text", "image"]


class Control:
    def __init__(self) -> None:
        self.asked: list[bool] = []

    def config(self) -> Config:
        return valid(CONFIG)

    def models(self, *, refresh: bool, timeout_s: float) -> Sequence[Mapping[str, object]]:
        assert 0 < timeout_s < 10
        self.asked.append(refresh)
        return [
            {"id": "m", "profile": "main", "kind": "ollama", "available": True},
            {"id": "n", "profile": "main", "kind": "ollama", "available": True},
            {
                "id": "auto",
                "profile": "other",
                "kind": "openai",
                "available": False,
                "error": "no key",
                "error_code": "secret_missing",
            },
        ]


def test_rows() -> None:
    assert ask(methods(Control()), "models.list", {"view": "default", "includeDetails": True}) == {
        "models": [
            {
                "id": "m",
                "name": "m",
                "provider": "main",
                "available": True,
                "input": SEES,
                "tags": ["default"],
            },
            {"id": "n", "name": "n", "provider": "main", "available": True, "input": SEES},
            {
                "id": "auto",
                "name": "auto",
                "provider": "other",
                "available": False,
                "input": ["text"],
                "unavailableReason": "missing-auth",
            },
        ]
    }


def test_only_what_the_config_names() -> None:
    found = ask(methods(Control()), "models.list", {"view": "configured"})
    assert [one["id"] for one in found["models"]] == ["m", "auto"]


@pytest.mark.parametrize(
    ("params", "refresh"),
    [({}, False), ({"refresh": True}, True), ({"refresh": True, "preparedOnly": True}, False)],
    ids=["cached", "anew", "prepared"],
)
def test_asks_anew_only_when_told(params: dict[str, object], refresh: bool) -> None:
    control = Control()
    ask(methods(control), "models.list", params)
    assert control.asked == [refresh]


def test_a_view_that_is_none() -> None:
    with pytest.raises(BadParam, match="at /view"):
        ask(methods(Control()), "models.list", {"view": "every"})
