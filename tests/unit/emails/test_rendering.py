"""Mails look as they should in text and HTML, and what tenants write is looked up and never executed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from dashboard.emails import rendering
from dashboard.emails.accent import accent_of
from dashboard.emails.failures import MailTooLarge
from dashboard.emails.fields import BadTemplate
from dashboard.emails.plaintext import to_text
from dashboard.emails.rendering import BodyFormat, Button, Look, Mail
from tests.factories.mailings import acting

SNAPSHOTS = Path(__file__).parent / "snapshots"
LOOK = Look(brand="Acme & Sons", hue=150, language="en")
VALUES = {
    "recipient.address": "olivia@acme.example",
    "tenant.name": "Acme",
    "brand": "Acme & Sons",
    "schedule.name": "Weekly *totals* <b>",
    "run.id": "0192",
    "date": "25 November 2026",
    "time": "09:14",
    "zone": "Europe/London",
    "link": "https://jobs.acme.test/runs?state=failed&type=email",
}
MARKDOWN = """\
# Totals for {{ tenant.name }}

Hello {{ recipient.address }}, **{{ schedule.name }}** ended on {{ date }} at {{ time }} ({{ zone }}).
See [the failed runs]({{ link }}), [all of them](/runs), or
[the archive](https://archive.example/?run={{ run.id }}&by={{ brand }}).

| List | Sent |
|---|---|
| Customers | 1,204 |
| Partners | 88 |

1. First
2. Then
   - nested

> As promised.

```
total = 1292
```

---

<script>alert(1)</script>
"""
HTML = """\
<h2 style="color:#aa0000;position:fixed" onclick="alert(1)">Hello {{ recipient.address }}</h2>
<p>From <a href="{{ link }}">the runs</a> of <em>{{ schedule.name|upper }}</em>.</p>
<img src="https://acme.example/logo.png" alt="Acme" width="120" onerror="alert(1)">
<script>alert(1)</script><style>p { display: none }</style><iframe src="https://evil.example"></iframe>
"""


@pytest.fixture(autouse=True)
def in_acme(app: Dashboard, acme: Tenant) -> Iterator[None]:
    with acting(app, acme):
        yield


def prepared(
    body: str, body_format: BodyFormat = "markdown", *, subject: str = "Totals", button: Button | None = None
) -> Mail:
    return rendering.prepare(subject=subject, body=body, body_format=body_format, look=LOOK, button=button)


def check_snapshot(name: str, text: str) -> None:
    """Compare with the file; what differs is left beside it as .new, to be looked at and moved over it."""
    file = SNAPSHOTS / name
    fresh = file.with_suffix(file.suffix + ".new")
    if not file.exists() or file.read_text() != text:
        fresh.write_text(text)
        pytest.fail(f"The mail is not what {file} says: compare it with {fresh.name}.")
    fresh.unlink(missing_ok=True)


@pytest.mark.parametrize(("name", "body"), [("markdown", MARKDOWN), ("html", HTML)])
def test_a_mail_looks_as_it_did(name: BodyFormat, body: str) -> None:
    button = Button(label="Open the runs", url=VALUES["link"])
    mail = prepared(body, name, subject="{{ schedule.name }}: {{ date }}", button=button).fill(VALUES)
    check_snapshot(f"{name}.txt", mail.text)
    check_snapshot(f"{name}.html", mail.html)
    assert mail.subject == "Weekly *totals* <b>: 25 November 2026"


def test_nothing_active_and_nothing_remote_survives_in_html() -> None:
    html = prepared(HTML, "html").fill(VALUES).html
    for word in ("<script", "alert(", "onclick", "onerror", "<iframe", "position", "display: none", "<link"):
        assert word not in html


def test_a_value_is_text_wherever_it_stands() -> None:
    evil = dict.fromkeys(VALUES, '"><img src=x onerror=alert(1)> **bold** [x](javascript:alert(1))')
    source = "{{ tenant.name }}\n\n- {{ brand }}\n\n[x](https://a.example/?q={{ run.id }})\n\n`{{ date }}`"
    mail = prepared(source, subject="{{ tenant.name }}").fill(evil)
    assert "<img" not in mail.html
    assert "<strong" not in mail.html
    assert 'href="javascript' not in mail.html
    assert "**bold**" in mail.text
    assert "https://a.example/?q=%22%3E%3Cimg" in mail.html


def test_links_are_the_tenants_own_whatever_host_a_request_names(app: Dashboard, globex: Tenant) -> None:
    with acting(app, globex):
        html = prepared("[runs](/runs?state=failed)").fill(VALUES).html
    assert 'href="http://platform.test/globex/runs?state=failed"' in html


@pytest.mark.parametrize(
    "attack",
    [
        "{{ 'a' * 10**9 }}",
        "{{ 1 + 1 }}",
        "{% for x in range(10**9) %}x{% endfor %}",
        "{% set x = 1 %}",
        "{% include 'layouts/app.html' %}",
        "{% macro f() %}{% endmacro %}",
        "{{ brand.__class__.__mro__[1].__subclasses__() }}",
        "{{ brand.__class__ }}",
        "{{ recipient['address'] }}",
        "{{ brand() }}",
        "{{ brand.upper() }}",
        "{{ config.SECRET_KEY }}",
        "{{ self }}",
        "{{ recipient }}",
        "{{ recipient.password }}",
        "{{ brand|attr('__class__') }}",
        "{{ brand|center(1000000000) }}",
        "{{ brand|replace('a', 'b') }}",
        "{{ brand|default(recipient) }}",
        "{{ brand|upper(1) }}",
        "{{ brand if brand else date }}",
        "{{ brand ~ date }}",
        "{{ not brand }}",
        "{{ [brand] }}",
        "{{ {'a': brand} }}",
        "{{ lipsum(1000) }}",
        "{{ brand",
        "{# hidden #",
        "{{ " + "(" * 20_000 + "brand" + ")" * 20_000 + " }}",
        "{{ brand" + "|upper" * 5_000 + " }}",
        "{{ brand" + ".a" * 20_000 + " }}",
        "{{ brand }}" * 1_001,
    ],
    ids=lambda attack: attack[:40],
)
def test_everything_but_a_field_is_refused_with_a_sentence(attack: str) -> None:
    for check in (rendering.check_subject, lambda source: rendering.check_body(source, "markdown")):
        with pytest.raises(BadTemplate) as caught:
            check(attack)
        assert re.match(r"[A-Z“]", str(caught.value))


@pytest.mark.parametrize(
    "link",
    [
        "[x]({{ brand }})",
        "[x](https://{{ brand }}/)",
        "[x](https://a{{ brand }}.example/)",
        "[x]({{ link }}{{ brand }})",
        "[x](runs)",
        "[x](//evil.example)",
    ],
)
def test_no_value_decides_where_a_link_leads(link: str) -> None:
    with pytest.raises(BadTemplate, match="link"):
        rendering.check_body(link, "markdown")


@pytest.mark.parametrize(
    ("bomb", "body_format"),
    [
        ("<div>" * 9_000, "html"),
        ("<div>" * 20_000, "html"),
        ('<div title="</div>">' * 5_000, "html"),
        ("".join(f"<p><b title={number}>" for number in range(4_000)), "html"),
        ("*a " * 8_000 + "b* " * 8_000, "markdown"),
        ("x" * 50_001, "markdown"),
    ],
    ids=["nested", "endless", "nested behind quotes", "repeating", "nested emphasis", "long"],
)
def test_a_text_that_would_blow_up_is_refused_before_it_does(bomb: str, body_format: BodyFormat) -> None:
    with pytest.raises(BadTemplate):
        rendering.check_body(bomb, body_format)


@pytest.mark.parametrize(
    "strange",
    [
        "[" * 40_000,
        ">" * 40_000,
        "![" * 20_000,
        "`" * 40_000,
        "&" * 40_000,
        "<" * 40_000,
        "a**" * 13_000,
        "|a" * 20_000 + "\n" + "|-" * 2_000,
    ],
    ids=lambda strange: strange[:3],
)
def test_a_strange_text_is_only_strange(strange: str) -> None:
    prepared(strange).fill(VALUES)


def test_no_text_beside_a_field_is_taken_for_it() -> None:
    odd = f"fieldtokent0x FIELDTOKENt1x fieldtoken{'q' * 30_000}"
    look = replace(LOOK, brand="fieldtokent0x & fieldtokent99x")
    mail = rendering.prepare(subject="Ready", body=f"{odd} {{{{ date }}}}", body_format="markdown", look=look)
    sent = mail.fill({"date": "25 November 2026"})
    assert f"{odd} 25 November 2026" in sent.html
    assert "fieldtokent0x &amp; fieldtokent99x" in sent.html
    assert "fieldtokent0x & fieldtokent99x" in sent.text


def test_values_that_make_a_mail_endless_are_refused() -> None:
    mail = prepared("{{ brand }}" * 1_000)
    with pytest.raises(MailTooLarge):
        mail.fill({**VALUES, "brand": "x" * 10_000})


def test_control_characters_and_reordering_marks_never_leave() -> None:
    mail = prepared("{{ brand }}", subject="{{ brand }}").fill(
        {**VALUES, "brand": "Acme\r\nBcc: eve@x.example\u202e\x00"}
    )
    assert mail.subject == "Acme Bcc: eve@x.example"
    assert "\r" not in mail.text
    assert "\u202e" not in mail.html


@pytest.mark.parametrize("hue", range(0, 361, 15))
def test_an_accent_can_be_read_at_every_hue(hue: int) -> None:
    accent = accent_of(hue)
    assert contrast(accent.light, "#ffffff") >= 4.5
    assert contrast(accent.dark, "#1a1e27") >= 4.5


def contrast(one: str, other: str) -> float:
    """The contrast of two colours (WCAG 2.2, contrast ratio)."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h1>One</h1><p>Two</p>", "# One\n\nTwo"),
        ("<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>", "- a\n  - b\n- c"),
        ('<ol start="3"><li>a</li><li>b</li></ol>', "3. a\n4. b"),
        ("<blockquote><p>a</p><p>b</p></blockquote><p>c</p>", "> a\n>\n> b\n\nc"),
        ('<p>See <a href="https://a.example/x">this</a></p>', "See this <https://a.example/x>"),
        ('<p><a href="https://a.example">https://a.example</a></p>', "https://a.example"),
        ('<p><a href="mailto:o@a.example">o@a.example</a></p>', "o@a.example"),
        ("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>", "a | b\n1 | 2"),
        ("<pre><code>a\n  b\n</code></pre>", "    a\n      b"),
        ("<p>a<br>b</p><hr><p>c</p>", "a\nb\n\n" + "-" * 40 + "\n\nc"),
        ('<p>a &lt;b&gt; &amp; <img src="x" alt="Logo"></p>', "a <b> & [Logo]"),
        ("<div>a</div><div>b</div>", "a\nb"),
        ("", ""),
    ],
)
def test_html_reads_well_as_text(html: str, text: str) -> None:
    assert to_text(html) == text
