"""Carry a job type's parameters between its pydantic model, the form that asks for them, and what is stored.

Stored parameters are JSON; secrets among them are encrypted, and no page shows them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from dashboard.core import secrets
from dashboard.core.errors import InvalidInput
from dashboard.jobs.kinds import Kind, Options, UnsupportedField, kind_of

PREFIX = "params-"
"""Goes before a parameter's name in a form, so that it never meets a field of the form itself."""

SECRET = "$secret"  # noqa: S105
HIDDEN = "••••••••"
QUOTED = 60
LISTED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """One parameter in a form; its attributes are what templates/components/form_field.html reads."""

    name: str
    label: str
    type: str
    value: Any = ""
    help: str | None = None
    error: str | None = None
    required: bool = False
    disabled: bool = False
    mono: bool = False
    options: Options = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)


def check_model(model: type[BaseModel]) -> None:
    """Raises UnsupportedField, naming the parameter, if no form could ask for one of `model`'s."""
    for name, info in model.model_fields.items():
        if info.alias is not None:
            raise UnsupportedField(
                f"{model.__qualname__}.{name}: a parameter has one name, so aliases are not supported."
            )
        try:
            kind_of(info)
        except UnsupportedField as error:
            raise UnsupportedField(f"{model.__qualname__}.{name}: {error}") from None


def form_fields(
    model: type[BaseModel],
    stored: Mapping[str, Any] | None = None,
    *,
    typed: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
) -> list[FormField]:
    """Return the fields of the form for `model`, in its order.

    Their values are what was `typed` (a submitted form, by form names), else what is `stored`, else the defaults.
    `errors` maps form names to sentences, as `parse_form` raises them.
    """
    return [
        FormField(
            name=form_name(name),
            label=_label(name, info),
            type=kind.control,
            value=_shown_in_form(name, info, kind, stored or {}, typed),
            help=_help(info, kind, stored=(stored or {}).get(name)),
            error=(errors or {}).get(form_name(name)),
            required=info.is_required() and kind.control != "checkbox" and not (kind.secret and stored),
            mono=kind.mono,
            options=kind.options,
            attrs=kind.attrs,
        )
        for name, info, kind in _kinds(model)
    ]


def form_name(name: str) -> str:
    """Return the name that the parameter `name` has in a form."""
    return PREFIX + name


def parse_form(
    model: type[BaseModel], form: Mapping[str, str], *, stored: Mapping[str, Any] | None = None
) -> BaseModel:
    """Return the parameters that a submitted form holds; a secret left empty keeps its `stored` value.

    Raises InvalidInput with a sentence for each form name; fields that `model` does not know are not its business.
    """
    data: dict[str, Any] = {}
    for name, info, kind in _kinds(model):
        typed = form.get(form_name(name), "")
        if kind.control == "checkbox" or typed.strip():
            data[name] = kind.read(typed)
        elif kind.secret and stored and name in stored:
            data[name] = _reveal(stored[name])
        elif not info.is_required() and (kind.optional or kind.blank is not None):
            data[name] = kind.blank
    try:
        return validate(model, data)
    except InvalidInput as error:
        raise InvalidInput({form_name(name) if name else "": text for name, text in error.errors.items()}) from None


def validate(model: type[BaseModel], data: Mapping[str, Any]) -> BaseModel:
    """Return checked parameters from plain data (an API's JSON, a test's dict).

    Raises InvalidInput with a sentence per parameter; the name "" is for all of them together.
    """
    unknown = dict.fromkeys(data.keys() - model.model_fields.keys(), "Is not a parameter of this job type.")
    if unknown:
        raise InvalidInput(unknown)
    try:
        params = model.model_validate(dict(data))
    except ValidationError as error:
        raise InvalidInput(_sentences(error)) from None
    endless = [name for name, value in params if isinstance(value, float) and not isfinite(value)]
    if endless:  # JSON has no word for it
        raise InvalidInput(dict.fromkeys(endless, "Enter a number."))
    return params


def dump(params: BaseModel) -> dict[str, Any]:
    """Return the JSON that a schedule or run stores; secrets are encrypted."""
    stored = params.model_dump(mode="json")
    for name in stored:
        value = getattr(params, name)
        if isinstance(value, SecretStr):
            stored[name] = {SECRET: secrets.encrypt(value.get_secret_value()).decode()}
    return stored


def load(model: type[BaseModel], stored: Mapping[str, Any]) -> BaseModel:
    """Return the parameters that `dump` stored. Raises InvalidInput if they are no longer valid."""
    return validate(model, {name: _reveal(value) for name, value in stored.items()})


