"""No secret that is written in a config is ever shown, whichever setting it stands in and however it is written."""

from __future__ import annotations

import pytest
import tomli

from loong_channels import catalog
from loong_gateway.config.hiding import REDACTED, hidden, hidden_text, restored
from loong_gateway.config.provider_settings import PROVIDER
from loong_gateway.config.settings import SECTIONS

CANARY = "canary-0123456789abcdef"


def secret_settings() -> list[str]:
    """A dotted path for every setting that is a secret."""
    found = [f"provider.{one.name}" for one in PROVIDER.settings if one.kind == "secret"]
    found += [f"providers.x.{one.name}" for one in PROVIDER.settings if one.kind == "secret"]
    for section in SECTIONS.values():
        found += [f"{section.path}.{one.name}" for one in section.settings if one.kind == "secret"]
    for name in catalog.gateway_channels():
        names = [one.name for one in catalog.spec(name).settings if one.kind == "secret"]
        found += [f"{name}.{one}" for one in names] + [f"{name}.accounts.work.{one}" for one in names]
    return found


def camel(path: str) -> str:
    head, _, name = path.rpartition(".")
    first, *rest = name.split("_")
    return f"{head}.{first}{''.join(word.capitalize() for word in rest)}"


def shown(text: str) -> str:
    made = hidden_text(text, tomli.loads(text), tomli.loads, lambda line: line)
    assert tomli.loads(made) == hidden(tomli.loads(text))
    return made


@pytest.mark.parametrize("path", secret_settings())
def test_every_secret_setting_is_hidden(path: str) -> None:
    holder, _, name = path.rpartition(".")
    for text in (
        f'{path} = "{CANARY}"\n',
        f"[{holder}]\n{name} = '{CANARY}' # here\n",
        f'[{holder}]\n{name} = """\\\n  {CANARY}"""\n',
        f'{camel(path)} = "{CANARY}"\n',
        f'{holder} = {{ {name} = "{CANARY}" }}\n',
        f'{path} = {{ exec = ["pass", "{CANARY}"] }}\n',
        f'{path} = {{ value = "{CANARY}" }}\n',
        f'{path} = ["{CANARY}"]\n',
        f'{path}_env = "{CANARY}"\n',
    ):
        made = shown(text)
        assert CANARY not in made, text
        assert REDACTED in made
        table = tomli.loads(text)
        assert restored(tomli.loads(made), table) == table


@pytest.mark.parametrize(
    "line",
    [
        '[provider.headers]\nX-Anything = "CANARY"',
        'network.proxy = "http://me:CANARY@proxy.example:3128"',
        'discord.bot_token = "CANARY"',
        'teams.webhook_url = "https://hooks.example/CANARY"',
        'unknown.signing_key = "CANARY"',
        'unknown.url = "https://x.example/send?access_token=CANARY&x=1"',
        'plugins.list = [{ deep = { password = "CANARY" } }]',
        'secrets.store.one = "CANARY"',
        '# bot_token = "CANARY"',
        "x = 1 # the old API_KEY: CANARY",
        '"a\\u0041".token = "CANARY" # a key that the scanner does not follow',
    ],
)
def test_what_this_build_does_not_read_is_hidden(line: str) -> None:
    assert CANARY not in shown(line.replace("CANARY", CANARY) + "\n")


def test_a_comment_with_a_known_secret_is_hidden() -> None:
    text = f"x = 1 # {CANARY}\n# fine\n"
    made = hidden_text(text, tomli.loads(text), tomli.loads, lambda line: line.replace(CANARY, "***"))
    assert made == f"x = 1 # {REDACTED}\n# fine\n"


def test_what_is_no_secret_is_shown_as_it_is() -> None:
    text = """# a comment about tokens
[provider]
kind = "openai"
api_key = { env = "OPENAI_API_KEY" }
base_url = "https://api.example/v1"
max_tokens = 100
[gateway.auth]
mode = "token"
password = "${LOONG_GATEWAY_PASSWORD}"
[telegram]
bot_token = { file = "/run/secrets/telegram" }
bot_token_env = "TELEGRAM_BOT_TOKEN"
allowed_chat_ids = [1]
"""
    assert shown(text) == text


def test_a_mark_elsewhere_stays_a_mark() -> None:
    stored = {"telegram": {"bot_token": CANARY}, "provider": {"model": "m"}}
    given = {
        "provider": {"model": REDACTED},
        "wecom": {"secret": REDACTED},
        "telegram": {"botToken": REDACTED},
    }
    assert restored(given, stored) == {
        "provider": {"model": REDACTED},
        "wecom": {"secret": REDACTED},
        "telegram": {"botToken": CANARY},
    }
