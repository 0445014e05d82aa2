"""Reading config.toml: every finding with its code, line and column, all at once."""

from __future__ import annotations

import os
import pathlib
import random
import sys

import pytest

from loong_channels.telegram.spec import SPEC
from loong_gateway.config.diagnostics import WARNINGS, as_lines
from loong_gateway.config.loading import MAX_CONFIG_BYTES, ConfigInvalid, load, validate, validate_source
from loong_gateway.config.provider_settings import PROVIDER
from loong_gateway.config.settings import SECTIONS
from loong_gateway.config.snapshot import Diagnostic
from loong_gateway.owner.paths import Places, resolve_places
from loong_gateway.texts.config import TEXTS
from tests.gateway.config.reading import PATH, findings, valid

TOKEN = "123456:AAcanary_canary-canary0123456789"


def check(text: str, environ: dict[str, str] | None = None) -> list[Diagnostic]:
    found = findings(text, environ)
    for diagnostic in found:
        assert TOKEN not in f"{diagnostic}"
    return found


def codes(found: list[Diagnostic]) -> list[str]:
    return [diagnostic.code for diagnostic in found]


def home(tmp_path: pathlib.Path, source: str | bytes | None = None, mode: int = 0o600) -> Places:
    if source is not None:
        path = tmp_path / "config.toml"
        path.write_bytes(source.encode() if isinstance(source, str) else source)
        path.chmod(mode)
    return resolve_places({}, {"LOONG_HOME": str(tmp_path)})


