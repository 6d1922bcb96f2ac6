"""Settings declared as dataclasses: Ansible's argument specification, and the objects made of checked values.

A field is a setting if its type is ``Annotated[type, description]``. A dictionary before the description adds keys to
the option, such as ``{"no_log": True}``. A field whose type is a plain dataclass adds the settings of that dataclass,
with the ``prefix`` of the field's metadata. All other fields are derived.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
# The type of a number of bytes, which may be written as 20g.
SIZE = {"type": "bytes"}


def options(declared: type[Any]) -> dict[str, Any]:
    """The declared settings as the ``options`` of an argument specification, with their descriptions."""
    found: dict[str, Any] = {}
    for name, hint, default in _settings(declared, ""):
        found[name] = _option(hint)
        if default is MISSING:
            found[name]["required"] = True
        elif isinstance(default, str | int | float):
            found[name]["default"] = default
    return found


def build(declared: type[T], values: Mapping[str, Any], *, prefix: str = "", **derived: Any) -> T:
    """Creates the object from checked values. ``derived`` holds the fields that need more than a type conversion. A
    setting with the value None was omitted and gets its default."""
    hints = get_type_hints(declared, include_extras=True)
    made = dict(derived)
    for field in fields(declared):  # type: ignore[arg-type]
        name, hint = field.name, hints[field.name]
        if name in derived:
            continue
        if get_origin(hint) is Annotated:
            value = values.get(prefix + name)
            if value is not None or field.default is MISSING:
                made[name] = None if value is None else _value(hint, value)
        elif is_dataclass(hint):
            made[name] = build(hint, values, prefix=prefix + field.metadata.get("prefix", ""))  # type: ignore[arg-type]
    return declared(**made)


def _settings(declared: type[Any], prefix: str) -> Iterator[tuple[str, Any, Any]]:
    """Name, type and default of each setting."""
    hints = get_type_hints(declared, include_extras=True)
    for field in fields(declared):
        hint = hints[field.name]
        if get_origin(hint) is Annotated:
            yield prefix + field.name, hint, field.default
        elif is_dataclass(hint):
            yield from _settings(hint, prefix + field.metadata.get("prefix", ""))  # type: ignore[arg-type]


def _option(hint: Any) -> dict[str, Any]:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        option = _option(inner[0])
        for note in inner[1:]:
            option |= {"description": note} if isinstance(note, str) else note
        return option
    if origin is Literal:
        return {"type": "str", "choices": list(inner)}
    if origin is tuple:
        element = _option(inner[0])
        return {"type": "list", "elements": element.pop("type"), **element}
    if is_dataclass(hint):
        return {"type": "dict", "options": options(hint)}  # type: ignore[arg-type]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "dict"}
    if origin is UnionType:
        return _option(_without_none(hint))
    return {"type": "path" if hint is Path else hint.__name__}


def _value(hint: Any, value: Any) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _value(inner[0], value)
    if origin is UnionType:
        return _value(_without_none(hint), value)
    if origin is tuple:
        return tuple(_value(inner[0], item) for item in value)
    if is_dataclass(hint):
        return build(hint, value)  # type: ignore[arg-type]
    return Path(value) if hint is Path else value


def _without_none(hint: Any) -> Any:
    return next(part for part in get_args(hint) if part is not NoneType)
