"""Documents held against pydantic models; every error in plain words, with its place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
)

from moreton.config.document import Document, Pointer
from moreton.config.faults import ConfigRefused, Fault
from moreton.kernel.quantities import format_duration, parse_duration, parse_percentage

ModelT = TypeVar("ModelT", bound=BaseModel)


class Section(BaseModel):
    """What every model of a section derives from: strict, frozen, no unknown keys.

    *meant* has words that users write, each with the key that they mean.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    meant: ClassVar[Mapping[str, str]] = {}


def _quantity(parse: Callable[[str], Any], example: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool) and value != 0:
            raise ValueError(f"{value} has no unit; write it like {example}")
        if value is None or isinstance(value, bool | dict | list):
            raise ValueError(f"{_shown(value)} is not text; write it like {example}")
        return parse(str(value))

    return read


Duration = Annotated[
    timedelta,
    BeforeValidator(_quantity(parse_duration, "5s")),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*(us|ms|s|m|h|d)$|^0$"}),
]
Percentage = Annotated[
    float,
    BeforeValidator(_quantity(parse_percentage, "25%")),
    PlainSerializer(lambda share: f"{share * 100:g}%", return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*%$"}),
]


_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def _read_name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a name; use up to 63 letters, digits, dots, hyphens and underscores"
        )
    return value


# Of a gateway, a service, a route, a policy.
Name = Annotated[
    str,
    BeforeValidator(_read_name),
    WithJsonSchema({"type": "string", "examples": ["orders"]}),
]


def parse(document: Document, model: type[ModelT], prevents: str = "not applied") -> ModelT:
    """*document* as a *model*; raises `ConfigRefused` with every fault and its place."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise ConfigRefused(faults_of(error, model, document, prevents)) from error


def faults_of(
    error: ValidationError,
    model: type[BaseModel],
    document: Document | None,
    prevents: str = "not applied",
) -> list[Fault]:
    """Pydantic's errors as faults; without *document* their place is told in words."""
    faults = []
    seen: set[tuple[Pointer, str]] = set()
    items = [(item, _pointer(item, document)) for item in error.errors(include_url=False)]
    inside = {pointer[:size] for _, pointer in items for size in range(len(pointer))}
    for item, pointer in items:
        if pointer in inside and isinstance(item.get("input"), dict | list):
            continue  # of a union: it is meant to be the member whose inside is wrong
        what, todo = _words(item, model, pointer)
        if (pointer, what) in seen:
            continue
        seen.add((pointer, what))
        where = document.where(pointer) if document is not None else None
        faults.append(Fault(what, todo, where, prevents))
    return faults


def _pointer(item: Any, document: Document | None) -> Pointer:
    """Where *item* is, without the names of union members that pydantic puts in."""
    loc = tuple(item["loc"])
    if document is None:
        return tuple(part for part in loc if not _is_union_member(part))
    out: list[str | int] = []
    here: Any = document.data
    for part in loc:
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            if part is loc[-1] and item["type"] == "missing":
                out.append(part)
            continue
        out.append(part)
    return tuple(out)


def _is_union_member(part: object) -> bool:
    text = str(part)
    return isinstance(part, str) and ("[" in text or text in {"constrained-int", "bool", "int"})


def _words(  # noqa: PLR0911 - one for each kind of error
    item: Any, model: type[BaseModel], pointer: Pointer
) -> tuple[str, str]:
    name = ".".join(str(part) for part in pointer) or "the file"
    kind = item["type"]
    value = item.get("input")
    if kind == "extra_forbidden":
        return f"{name} is not a known key", _did_you_mean(model, pointer)
    if kind == "missing":
        return f"{name} is missing", "add it"
    if kind == "value_error":
        message = str(item["ctx"]["error"])
        what, _, todo = message.partition("; ")
        return f"{name}: {what}", todo or "correct it"
    shown = _shown(value)
    if kind == "literal_error":
        return f"{name} is {shown}", f"write {item['ctx']['expected']}"
    if kind == "too_short":
        return f"{name} is {shown}", "give at least one item"
    wanted = {
        "string_type": "text; put it in quotes",
        "int_type": "a whole number",
        "int_parsing": "a whole number",
        "bool_type": "true or false",
        "bool_parsing": "true or false",
        "dict_type": "a mapping of names to values",
        "model_type": "a mapping of keys to values",
        "model_attributes_type": "a mapping",
        "list_type": "a list",
        "tuple_type": "a list",
        "float_type": "a number",
        "timedelta_type": "a duration like 5s",
    }.get(kind)
    if wanted is not None:
        return f"{name} is {shown}", f"write {wanted}"
    bounds = {"greater_than_equal": ("ge", "at least"), "less_than_equal": ("le", "at most")}
    if kind in bounds:
        key, words = bounds[kind]
        return f"{name} is {shown}", f"write {words} {item['ctx'][key]}"
    return f"{name} is {shown}", str(item["msg"]).lower()


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return repr(value) if isinstance(value, str) else str(value).lower()


def _did_you_mean(model: type[BaseModel], pointer: Pointer) -> str:
    models = _models_at(model, pointer[:-1])
    known = [field.alias or name for each in models for name, field in each.model_fields.items()]
    wrote = str(pointer[-1])
    meant = [one.meant[wrote] for one in models if issubclass(one, Section) and wrote in one.meant]
    meant += [each for each in difflib.get_close_matches(wrote, known) if _is_like(wrote, each)]
    if meant:
        return f"did you mean {meant[0]!r}"
    if known:
        return f"remove it, or use one of {', '.join(sorted(known))}"
    return "remove it"


def _is_like(wrote: str, known: str) -> bool:
    """Whether one may be a slip for the other: `at` is most of `rate`, and nobody means it."""
    short, long = sorted((wrote, known), key=len)
    return long.startswith(short) or len(long) - len(short) <= max(1, len(long) // 4)


def _models_at(model: type[BaseModel], pointer: Pointer) -> list[type[BaseModel]]:
    """The models of which one may stand at *pointer*, walking the annotations."""
    here: Any = model
    for part in pointer:
        models = _models_in(here)
        member = None
        for candidate in models:
            field = _field(candidate, str(part))
            if field is not None:
                member = field.annotation
        here = member if member is not None else here
        if member is None and not models:
            return []
    return _models_in(here)


def _field(model: type[BaseModel], name: str) -> Any:
    for own, field in model.model_fields.items():
        if name in {own, field.alias}:
            return field
    return None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
