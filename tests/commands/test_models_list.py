"""`loong list-models`: the first smoke test of a key."""

from __future__ import annotations

import pathlib

from tests.commands.loong_cli import KEY, Here, provider_config
from tests.fakes.model import FakeModel


def test_the_models_stand_one_per_line_after_the_facts(tmp_path: pathlib.Path) -> None:
    with FakeModel(models=("small", "large")) as model:
        loong = Here(tmp_path, provider_config(model.base_url))
        ran = loong("list-models")
        first = f"config={loong.config} provider_kind=custom models_endpoint={model.base_url}/models"
    assert ran.code == 0, ran.err
    assert ran.first_line == first
    assert sorted(ran.out.splitlines()[1:]) == ["large", "small"]


def test_the_document_has_the_fields_of_the_contract(tmp_path: pathlib.Path) -> None:
    with FakeModel(models=("small",)) as model:
        ran = Here(tmp_path, provider_config(model.base_url))("runtime", "models", "list", "--json")
    assert list(ran.document) == ["config", "provider_kind", "models_endpoint", "models"]
    assert ran.document["models"] == ["small"]


def test_a_refused_key_is_exit_2(tmp_path: pathlib.Path) -> None:
    with FakeModel(key="another") as model:
        ran = Here(tmp_path, provider_config(model.base_url))("list-models")
    assert ran.code == 2
    assert ran.out == ""
    assert "401" in ran.err
    assert KEY not in ran.err


def test_a_provider_that_is_not_there_is_exit_2(tmp_path: pathlib.Path) -> None:
    ran = Here(tmp_path, provider_config("http://127.0.0.1:9/v1"))("list-models")
    assert ran.code == 2
    assert "fix:" in ran.err
