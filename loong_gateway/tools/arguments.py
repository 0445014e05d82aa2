"""What a model or a client gives a tool, read and checked. Errors name the argument, never its value."""

from __future__ import annotations

from collections.abc import Mapping

from loong_gateway.base.strict_json import read_json
from loong_gateway.tools.contract import BadArgument, Tool

__all__ = ["checked", "parsed", "schema_of"]


def parsed(given: Mapping[str, object] | str) -> Mapping[str, object]:
    """Arguments as they came, as a mapping; models write JSON, which may be broken. Raises BadArgument."""
    if not isinstance(given, str):
        return given
    try:
        value = read_json(given) if given.strip() else {}
    except ValueError:
        raise BadArgument("the arguments are not valid JSON") from None
    if not isinstance(value, dict):
        raise BadArgument("the arguments must be a JSON object")
    return value


def schema_of(tool: Tool) -> Mapping[str, object]:
    """The JSON Schema of a tool's arguments."""
    if tool.schema is not None:
        return tool.schema
    properties = {
        name: {key: value for key, value in schema.items() if key != "default" or value != ""}
        for name, schema in tool.arguments.items()
    }
    document: dict[str, object] = {"type": "object", "properties": properties, "additionalProperties": False}
    if tool.required:
        document["required"] = sorted(tool.required)
    return document


def checked(tool: Tool, given: Mapping[str, object]) -> Mapping[str, object]:
    """The arguments with defaults put in; those of a foreign tool as they came. Raises BadArgument."""
    if tool.schema is not None:
        return given
    unknown = sorted(set(given) - set(tool.arguments))
    if unknown:
        raise BadArgument(f"args may hold {', '.join(sorted(tool.arguments)) or 'nothing'}")
    arguments = {}
    for name, schema in tool.arguments.items():
        value = given.get(name, schema.get("default"))
        if value is None:
            if name in tool.required:
                raise BadArgument(f"args.{name}: is needed")
        else:
            _check(name, value, schema)
            arguments[name] = value
    return arguments


def _check(name: str, value: object, schema: Mapping[str, object]) -> None:
    kind, choices = schema["type"], schema.get("enum")
    if isinstance(choices, (list, tuple)) and value not in choices:
        raise BadArgument(f"args.{name}: must be one of {', '.join(map(str, choices))}")
    if kind == "string":
        longest = schema.get("maxLength", 512)
        if not isinstance(value, str) or not isinstance(longest, int) or len(value) > longest:
            raise BadArgument(f"args.{name}: must be a string of at most {longest} characters")
    elif kind == "boolean":
        if not isinstance(value, bool):
            raise BadArgument(f"args.{name}: must be true or false")
    elif kind == "array":
        most, item = schema.get("maxItems", 64), schema.get("items")
        if not isinstance(value, list) or not isinstance(most, int) or len(value) > most:
            raise BadArgument(f"args.{name}: must be a list of at most {most} items")
        for one in value:
            _check(f"{name}[]", one, {"type": "string", **(item if isinstance(item, Mapping) else {})})
    else:
        _check_number(name, value, schema)


def _check_number(name: str, value: object, schema: Mapping[str, object]) -> None:
    lowest, highest = schema.get("minimum"), schema.get("maximum")
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadArgument(f"args.{name}: must be a whole number")
    if isinstance(lowest, int) and isinstance(highest, int) and not lowest <= value <= highest:
        raise BadArgument(f"args.{name}: must be from {lowest} to {highest}")
