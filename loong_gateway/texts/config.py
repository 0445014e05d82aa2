"""Texts about the configuration: the file, its values, selectors and secret references.

The message of a finding stands behind `file:line:column  key: `. Values of settings that may hold a secret are never
filled in.
"""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {
    "config.invalid": ("config is invalid: {count}", None, "edit the file, then: {check}", 2),
    "config.invalid_start": (
        "config is invalid: {count}, nothing was started",
        None,
        "edit the file, then: {check}",
        78,
    ),
    "config.validation_failed": (
        "config validation failed with {count} diagnostic(s)",
        "{path}",
        "correct what is listed above",
        2,
    ),
    # The file
    "config.file.missing": ("there is no config file", None, "write it, or try: {try_it}", 2),
    "config.file.unreadable": ("cannot be read: {detail}", None, "check owner and mode, then: {check}", 2),
    "config.file.not_a_file": ("is not a regular file", None, "name a file: --config PATH", 2),
    "config.file.too_large": ("is larger than {limit}", None, "a config this large is a mistake", 2),
    "config.file.not_utf8": ("is not UTF-8 text ({detail})", None, "save it as UTF-8", 2),
    "config.file.bom": ("starts with a byte order mark", None, "save it as UTF-8 without one", 2),
    "config.file.syntax": ("not valid TOML: {detail}", None, "{fix}", 2),
    "config.file.mode": ("is {how} by others ({mode})", None, "chmod 600 {path}", 2),
    "config.file.mode_inline_secret": (
        "is {how} by others ({mode}) and holds a secret in plain text",
        None,
        "chmod 600 {path}",
        2,
    ),
    # Keys
    "config.key.unknown": ("unknown key{suggestion}", None, "{fix}", 2),
    "config.table.unknown": ("unknown table{suggestion}", None, "{fix}", 2),
    "config.key.duplicate": ("written twice, as {first} and as {second}", None, "keep one", 2),
    # Values
    "config.value.type": ("expected {expected}, got {got}", None, "write, for example: {example}", 2),
    "config.value.invalid": ("{detail}{suggestion}", None, "{fix}", 2),
    "config.value.redacted": (
        "is the mark that stands for a hidden secret, not a value",
        None,
        'write the value itself, or for a secret: {{ env = "NAME" }}',
        2,
    ),
    "config.value.clamped": (
        "{given} is outside {low} to {high}; {used} is used",
        None,
        "write a number from {low} to {high}",
        2,
    ),
    "config.value.converted": (
        "expected whole numbers, got digits in quotes; they are read as numbers",
        None,
        "write them without quotes",
        2,
    ),
    "config.numeric_range": (
        "{given} is outside {low} to {high}",
        None,
        "write a number from {low} to {high}",
        2,
    ),
    # References to secrets
    "config.env_pointer.assignment": (
        "holds NAME=value; only the name of a variable belongs here",
        None,
        'set the variable in the environment, and write: {key} = "{example}"',
        2,
    ),
    "config.env_pointer.dollar_prefix": (
        "holds a name with a dollar sign; only the plain name belongs here",
        None,
        'write: {key} = "{example}"',
        2,
    ),
    "config.env_pointer.percent_wrapped": (
        "holds a name between percent signs; only the plain name belongs here",
        None,
        'write: {key} = "{example}"',
        2,
    ),
    "config.env_pointer.secret_literal": (
        "looks like a secret; only the name of a variable belongs here",
        None,
        'put the secret into the environment, and write: {key} = "{example}"',
        2,
    ),
    "config.env_pointer.invalid_name": (
        "is not the name of a variable",
        None,
        'write: {key} = "{example}"',
        2,
    ),
    "config.secret.form": ("{detail}", None, 'write one of: {{ env = "NAME" }}, {{ file = "/path" }}', 2),
    "config.secret.shape": ("{detail}", None, 'write: {{ env = "{example}" }}', 2),
    "config.secret.file_mode": (
        "the file {path} is {how} by others ({mode})",
        None,
        "chmod 600 {path}",
        2,
    ),
    "config.secret.unavailable": (
        "{detail}; with this environment a start is refused",
        None,
        "set it where the gateway is started, then: loong doctor",
        2,
    ),
    # Accounts and channels
    "config.channel_account.duplicate_id": (
        "{first} and {second} are the same account id {id}",
        None,
        "rename one of them",
        2,
    ),
    "config.channel_account.unknown_default": (
        "{given} is not configured (configured accounts: {accounts}){suggestion}",
        None,
        "{fix}",
        2,
    ),
    "config.channel_account.shared_credential": (
        "{first} and {second} use the same credential; only one of them can run",
        None,
        "give each account its own, or disable one",
        2,
    ),
    "config.channel.not_in_this_build": (
        "{label} is not supported in this build; the block is ignored",
        None,
        "set {table}.enabled = false",
        2,
    ),
    "config.webhook.taken": (
        "{first} has the same {name} as {second}; only one of them can run",
        None,
        "give each account its own {name}, or disable one",
        2,
    ),
    "config.acp.no_backend": (
        "agents are on, and of {count} backends none is chosen",
        None,
        "write [acp.backends.codex] with command, or choose one with acp.backend",
        2,
    ),
    "config.acp.no_command": (
        "has no command, so it cannot be started",
        None,
        'write: command = "/path/to/{backend}"',
        2,
    ),
    "config.acp.unknown_backend": (
        "there is no acp.backends.{backend}{suggestion}",
        None,
        "write [acp.backends.{backend}] with command",
        2,
    ),
    "config.allow_list.empty": (
        "is empty, so {channel}/{account} serves nobody",
        None,
        "list who may talk to it: {example}",
        2,
    ),
    # Providers
    "config.provider.missing": (
        "there is none, so no message can be answered",
        None,
        'add [providers.main] with kind = "openai" (or another kind) and api_key',
        2,
    ),
    "config.provider_selection.implicit_active": (
        "{count} providers are configured and none is chosen; {used} is used",
        None,
        "write: active_provider = {used}",
        2,
    ),
    "config.provider_selection.unknown_active": (
        "names no provider; {used} is used",
        None,
        "write: active_provider = {near}",
        2,
    ),
    "config.provider.kind_missing": (
        "has no kind and is read as openai; the name does not choose it",
        None,
        'write: kind = "{kind}"',
        2,
    ),
    "config.provider.contradiction": (
        "{detail}",
        None,
        "{fix}",
        2,
    ),
    "config.provider.region_missing": (
        "needs a region for kind {kind}, and none is set in {names}",
        None,
        "set {first}, or write base_url",
        2,
    ),
    "config.provider.unknown_fallback": (
        "{given} names no provider{suggestion}",
        None,
        "{fix}",
        2,
    ),
    # The port
    "config.gateway.no_auth": (
        "{bind} opens the port beyond this host, and no token or password is set; the gateway will not start",
        None,
        'write below [gateway.auth]: token = {{ env = "LOONG_GATEWAY_TOKEN" }}',
        2,
    ),
    "config.gateway.auth_mode_refused": (
        "{given} would open the port without a secret of its own",
        None,
        'write: mode = "token"',
        2,
    ),
    "config.gateway.two_secrets": (
        "token and password are both set and no mode is; the {used} is used",
        None,
        'write: mode = "{used}", or remove one of them',
        2,
    ),
    "config.gateway.short_secret": (
        "the secret of the port has fewer than {least} characters and can be guessed",
        None,
        "make a longer one: openssl rand -hex 24",
        2,
    ),
    "config.gateway.origin_pattern": (
        '"{given}" allows nothing: origins are compared whole, patterns are not supported',
        None,
        'name each: allowedOrigins = ["https://chat.example.org"]',
        2,
    ),
    "config.gateway.unknown_tool": (
        '"{given}" is no tool{suggestion}',
        None,
        "use: {known}",
        2,
    ),
    "config.hooks.token_of_port": (
        "is the same as {other}: whoever may call a hook could do everything",
        None,
        "give the hooks a token of their own",
        2,
    ),
    # Selectors; the sentences are fixed by the operator contract.
    "selector.empty": ("multi-channel channel-account entries cannot be empty", None, "{example}", 2),
    "selector.no_equals": (
        "multi-channel channel-account `{given}` must use CHANNEL=ACCOUNT syntax",
        None,
        "{example}",
        2,
    ),
    "selector.no_channel": (
        "multi-channel channel-account `{given}` is missing a channel id",
        None,
        "{example}",
        2,
    ),
    "selector.no_account": (
        "multi-channel channel-account `{given}` is missing an account id",
        None,
        "{example}",
        2,
    ),
    "selector.unknown_channel": (
        (
            "unrecognized multi-channel service channel `{given}` (available runtime-backed channels: {available})"
            "{suggestion}"
        ),
        None,
        "{fix}",
        2,
    ),
    "selector.not_supported": (
        (
            "multi-channel service channel `{given}` resolves to `{channel}` but is not supported in this build "
            "(expected one of: {available}){reason}"
        ),
        None,
        "{fix}",
        2,
    ),
    "selector.duplicate": (
        "duplicate multi-channel account selection configured for `{channel}`",
        None,
        "name one account per channel family",
        2,
    ),
    "selector.unknown_account": (
        "requested account `{given}` is not configured (configured accounts: {accounts}){suggestion}",
        "{channel}.accounts in {path}",
        "{fix}",
        2,
    ),
    "selector.channel_disabled": (
        "selected channel `{channel}` is not enabled",
        "{channel}.enabled in {path}",
        "set {channel}.enabled = true, then: loong validate-config",
        2,
    ),
    "selector.account_disabled": (
        "{channel} account `{account}` is disabled by configuration",
        "{where} in {path}",
        "set {where} = true, then: loong validate-config",
        2,
    ),
    "selector.no_accounts": (
        (
            "requested account `{given}` is not configured for {channel} (configured accounts: none); "
            "add {channel}.default_account and {channel}.accounts.{given}, or run without the selector"
        ),
        "{channel} in {path}",
        "{fix}",
        2,
    ),
    "selector.same_credential": (
        "{first} and {second} would run with the same credential",
        "{path}",
        "give each account its own, then: loong validate-config",
        2,
    ),
    "selector.channel_unknown": (
        "unknown channel `{given}`; run `loong channels` to inspect the available channel catalog{suggestion}",
        None,
        "loong channels list --all",
        2,
    ),
    "selector.channel_not_in_this_build": (
        "channel `{channel}` is not supported in this build",
        None,
        "loong channels",
        2,
    ),
    "selector.channel_not_configured": (
        "{channel} is not configured",
        "{path}",
        "add a [{channel}] block, then: loong validate-config",
        2,
    ),
    # Secrets
    "secret.not_set": (
        "{setting} is not set",
        "{setting}",
        "write {setting}, then: loong validate-config",
        2,
    ),
    "secret.env_not_set": (
        "env {name} is not set",
        "{setting}",
        "set the variable, then: loong doctor",
        2,
    ),
    "secret.file_unreadable": (
        "file {path} cannot be read: {detail}",
        "{setting}",
        "check the file, then: loong doctor",
        2,
    ),
    "secret.exec_failed": (
        "command {program} gave no secret: {detail}",
        "{setting}",
        "check the command, then: loong doctor",
        2,
    ),
    "secret.bad_shape": (
        "{source} holds no usable secret: {detail}",
        "{setting}",
        "put the bare secret there, then: loong doctor",
        2,
    ),
}