# One row per finding: text, code, path, (line, column), part of the message.
FINDINGS = [
    (
        "[acp]\nenabled = true\nbackend = 'codxe'\n[acp.backends.codex]\ncommand = 'codex'",
        "config.acp.unknown_backend",
        "acp.backend",
        (3, 11),
        "there is no acp.backends.codxe; did you mean codex?",
    ),
    ("[acp]\nenabled = true", "config.acp.no_backend", "acp", (1, 1), "of 0 backends none is chosen"),
    (
        "[acp]\nenabled = true\n[acp.backends.codex]",
        "config.acp.no_command",
        "acp.backends.codex",
        (3, 1),
        "has no command",
    ),
    (
        "[gateway]\nport = 70000",
        "config.numeric_range",
        "gateway.port",
        (2, 8),
        "70000 is outside 0 to 65535",
    ),
    ("[gateway]\nworkers = 0", "config.numeric_range", "gateway.workers", (2, 11), "0 is outside 1 to 256"),
    ("[memory]\nsliding_window = 129", "config.numeric_range", "memory.sliding_window", (2, 18), "1 to 128"),
    (
        "[gateway]\ndrain_s = nan",
        "config.numeric_range",
        "gateway.drain_s",
        (2, 11),
        "nan is outside 0 to 3600",
    ),
    (
        f"[gateway]\nport = 0x{'f' * 5000}",
        "config.numeric_range",
        "gateway.port",
        (2, 8),
        "this number is outside",
    ),
    (
        '[gateway]\nport = "18789"',
        "config.value.type",
        "gateway.port",
        (2, 8),
        "expected a whole number, got text",
    ),
    ("[gateway]\nport = true", "config.value.type", "gateway.port", (2, 8), "got true or false"),
    ("[gateway]\nport = 1.0", "config.value.type", "gateway.port", (2, 8), "got a number"),
    ("[gateway]\nmode = 1979-05-27", "config.value.type", "gateway.mode", (2, 8), "got a date or time"),
    ("gateway = 3", "config.value.type", "gateway", (1, 11), "expected a table, got a whole number"),
    (
        "[telegram]\nenabled = 1",
        "config.value.type",
        "telegram.enabled",
        (2, 11),
        "expected true or false, got a whole number",
    ),
    (
        '[telegram.accounts.bot_123456]\nallowed_chat_ids = "12"',
        "config.value.type",
        "telegram.accounts.bot_123456.allowed_chat_ids",
        (2, 20),
        "expected a list of whole numbers, got text",
    ),
    (
        '[telegram]\nallowed_chat_ids = [1,\n  "x"]',
        "config.value.type",
        "telegram.allowed_chat_ids",
        (3, 3),
        "expected a whole number as item, got text",
    ),
    (
        "[telegram]\naccounts = { a = 1 }",
        "config.value.type",
        "telegram.accounts.a",
        (2, 18),
        "expected a table, got a whole number",
    ),
    (
        "[telegram]\naccounts.a.bot_token = 5",
        "config.value.type",
        "telegram.accounts.a.bot_token",
        (2, 24),
        'expected text or a table such as { env = "NAME" }, got a whole number',
    ),
    (
        '[telegram]\nallowed_chat_ids = ["*"]',
        "config.value.invalid",
        "telegram.allowed_chat_ids",
        (2, 21),
        '"*" is not allowed here',
    ),
    (
        "[telegram]\nallowed_sender_ids = [99999999999999999999]",
        "config.numeric_range",
        "telegram.allowed_sender_ids",
        (2, 23),
        "this id is outside",
    ),
    (
        '[telegram]\nallowed_chat_ids = ["-100123"]',
        "config.value.converted",
        "telegram.allowed_chat_ids",
        (2, 21),
        "digits in quotes",
    ),
    (
        '[telegram]\nbot_token = "__LOONG_REDACTED__"',
        "config.value.redacted",
        "telegram.bot_token",
        (2, 13),
        "the mark that stands for a hidden secret",
    ),
    (
        "[telegram]\npolling_timeout_s = 90",
        "config.value.clamped",
        "telegram.polling_timeout_s",
        (2, 21),
        "90 is outside 1 to 50; 50 is used",
    ),
    (
        '[telegram]\nstreaming_mode = "drft"',
        "config.value.invalid",
        "telegram.streaming_mode",
        (2, 18),
        'expected one of off, draft, got "drft"; did you mean draft?',
    ),
    (
        '[telegram]\nbase_url = "http://10.0.0.5"',
        "config.value.invalid",
        "telegram.base_url",
        (2, 12),
        "is http:// to another host",
    ),
    (
        '[telegram]\nbase_url = "ftp://x"',
        "config.value.invalid",
        "telegram.base_url",
        (2, 12),
        "does not start with https:// or http://",
    ),
    (
        '[telegram]\nbase_url = "https://u:p@x"',
        "config.value.invalid",
        "telegram.base_url",
        (2, 12),
        "user name or password",
    ),
    (
        '[telegram]\nbase_url = "https://x/?a=b"',
        "config.value.invalid",
        "telegram.base_url",
        (2, 12),
        "query or fragment",
    ),
    (
        '[telegram]\nbase_url = "https://"',
        "config.value.invalid",
        "telegram.base_url",
        (2, 12),
        "names no host",
    ),
    (
        '[telegram]\nbase_url = "https://[::1"',
        "config.value.invalid",
        "telegram.base_url",
        (2, 12),
        "is not a URL",
    ),
    (
        '[telegram]\nbase_url = "https://a b"',
        "config.value.invalid",
        "telegram.base_url",
        (2, 12),
        "may not hold",
    ),
    (
        '[network]\nproxy = "socks5://h:1"',
        "config.value.invalid",
        "network.proxy",
        (2, 9),
        "is not an http:// proxy",
    ),
    ('[network]\nclient_key = "k"', "config.value.invalid", "network.client_key", (2, 14), "client_cert"),
    ('[gateway]\nbind = "loopbck"', "config.value.invalid", "gateway.bind", (2, 8), "did you mean loopback?"),
    (
        '[gateway]\nbind = "custom"',
        "config.value.invalid",
        "gateway.bind",
        (2, 8),
        "needs gateway.customBindHost",
    ),
    (
        '[gateway.auth]\nmode = "none"',
        "config.gateway.auth_mode_refused",
        "gateway.auth.mode",
        (2, 8),
        "none would open the port",
    ),
    (
        '[gateway.auth]\nmode = "trusted-proxy"',
        "config.gateway.auth_mode_refused",
        "gateway.auth.mode",
        (2, 8),
        "trusted-proxy would open",
    ),
    (
        '[provider]\nheaders = { "a b" = "c" }',
        "config.value.invalid",
        'provider.headers."a b"',
        (2, 21),
        "is not the name of a header",
    ),
    (
        '[provider]\nheaders.X = "a\\nb"',
        "config.value.invalid",
        "provider.headers.X",
        (2, 13),
        "a header may not hold",
    ),
    ("[gateway]\nprot = 1", "config.key.unknown", "gateway.prot", (2, 1), "unknown key; did you mean port?"),
    (
        "[feishu.acounts]",
        "config.table.unknown",
        "feishu.acounts",
        (1, 1),
        "unknown table; did you mean accounts?",
    ),
    ("[lark]", "config.table.unknown", "lark", (1, 1), "unknown table; did you mean feishu?"),
    ("[zzzzzzzz]", "config.table.unknown", "zzzzzzzz", (1, 1), "unknown table"),
    (
        '[telegram]\nbot_token = "a"\n  botToken = "b"',
        "config.key.duplicate",
        "telegram.botToken",
        (3, 3),
        "written twice, as bot_token and as botToken",
    ),
    (
        '[telegram]\nbot_token = "a b"',
        "config.secret.shape",
        "telegram.bot_token",
        (2, 13),
        "it holds white space; it cannot be a secret",
    ),
    (
        '[telegram]\nbot_token = { env = "A", file = "b" }',
        "config.secret.form",
        "telegram.bot_token",
        (2, 13),
        "exactly one of env, file, exec",
    ),
    ("[telegram]\nbot_token = {}", "config.secret.form", "telegram.bot_token", (2, 13), "exactly one of"),
    (
        '[telegram]\nbot_token = { vault = "x" }',
        "config.secret.form",
        "telegram.bot_token",
        (2, 13),
        "exactly one of",
    ),
    (
        '[telegram]\nbot_token = { exec = "cat x" }',
        "config.secret.form",
        "telegram.bot_token.exec",
        (2, 22),
        "expected a list of texts, the program first",
    ),
    (
        "[telegram]\nbot_token = { file = 3 }",
        "config.secret.form",
        "telegram.bot_token.file",
        (2, 22),
        "expected text, got a whole number",
    ),
    (
        '[telegram]\nbot_token_env = "MY_TOKEN=abc"',
        "config.env_pointer.assignment",
        "telegram.bot_token_env",
        (2, 17),
        "holds NAME=value",
    ),
    (
        '[telegram]\nbot_token_env = "$MY_TOKEN"',
        "config.env_pointer.dollar_prefix",
        "telegram.bot_token_env",
        (2, 17),
        "dollar sign",
    ),
    (
        '[telegram]\nbot_token_env = "${MY_TOKEN}"',
        "config.env_pointer.dollar_prefix",
        "telegram.bot_token_env",
        (2, 17),
        "dollar sign",
    ),
    (
        '[telegram]\nbot_token_env = "%MY_TOKEN%"',
        "config.env_pointer.percent_wrapped",
        "telegram.bot_token_env",
        (2, 17),
        "percent signs",
    ),
    (
        f'[telegram]\nbot_token_env = "{TOKEN}"',
        "config.env_pointer.secret_literal",
        "telegram.bot_token_env",
        (2, 17),
        "looks like a secret",
    ),
    (
        '[telegram]\nbot_token_env = "a b"',
        "config.env_pointer.invalid_name",
        "telegram.bot_token_env",
        (2, 17),
        "is not the name of a variable",
    ),
    (
        f'[telegram]\nbot_token = {{ env = "{TOKEN}" }}',
        "config.env_pointer.secret_literal",
        "telegram.bot_token.env",
        (2, 21),
        "looks like a secret",
    ),
    (
        "[telegram.accounts.Work]\n[telegram.accounts.work]",
        "config.channel_account.duplicate_id",
        "telegram.accounts.work",
        (2, 1),
        "Work and work are the same account id work",
    ),
    (
        '[telegram]\ndefault_account = "wrk"\n[telegram.accounts.work]',
        "config.channel_account.unknown_default",
        "telegram.default_account",
        (2, 19),
        "wrk is not configured (configured accounts: work); did you mean work?",
    ),
    (
        '[telegram]\ndefault_account = "work"',
        "config.channel_account.unknown_default",
        "telegram.default_account",
        (2, 19),
        "work is not configured (configured accounts: none)",
    ),
    (
        '[telegram]\nenabled = true\nbot_token_env = "A"\n[telegram.accounts]\na = {}\nb = {}',
        "config.channel_account.shared_credential",
        "telegram",
        (1, 1),
        "a and b use the same credential",
    ),
    (
        '[feishu]\nenabled = true\nmode = "webhook"\n[feishu.accounts.a]\n[feishu.accounts.b]',
        "config.webhook.taken",
        "feishu.accounts.b.webhook_path",
        (5, 1),
        "feishu/a has the same webhook_path as feishu/b; only one of them can run",
    ),
    (
        "[matrix]\nenabled = true",
        "config.channel.not_in_this_build",
        "matrix",
        (1, 1),
        "Matrix is not supported in this build",
    ),
    (
        '[providers.b]\nkind="ollama"\n[providers.a]\nkind="ollama"',
        "config.provider_selection.implicit_active",
        "providers",
        (1, 1),
        '2 providers are configured and none is chosen; "a" is used',
    ),
    (
        'active_provider = "volc"\n[providers.volcengine]\nkind="volcengine"',
        "config.provider_selection.unknown_active",
        "active_provider",
        (1, 19),
        "names no provider; volcengine is used",
    ),
    (
        "[providers.volcengine]\nmodel='x'",
        "config.provider.kind_missing",
        "providers.volcengine",
        (1, 1),
        "has no kind and is read as openai",
    ),
    (
        "[provider]\nkind = 'bedrock'",
        "config.provider.region_missing",
        "provider",
        (1, 1),
        "none is set in BEDROCK_AWS_REGION, AWS_REGION, AWS_DEFAULT_REGION",
    ),
    (
        "[provider]\nkind = 'cohere'\nreasoning_effort = 'low'",
        "config.provider.contradiction",
        "provider.reasoning_effort",
        (3, 20),
        "kind cohere takes none, high; low is not sent",
    ),
    (
        "[provider]\nkind = 'anthropic'\nwire_api = 'responses'",
        "config.provider.contradiction",
        "provider.wire_api",
        (3, 12),
        "kind anthropic speaks a protocol of its own",
    ),
    (
        "[provider]\nkind = 'anthropic'\noauth_access_token = 'x'",
        "config.provider.contradiction",
        "provider.oauth_access_token",
        (3, 22),
        "takes no such token",
    ),
    (
        "[provider]\nendpoint = 'https://h/v1/chat/completions'\nbase_url = 'https://h/v1'",
        "config.provider.contradiction",
        "provider.base_url",
        (3, 12),
        "has no effect beside endpoint",
    ),
    (
        "fallback_providers = ['b']\n[providers.a]\nkind = 'echo'",
        "config.provider.unknown_fallback",
        "fallback_providers",
        (1, 22),
        '"b" names no provider',
    ),
    (
        "active_provider = 'a'\nfallback_providers = ['a']\n[providers.a]\nkind = 'echo'",
        "config.provider.contradiction",
        "fallback_providers",
        (2, 22),
        '"a" is the active one',
    ),
    (
        "[provider]\nkind = 'cloudflare'\nbase_url = 'https://h/v1/<account_id>/x'",
        "config.value.invalid",
        "provider.base_url",
        (3, 12),
        "still holds a placeholder",
    ),
    (
        "[provider]\nkind = 'volcengin'",
        "config.value.invalid",
        "provider.kind",
        (2, 8),
        "unknown kind; expected one of anthropic",
    ),
    (
        "[provider]\nkind = 'custom'",
        "config.value.invalid",
        "provider.base_url",
        (1, 1),
        "is needed for kind custom",
    ),
    (
        "[provider]\nkind = 'volcengine'\nbase_url = 'https://h/api/coding/v3'",
        "config.value.invalid",
        "provider.base_url",
        (3, 12),
        "coding lane",
    ),
    (
        "[provider]\nkind = 'volcengine_coding'\nbase_url = 'https://h/api/v3'",
        "config.value.invalid",
        "provider.base_url",
        (3, 12),
        "lacks /api/coding/v3",
    ),
    (
        "[provider]\nbase_url = 'https://h/v1/chat/completions'",
        "config.value.invalid",
        "provider.base_url",
        (2, 12),
        "already ends in the path of the chat call",
    ),
    (
        "[provider]\nrequest_timeout_ms = 5",
        "config.value.clamped",
        "provider.request_timeout_ms",
        (2, 22),
        "1000 is used",
    ),
    (
        "[telegram]\nenabled = true\n[telegram.accounts.a]\n",
        "config.allow_list.empty",
        "telegram.accounts.a.allowed_chat_ids",
        (3, 1),
        "telegram/a serves nobody",
    ),
    (
        "[gateway]\nbind = 'lan'",
        "config.gateway.no_auth",
        "gateway.bind",
        (2, 8),
        "lan opens the port beyond this host",
    ),
    (
        "[gateway.auth]\ntoken = { env = 'NOT_THERE_AT_ALL' }",
        "config.secret.unavailable",
        "gateway.auth.token",
        (2, 9),
        "env NOT_THERE_AT_ALL is not set; with this environment a start is refused",
    ),
    (
        "[gateway.auth]\nmode = 'password'\npassword = { file = '/nowhere/x' }",
        "config.secret.unavailable",
        "gateway.auth.password",
        (3, 12),
        "file /nowhere/x cannot be read",
    ),
    (
        "[hooks]\nenabled = true\ntoken = { env = 'NOT_THERE_AT_ALL' }",
        "config.secret.unavailable",
        "hooks.token",
        (3, 9),
        "env NOT_THERE_AT_ALL is not set",
    ),
    (
        "[gateway.auth]\ntoken = 'x-0123456789abcdef'\n[hooks]\nenabled = true\ntoken = 'x-0123456789abcdef'",
        "config.hooks.token_of_port",
        "hooks.token",
        (5, 9),
        "is the same as gateway.auth.token",
    ),
    (
        "[gateway.auth]\ntoken = 'fifteen-letters'",
        "config.gateway.short_secret",
        "gateway.auth.token",
        (2, 9),
        "fewer than 16 characters",
    ),
    (
        "[gateway.auth]\ntoken = 'x-0123456789abcdef'\npassword = 'y-0123456789abcdef'",
        "config.gateway.two_secrets",
        "gateway.auth",
        (1, 1),
        "the token is used",
    ),
    (
        "[gateway.controlUi]\nallowedOrigins = ['*']",
        "config.gateway.origin_pattern",
        "gateway.controlUi.allowedOrigins",
        (2, 18),
        "patterns are not supported",
    ),
    (
        "[gateway.tools]\nallow = ['time', 'sesions_list']",
        "config.gateway.unknown_tool",
        "gateway.tools.allow",
        (2, 9),
        '"sesions_list" is no tool; did you mean sessions_list?',
    ),
    (
        "[gateway.tools]\nallow = ['*']",
        "config.gateway.unknown_tool",
        "gateway.tools.allow",
        (2, 9),
        '"*" is no tool',
    ),
    ("a = 1\nb == 2", "config.file.syntax", "", (2, 4), "not valid TOML: invalid value"),
    ("a = 1\na = 2", "config.file.syntax", "", (2, 6), "cannot overwrite a value"),
]


