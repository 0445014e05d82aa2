"""Reads config.toml into a snapshot, or says everything that is wrong with it at once.

Resolves no secret, but for the public id of an only account. Touches nothing but the config file and the modes of the
files that it refers to.
"""

from __future__ import annotations

import codecs
import hashlib
import ipaddress
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import tomli

from loong_channels import catalog
from loong_channels.settings import Setting
from loong_gateway.config.accounts import read_channels, warn_shared_credentials
from loong_gateway.config.acp_settings import read_acp
from loong_gateway.config.audit_settings import read_audit
from loong_gateway.config.diagnostics import ConfigInvalid, Findings, did_you_mean, finding
from loong_gateway.config.hiding import DEEPEST, marked
from loong_gateway.config.hints import WILL_NOT_WORK, syntax_hint, warn_what_will_not_work
from loong_gateway.config.mcp_settings import read_mcp
from loong_gateway.config.port_checks import (
    check_auth,
    check_hook_token,
    check_origins,
    check_tools,
)
from loong_gateway.config.profiles import read_providers
from loong_gateway.config.provider_settings import ACTIVE_PROVIDER, FALLBACK_PROVIDERS
from loong_gateway.config.secrets import open_to_others
from loong_gateway.config.settings import DEV_PORT, HTTP_ENDPOINTS, LATER_TABLES, SECTIONS
from loong_gateway.config.snapshot import (
    CliSettings,
    Config,
    DeliverySettings,
    Diagnostic,
    GatewaySettings,
    HookSettings,
    LimitSettings,
    LoggingSettings,
    MediaSettings,
    MemorySettings,
    NetworkSettings,
    SecretRef,
    WsSettings,
)
from loong_gateway.config.tables import Reading, Table
from loong_gateway.config.tool_settings import read_tools
from loong_gateway.config.webhooks import check_webhooks, is_reserved

__all__ = ["MAX_CONFIG_BYTES", "ConfigInvalid", "about_file", "load", "parse", "validate", "validate_source"]

MAX_CONFIG_BYTES = 1 << 20
# What has a module of its own.
_READ_ELSEWHERE = ("acp", "audit", "mcp", "tools")
_BIND_MODES = ("loopback", "lan", "tailnet", "auto", "custom", "localhost")
_HOOK_PATH = re.compile(r"(/[A-Za-z0-9_-]+)+")
_REFUSED_AUTH = ("none", "trusted-proxy")


class Home(Protocol):
    """The places that this module looks at."""

    config: str

    def command(self, verb: str) -> str:
        """The command line that runs `verb` on these places."""


def load(places: Home, *, environ: Mapping[str, str], dev: bool = False, starting: bool = False) -> Config:
    """The configuration of these places; a missing file gives the defaults, with `exists` False.

    `dev` is the development profile, which answers without a provider. `starting` marks an error as a refused start.
    Raises ConfigInvalid with every finding.
    """
    config, diagnostics = validate(places, environ=environ, dev=dev)
    if config is None:
        check = places.command("validate-config")
        raise ConfigInvalid(diagnostics, places.config, starting=starting, check=check)
    return config


def validate(
    places: Home, *, environ: Mapping[str, str], dev: bool = False
) -> tuple[Config | None, list[Diagnostic]]:
    """Read the file of these places: the snapshot unless there are errors, and everything found. Never raises.

    A missing file is no finding.
    """
    path = places.config
    try:
        source, mode = _read(path)
    except FileNotFoundError:
        return validate_source(path, None, environ=environ, dev=dev)
    except (OSError, ValueError) as error:
        check = places.command("validate-config")
        detail = (getattr(error, "strerror", None) or "it cannot be read").lower()
        return None, [about_file("config.file.unreadable", detail=detail, check=check)]
    except _Refused as refusal:
        return None, [refusal.diagnostic]
    refs: list[SecretRef] = []
    config, diagnostics = _read_source(
        path, source, Reading(Findings(), environ, os.path.dirname(path), refs), dev
    )
    diagnostics = [*_mode_findings(path, mode, refs), *diagnostics]
    if config is None or any(d.severity == "error" for d in diagnostics):
        return None, diagnostics
    return replace(config, warnings=_to_tell(diagnostics)), diagnostics


