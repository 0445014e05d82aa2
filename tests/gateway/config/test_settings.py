"""The tables of settings and of provider kinds are complete and consistent."""

from __future__ import annotations

import pytest

from loong_channels import catalog
from loong_channels.settings import Setting
from loong_gateway.config.casting import cast
from loong_gateway.config.kinds import KINDS, canonical, placed
from loong_gateway.config.loading import validate_source
from loong_gateway.config.provider_settings import ACTIVE_PROVIDER, PROVIDER
from loong_gateway.config.settings import CHANNEL_COMMON, LATER_CHANNEL_SETTINGS, SECTIONS
from loong_gateway.config.tables import fold
from loong_gateway.config.urls import check_base_url
from tests.gateway.config.reading import findings

ROWS = [
    *((section.path, setting) for section in (*SECTIONS.values(), PROVIDER) for setting in section.settings),
    *(("channel", setting) for setting in (*CHANNEL_COMMON, ACTIVE_PROVIDER)),
    *(
        (row.id, setting)
        for row in catalog.KNOWN.values()
        if row.package is not None
        for setting in catalog.spec(row.id).settings
    ),
]


@pytest.mark.parametrize(("path", "setting"), ROWS, ids=lambda value: getattr(value, "name", value))
def test_each_row_is_sane(path: str, setting: Setting) -> None:
    assert setting.help
    assert setting.reload in ("hot", "channel", "restart")
    assert (setting.env is not None) <= (setting.kind == "secret")
    assert bool(setting.choices) == (setting.kind == "choice")
    if setting.kind in ("int", "float"):
        assert setting.minimum is not None
        assert setting.maximum is not None
    if setting.default is None or setting.kind == "secret":
        return
    written = list(setting.default) if isinstance(setting.default, tuple) else setting.default
    done = cast(setting, written)
    assert done.problems == ()
    assert done.value == setting.default


def test_no_table_has_a_name_twice() -> None:
    for section in (*SECTIONS.values(), PROVIDER):
        names = [
            fold(name) for name in (*(s.name for s in section.settings), *section.tables, *section.later)
        ]
        assert len(names) == len(set(names)), section.path
    for names_of_channel in LATER_CHANNEL_SETTINGS.values():
        assert len(names_of_channel) == len(set(names_of_channel))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("bot_token", "bot_token"),
        ("botToken", "bot_token"),
        ("controlUi", "control_ui"),
        ("max_per_peer", "max_per_peer"),
        ("rateLimit", "rate_limit"),
        ("maxTokens2", "max_tokens2"),
    ],
)
def test_spellings_fold(given: str, expected: str) -> None:
    assert fold(given) == expected


def test_no_spelling_means_two_kinds() -> None:
    spellings = [name for kind in KINDS.values() for name in (kind.name, *kind.aliases)]
    assert len(spellings) == len(set(spellings))
    assert len(KINDS) == 46


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("ark", "volcengine"),
        (" Doubao ", "volcengine"),
        ("GLM", "zhipu"),
        ("echo", "echo"),
        ("nothing", None),
    ],
)
def test_kinds_are_found_by_alias(given: str, expected: str | None) -> None:
    assert canonical(given) == expected


def test_kinds_can_be_asked_where_they_live() -> None:
    assert len(KINDS) == 46
    for name, row in KINDS.items():
        kind = placed(row, {"AWS_REGION": "eu-1"})
        if kind.own_base_url or name == "echo":
            continue
        assert check_base_url(kind.base_url, plain_http=False) == ""
        assert kind.always in kind.base_url
        assert not kind.never or kind.never not in kind.base_url
        assert kind.chat_path.startswith("/")
        assert kind.models_path.startswith(("/", "https://"))
        assert kind.key_optional == (not kind.key_env and not kind.oauth_env)


@pytest.mark.parametrize(
    ("listed", "good"),
    [
        ('["192.0.2.5", "198.51.100.0/24", "2001:db8::/48"]', True),
        ("[]", True),
        ('["proxy.example"]', False),
        ('["192.0.2.5/33"]', False),
        ('[""]', False),
    ],
)
def test_proxies_are_addresses_and_networks(listed: str, good: bool) -> None:
    found = findings(f"[gateway]\ntrustedProxies = {listed}\n")
    assert [one.field_path for one in found if one.severity == "error"] == (
        [] if good else ["gateway.trustedProxies"]
    )


@pytest.mark.parametrize(
    ("path", "good"),
    [
        ("/hooks", True),
        ("hooks/x", True),
        ("/in", True),
        ("/v1", False),
        ("/healthz", False),
        ("/api/x", False),
    ],
)
def test_hooks_stand_where_nothing_else_does(path: str, good: bool) -> None:
    found = findings(f'[hooks]\npath = "{path}"\n')
    assert [one.field_path for one in found if one.severity == "error"] == ([] if good else ["hooks.path"])


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", ("OPENAI_CODEX_OAUTH_TOKEN", "OPENAI_OAUTH_ACCESS_TOKEN")),
        ('api_key = "k"', ()),
        ('api_key_env = "MINE"', ()),
        ('oauth_access_token_env = "MINE"', ("MINE",)),
    ],
)
def test_the_usual_token_is_only_looked_for_where_no_key_is_written(
    text: str, variables: tuple[str, ...]
) -> None:
    config, _ = validate_source("c", f'[provider]\nkind = "openai"\n{text}\n'.encode(), environ={})
    assert config is not None
    assert config.providers["default"].oauth_access_token.fallback_env == variables


def test_cooldowns_are_moved_into_their_bounds_and_never_end_before_they_begin() -> None:
    text = b"""
fallback_providers = ["Spare"]
active_provider = "main"
[providers.main]
profile_cooldown_ms = 99999999
profile_cooldown_max_ms = 5
profile_auth_reject_disable_ms = 1
model_candidate_cooldown_max_entries = 0
[providers.spare]
kind = "echo"
"""
    config, found = validate_source("c", text, environ={})
    assert config is not None and {one.code for one in found} == {"config.value.clamped"}
    profile = config.providers["main"]
    assert (profile.profile_cooldown_ms, profile.profile_cooldown_max_ms) == (3_600_000, 3_600_000)
    assert profile.profile_auth_reject_disable_ms == 60_000
    assert profile.model_candidate_cooldown_max_entries == 1
    assert config.fallback_providers == ("spare",)
