"""Write HTML as plain text, for readers who see no HTML: structure stays, markup goes."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import takewhile

SEPARATED = frozenset(
    {"blockquote", "dl", "figure", "ol", "p", "pre", "table", "ul", "h1", "h2", "h3", "h4", "h5", "h6"}
)
"""Blocks with an empty line around them, unless they stand in a list."""

BLOCKS = SEPARATED | {"caption", "center", "div", "li", "tbody", "tfoot", "thead", "tr"}

RULE = "-" * 40
MARKS = {"h1": "# ", "h2": "## ", "h3": "### "}
QUOTE, CODE = "> ", "    "


def to_text(html: str) -> str:
    """Return sanitised `html` as text: lists with marks, links with their addresses, quotes with >, cells with |."""
    writer = _Writer()
    writer.feed(html)
    writer.close()
    writer.end_line()
    return "\n".join(writer.lines)


class _Writer(HTMLParser):
    """Collects lines. `indents` are what goes before each, outermost first; `marker` goes before the next one alone."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = []
        self.line = ""
        self.indents: list[str] = []
        self.indents_before: list[str] = []
        self.marker = ""
        self.numbers: list[int | None] = []
        self.wants_gap = False
        self.address = ""
        self.link_text = ""
        self.preformatted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in BLOCKS:
            self._begin_block(tag, inside_list=bool(self.numbers))
        self.line += MARKS.get(tag, "")
        begin: Callable[[dict[str, str]], None] | None = getattr(self, f"begin_{tag}", None)
        if begin is not None:
            begin({name: value or "" for name, value in attrs})

    def handle_endtag(self, tag: str) -> None:
        end: Callable[[], None] | None = getattr(self, f"end_{tag}", None)
        if tag in BLOCKS:
            self.end_line()
        if end is not None:
            end()
        if tag in BLOCKS:
            self._begin_block(tag, inside_list=bool(self.numbers))

    def handle_data(self, data: str) -> None:
        if self.address:
            self.link_text += data
        if self.preformatted:
            first, *rest = data.split("\n")
            self.line += first
            for each in rest:
                self.end_line(keep_empty=True)
                self.line = each
        else:
            words = re.sub(r"[ \t\r\n]+", " ", data)
            self.line += words.lstrip() if not self.line or self.line.endswith(" ") else words

    def begin_br(self, _attrs: dict[str, str]) -> None:
        self.end_line(keep_empty=True)

    def begin_hr(self, _attrs: dict[str, str]) -> None:
        self._begin_block("p", inside_list=False)
        self.line = RULE
        self._begin_block("p", inside_list=False)

    def begin_img(self, attrs: dict[str, str]) -> None:
        if attrs.get("alt"):
            self.handle_data(f"[{attrs['alt']}]")

    def begin_a(self, attrs: dict[str, str]) -> None:
        self.address, self.link_text = attrs.get("href", ""), ""

    def end_a(self) -> None:
        address = self.address.removeprefix("mailto:")
        if address and address != self.link_text.strip():
            self.line += f" <{address}>"
        self.address = ""

    def begin_ul(self, _attrs: dict[str, str]) -> None:
        self.numbers.append(None)

    def begin_ol(self, attrs: dict[str, str]) -> None:
        start = attrs.get("start", "")
        self.numbers.append(int(start) if start.isdecimal() else 1)

    def end_ul(self) -> None:
        if self.numbers:
            self.numbers.pop()

    end_ol = end_ul

    def begin_li(self, _attrs: dict[str, str]) -> None:
        number = self.numbers[-1] if self.numbers else None
        if number is None:
            self.marker = "- "
        else:
            self.marker = f"{number}. "
            self.numbers[-1] = number + 1
        self.indents.append(" " * len(self.marker))

    def end_li(self) -> None:
        self.marker = ""
        self.end_blockquote()

    def begin_blockquote(self, _attrs: dict[str, str]) -> None:
        self.indents.append(QUOTE)

    def end_blockquote(self) -> None:
        if self.indents:
            self.indents.pop()

    def begin_pre(self, _attrs: dict[str, str]) -> None:
        self.preformatted += 1
        self.indents.append(CODE)

    def end_pre(self) -> None:
        self.preformatted = max(0, self.preformatted - 1)
        self.end_blockquote()

    def begin_td(self, _attrs: dict[str, str]) -> None:
        if self.line.strip():
            self.line = f"{self.line.rstrip()} | "

    begin_th = begin_td

    def end_line(self, *, keep_empty: bool = False) -> None:
        """Write the line at hand, after the empty line that its block wants."""
        content = self.line.rstrip() if self.preformatted else self.line.strip()
        self.line = ""
        if not content and not (keep_empty and self.lines):
            return
        if self.wants_gap and self.lines:
            shared = takewhile(lambda pair: pair[0] == pair[1], zip(self.indents_before, self.indents, strict=False))
            self.lines.append("".join(indent for indent, _ in shared).rstrip())
        indent = "".join(self.indents)
        before = indent.removesuffix(" " * len(self.marker)) + self.marker if self.marker else indent
        self.lines.append((before + content).rstrip())
        self.wants_gap, self.marker, self.indents_before = False, "", list(self.indents)

    def _begin_block(self, tag: str, *, inside_list: bool) -> None:
        self.end_line()
        self.wants_gap |= tag in SEPARATED and not inside_list