def _to_tell(diagnostics: list[Diagnostic]) -> tuple[Diagnostic, ...]:
    """What whoever uses the config should hear; of the rest a start speaks in its own lines and in its status."""
    return tuple(d for d in diagnostics if d.code not in WILL_NOT_WORK)


def validate_source(
    path: str, source: bytes | None, *, environ: Mapping[str, str], dev: bool = False
) -> tuple[Config | None, list[Diagnostic]]:
    """Check bytes that are, or are about to be, the file at `path`; None stands for no file. Never raises."""
    return _read_source(path, source, Reading(Findings(), environ, os.path.dirname(path)), dev)


def _read_source(
    path: str, source: bytes | None, reading: Reading, dev: bool
) -> tuple[Config | None, list[Diagnostic]]:
    findings: list[Diagnostic] = []
    try:
        text = _decode(source or b"", findings)
        raw = _parse(text)
    except _Refused as refusal:
        return None, [*findings, refusal.diagnostic]
    config = _build(Table(raw, (), reading), path, source, dev=dev)
    findings += reading.findings.take(text)
    if any(d.severity == "error" for d in findings):
        return None, findings
    return replace(config, warnings=_to_tell(findings)), findings


def parse(text: str) -> dict[str, Any]:
    """The TOML of a text, as it stands. Raises ValueError for what is none, or nests deeper than a config ever does."""
    try:
        table = tomli.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    level: list[Any] = [table]
    for _ in range(DEEPEST):
        items = [item for one in level for item in (one.values() if isinstance(one, dict) else one)]
        level = [item for item in items if isinstance(item, (dict, list))]
    if level:
        raise ValueError("nested too deeply")
    return table


def about_file(code: str, *, place: tuple[int, int] | None = None, **values: object) -> Diagnostic:
    """One finding about the file as a whole, or about a place in it that belongs to no key."""
    return finding(code, "", values, place=place)


