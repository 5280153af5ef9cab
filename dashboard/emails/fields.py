"""Read the `{{ field }}` language of mails: what tenants write is looked up, never executed.

Jinja only parses. The tree may hold text, the names of known fields and a few filters; anything else is refused, so
that no loop, call, arithmetic or attribute of an object can be written at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jinja2 import Environment, TemplateSyntaxError, nodes

from dashboard.emails.failures import MailTooLarge

FIELDS: Mapping[str, str] = {
    "recipient.address": "the address that this mail goes to",
    "tenant.name": "the organisation",
    "brand": "the brand name",
    "schedule.name": "the schedule, or the run if it has none",
    "run.id": "the run's number",
    "date": "the day the run started, in the organisation's time zone",
    "time": "the time it started",
    "zone": "that time zone",
    "link": "the address of the page that the mail links to",
}
"""Every field, and what it stands for."""

MOST_FIELDS = 1000


class BadTemplate(ValueError):
    """The text uses something that mails cannot; the message says what to change."""


@dataclass(frozen=True, slots=True)
class FieldUse:
    """A field where it stands in a text, with what is done to its value."""

    name: str
    changes: tuple[Callable[[str], str], ...] = ()

    def value(self, values: Mapping[str, str]) -> str:
        """Return the field's value, changed by its filters."""
        text = values[self.name]
        for change in self.changes:
            text = change(text)
        return text


Piece = str | FieldUse


def parse(source: str) -> tuple[Piece, ...]:
    """Return the text and fields of `source`, in order. Raises BadTemplate with a sentence."""
    if "{%" in source or "{#" in source:
        raise BadTemplate("Only fields like {{ tenant.name }} can be used; {% and {# have no meaning here")
    try:
        template = _ENVIRONMENT.parse(source)
        pieces = tuple(piece for output in template.body for piece in _pieces(output))
    except TemplateSyntaxError as error:
        raise BadTemplate(f"Line {error.lineno} cannot be read: {error.message}") from None
    except RecursionError:
        raise BadTemplate("A field is nested too deeply. Write {{ field }}") from None
    if sum(isinstance(piece, FieldUse) for piece in pieces) > MOST_FIELDS:
        raise BadTemplate(f"There are more than {MOST_FIELDS:,} fields")
    return pieces


def fill(pieces: tuple[Piece, ...], values: Mapping[str, str], *, limit: int) -> str:
    """Return the text with its fields' values. Raises MailTooLarge beyond `limit` characters."""
    filled: list[str] = []
    length = 0
    for piece in pieces:
        text = piece if isinstance(piece, str) else piece.value(values)
        length += len(text)
        if length > limit:
            raise MailTooLarge
        filled.append(text)
    return "".join(filled)


_ENVIRONMENT = Environment(autoescape=False, keep_trailing_newline=True)  # noqa: S701 - it only parses


def _pieces(node: nodes.Node) -> list[Piece]:
    if not isinstance(node, nodes.Output):
        raise BadTemplate("Only fields like {{ tenant.name }} can be used")
    return [each.data if isinstance(each, nodes.TemplateData) else _field(each) for each in node.nodes]


def _field(node: nodes.Expr) -> FieldUse:
    if isinstance(node, nodes.Filter) and isinstance(node.node, nodes.Expr):
        inner = _field(node.node)
        return FieldUse(inner.name, (*inner.changes, _change(node)))
    name = _path(node)
    if name not in FIELDS:
        raise BadTemplate(f"There is no field {{{{ {name} }}}}. There are: {', '.join(FIELDS)}")
    return FieldUse(name)


def _path(node: nodes.Expr) -> str:
    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Getattr):
        return f"{_path(node.node)}.{node.attr}"
    raise BadTemplate("Between {{ and }} there can only be the name of a field")


def _change(node: nodes.Filter) -> Callable[[str], str]:
    plain = {"upper": str.upper, "lower": str.lower, "title": str.title}
    if node.name in plain and not (node.args or node.kwargs or node.dyn_args or node.dyn_kwargs):
        return plain[node.name]
    match node:
        case nodes.Filter(
            name="default", args=[nodes.Const(value=str(text))], kwargs=[], dyn_args=None, dyn_kwargs=None
        ):
            return lambda value: value or text
        case _:
            raise BadTemplate(
                f"“{node.name}” cannot be used like this. There are: upper, lower, title, default('text')"
            )