@pytest.mark.parametrize(("text", "code", "path", "place", "words"), FINDINGS)
def test_each_fault_is_named_with_its_place(
    text: str, code: str, path: str, place: tuple[int, int], words: str
) -> None:
    matching = [d for d in check(text) if (d.code, d.field_path) == (code, path)]
    assert len(matching) == 1, check(text)
    found = matching[0]
    assert words in found.message
    assert (found.line, found.column) == place
    assert found.severity == ("warning" if code in WARNINGS else "error")
    assert "{" not in found.message.replace('{ env = "NAME" }', "")


def test_every_code_of_a_finding_has_a_case() -> None:
    tested = {row[1] for row in FINDINGS} | set(FILE_CODES)
    known = {code for code in TEXTS if code.startswith("config.")}
    assert known - tested == {"config.invalid", "config.invalid_start", "config.validation_failed"}


# Codes about the file as a whole; each has a test below or with the command.
FILE_CODES = (
    "config.provider.missing",
    "config.file.bom",
    "config.file.missing",
    "config.file.mode",
    "config.file.mode_inline_secret",
    "config.file.not_a_file",
    "config.file.not_utf8",
    "config.file.too_large",
    "config.file.unreadable",
    "config.secret.file_mode",
)


@pytest.mark.parametrize("text", [row[0] for row in FINDINGS])
def test_every_finding_says_what_to_write(text: str) -> None:
    assert all(found.fix for found in check(text))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a", "write: name = value"),
        ("a = [1", "close the list with ]"),
        ('a = "b', "end the text with the quote that begins it"),
        ('a = "b\n"', "end the text with the quote that begins it, on the same line"),
        ("a = word", "put text in quotes"),
        ("a = 1 2", "write one setting per line"),
        ("a = 1\na = 2", "keep only one of the two"),
        ("[a", "close the header: [name]"),
        ("[a]\n[a]", "keep only one of the two"),
        ('a = "\\q"', "write the backslash twice"),
        ("= 1", "write a setting as: name = value"),
    ],
)
def test_what_is_not_toml_is_explained(text: str, hint: str) -> None:
    (found,) = check(text)
    assert found.code == "config.file.syntax"
    assert str(found.fix).startswith(hint)


