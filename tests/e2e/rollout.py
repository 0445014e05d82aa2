"""The configurations of the published playbooks, word for word, and the three platforms that they are about.

A test adds only what it must: the addresses of the doubles and a provider. Secrets come by the variables that the
playbooks name.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass

from tests.e2e.gateway import TELEGRAM_VARIABLE, Gateway, config_for
from tests.fakes import feishu, telegram, wecom
from tests.fakes.feishu_platform import FakeFeishuPlatform
from tests.fakes.model import FakeModel
from tests.fakes.telegram import FakeTelegram
from tests.fakes.wecom import FakeWeCom

THREE_LANES = """
[feishu]
enabled = true
mode = "websocket"
default_account = "work"

[feishu.accounts.work]
domain = "lark"
app_id = { env = "LARK_WORK_APP_ID" }
app_secret = { env = "LARK_WORK_APP_SECRET" }
allowed_chat_ids = ["oc_ops_room"]

[telegram]
enabled = true
default_account = "bot_123456"

[telegram.accounts.bot_123456]
bot_token = { env = "TELEGRAM_BOT_TOKEN" }
allowed_chat_ids = [123456789]

[wecom]
enabled = true
default_account = "alerts"

[wecom.accounts.alerts]
bot_id = { env = "WECOM_ALERTS_BOT_ID" }
secret = { env = "WECOM_ALERTS_SECRET" }
allowed_conversation_ids = ["group_alerts"]
"""
THREE_SELECTORS = (
    "--channel-account",
    "lark=work",
    "--channel-account",
    "telegram=bot_123456",
    "--channel-account",
    "wecom=alerts",
)
ONE_WECOM = """
[wecom]
enabled = true
bot_id = { env = "WECOM_BOT_ID" }
secret = { env = "WECOM_SECRET" }
ping_interval_s = 45
reconnect_interval_s = 12
allowed_conversation_ids = ["group_demo"]
"""
NAMED_WECOM = """
[wecom]
enabled = true
default_account = "work"
ping_interval_s = 45
reconnect_interval_s = 12

[wecom.accounts.work]
bot_id = { env = "WECOM_WORK_BOT_ID" }
secret = { env = "WECOM_WORK_SECRET" }
allowed_conversation_ids = ["group_work"]

[wecom.accounts.alerts]
bot_id = { env = "WECOM_ALERTS_BOT_ID" }
secret = { env = "WECOM_ALERTS_SECRET" }
allowed_conversation_ids = ["group_alerts"]
"""
ARK_PROVIDER = """
active_provider = "volcengine"

[providers.volcengine]
kind = "volcengine"
api_key = { env = "ARK_API_KEY" }
model = "auto"
"""
VARIABLES = {
    TELEGRAM_VARIABLE: telegram.TOKEN,
    "LARK_WORK_APP_ID": feishu.APP_ID,
    "LARK_WORK_APP_SECRET": feishu.APP_SECRET,
    "FEISHU_APP_ID": feishu.APP_ID,
    "FEISHU_APP_SECRET": feishu.APP_SECRET,
    "WECOM_BOT_ID": wecom.BOT_ID,
    "WECOM_SECRET": wecom.SECRET,
    "WECOM_WORK_BOT_ID": wecom.BOT_ID,
    "WECOM_WORK_SECRET": wecom.SECRET,
    "WECOM_ALERTS_BOT_ID": wecom.BOT_ID,
    "WECOM_ALERTS_SECRET": wecom.SECRET,
    "ARK_API_KEY": "sk-test-0123456789abcdef",
}


def with_addresses(config: str, **addresses: str) -> str:
    """The configuration with one more line in the table of each family: where its double listens."""
    for family, address in addresses.items():
        setting = "websocket_url" if family == "wecom" else "base_url"
        head = f"[{family}]\n"
        assert head in config
        config = config.replace(head, f'{head}{setting} = "{address}"\n')
    return config


@dataclass
class Platforms:
    """The three platforms and a model."""

    telegram: FakeTelegram
    feishu: FakeFeishuPlatform
    wecom: FakeWeCom
    model: FakeModel

    def config(self, text: str = THREE_LANES, more: str = "") -> str:
        """The configuration with a provider and all addresses."""
        addresses = {
            "telegram": self.telegram.base_url,
            "feishu": self.feishu.base_url,
            "wecom": self.wecom.url,
        }
        known = {family: url for family, url in addresses.items() if f"[{family}]" in text}
        return config_for(None, self.model, more=more) + with_addresses(text, **known)

    def complaints(self) -> list[str]:
        """What a good client never does, on all of them."""
        return self.telegram.complaints + self.feishu.complaints + self.wecom.complaints


@contextlib.contextmanager
def platforms(**options: object) -> Iterator[Platforms]:
    """All of them; `options` are of FakeModel."""
    with (
        FakeTelegram() as first,
        FakeFeishuPlatform() as second,
        FakeWeCom() as third,
        FakeModel(**options) as model,
    ):
        yield Platforms(first, second, third, model)


@contextlib.contextmanager
def three_lanes(directory: pathlib.Path) -> Iterator[tuple[Gateway, Platforms]]:
    """The platforms and a gateway with the playbook's configuration and command line, not started yet."""
    with platforms() as around:
        arguments = ("gateway", "run", *THREE_SELECTORS)
        with Gateway(directory, around.config(), environ=VARIABLES, arguments=arguments) as gateway:
            yield gateway, around


def all_ready(document: dict[str, object]) -> bool:
    """Whether a status document says that every surface is ready."""
    surfaces = document["surfaces"]
    assert isinstance(surfaces, list)
    return bool(surfaces) and all(one["phase"] == "ready" for one in surfaces)
