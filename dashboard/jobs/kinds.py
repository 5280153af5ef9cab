"""Know which kinds of parameter there are: how a form asks for each, reads what was typed, and shows it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import BaseMetadata, Ge, Gt, Le, Len, Lt, MaxLen, MinLen
from pydantic import AwareDatetime, EmailStr, SecretStr
from pydantic.fields import FieldInfo

from dashboard.core.zones import tenant_zone

Options = tuple[tuple[str, str], ...]
LIST_ROWS, TEXT_ROWS = 5, 8


class UnsupportedField(TypeError):
    """A parameter is of a kind that no form can ask for."""


@dataclass(frozen=True, slots=True)
class Multiline:
    """Marks a text parameter that wants a tall box: `Annotated[str, Multiline()]`."""

    rows: int = TEXT_ROWS
    mono: bool = False


@dataclass(frozen=True, slots=True)
class Labels:
    """Names the choices of a Literal or Enum for people: `Annotated[Literal["html"], Labels({"html": "HTML"})]`."""

    names: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a form asks for one kind of value.

    `control` is a type that templates/components/field.html knows. `read` turns typed text into what pydantic checks,
    `write` a stored JSON value into what the control holds. `blank` is what an empty control means, where that is a
    value at all.
    """

    control: str
    read: Callable[[str], Any] = str
    write: Callable[[Any], Any] = str
    attrs: Mapping[str, Any] = field(default_factory=dict)
    options: Options = ()
    mono: bool = False
    secret: bool = False
    blank: Any = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class _Shape:
    """An annotation taken apart: the bare type, what was noted beside it, and whether None is allowed."""

    bare: Any
    notes: tuple[Any, ...]
    optional: bool


def kind_of(info: FieldInfo) -> Kind:
    """Return the kind of a model's field. Raises UnsupportedField for one that no form can ask for."""
    shape = _take_apart(info.annotation, tuple(info.metadata))
    kind = _kind(shape.bare, shape.notes)
    nothing: Options = (("", "–"),) if shape.optional and kind.options else ()
    return replace(
        kind,
        attrs={**kind.attrs, **_limits(kind, shape.notes)},
        options=nothing + kind.options,
        blank=None if shape.optional else kind.blank,
        optional=shape.optional,
    )


def _take_apart(annotation: Any, notes: tuple[Any, ...]) -> _Shape:
    optional = False
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            notes += tuple(more)
        elif get_origin(annotation) in (Union, UnionType) and NoneType in get_args(annotation):
            rest = [each for each in get_args(annotation) if each is not NoneType]
            annotation, optional = (rest[0] if len(rest) == 1 else Union[tuple(rest)]), True  # noqa: UP007
        else:
            return _Shape(annotation, _unpacked(notes), optional)


def _unpacked(notes: tuple[Any, ...]) -> tuple[Any, ...]:
    """Field(…) inside Annotated carries its own notes."""
    return tuple(note for each in notes for note in (each.metadata if isinstance(each, FieldInfo) else (each,)))


def _kind(bare: Any, notes: tuple[Any, ...]) -> Kind:
    if bare is str:
        return _text(notes)
    if bare in _SIMPLE:
        return _SIMPLE[bare]
    if get_origin(bare) is Literal:
        return _choice({str(value): value for value in get_args(bare)}, notes)
    if isinstance(bare, type) and issubclass(bare, Enum):
        return _choice({str(member.value): member.value for member in bare}, notes)
    if get_origin(bare) is list and _take_apart(get_args(bare)[0], ()).bare in (str, EmailStr):
        return _LINES
    raise UnsupportedField(f"{bare!r} is not a kind of parameter that a form can ask for. There are: {SUPPORTED}.")


def _text(notes: tuple[Any, ...]) -> Kind:
    for note in notes:
        if isinstance(note, Multiline):
            return Kind(control="textarea", read=_unix_lines, attrs={"rows": note.rows}, mono=note.mono, blank="")
    return Kind(control="text", blank="")


def _choice(values: dict[str, Any], notes: tuple[Any, ...]) -> Kind:
    named = next((note.names for note in notes if isinstance(note, Labels)), {})
    return Kind(
        control="select",
        read=lambda typed: values.get(typed, typed),
        options=tuple((value, named.get(value) or value.replace("_", " ").capitalize()) for value in values),
    )


def _limits(kind: Kind, notes: tuple[Any, ...]) -> dict[str, Any]:
    """The limits that a browser can check before the server does."""
    limits: dict[str, Any] = {}
    for note in notes:
        if isinstance(note, BaseMetadata):
            limits.update(_number_limits(note) if kind.control == "number" else _length_limits(kind, note))
    return limits


def _number_limits(note: BaseMetadata) -> dict[str, Any]:
    match note:
        case Ge(ge=least) | Gt(gt=least):
            return {"min": least}
        case Le(le=most) | Lt(lt=most):
            return {"max": most}
        case _:
            return {}


def _length_limits(kind: Kind, note: BaseMetadata) -> dict[str, Any]:
    match note:
        case MaxLen(max_length=most) | Len(max_length=most) if most and not kind.mono and kind.control != "select":
            return {"maxlength": most}
        case MinLen() | _:
            return {}


def _split_lines(typed: str) -> list[str]:
    return [part.strip() for part in typed.replace(",", "\n").splitlines() if part.strip()]


def _unix_lines(typed: str) -> str:
    """Browsers send line ends as CRLF (HTML standard, form submission)."""
    return typed.replace("\r\n", "\n")


def _read_moment(typed: str) -> Any:
    """A time typed without a zone is meant in the tenant's."""
    try:
        moment = datetime.fromisoformat(typed)
    except ValueError:
        return typed
    return moment if moment.tzinfo else moment.replace(tzinfo=tenant_zone())


def _write_moment(stored: Any) -> str:
    try:
        moment = datetime.fromisoformat(str(stored))
        local = moment.astimezone(tenant_zone()) if moment.tzinfo else moment
    except (ValueError, OverflowError):  # at the end of the calendar it is no date in another zone
        return str(stored)
    return f"{local:%Y-%m-%dT%H:%M}"


def _write_lines(stored: Any) -> str:
    """A parameter may have been something else than a list when it was stored."""
    return "\n".join(map(str, stored)) if isinstance(stored, list | tuple) else str(stored)


def _write_nothing(_stored: Any) -> str:
    return ""


_LINES = Kind(control="textarea", read=_split_lines, write=_write_lines, attrs={"rows": LIST_ROWS}, mono=True, blank=())
_MOMENT = Kind(control="datetime-local", read=_read_moment, write=_write_moment)
_SIMPLE: dict[Any, Kind] = {
    int: Kind(control="number", attrs={"step": 1}),
    float: Kind(control="number", attrs={"step": "any"}),
    bool: Kind(control="checkbox", read=bool, write=bool),
    date: Kind(control="date"),
    datetime: _MOMENT,
    AwareDatetime: _MOMENT,
    EmailStr: Kind(control="email"),
    SecretStr: Kind(control="password", write=_write_nothing, secret=True, attrs={"autocomplete": "new-password"}),
}
SUPPORTED = (
    "str, int, float, bool, date, datetime, EmailStr, SecretStr, Literal, Enum, list[str], list[EmailStr], "
    "and each of them or None"
)