SERVED = '[telegram]\nenabled = true\nbot_token = { env = "T" }\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SERVED, ["config.provider.missing", "config.allow_list.empty"]),
        (SERVED + "allowed_chat_ids = [1]", ["config.provider.missing"]),
        (SERVED + "[provider]", ["config.allow_list.empty"]),
        (SERVED.replace("true", "false"), []),
        (SERVED + "[telegram.accounts.a]\nenabled = false\n[provider]", []),
        (SERVED + "[telegram.accounts.a]\nallowed_chat_ids = [1]\n[provider]", []),
        ('active_provider = "main"', ["config.provider.missing"]),
        ('fallback_providers = ["spare"]', ["config.provider.missing"]),
        ('[gateway]\nbind = "lan"', ["config.gateway.no_auth"]),
        ('[gateway]\nbind = "0.0.0.0"', ["config.gateway.no_auth"]),
        ('[gateway]\nbind = "custom"\ncustomBindHost = "192.0.2.1"', ["config.gateway.no_auth"]),
        ('[gateway]\nbind = "::1"', []),
        ('[gateway]\nbind = "lan"\n[gateway.auth]\ntoken = { exec = ["x"] }', []),
        ('[gateway]\nbind = "lan"\n[gateway.auth]\ntoken = { env = "X" }', ["config.secret.unavailable"]),
        ('[hooks]\ntoken = { env = "X" }', []),
    ],
)
def test_what_will_not_work_is_a_warning(text: str, expected: list[str]) -> None:
    found = check(text)
    assert codes(found) == expected
    assert {d.severity for d in found} <= {"warning"}


