"""Show and read the settings form, which the declared options define."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, get_args

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from dashboard.core.clock import zone_names
from dashboard.core.errors import InvalidInput
from dashboard.tenants.models import TenantSetting
from dashboard.tenants.options import OPTIONS, TenantOption, Zone

MAIL_SERVER = "SMTP_HOST"
"""The setting that says whose mail server it is; the other guarded ones describe it."""

CLEAR = "clear:"
"""Before a secret's key: the name of the checkbox that forgets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionField:
    """One setting as the page shows it. `value` is never a secret; `set_at` is None where a default stands."""

    name: str
    label: str
    help: str
    type: str
    value: str
    error: str | None
    options: list[str]
    required: bool
    attrs: Mapping[str, Any]
    secret: bool
    set_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a form asks for: values as typed, by key, and keys that shall follow the default again."""

    values: Mapping[str, str]
    resets: tuple[str, ...]

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(self.values) | frozenset(self.resets)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsForm:
    """The form over a tenant's settings: `own` are the rows it has, `effective` is its configuration."""

    own: Mapping[str, TenantSetting]
    effective: Mapping[str, Any]
    typed: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)

    def groups(self) -> dict[str, list[OptionField]]:
        """Return the fields under their headings, in the order of the options."""
        groups: dict[str, list[OptionField]] = {}
        for option in OPTIONS:
            groups.setdefault(option.group, []).append(self._field(option))
        return groups

    def changes(self) -> Changes:
        """Return what differs from what stands. Raises InvalidInput with every field that needs another value."""
        errors: dict[str, str] = {}
        values = {}
        for option in OPTIONS:
            text = self.typed.get(option.key)
            if text is None or self._is_unchanged(option, text):
                continue
            try:
                self._check(option, text)
                values[option.key] = text
            except InvalidInput as error:
                errors |= error.errors
        if errors:
            raise InvalidInput(errors)
        return Changes(values=values, resets=self._resets(values))

    def _is_unchanged(self, option: TenantOption, text: str) -> bool:
        if option.secret:
            return text == ""
        if option.guarded and self._gives_server_up:
            return True
        belongs_to_new_server = option.guarded and self._names_new_server
        return text == str(self.effective.get(option.key, "")) and not belongs_to_new_server

    @property
    def _gives_server_up(self) -> bool:
        return self.typed.get(MAIL_SERVER) == "" and MAIL_SERVER in self.own

    @property
    def _names_new_server(self) -> bool:
        return self.typed.get(MAIL_SERVER, "") not in {"", str(self.effective.get(MAIL_SERVER, ""))}

    def _check(self, option: TenantOption, text: str) -> None:
        option.parse(text)
        if option.guarded and MAIL_SERVER not in self.own and not self._names_new_server:
            raise InvalidInput({option.key: f"{option.label} belongs to a mail server of your own: name that first."})

    def _resets(self, values: Mapping[str, str]) -> tuple[str, ...]:
        if self._gives_server_up:
            return reset_with(MAIL_SERVER)
        return tuple(option.key for option in OPTIONS if CLEAR + option.key in self.typed and option.key not in values)

    def _field(self, option: TenantOption) -> OptionField:
        own = self.own.get(option.key)
        effective = "" if option.secret else str(self.effective.get(option.key, ""))
        return OptionField(
            name=option.key,
            label=option.label,
            help=option.help,
            type=_control(option),
            value="" if option.secret else self.typed.get(option.key, effective),
            error=self.errors.get(option.key),
            options=[*zone_names()] if option.type is Zone else [*option.choices],
            required=_control(option) == "number",
            attrs=_attributes(option),
            secret=option.secret,
            set_at=own.updated_at if own else None,
        )


def reset_with(key: str) -> tuple[str, ...]:
    """Return the keys that follow the default again when `key` does: a mail server goes as a whole."""
    return tuple(option.key for option in OPTIONS if option.guarded) if key == MAIL_SERVER else (key,)


def _control(option: TenantOption) -> str:
    if option.secret:
        return "password"
    if option.choices or option.type is Zone:
        return "select"
    return "number" if _bounds(option) else "text"


def _attributes(option: TenantOption) -> dict[str, Any]:
    return {"autocomplete": "new-password" if option.secret else "off", **_bounds(option)}


def _bounds(option: TenantOption) -> dict[str, int]:
    """Return the limits that a number was declared with, as the control's attributes."""
    declared = [part for part in get_args(option.type) if isinstance(part, FieldInfo)]
    bounds: dict[str, int] = {}
    for limit in (limit for info in declared for limit in info.metadata):
        if isinstance(limit, Ge):
            bounds["min"] = int(str(limit.ge))
        elif isinstance(limit, Le):
            bounds["max"] = int(str(limit.le))
    return bounds
