"""Turn what a tenant wrote into a mail: once for all recipients, then each one's fields filled in.

Fields become tokens before anything else, so that no value ever passes through Markdown or HTML: the body is converted,
sanitised, framed and styled with tokens in it, and the values are put, escaped, where the tokens stand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from html.parser import HTMLParser
from typing import Literal
from urllib.parse import quote

import css_inline
import nh3
from flask import render_template
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from dashboard.core.links import page_url
from dashboard.emails.accent import accent_of
from dashboard.emails.addresses import plain_line
from dashboard.emails.fields import BadTemplate, FieldUse, Piece, fill, parse
from dashboard.emails.plaintext import to_text

BodyFormat = Literal["markdown", "html"]
MOST_SUBJECT = 500
MOST_BODY = 512 * 1024
MOST_MARKDOWN = 50_000
PREVIEW = 140
SUBJECT = FieldUse("subject")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a tenant's mails look: its brand, and its accent's hue in degrees."""

    brand: str
    hue: int
    language: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """The link under a mail's text; `url` is absolute."""

    label: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One recipient's mail."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail to many, ready to have its fields filled in."""

    subject: tuple[Piece, ...]
    text: tuple[Piece, ...]
    html: tuple[Piece, ...]

    def fill(self, values: Mapping[str, str]) -> Rendered:
        """Return the mail with `values` for its fields. Raises MailTooLarge if they make it so."""
        plain = {name: plain_line(value) for name, value in values.items()}
        subject = fill(self.subject, plain, limit=MOST_SUBJECT).strip()
        everything = {**plain, SUBJECT.name: subject}
        return Rendered(
            subject=subject,
            text=fill(self.text, everything, limit=MOST_BODY),
            html=fill(self.html, everything, limit=MOST_BODY),
        )


def check_subject(source: str) -> None:
    """Raises BadTemplate, with a sentence, for a subject that no mail could have."""
    parse(source)


def check_body(source: str, body_format: BodyFormat) -> None:
    """Raises BadTemplate, with a sentence, for a body that no mail could have."""
    _Body(source, body_format, pages="")


def prepare(*, subject: str, body: str, body_format: BodyFormat, look: Look, button: Button | None = None) -> Mail:
    """Return the mail of `subject` and `body`, framed in the tenant's look; links to `/…` become its own pages.

    Needs the tenant's request or task context for its links. Raises BadTemplate.
    """
    parts = _Body(body, body_format, pages=page_url().rstrip("/"))
    subject_token = parts.token_of(SUBJECT)
    text = to_text(parts.html)
    page = render_template(
        "emails/message.html",
        subject=subject_token,
        preview=" ".join(text.split())[:PREVIEW].rpartition(" ")[0],
        content=Markup(parts.html),  # noqa: S704 - sanitised by _Body
        button=button,
        brand=look.brand,
        accent=accent_of(look.hue),
        language=look.language,
    )
    framed_text = render_template("emails/message.txt", content=text, button=button, brand=look.brand)
    return Mail(
        subject=parse(subject),
        text=parts.pieces(framed_text, in_html=False),
        html=parts.pieces(_INLINER.inline(page), in_html=True),
    )


class _Body:
    """A body as sanitised HTML with a token for each field, and what each token stands for.

    `pages` goes before a link to a page of the dashboard.
    """

    def __init__(self, source: str, body_format: BodyFormat, *, pages: str) -> None:
        # A digest of the text: by chance it stands neither there nor in what frames it.
        self.prefix = f"ft{blake2b(source.encode(errors='backslashreplace'), digest_size=4).hexdigest()}"
        self.uses: list[FieldUse] = []
        self.problem = ""
        self.pages = pages
        marked = "".join(piece if isinstance(piece, str) else self.token_of(piece) for piece in parse(source))
        self.html = self._sanitised(_from_markdown(marked) if body_format == "markdown" else _bounded(marked))
        self.problem = self.problem or _too_deep(self.html)
        if self.problem:
            raise BadTemplate(self.problem)

    def token_of(self, use: FieldUse) -> str:
        self.uses.append(use)
        return f"{self.prefix}t{len(self.uses) - 1}x"

    def pieces(self, text: str, *, in_html: bool) -> tuple[Piece, ...]:
        """Take `text` apart at its tokens; a value is escaped for where it stands."""
        pieces: list[Piece] = []
        for position, part in enumerate(re.split(rf"{self.prefix}([tu])(\d+)x", text)):
            match position % 3:
                case 0:
                    pieces.append(part)
                case 1:
                    in_url = part == "u"
                case _:
                    pieces.append(_escaped(self.uses[int(part)], in_url=in_url, in_html=in_html))
        return tuple(pieces)

    def _sanitised(self, html: str) -> str:
        return nh3.clean(
            html,
            tags=TAGS,
            attributes=ATTRIBUTES,
            attribute_filter=self._attribute,
            url_schemes=SCHEMES,
            url_relative=self._relative,
            filter_style_properties=STYLES,
            link_rel=None,
        ).strip()

    def _attribute(self, _tag: str, attribute: str, value: str) -> str | None:
        """Fields in an address stand after the host, so that no value decides where a link leads."""
        if attribute not in {"href", "src"} or self.prefix not in value or value == self._link_token(value):
            return value
        if not re.match(r"(https?://[^/?#]+[/?#]|/[^/])", value.partition(self.prefix)[0]):
            self.problem = "In a link, fields can only stand after the host, or {{ link }} alone"
            return None
        return value.replace(f"{self.prefix}t", f"{self.prefix}u")

    def _relative(self, url: str) -> str | None:
        """An address without a host is a page of this dashboard, or the field {{ link }}."""
        if url == self._link_token(url):
            return url
        if url.startswith("/") and url[1:2] not in {"/", "\\"}:
            return self.pages + url
        self.problem = self.problem or (
            f"The link “{url[:60]}” must start with https:// or mailto:, or with / for a page of this dashboard"
        )
        return None

    def _link_token(self, value: str) -> str | None:
        """Return `value` if it is the token of a plain {{ link }}."""
        found = re.fullmatch(rf"{self.prefix}t(\d+)x", value)
        return value if found and self.uses[int(found[1])] == FieldUse("link") else None