def test_the_token_may_come_from_its_usual_variable() -> None:
    source = b'[gateway]\nbind = "lan"'
    _, found = validate_source("/c.toml", source, environ={"LOONG_GATEWAY_TOKEN": "t"})
    assert found == []
    _, found = validate_source("/c.toml", SERVED.encode(), environ={}, dev=True)
    assert codes(found) == ["config.allow_list.empty"]


def test_all_problems_are_found_at_once_in_the_order_of_the_file() -> None:
    found = check('[gateway]\nport = "x"\nworkers = 0\nprot = 1\n[telegram]\nenabled = 3\nbase_url = 1\n')
    assert [d.line for d in found] == [2, 3, 4, 6, 7]
    assert as_lines(found, "/etc/loong/config.toml")[:3] == [
        "config.toml:2:8  gateway.port: expected a whole number, got text",
        "config.toml:3:11  gateway.workers: 0 is outside 1 to 256",
        "config.toml:4:1  warning: gateway.prot: unknown key; did you mean port?",
    ]


def test_names_that_the_operator_chose_are_not_folded() -> None:
    text = "[telegram.accounts.myBot]\n[telegram.accounts.my_bot]\n[providers.aB]\n[providers.a_b]\n"
    config = valid('active_provider = "a_b"\n' + text)
    assert set(config.channels["telegram"].accounts) == {"mybot", "my_bot"}
    assert config.active_provider == "a_b"


def test_odd_names_are_shown_on_one_line() -> None:
    (found,) = check('"a\\n\\u001b[31m \\"b" = 1')
    assert found.field_path == '"a\\u000a\\u001b[31m \\"b"'
    assert found.message == "unknown key"


def test_keys_are_accepted_in_both_spellings() -> None:
    text = """
    activeProvider = "v"
    [providers.v]
    apiKey = { env = "A" }
    maxTokens = 5
    [gateway]
    allowed_hosts = ["h"]
    custom_bind_host = "10.0.0.1"
    drainS = 3
    [gateway.auth.rate_limit]
    max_attempts = 3
    windowMs = 500
    [telegram]
    enabled = true
    [telegram.accounts.myBot]
    allowedChatIds = [1, -2, 1]
    botTokenEnv = "B"
    """
    config = valid(text)
    assert config.warnings == ()
    assert config.active_provider == "v"
    assert config.providers["v"].max_tokens == 5
    assert config.providers["v"].api_key.value == "A"
    assert config.gateway.allowed_hosts == ("h",)
    assert config.gateway.custom_bind_host == "10.0.0.1"
    assert (config.gateway.drain_s, config.gateway.auth_attempts, config.gateway.auth_window_s) == (
        3.0,
        3,
        0.5,
    )
    account = config.channels["telegram"].accounts["mybot"]
    assert account.settings["allowed_chat_ids"] == ("1", "-2")
    assert account.label == "myBot"


