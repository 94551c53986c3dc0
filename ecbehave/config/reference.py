"""The config described for editors and readers, from its classes: JSON Schema and tables."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from ecbehave.config import Config
from ecbehave.config.values import Section, format_duration
from ecbehave.config.words import field_type, is_section, kinds, members, type_words, unpack

#: Required by the class, but filled in where the YAML does not say them.
_FILLED_IN = ("name", "baseline")

_HEAD = """\
A duration is a whole number with a unit: `30m`, `12h`, `7d`, `4w`. In headings, a dot leads to a key inside,
`N` stands for a position in a list and `KEY` for any of the mapping's keys.
"""


class _Generator(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        return _written(dft) if isinstance(dft, timedelta | list) else super().encode_default(dft)


def _written(value: Any) -> Any:
    if isinstance(value, list):
        return [_written(v) for v in value]
    return format_duration(value) if isinstance(value, timedelta) else value


def json_schema(config_class: type[Config]) -> dict[str, Any]:
    """Return the JSON Schema of a YAML file, for editors.

    A file that extends another may leave out any key, so only entries of lists, which are never merged, have
    required keys wherever they stand; the top level has them unless it says `extends`.
    """
    schema = config_class.model_json_schema(schema_generator=_Generator)
    extends = {
        "type": "string",
        "description": "YAML file whose keys this one adds to, relative to this file.",
    }
    required = [key for key in schema.pop("required") if key not in _FILLED_IN]
    for part in schema["properties"].values():
        _relax(part, schema["$defs"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "properties": {"extends": extends, **schema["properties"]},
        "anyOf": [{"required": ["extends"]}, {"required": required}],
    }


def _relax(part: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Let keys be missing in a mapping and the mappings in it, but not in entries of a list."""
    part.pop("required", None)
    part.pop("discriminator", None)
    if "oneOf" in part:
        # Without its kind a mapping may fit several.
        part["anyOf"] = part.pop("oneOf")
    if "$ref" in part:
        _relax(definitions[part["$ref"].rpartition("/")[2]], definitions)
    for below in [*part.get("anyOf", ()), *part.get("properties", {}).values()]:
        _relax(below, definitions)


def reference(config_class: type[Config]) -> str:
    """Return the config reference in Markdown: a table of keys for each section and each kind."""
    places: dict[tuple[type[Section], str], list[str]] = {}
    for path, kind, section in _sections(config_class, ""):
        places.setdefault((section, kind), []).append(f"`{path}`")
    tables = [_HEAD, _table("Top level", config_class)]
    for (section, kind), paths in places.items():
        tables.append(
            _table(f"{' and '.join(dict.fromkeys(paths))}{f', kind `{kind}`' * bool(kind)}", section)
        )
    return "\n".join(tables)


def _sections(section: type[Section], prefix: str) -> Iterator[tuple[str, str, type[Section]]]:
    """Yield path, kind (empty where there is no choice) and class of every section below one, in order."""
    for key, field in section.model_fields.items():
        path, annotation = f"{prefix}{key}", field_type(field)
        for kind, of_kind in kinds(annotation).items():
            yield path, kind, of_kind
            yield from _sections(of_kind, f"{path}.")
        for member in () if kinds(annotation) else members(annotation):
            base, _ = unpack(member)
            below = get_args(base)[-1] if get_args(base) else base
            if is_section(below):
                step = {list: ".N", dict: ".KEY"}.get(get_origin(base) or base, "")
                yield f"{path}{step}", "", below
                yield from _sections(below, f"{path}{step}.")


def _table(title: str, section: type[Section]) -> str:
    rows = [
        [f"`{key}`", type_words(field_type(field)), _default(key, field), _meaning(field)]
        for key, field in section.model_fields.items()
        if not (key == "kind" and field.is_required())
    ]
    lines = [f"#### {title}", "", _cell(section.__doc__ or ""), ""]
    if not rows:
        return "\n".join([*lines, "No further keys.", ""])
    cells = [" | ".join(_cell(text) for text in row) for row in rows]
    table = ["| key | type | default | meaning |", "|---|---|---|---|", *(f"| {c} |" for c in cells)]
    return "\n".join([*lines, *table, ""])


def _meaning(field: FieldInfo) -> str:
    classes = [m for m in members(field_type(field)) if is_section(m)]
    return field.description or (str(classes[0].__doc__) if len(classes) == 1 else "")


def _default(key: str, field: FieldInfo) -> str:
    if field.is_required():
        return "" if key in _FILLED_IN else "required"
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, Section):
        return ""
    return f"`{_flow(_written(value))}`"


def _flow(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k}: {_flow(v)}' for k, v in value.items())}}}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