def _from_markdown(text: str) -> str:
    if len(text) > MOST_MARKDOWN:
        raise BadTemplate(f"Use at most {MOST_MARKDOWN:,} characters of Markdown")
    return str(_MARKDOWN.render(text))


def _bounded(html: str) -> str:
    """Refuse HTML that parsing would blow up: each tag may repeat all mark-up that was left open before it.

    67 kB of `<p><b title=1><p><b title=2>…` become 156 MB (the HTML standard's list of active formatting elements).
    """
    tags, marks = len(_TAG.findall(html)), len(_MARK.findall(html))
    if tags > MOST_TAGS or tags * marks > MOST_REPEATS:
        raise BadTemplate(f"There are too many tags: {tags:,}, of which {marks:,} mark up text. Use fewer")
    return html


class _Depth(HTMLParser):
    """Measures how deep well-formed HTML nests."""

    depth = deepest = 0

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.depth += 1
            self.deepest = max(self.deepest, self.depth)

    def handle_endtag(self, _tag: str) -> None:
        self.depth -= 1


def _too_deep(html: str) -> str:
    """Say what is wrong where sanitised `html` nests deeper than css_inline can follow: that ends the process."""
    measure = _Depth()
    measure.feed(html)
    measure.close()
    return "The text is nested too deeply" if measure.deepest > DEEPEST else ""


def _escaped(use: FieldUse, *, in_url: bool, in_html: bool) -> FieldUse:
    changes = use.changes
    if in_url:
        changes += (partial(quote, safe=""),)
    if in_html:
        changes += (lambda value: str(escape(value)),)
    return replace(use, changes=changes)


_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
_INLINER = css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=False, keep_at_rules=True)


def _words(*lines: str) -> set[str]:
    return set(" ".join(lines).split())


_TAG = re.compile(r"<[a-zA-Z]")
_MARK = re.compile(r"<(?:a|b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)\b", re.IGNORECASE)
MOST_TAGS, MOST_REPEATS = 10_000, 500_000
DEEPEST = 100
VOID = frozenset({"br", "col", "hr", "img"})
TAGS = _words(
    "a abbr b blockquote br caption center code col colgroup del div em h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol",
    "p pre q s small span strong sub sup table tbody td tfoot th thead tr u ul",
)
ATTRIBUTES = {
    "*": {"style", "title", "lang", "dir", "align"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "ol": {"start"},
    "table": {"width", "border", "cellpadding", "cellspacing", "bgcolor", "role"},
    "td": {"width", "height", "colspan", "rowspan", "valign", "bgcolor"},
    "th": {"width", "height", "colspan", "rowspan", "valign", "bgcolor", "scope"},
    "col": {"width", "span"},
}
SCHEMES = {"http", "https", "mailto", "tel"}
STYLES = _words(
    "background-color border border-bottom border-collapse border-color border-left border-radius border-right",
    "border-spacing border-style border-top border-width color font-family font-size font-style font-weight height",
    "letter-spacing line-height list-style-type margin margin-bottom margin-left margin-right margin-top max-width",
    "padding padding-bottom padding-left padding-right padding-top text-align text-decoration text-transform",
    "vertical-align white-space width",
)
"""Nothing that places, hides or loads."""