def test_names_of_other_parts_and_builds_do_not_warn() -> None:
    text = """
    [tools]
    shell_allow = []
    [acp]
    [mcp]
    [audit]
    [control_plane]
    [outbound_http]
    [skills]
    [runtime_plugins]
    [conversation]
    [feishu_integration]
    [hooks]
    [agents.defaults]
    workspace = "x"
    [slack]
    enabled = false
    anything = 1
    [gateway.controlUi]
    enabled = true
    [gateway.http.endpoints.chatCompletions]
    enabled = true
    [gateway.reload]
    mode = "hybrid"
    [gateway.auth.rateLimit]
    exemptLoopback = true
    [telegram.accounts.a.acp]
    working_directory = "x"
    [provider]
    profile_cooldown_ms = 5
    """
    assert check(text) == []


def test_defaults_hold_when_nothing_is_written() -> None:
    config, found = validate_source(PATH, None, environ={})
    assert config is not None
    assert found == []
    assert not config.exists
    assert (config.providers, config.active_provider, config.channels) == ({}, None, {})
    assert (config.gateway.port, config.gateway.bind, config.gateway.port_source) == (
        18789,
        "loopback",
        "default",
    )
    assert (config.gateway.auth_mode, config.gateway.auth_lockout_s) == ("token", 300.0)
    assert (config.delivery.max_attempts, config.delivery.max_crash_attempts) == (3, 10)
    assert config.memory.sliding_window == 12


def test_an_empty_file_exists() -> None:
    assert valid("").exists


def test_only_the_development_profile_answers_without_a_provider() -> None:
    config = valid("", dev=True)
    assert config.active_provider == "echo"
    assert (config.providers["echo"].kind, config.providers["echo"].where) == ("echo", "built-in")
    assert config.gateway.port == 19001
    assert valid("").active_provider is None
    written = valid('[gateway]\nport = 5\n[provider]\nkind = "ollama"', dev=True)
    assert (written.gateway.port, written.gateway.port_source) == (5, "config")
    assert written.providers["default"].kind == "ollama"


def test_auth_mode_follows_the_secret_that_is_there() -> None:
    assert valid("").gateway.auth_mode == "token"
    assert valid('[gateway.auth]\npassword = "p"').gateway.auth_mode == "password"
    assert valid('[gateway.auth]\npassword = "p"\ntoken = "t"').gateway.auth_mode == "token"
    assert valid("", {"LOONG_GATEWAY_PASSWORD": "p"}).gateway.auth_mode == "password"
    assert valid('[gateway.auth]\nmode = "password"').gateway.auth_mode == "password"


def test_plain_http_needs_a_loopback_host_or_a_word() -> None:
    for host in ("127.0.0.1:81", "localhost", "[::1]:5", "127.8.8.8", "a.localhost"):
        assert check(f'[telegram]\nbase_url = "http://{host}"') == []
    allowed = '[provider]\nkind = "custom"\nbase_url = "http://10.0.0.5:8000/v1/"\nallow_plain_http = true'
    assert valid(allowed).providers["default"].base_url == "http://10.0.0.5:8000/v1"
    refused = check('[telegram.accounts.a]\nbase_url = "http://10.0.0.5"')
    assert refused[0].fix == "use https://, or write: telegram.accounts.a.allow_plain_http = true"
    assert (
        check('[telegram]\nallow_plain_http = true\n[telegram.accounts.a]\nbase_url = "http://10.0.0.5"')
        == []
    )


def test_provider_selection() -> None:
    flat = '[provider]\nkind = "ollama"\n'
    assert valid(flat).active_provider == "default"
    both = valid(flat + '[providers.a]\nkind = "ollama"')
    assert (both.active_provider, both.warnings) == ("default", ())
    chosen = valid('active_provider = "A"\n' + flat + '[providers.a]\nkind = "ollama"')
    assert chosen.active_provider == "a"
    assert chosen.providers["a"].where == "providers.a"
    clash = valid(
        '[provider]\nkind = "ollama"\n[providers.default]\nkind = "custom"\nbase_url = "https://h/v1"'
    )
    assert (clash.active_provider, clash.providers["provider"].kind) == ("provider", "ollama")


def test_kinds_bring_their_variables() -> None:
    config = valid('[provider]\nkind = "Doubao"\n[providers.b]\nkind = "byteplus"\napi_key_env = "MINE"\n')
    assert config.providers["default"].kind == "volcengine"
    assert config.providers["default"].api_key.fallback_env == ("ARK_API_KEY",)
    assert config.providers["b"].api_key.fallback_env == ("MINE", "BYTEPLUS_API_KEY", "ARK_API_KEY")
    assert valid('[provider]\nkind = "ollama"').providers["default"].api_key.fallback_env == ()


def test_a_kind_of_another_build_only_matters_when_it_answers() -> None:
    text = 'active_provider = "a"\n[providers.a]\nkind = "ollama"\n[providers.d]\nkind = "deepseek"\n'
    assert check(text) == []


def test_unset_secrets_are_no_finding() -> None:
    text = '[telegram]\nenabled = true\nbot_token = { env = "NOT_SET" }\n'
    text += 'allowed_chat_ids = [1]\n[provider]\napi_key = { file = "/none" }'
    assert check(text) == []