def redact(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored parameters as anybody may see them."""
    return {name: HIDDEN if is_secret(value) else value for name, value in stored.items()}


def shown(model: type[BaseModel], stored: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return stored parameters for people: (label, text) in the model's order, then what the model no longer knows."""
    known = [(_label(name, info), _text(kind, stored[name])) for name, info, kind in _kinds(model) if name in stored]
    unknown = [(name, str(value)) for name, value in redact(stored).items() if name not in model.model_fields]
    return known + unknown


def told(model: type[BaseModel], error: InvalidInput) -> str:
    """Return what is wrong with parameters in one line, by their labels."""
    fields = model.model_fields
    return " ".join(
        f"{_label(name, fields[name]) if name in fields else name}: {sentence}" if name else sentence
        for name, sentence in error.errors.items()
    )


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema (2020-12) of the parameters."""
    return model.model_json_schema()


def _kinds(model: type[BaseModel]) -> list[tuple[str, FieldInfo, Kind]]:
    return [(name, info, kind_of(info)) for name, info in model.model_fields.items()]


def _label(name: str, info: FieldInfo) -> str:
    return info.title or name.replace("_", " ").capitalize()


def _help(info: FieldInfo, kind: Kind, *, stored: Any) -> str | None:
    if kind.secret and stored is not None:
        return " ".join(filter(None, (info.description, "Leave empty to keep the one that is set.")))
    return info.description


def _shown_in_form(
    name: str, info: FieldInfo, kind: Kind, stored: Mapping[str, Any], typed: Mapping[str, str] | None
) -> Any:
    if typed is not None and not kind.secret:
        return form_name(name) in typed if kind.control == "checkbox" else typed.get(form_name(name), "")
    if stored.get(name) is not None:
        return kind.write(stored[name])
    default = info.get_default(call_default_factory=True)
    if default in (None, PydanticUndefined) or name in stored:
        return ""
    return kind.write(default.value if hasattr(default, "value") else default)


def _text(kind: Kind, value: Any) -> str:
    if is_secret(value):
        return HIDDEN
    if value is None or value in ("", []):
        return "–"
    if kind.control == "checkbox":
        return "Yes" if value else "No"
    if kind.options:
        return dict(kind.options).get(str(value), str(value))
    if isinstance(value, list):
        more = f" … and {len(value) - LISTED:,} more" if len(value) > LISTED else ""
        return ", ".join(map(str, value[:LISTED])) + more
    return str(value)


def is_secret(value: Any) -> bool:
    """Whether a stored parameter is an encrypted one."""
    return isinstance(value, Mapping) and SECRET in value


def _reveal(value: Any) -> Any:
    if not is_secret(value):
        return value
    try:
        return secrets.decrypt(value[SECRET].encode())
    except secrets.UnreadableSecret:
        return None  # its key is gone: the parameter is missing, and says so like any other


def _sentences(error: ValidationError) -> dict[str, str]:
    """The first thing wrong with each parameter."""
    sentences: dict[str, str] = {}
    for item in error.errors(include_url=False):
        name = str(item["loc"][0]) if item["loc"] else ""
        sentences.setdefault(name, _quoted(item) + _sentence(item))
    return sentences


def _quoted(item: ErrorDetails) -> str:
    """Name the line that is wrong, in a list of lines."""
    if len(item["loc"]) < 2 or not isinstance(item["input"], str):
        return ""
    return f"“{item['input'][:QUOTED]}”: "


def _sentence(item: ErrorDetails) -> str:
    context = item.get("ctx", {})
    if context.get("min_length") == 1:
        return _SENTENCES["missing"]
    if item["type"] in _SENTENCES:
        return _SENTENCES[item["type"]].format(**context)
    if item["msg"].startswith("value is not a valid email address"):
        return "This is not an email address."
    message = item["msg"].removeprefix("Value error, ").removeprefix("Input ").rstrip(".")
    return message[:1].upper() + message[1:] + "."


_SENTENCES = {
    "missing": "Fill this in.",
    "none_required": "Fill this in.",
    "string_type": "Fill this in.",
    "string_too_short": "Use at least {min_length} characters.",
    "string_too_long": "Use at most {max_length} characters.",
    "too_short": "Give at least {min_length}.",
    "too_long": "Give at most {max_length}.",
    "int_parsing": "Enter a whole number.",
    "int_from_float": "Enter a whole number.",
    "int_type": "Enter a whole number.",
    "float_parsing": "Enter a number.",
    "float_type": "Enter a number.",
    "bool_parsing": "Answer yes or no.",
    "date_from_datetime_parsing": "Enter a date like 2026-11-25.",
    "date_parsing": "Enter a date like 2026-11-25.",
    "date_type": "Enter a date like 2026-11-25.",
    "datetime_from_date_parsing": "Enter a date and time like 2026-11-25T09:30.",
    "datetime_parsing": "Enter a date and time like 2026-11-25T09:30.",
    "datetime_type": "Enter a date and time like 2026-11-25T09:30.",
    "timezone_aware": "Give the time with its zone, like 2026-11-25T09:30Z.",
    "greater_than_equal": "Enter {ge} or more.",
    "greater_than": "Enter more than {gt}.",
    "less_than_equal": "Enter {le} or less.",
    "less_than": "Enter less than {lt}.",
    "literal_error": "Choose one of {expected}.",
    "enum": "Choose one of {expected}.",
    "list_type": "Give a list.",
}
