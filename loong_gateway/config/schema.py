"""The configuration as a JSON Schema, and one place of it, made from the table of settings.

https://json-schema.org/draft-07
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loong_channels import catalog
from loong_channels.settings import Setting
from loong_gateway.config.provider_settings import ACTIVE_PROVIDER, FALLBACK_PROVIDERS, PROVIDER
from loong_gateway.config.settings import (
    CHANNEL_COMMON,
    HTTP_ENDPOINTS,
    LATER_TABLES,
    NAMED_SECTIONS,
    SECTIONS,
)
from loong_gateway.config.tables import fold

__all__ = ["Node", "node_at", "root", "schema_of"]

# Which changes a running gateway takes over by itself: words of Setting.reload. The others need a restart.
APPLIED_WHILE_RUNNING: frozenset[str] = frozenset()
ANY = "*"
_TEXT = {"type": "string"}
_SECRET = {
    "anyOf": [
        _TEXT,
        {
            "type": "object",
            "properties": {
                "env": _TEXT,
                "file": _TEXT,
                "exec": {"type": "array", "items": _TEXT, "minItems": 1},
            },
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        },
    ]
}
_TYPES: Mapping[str, Mapping[str, object]] = {
    "bool": {"type": "boolean"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "texts": {"type": "array", "items": _TEXT},
    "ints": {"type": "array", "items": {"type": "integer"}},
    "ids": {"type": "array", "items": {"type": ["string", "integer"]}},
    "int_ids": {"type": "array", "items": {"type": ["integer", "string"]}},
    "headers": {"type": "object", "additionalProperties": _TEXT},
    "env": {"type": "object", "additionalProperties": _SECRET},
    "secret": _SECRET,
}


@dataclass(frozen=True)
class Node:
    """One place: a setting, or a table with its children by name; the child ANY stands for names of one's own.

    `setting` is None for a table. `is_read` is False for what this build accepts and does not read.
    """

    name: str
    setting: Setting | None = None
    children: Mapping[str, Node] = field(default_factory=dict)
    is_read: bool = True

    @property
    def reload_kind(self) -> str | None:
        """What a change needs: "hot", "restart" or "none"; None for a table, whose parts differ."""
        if not self.is_read:
            return "none"
        if self.setting is None:
            return None
        return "hot" if self.setting.reload in APPLIED_WHILE_RUNNING else "restart"


@functools.lru_cache(maxsize=1)
def root() -> Node:
    """The whole configuration; made once."""
    tables: dict[str, Node] = {}
    for path, section in SECTIONS.items():
        if "." not in path:
            tables[section.path] = _section(path)
    provider = _settings(PROVIDER.settings) | _unread(PROVIDER.later)
    tables["provider"] = Node("provider", children=provider)
    tables["providers"] = Node("providers", children={ANY: Node(ANY, children=provider)})
    tables.update(_settings((ACTIVE_PROVIDER, FALLBACK_PROVIDERS)))
    for name in catalog.gateway_channels():
        own = _settings((*CHANNEL_COMMON, *catalog.spec(name).settings))
        account = Node(ANY, children={key: node for key, node in own.items() if key != "default_account"})
        key = catalog.KNOWN[name].config_key
        tables[key] = Node(key, children={**own, "accounts": Node("accounts", children={ANY: account})})
    return Node("", children={**tables, **_unread([name for name in LATER_TABLES if name not in tables])})


def node_at(path: Sequence[str]) -> Node | None:
    """The place that a path of keys leads to, in any spelling; None where there is none."""
    node = root()
    for step in path:
        found = next((one for name, one in node.children.items() if fold(name) == fold(step)), None)
        found = found or node.children.get(ANY)
        if found is None:
            return None
        node = found
    return node


def schema_of(node: Node, depth: int = 64) -> dict[str, object]:
    """The JSON Schema of a place, its children down to `depth` included."""
    if node.setting is not None:
        return _schema_of_setting(node.setting)
    schema: dict[str, object] = {"type": "object"} if node.is_read else {}
    if not depth or not node.children:
        return schema
    named = {name: schema_of(child, depth - 1) for name, child in node.children.items() if name != ANY}
    if named:
        schema["properties"] = named
    if ANY in node.children:
        schema["additionalProperties"] = schema_of(node.children[ANY], depth - 1)
    return schema


def _section(path: str) -> Node:
    section = SECTIONS[path]
    children = _settings(section.settings) | _unread(section.later)
    for name in section.tables:
        named = NAMED_SECTIONS.get(f"{path}.{name}")
        if named is not None:
            own = Node(ANY, children=_settings(named.settings) | _unread(named.later))
            children[name] = Node(name, children={ANY: own})
        elif f"{path}.{name}" in SECTIONS:
            children[name] = _section(f"{path}.{name}")
        elif name == "http":
            children[name] = _endpoints()
    return Node(path.rpartition(".")[2], children=children)


def _endpoints() -> Node:
    enabled = Setting("enabled", "bool", True, "whether it is served", reload="restart")
    made = {name: Node(name, children=_settings((enabled,))) for name in HTTP_ENDPOINTS}
    return Node("http", children={"endpoints": Node("endpoints", children=made)})


def _settings(settings: Sequence[Setting]) -> dict[str, Node]:
    made = {}
    for setting in settings:
        made[setting.name] = Node(setting.name, setting)
        if setting.kind == "secret":
            text = f"name of the variable that holds {setting.name}"
            pointer = Setting(f"{setting.name}_env", "text", None, text, reload=setting.reload)
            made[pointer.name] = Node(pointer.name, pointer)
    return made


def _unread(names: Sequence[str]) -> dict[str, Node]:
    return {name: Node(name, is_read=False) for name in names}


def _schema_of_setting(setting: Setting) -> dict[str, object]:
    schema = dict(_TYPES.get(setting.kind, _TEXT))
    if setting.help:
        schema["description"] = setting.help
    if setting.choices:
        schema["enum"] = list(setting.choices)
    # What is outside of such bounds is moved to them with a warning, so it is not invalid.
    if not setting.clamp:
        if setting.minimum is not None:
            schema["minimum"] = setting.minimum
        if setting.maximum is not None:
            schema["maximum"] = setting.maximum
    if setting.default is not None and setting.kind != "secret":
        default = setting.default
        schema["default"] = list(default) if isinstance(default, tuple) else default
    return schema