class _Refused(Exception):
    """The file cannot be read as a config at all."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.code)
        self.diagnostic = diagnostic


def _read(path: str) -> tuple[bytes, int]:
    # Without O_NONBLOCK opening a pipe that nobody writes to would block for ever.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise _Refused(about_file("config.file.not_a_file"))
        with os.fdopen(handle, "rb", closefd=False) as file:
            source = file.read(MAX_CONFIG_BYTES + 1)
    finally:
        os.close(handle)
    if len(source) > MAX_CONFIG_BYTES:
        raise _Refused(_too_large())
    return source, stat.S_IMODE(mode)


def _too_large() -> Diagnostic:
    return about_file("config.file.too_large", limit="1 MiB")


def _decode(source: bytes, findings: list[Diagnostic]) -> str:
    if len(source) > MAX_CONFIG_BYTES:
        raise _Refused(_too_large())
    if source.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _Refused(about_file("config.file.not_utf8", place=(1, 1), detail="it is UTF-16"))
    if source.startswith(codecs.BOM_UTF8):
        findings.append(about_file("config.file.bom", place=(1, 1)))
        source = source[len(codecs.BOM_UTF8) :]
    try:
        text = source.decode("utf-8")
    except UnicodeDecodeError as error:
        before = source[: error.start].decode("utf-8").split("\n")
        detail = f"byte 0x{source[error.start]:02x}"
        place = (len(before), len(before[-1]) + 1)
        raise _Refused(about_file("config.file.not_utf8", place=place, detail=detail)) from None
    return text.replace("\r\n", "\n")


def _parse(text: str) -> dict[str, Any]:
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        detail = error.msg[:1].lower() + error.msg[1:]
        place = (error.lineno, error.colno)
        fix = syntax_hint(detail)
        raise _Refused(about_file("config.file.syntax", place=place, detail=detail, fix=fix)) from None
    except (ValueError, RecursionError) as error:
        # A number with thousands of digits; brackets nested hundreds deep.
        detail = (
            "nested too deeply" if isinstance(error, RecursionError) else "holds a number that is too long"
        )
        fix = "write it with fewer brackets, or a shorter number"
        raise _Refused(about_file("config.file.syntax", detail=detail, fix=fix)) from None


def _build(root: Table, path: str, source: bytes | None, *, dev: bool) -> Config:
    _warn_unknown_tables(root)
    for place in marked(root.raw):
        root.reading.findings.add("config.value.redacted", place, {}, at_value=True)
    tables = {name: root.child(name) for name in SECTIONS if "." not in name and name not in _READ_ELSEWHERE}
    read = {name: table.read_all(SECTIONS[name]) for name, table in tables.items()}
    providers, active, fallbacks = read_providers(root, dev=dev)
    channels = read_channels(root)
    warn_shared_credentials(root, channels)
    check_webhooks(root, channels)
    gateway = _gateway(tables["gateway"], read["gateway"], dev=dev)
    warn_what_will_not_work(root, channels, gateway, answers=bool(providers))
    tools, servers = read_tools(root), read_mcp(root)
    for table, allowed in ((root, tools.allow), (tables["gateway"], gateway.tools_allow)):
        check_tools(table.child("tools"), allowed, servers)
    return Config(
        path=path,
        exists=source is not None,
        digest=hashlib.sha256(source or b"").hexdigest(),
        gateway=gateway,
        providers=providers,
        active_provider=active,
        fallback_providers=fallbacks,
        channels=channels,
        memory=MemorySettings(**read["memory"]),
        delivery=DeliverySettings(**read["delivery"]),
        limits=LimitSettings(**read["limits"]),
        media=MediaSettings(**read["media"]),
        network=_network(tables["network"], read["network"]),
        logging=LoggingSettings(**read["logging"]),
        cli=CliSettings(**read["cli"]),
        hooks=_hooks(tables["hooks"], read["hooks"], gateway),
        tools=tools,
        mcp=servers,
        acp=read_acp(root),
        audit=read_audit(root),
    )


def _warn_unknown_tables(root: Table) -> None:
    channels = catalog.by_config_key()
    names = [name for name in SECTIONS if "." not in name]
    names += [
        "provider",
        "providers",
        ACTIVE_PROVIDER.name,
        FALLBACK_PROVIDERS.name,
        *LATER_TABLES,
        *channels,
    ]
    aliases = {alias.replace("-", "_"): key for key, row in channels.items() for alias in row.aliases}
    root.warn_unknown(names, hints=aliases)


def _gateway(table: Table, values: dict[str, Any], *, dev: bool) -> GatewaySettings:
    auth_table = table.child("auth")
    _refuse_open_auth(auth_table)
    auth = auth_table.read_all(SECTIONS["gateway.auth"])
    rate = auth_table.child("rateLimit").read_all(SECTIONS["gateway.auth.rateLimit"])
    _check_bind(table, values)
    _check_proxies(table, values["trusted_proxies"])
    children = {name: table.child(name) for name in ("controlUi", "ws", "tools")}
    control_ui, ws, tools = (child.read_all(SECTIONS[f"gateway.{name}"]) for name, child in children.items())
    auth_mode = auth["mode"] or _auth_mode(auth, table.reading.environ)
    check_auth(auth_table, auth, auth_mode)
    check_origins(children["controlUi"], control_ui["allowed_origins"])
    if "port" not in table and dev:
        values["port"] = DEV_PORT
    return GatewaySettings(
        **values,
        auth_mode=auth_mode,
        token=auth["token"],
        password=auth["password"],
        auth_attempts=rate["max_attempts"],
        auth_window_s=rate["window_ms"] / 1000,
        auth_lockout_s=rate["lockout_ms"] / 1000,
        exempt_loopback=rate["exempt_loopback"],
        allowed_origins=control_ui["allowed_origins"],
        ws=WsSettings(**ws),
        endpoints_off=_endpoints_off(table.child("http")),
        tools_allow=tools["allow"],
        tools_deny=tools["deny"],
        port_source="config" if "port" in table else "default",
    )


def _endpoints_off(http: Table) -> frozenset[str]:
    http.warn_unknown(["endpoints"])
    endpoints = http.child("endpoints")
    endpoints.warn_unknown(HTTP_ENDPOINTS)
    enabled = Setting("enabled", "bool", True)
    off = []
    for name in HTTP_ENDPOINTS:
        endpoint = endpoints.child(name)
        endpoint.warn_unknown([enabled.name])
        if not endpoint.read(enabled):
            off.append(name)
    return frozenset(off)


def _hooks(table: Table, values: dict[str, Any], gateway: GatewaySettings) -> HookSettings:
    path = "/" + str(values["path"]).strip().strip("/")
    if path == "/" or not _HOOK_PATH.fullmatch(path):
        _invalid(table, "path", "must be a path of letters, digits and dashes", 'write: path = "/hooks"')
    elif is_reserved(path) and path.split("/")[1] != "hooks":
        _invalid(table, "path", "is a path of the gateway itself", 'write: path = "/hooks"')
    if (
        values["enabled"]
        and values["token"].form == "absent"
        and not any(table.reading.environ.get(name, "").strip() for name in values["token"].fallback_env)
    ):
        _invalid(table, "enabled", "needs hooks.token", 'write: token = { env = "LOONG_HOOKS_TOKEN" }')
    if values["enabled"]:
        check_hook_token(table, values["token"], gateway.secret)
    return HookSettings(**{**values, "path": path})


def _auth_mode(auth: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """The mode when none is written: password when that is all there is, else token."""
    token, password = (
        ref.form != "absent" or any(environ.get(name, "").strip() for name in ref.fallback_env)
        for ref in (auth["token"], auth["password"])
    )
    return "password" if password and not token else "token"


def _refuse_open_auth(table: Table) -> None:
    given = table.get("mode")
    if isinstance(given, str) and given.strip().lower() in _REFUSED_AUTH:
        table.add("config.gateway.auth_mode_refused", "mode", at_value=True, given=given.strip().lower())


def _check_bind(table: Table, values: dict[str, Any]) -> None:
    bind = str(values["bind"]).strip()
    if bind.lower() in _BIND_MODES:
        values["bind"] = "loopback" if bind.lower() == "localhost" else bind.lower()
        if bind.lower() == "custom" and values["custom_bind_host"] is None:
            _invalid(
                table, "bind", "custom needs gateway.customBindHost", "write the address as customBindHost"
            )
    else:
        near = did_you_mean(bind.lower(), _BIND_MODES)
        _check_address(
            table,
            "bind",
            bind,
            "expected loopback, lan, tailnet, auto, custom or an address" + near,
            'write: bind = "loopback"',
        )
    if values["custom_bind_host"] is not None:
        given, fix = str(values["custom_bind_host"]), "write the numeric address of an interface of this host"
        _check_address(table, "customBindHost", given, "expected an address", fix)


def _check_address(table: Table, name: str, text: str, detail: str, fix: str) -> None:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        _invalid(table, name, detail, fix)


def _check_proxies(table: Table, proxies: Sequence[str]) -> None:
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            fix = 'write: trustedProxies = ["192.0.2.5", "198.51.100.0/24"]'
            _invalid(table, "trustedProxies", "expected addresses and networks", fix)
            return


def _network(table: Table, values: dict[str, Any]) -> NetworkSettings:
    if values["client_key"] is not None and values["client_cert"] is None:
        _invalid(table, "client_key", "needs network.client_cert beside it", "write client_cert as well")
    return NetworkSettings(**values)


def _invalid(table: Table, name: str, detail: str, fix: str) -> None:
    table.add("config.value.invalid", name, at_value=True, detail=detail, suggestion="", fix=fix)


def _mode_findings(path: str, mode: int, refs: list[SecretRef]) -> Iterator[Diagnostic]:
    """What is wrong with the modes of the config and of the secret files that it names."""
    how = open_to_others(mode)
    if how:
        inline = any(ref.form == "inline" for ref in refs)
        code = "config.file.mode_inline_secret" if inline else "config.file.mode"
        yield about_file(code, how=how, mode=f"{mode:04o}", path=path)
    for ref in {str(ref.value): ref for ref in refs if ref.form == "file"}.values():
        try:
            mode = stat.S_IMODE(os.stat(str(ref.value)).st_mode)
        except (OSError, ValueError):
            # Whether a secret resolves is not the config's business.
            continue
        how = open_to_others(mode)
        if how:
            values = {"how": how, "mode": f"{mode:04o}", "path": str(ref.value)}
            yield finding("config.secret.file_mode", ref.setting, values)