def test_suggested_names_never_come_from_a_secret() -> None:
    for value in (f"{TOKEN}=", "JBSWY3DPEHPK3PXP=x", "$JBSWY3DPEHPK3PXP", "sk-abc", "a b c"):
        (found,) = check(f'[telegram]\nbot_token_env = "{value}"')
        assert found.variables["example_env_name"] == "TELEGRAM_BOT_TOKEN"
        assert found.variables["inline_field_path"] == "telegram.bot_token"
    (found,) = check('[telegram]\nbot_token_env = "$MY_BOT_TOKEN"')
    assert found.variables["suggested_env_name"] == "MY_BOT_TOKEN"
    assert found.fix == 'write: bot_token_env = "MY_BOT_TOKEN"'


def test_relative_paths_start_beside_the_file() -> None:
    config = valid(
        '[logging]\nfile = "log/x"\n[network]\nca_bundle = "/abs"\n[provider]\napi_key = { file = "key" }'
    )
    assert config.logging.file == "/home/x/log/x"
    assert config.network.ca_bundle == "/abs"
    assert config.providers["default"].api_key.value == "/home/x/key"


def test_a_missing_file_gives_the_defaults(tmp_path: pathlib.Path) -> None:
    config = load(home(tmp_path), environ={})
    assert (config.exists, config.path) == (False, str(tmp_path / "config.toml"))


def test_files_that_are_no_config(tmp_path: pathlib.Path) -> None:
    def single(places: Places) -> Diagnostic:
        config, found = validate(places, environ={})
        assert config is None
        (diagnostic,) = found
        return diagnostic

    assert single(home(tmp_path, b"\xff\xfea\x00")).code == "config.file.not_utf8"
    bad = single(home(tmp_path, b"a = 1\nb = '\xc3\xa4\xff'"))
    assert (bad.code, bad.line, bad.column) == ("config.file.not_utf8", 2, 7)
    assert single(home(tmp_path, b"#" * (MAX_CONFIG_BYTES + 1))).code == "config.file.too_large"
    assert single(home(tmp_path, "a = " + "[" * 9000)).message == "not valid TOML: nested too deeply"
    if hasattr(sys, "get_int_max_str_digits"):  # the oldest interpreters read numbers of any length
        assert "too long" in single(home(tmp_path, "a = " + "9" * 5000)).message
    (tmp_path / "config.toml").unlink()
    os.mkfifo(tmp_path / "config.toml")
    assert single(home(tmp_path)).code == "config.file.not_a_file"
    (tmp_path / "config.toml").unlink()
    (tmp_path / "config.toml").mkdir()
    assert single(home(tmp_path)).code == "config.file.not_a_file"
    (tmp_path / "config.toml").rmdir()
    (tmp_path / "config.toml").symlink_to(tmp_path / "config.toml")
    assert single(home(tmp_path)).code == "config.file.unreadable"


def test_a_byte_order_mark_warns(tmp_path: pathlib.Path) -> None:
    config, found = validate(home(tmp_path, b"\xef\xbb\xbf[gateway]\r\nport = 5\r\n"), environ={})
    assert config is not None
    assert config.gateway.port == 5
    assert codes(found) == ["config.file.bom"]


@pytest.mark.parametrize(
    ("text", "mode", "code"),
    [
        ('[telegram]\nbot_token = { env = "A" }', 0o644, "config.file.mode"),
        ('[telegram]\nbot_token = "A"', 0o644, "config.file.mode_inline_secret"),
        (
            '[telegram]\nbot_token = "A"\n[telegram.accounts.a]\nbot_token_env = "B"',
            0o604,
            "config.file.mode_inline_secret",
        ),
        ('[provider]\napi_key = "A"', 0o602, "config.file.mode_inline_secret"),
        ('[provider]\napi_key = "A"', 0o640, None),
        ('[provider]\napi_key = "A"', 0o600, None),
    ],
)
def test_a_config_open_to_everybody(tmp_path: pathlib.Path, text: str, mode: int, code: str | None) -> None:
    config, found = validate(home(tmp_path, text, mode), environ={})
    assert codes(found) == ([code] if code else [])
    assert (config is None) == (code == "config.file.mode_inline_secret")
    if code:
        assert found[0].fix == f"chmod 600 {tmp_path}/config.toml"


def test_secret_files_open_to_everybody_warn(tmp_path: pathlib.Path) -> None:
    (tmp_path / "key").write_text("x")
    (tmp_path / "key").chmod(0o644)
    config, found = validate(home(tmp_path, '[provider]\napi_key = { file = "key" }'), environ={})
    assert config is not None
    assert codes(found) == ["config.secret.file_mode"]
    assert found[0].field_path == "provider.api_key"


