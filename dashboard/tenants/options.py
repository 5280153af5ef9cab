"""Declare the settings a tenant may give: the form, the checks, the defaults and the docs come from this list."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.headerregistry import Address
from email.utils import parseaddr
from typing import Annotated, Any, Literal

from flask import Flask
from pydantic import AfterValidator, Field, SecretStr, TypeAdapter, ValidationError

from dashboard.core.clock import zone_names
from dashboard.core.errors import InvalidInput
from dashboard.core.tenancy import PER_TENANT

MAIL_HOST = re.compile(r"^(?=.{1,253}$)[A-Za-z0-9.\-:]+$")


def _sender(value: str) -> str:
    """Accept `Name <address>` or an address, on one line."""
    if any(ord(char) < 32 for char in value):
        raise ValueError("must be on one line")
    name, address = parseaddr(value)
    if not address or "@" not in address or "," in address:
        raise ValueError("must be an address like Acme <reports@acme.example>")
    try:
        return str(Address(name, addr_spec=address))
    except ValueError as error:
        raise ValueError("must be an address like Acme <reports@acme.example>") from error


def _optional_sender(value: str) -> str:
    return _sender(value) if value else ""


def _zone(value: str) -> str:
    if value not in zone_names():
        raise ValueError("must be a time zone like Europe/London")
    return value


def _host(value: str) -> str:
    if value and not MAIL_HOST.match(value):
        raise ValueError("must be a host name like smtp.acme.example")
    return value


Sender = Annotated[str, AfterValidator(_optional_sender)]
Zone = Annotated[str, AfterValidator(_zone)]
Host = Annotated[str, AfterValidator(_host)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantOption:
    """One setting: `key` is its name in `app.config`; `default` stands until the tenant gives a value.

    A `guarded` one is changed only by somebody who just gave their password.
    """

    key: str
    type: Any
    default: Any
    label: str
    help: str
    group: str
    secret: bool = False
    guarded: bool = False
    choices: tuple[str, ...] = ()

    def parse(self, value: object) -> Any:
        """Return the checked value. Raises InvalidInput with a sentence for the field."""
        try:
            return TypeAdapter(self.type).validate_python(value)
        except ValidationError as error:
            raise InvalidInput({self.key: f"{self.label} {_problem(error)}."}) from None


def _problem(error: ValidationError) -> str:
    """Say what is wrong, after the field's label; pydantic's own words are made for programmers."""
    first = error.errors()[0]
    limits = first.get("ctx", {})
    match first["type"]:
        case "greater_than_equal":
            return f"must be at least {limits['ge']:,}"
        case "less_than_equal":
            return f"must be at most {limits['le']:,}"
        case "int_parsing" | "int_type":
            return "must be a whole number"
        case "literal_error":
            return f"must be one of {limits['expected']}"
        case "string_too_long":
            return f"must have at most {limits['max_length']} characters"
        case "string_pattern_mismatch":
            return "must be a language code like en or en-GB"
        case _:
            return first["msg"].removeprefix("Value error, ")


MAIL = "Mail"
LOOK = "Look and place"
LIMITS = "Limits"

OPTIONS: tuple[TenantOption, ...] = (
    TenantOption(
        key="MAIL_SENDER",
        type=Sender,
        default=PER_TENANT,
        label="Sender",
        help="Who mail comes from, like Acme Reports <reports@acme.example>.",
        group=MAIL,
    ),
    TenantOption(
        key="MAIL_REPLY_TO",
        type=Sender,
        default="",
        label="Replies go to",
        help="Leave empty and replies go to the sender.",
        group=MAIL,
    ),
    TenantOption(
        key="SMTP_HOST",
        type=Host,
        default=PER_TENANT,
        label="Mail server",
        help="The SMTP server of your own; port, encryption, user name and password below belong to it.",
        group=MAIL,
        guarded=True,
    ),
    TenantOption(
        key="SMTP_PORT",
        type=Annotated[int, Field(ge=1, le=65535)],
        default=PER_TENANT,
        label="Port",
        help="587 for STARTTLS, 465 for TLS, 25 for neither.",
        group=MAIL,
        guarded=True,
    ),
    TenantOption(
        key="SMTP_TLS",
        type=Literal["none", "starttls", "tls"],
        default=PER_TENANT,
        label="Encryption",
        help="How the connection to the mail server is protected.",
        group=MAIL,
        guarded=True,
        choices=("none", "starttls", "tls"),
    ),
    TenantOption(
        key="SMTP_USER",
        type=Annotated[str, Field(max_length=200)],
        default=PER_TENANT,
        label="User name",
        help="Leave empty for none.",
        group=MAIL,
        guarded=True,
    ),
    TenantOption(
        key="SMTP_PASSWORD",
        type=SecretStr,
        default=PER_TENANT,
        label="Password",
        help="Kept encrypted and never shown again.",
        group=MAIL,
        guarded=True,
        secret=True,
    ),
    TenantOption(
        key="SEND_RATE",
        type=Annotated[int, Field(ge=1, le=6000)],
        default=300,
        label="Send rate",
        help="Mails a minute, 1 to 6,000.",
        group=LIMITS,
    ),
    TenantOption(
        key="RETENTION_DAYS",
        type=Annotated[int, Field(ge=1, le=3650)],
        default=90,
        label="Keep finished runs for",
        help="Days, 1 to 3,650.",
        group=LIMITS,
    ),
    TenantOption(
        key="TIMEZONE",
        type=Zone,
        default="UTC",
        label="Time zone",
        help="Schedules without a zone of their own follow it, and times are shown in it to all who chose none.",
        group=LOOK,
    ),
    TenantOption(
        key="LOCALE",
        type=Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$")],
        default="en",
        label="Language",
        help="What your mail is written in, as a code like en or en-GB: mail programs and screen readers go by it.",
        group=LOOK,
    ),
    TenantOption(
        key="BRAND_NAME",
        type=Annotated[str, Field(max_length=60)],
        default=PER_TENANT,
        label="Brand name",
        help="Shown at the top of the pages and in mail. Leave empty for the organisation's name.",
        group=LOOK,
    ),
    TenantOption(
        key="ACCENT_HUE",
        type=Annotated[int, Field(ge=0, le=360)],
        default=266,
        label="Accent colour",
        help="A hue from 0 to 360: 25 red, 70 amber, 150 green, 240 blue, 300 violet.",
        group=LOOK,
    ),
)

OPTION_BY_KEY: Mapping[str, TenantOption] = {option.key: option for option in OPTIONS}


def option_for(key: str) -> TenantOption:
    """Return the declared setting. Raises InvalidInput for a key that no tenant may set."""
    option = OPTION_BY_KEY.get(key)
    if option is None:
        raise InvalidInput({key: f"Is not a setting. There are: {', '.join(OPTION_BY_KEY)}."})
    return option


def init_app(app: Flask) -> None:
    """Give each setting its base value, so that reading one with no tenant bound is refused or defaulted."""
    app.config.update({option.key: option.default for option in OPTIONS})
