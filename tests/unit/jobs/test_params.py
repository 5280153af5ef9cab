"""A job type's parameters become a form, come back from it, and keep their secrets."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, EmailStr, Field, SecretStr

from dashboard.app import Dashboard
from dashboard.core.errors import InvalidInput
from dashboard.core.tenancy import Binding, Tenant, bound
from dashboard.jobs import params
from dashboard.jobs.kinds import Labels, Multiline, UnsupportedField


class Colour(Enum):
    RED = "red"
    DARK_BLUE = "dark_blue"


class Everything(BaseModel):
    name: str = Field(title="What to call it", description="Shown on the page.", max_length=40)
    body: Annotated[str, Multiline(rows=12)] = ""
    count: int = Field(3, ge=1, le=9)
    share: float = 0.5
    loud: bool = False
    day: date
    at: datetime
    to: EmailStr
    format: Annotated[Literal["markdown", "html"], Labels({"html": "HTML"})] = "markdown"
    colour: Colour | None = None
    copies: list[EmailStr] = []
    token: SecretStr | None = None


FORM = {
    "params-name": "Totals",
    "params-body": "one\r\ntwo",
    "params-count": "4",
    "params-share": "0.25",
    "params-loud": "y",
    "params-day": "2026-11-25",
    "params-at": "2026-11-25T09:30",
    "params-to": "olivia@acme.example",
    "params-format": "html",
    "params-colour": "dark_blue",
    "params-copies": "a@acme.example, b@acme.example\n\nc@acme.example",
    "params-token": "canary",
}


@pytest.fixture
def in_tokyo(app: Dashboard, globex: Tenant) -> Iterator[None]:
    with app.app_context(), bound(Binding.of(globex)):
        yield


def parsed(**changes: str) -> Any:
    return params.parse_form(Everything, {**FORM, **{params.form_name(name): text for name, text in changes.items()}})


def errors_of(**changes: str) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        parsed(**changes)
    return caught.value.errors


def test_a_form_is_made_from_the_model_in_its_order(in_tokyo: None) -> None:
    fields = params.form_fields(Everything)
    assert [(field.name, field.type) for field in fields] == [
        ("params-name", "text"),
        ("params-body", "textarea"),
        ("params-count", "number"),
        ("params-share", "number"),
        ("params-loud", "checkbox"),
        ("params-day", "date"),
        ("params-at", "datetime-local"),
        ("params-to", "email"),
        ("params-format", "select"),
        ("params-colour", "select"),
        ("params-copies", "textarea"),
        ("params-token", "password"),
    ]
    name, body, count = fields[:3]
    assert (name.label, name.help, name.required, name.attrs) == (
        "What to call it",
        "Shown on the page.",
        True,
        {"maxlength": 40},
    )
    assert (body.required, body.attrs) == (False, {"rows": 12})
    assert (count.value, count.attrs) == ("3", {"step": 1, "min": 1, "max": 9})
    assert fields[8].options == (("markdown", "Markdown"), ("html", "HTML"))
    assert fields[9].options == (("", "–"), ("red", "Red"), ("dark_blue", "Dark blue"))


def test_a_submitted_form_becomes_the_model(in_tokyo: None) -> None:
    everything = parsed()
    assert (everything.body, everything.count, everything.loud) == ("one\ntwo", 4, True)
    assert everything.day == date(2026, 11, 25)
    assert everything.colour is Colour.DARK_BLUE
    assert everything.copies == ["a@acme.example", "b@acme.example", "c@acme.example"]
    assert everything.token.get_secret_value() == "canary"


def test_a_time_without_a_zone_is_the_tenants_and_is_shown_in_it_again(in_tokyo: None) -> None:
    everything = parsed()
    assert everything.at.astimezone(UTC) == datetime(2026, 11, 25, 0, 30, tzinfo=UTC)
    assert shown_value("at", params.dump(everything)) == "2026-11-25T09:30"


def shown_value(name: str, stored: dict[str, Any]) -> Any:
    return next(field.value for field in params.form_fields(Everything, stored) if field.name == f"params-{name}")


def test_what_is_left_empty_is_none_or_the_default(in_tokyo: None) -> None:
    everything = parsed(body="", count="", share=" ", colour="", copies="", token="")
    assert (everything.body, everything.count, everything.share) == ("", 3, 0.5)
    assert (everything.colour, everything.copies, everything.token) == (None, [], None)


@pytest.mark.parametrize(
    ("name", "typed", "sentence"),
    [
        ("name", "", "Fill this in."),
        ("name", "x" * 41, "Use at most 40 characters."),
        ("count", "four", "Enter a whole number."),
        ("count", "10", "Enter 9 or less."),
        ("share", "half", "Enter a number."),
        ("share", "NaN", "Enter a number."),
        ("share", "1e400", "Enter a number."),
        ("day", "tomorrow", "Enter a date like 2026-11-25."),
        ("at", "09:30", "Enter a date and time like 2026-11-25T09:30."),
        ("to", "olivia", "This is not an email address."),
        ("format", "pdf", "Choose one of 'markdown' or 'html'."),
        ("colour", "green", "Choose one of 'red' or 'dark_blue'."),
        ("copies", "a@acme.example\nnobody", "“nobody”: This is not an email address."),
    ],
)
def test_each_mistake_is_a_sentence_at_its_field(in_tokyo: None, name: str, typed: str, sentence: str) -> None:
    assert errors_of(**{name: typed}) == {f"params-{name}": sentence}


def test_all_mistakes_come_at_once_and_the_typed_values_stay(in_tokyo: None) -> None:
    errors = errors_of(count="four", day="")
    assert errors == {"params-count": "Enter a whole number.", "params-day": "Fill this in."}
    fields = params.form_fields(Everything, typed={**FORM, "params-count": "four"}, errors=errors)
    count = next(field for field in fields if field.name == "params-count")
    assert (count.value, count.error) == ("four", "Enter a whole number.")


def test_a_secret_is_stored_encrypted_and_shown_nowhere(in_tokyo: None) -> None:
    stored = params.dump(parsed())
    assert "canary" not in str(stored)
    assert "canary" not in str(params.form_fields(Everything, stored, typed=FORM))
    assert ("Token", params.HIDDEN) in params.shown(Everything, stored)
    assert params.redact(stored)["token"] == params.HIDDEN
    loaded: Any = params.load(Everything, stored)
    assert loaded.token.get_secret_value() == "canary"


def test_a_secret_left_empty_keeps_the_stored_one(in_tokyo: None) -> None:
    stored = params.dump(parsed())
    kept: Any = params.parse_form(Everything, {**FORM, "params-token": ""}, stored=stored)
    assert kept.token.get_secret_value() == "canary"


def test_what_is_stored_comes_back_the_same(in_tokyo: None) -> None:
    everything = parsed()
    assert params.load(Everything, params.dump(everything)) == everything


def test_parameters_are_shown_to_people_in_words(in_tokyo: None) -> None:
    shown = dict(params.shown(Everything, {**params.dump(parsed(colour="")), "gone": 1}))
    assert shown["Loud"] == "Yes"
    assert shown["Format"] == "HTML"
    assert shown["Colour"] == "–"
    assert shown["Copies"] == "a@acme.example, b@acme.example, c@acme.example"
    assert shown["gone"] == "1"


def test_plain_data_with_an_unknown_parameter_is_refused(in_tokyo: None) -> None:
    with pytest.raises(InvalidInput) as caught:
        params.validate(Everything, {"is_admin": True})
    assert caught.value.errors == {"is_admin": "Is not a parameter of this job type."}


@pytest.mark.parametrize("kind", [dict[str, int], bytes, list[date], int | str, Any, list[list[str]]])
def test_a_kind_that_no_form_can_ask_for_is_refused_by_name(kind: Any) -> None:
    model = type("Odd", (BaseModel,), {"__annotations__": {"thing": kind}})
    with pytest.raises(UnsupportedField, match=r"Odd\.thing: .* is not a kind of parameter that a form can ask for"):
        params.check_model(model)