def test_errors_end_a_load_and_warnings_stay_with_the_config(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load(home(tmp_path, "[gateway]\nport = 'x'\nprot = 1\n"), environ={})
    error = caught.value
    assert (error.message, error.exit_code) == ("config is invalid: 1 error", 2)
    assert error.details == ("config.toml:2:8  gateway.port: expected a whole number, got text",)
    assert len(error.diagnostics) == 2
    with pytest.raises(ConfigInvalid) as caught:
        load(home(tmp_path, "x ="), environ={}, starting=True)
    assert (caught.value.message, caught.value.exit_code) == (
        "config is invalid: 1 error, nothing was started",
        78,
    )
    assert codes(list(load(home(tmp_path, "prot = 1"), environ={}).warnings)) == ["config.key.unknown"]


SEEDS = [
    """
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
""",
    """
active_provider = "volcengine"

[providers.volcengine]
kind = "volcengine"
api_key = { env = "ARK_API_KEY" }
model = "auto"

[wecom]
enabled = true
default_account = "work"
bot_id = { env = "WECOM_BOT_ID" }
secret = { env = "WECOM_SECRET" }
ping_interval_s = 45
reconnect_interval_s = 12
allowed_conversation_ids = ["group_demo"]

[wecom.accounts.work]
bot_id = { env = "WECOM_WORK_BOT_ID" }
secret = { env = "WECOM_WORK_SECRET" }
allowed_conversation_ids = ["group_work"]
""",
]


@pytest.mark.parametrize("text", SEEDS)
def test_published_examples_load(text: str) -> None:
    config = valid(text)
    assert codes(list(config.warnings)) == []
    assert set(config.channels) <= {"feishu", "telegram", "wecom"}


def test_random_garbage_is_always_a_finding_never_a_crash() -> None:
    rng = random.Random(20261120)
    texts = [*SEEDS, *(row[0] for row in FINDINGS if len(row[0]) < 500)]
    lines = [line for text in texts for line in text.split("\n") if line]
    outcomes = {"valid": 0, "invalid": 0, "no TOML": 0}
    for number in range(1000):
        if number % 2:
            source = invented(rng).encode()
        else:
            source = torn(rng, rng.choice(texts).encode(), "\n".join(lines).encode())
        config, found = validate_source(PATH, source, environ={"A": "b"}, dev=rng.random() < 0.5)
        assert (config is None) == any(d.severity == "error" for d in found)
        assert all(d.message and f"{d.field_path}{d.message}{d.fix}".isprintable() for d in found)
        no_toml = any(d.code.startswith("config.file.") and d.severity == "error" for d in found)
        outcomes["no TOML" if no_toml else "valid" if config else "invalid"] += 1
    assert min(outcomes.values()) > 50, outcomes


def invented(rng: random.Random) -> str:
    """A document of TOML that parses, with known tables and keys and values of every kind."""
    made = []
    for header in rng.sample(HEADERS, rng.randrange(1, 5)):
        made.append(f"[{header}]")
        made += [f"{key} = {rng.choice(VALUES)}" for key in rng.sample(KEYS, rng.randrange(0, 6))]
    return "\n".join(made)


HEADERS = [
    *(
        "gateway",
        "gateway.auth",
        "gateway.auth.rateLimit",
        "memory",
        "delivery",
        "limits",
        "network",
        "logging",
        "cli",
    ),
    *("provider", "providers.openai", "providers.B", "telegram", "telegram.accounts.Ops-Room"),
    *(
        "telegram.accounts.ops-room",
        "telegram.accounts.b",
        "feishu",
        "feishu.accounts.x",
        "wecom",
        "slack",
        "lark",
    ),
]
KEYS = sorted(
    {setting.name for section in (*SECTIONS.values(), PROVIDER) for setting in section.settings}
    | {setting.name for setting in SPEC.settings}
    | {
        "bot_token_env",
        "apiKeyEnv",
        "tokenEnv",
        "botToken",
        "enabled",
        "default_account",
        "no_such_key",
        "accounts",
    }
)
VALUES = [
    *(
        "true",
        "0",
        "-1",
        "5",
        "70000",
        "1e400",
        "nan",
        "-inf",
        "1979-05-27",
        "07:32:00",
        '""',
        '" "',
        '"x"',
        '"off"',
    ),
    *(
        "[]",
        "[[1], [2]]",
        '["a", 1]',
        "{}",
        "{ a = 1 }",
        '["*"]',
        '["-5"]',
        "0x" + "f" * 99,
        '"${A}"',
        '"$A"',
        '"env:"',
    ),
    *(
        '{ env = "A" }',
        '{ env = "" }',
        '{ file = "/x" }',
        '{ exec = ["a"] }',
        "{ exec = [] }",
        '"a\\u0000b"',
        "'%A%'",
    ),
    *(
        '"https://h"',
        '"http://h"',
        '"http://["',
        '"https://h:99999"',
        '"http://127.0.0.1"',
        '{ X = "y" }',
        '"openai"',
    ),
]


def torn(rng: random.Random, source: bytes, pool: bytes) -> bytes:
    """A document with a few bytes put in, taken out or moved."""
    data = bytearray(source)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        choice = rng.randrange(5)
        if choice == 0:
            data[at:at] = bytes([rng.randrange(256)])
        elif choice == 1:
            del data[at : at + rng.randrange(1, 20)]
        elif choice == 2:
            start = rng.randrange(len(pool))
            data[at:at] = pool[start : start + rng.randrange(1, 60)]
        elif choice == 3:
            marks = [b"\n[", b"]\n", b'"""', b"'''", b"{", b"}", b"= ", b"\n", b".", b"#", b"\\", b"\0"]
            data[at:at] = rng.choice(marks)
        else:
            data[at:at] = "é\u2028\U0001f409".encode()
    return bytes(data)


def test_a_pattern_of_tools_leads_to_the_names_that_it_was_written_for() -> None:
    (found,) = [one for one in check("[tools]\nallow = ['file.*']") if one.code.endswith("unknown_tool")]
    assert found.fix == "use: file.list, file.read, file.write"
