"""Reads a form as a browser would send it if nothing were typed."""

from __future__ import annotations

from html.parser import HTMLParser


class FormReader(HTMLParser):
    """Collects the values that one form of a page sends."""

    def __init__(self, form_id: str) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self._form_id = form_id
        self._is_inside = False
        self._select = self._textarea = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._is_inside = given.get("id") == self._form_id
        if not self._is_inside:
            return
        if tag == "input" and given.get("name"):
            self._read_input(given)
        elif tag == "select":
            self._select = given["name"]
        elif tag == "option" and self._select and (self._select not in self.values or "selected" in given):
            self.values[self._select] = given.get("value", "")
        elif tag == "textarea":
            self._textarea = given["name"]
            self.values[self._textarea] = ""

    def _read_input(self, given: dict[str, str]) -> None:
        if given.get("type") not in ("radio", "checkbox") or "checked" in given:
            self.values[given["name"]] = given.get("value", "")

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.values[self._textarea] += data.removeprefix("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._is_inside = False
        elif tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._textarea = ""


def sent_by(markup: str, form_id: str) -> dict[str, str]:
    """Return what the form with this id sends as it was opened."""
    reader = FormReader(form_id)
    reader.feed(markup)
    return reader.values
