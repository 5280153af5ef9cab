"""The parameters of `email.message`: what is wrong with one is a sentence at its field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import policy
from email.parser import BytesParser
from typing import Any

import pytest

from dashboard.app import Dashboard
from dashboard.core.errors import InvalidInput
from dashboard.core.tenancy import Tenant
from dashboard.emails.addresses import BadAddress, one_mailbox, plain_line
from dashboard.emails.composition import sender_of
from dashboard.emails.failures import NoMailServer, NoSender
from dashboard.emails.message import EmailMessage
from dashboard.jobs import params as job_params
from dashboard.jobs.registry import job_type
from tests.factories import make_tenant
from tests.factories.mailings import acting, mail_params, make_mail_run, perform
from tests.smtp import MailServerForTests

TOO_MANY = "\n".join(f"{number}@acme.example" for number in range(10_001))


@pytest.fixture
def in_acme(app: Dashboard, acme: Tenant) -> Iterator[None]:
    with acting(app, acme):
        yield


def form(**typed: str) -> dict[str, str]:
    values = {
        "to": "olivia@acme.example",
        "subject": "Report",
        "format": "markdown",
        "body": "Done.",
        "link": "",
        **typed,
    }
    return {job_params.form_name(name): text for name, text in values.items()}


def parsed(**typed: str) -> Any:
    return job_params.parse_form(EmailMessage.Params, form(**typed))


def errors_of(**typed: str) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        parsed(**typed)
    return {name.removeprefix(job_params.PREFIX): text for name, text in caught.value.errors.items()}


def test_the_job_type_is_known_and_may_be_run_again_after_a_crash(app: Dashboard) -> None:
    job = job_type("email.message")
    assert (job.idempotent, job.max_attempts, job.queue) == (True, 3, "email")


def test_the_form_asks_for_everything_in_order(in_acme: None) -> None:
    fields = job_params.form_fields(EmailMessage.Params)
    assert [(field.label, field.type, field.required) for field in fields] == [
        ("To", "textarea", True),
        ("Subject", "text", True),
        ("Written in", "select", False),
        ("Text", "textarea", True),
        ("Link to a page", "text", False),
        ("Text of the link", "text", False),
    ]
    assert "{{ recipient.address }}" in (fields[3].help or "")


def test_recipients_come_one_by_line_or_comma_each_once_in_the_form_of_the_wire(in_acme: None) -> None:
    typed = "Olivia@ACME.example, olivia@acme.example\nOlivia@acme.EXAMPLE\r\n\n peter@bücher.example "
    assert parsed(to=typed).to == ["Olivia@acme.example", "olivia@acme.example", "peter@xn--bcher-kva.example"]


@pytest.mark.parametrize(
    ("field", "typed", "sentence"),
    [
        ("to", " \n,", "Fill this in."),
        ("to", "olivia", "“olivia”: This is not an email address."),
        ("to", "a@acme.example\nb@acme.example\nBcc: c@acme.example", "“Bcc: c@acme.example”: This is not"),
        ("to", "Grüße@acme.example", "“Grüße@acme.example”: only plain letters, digits"),
        ("to", "\u202egro.live@acme.example", "This is not an email address."),
        ("to", TOO_MANY, "Give at most 10000."),
        ("subject", " ", "Fill this in."),
        ("subject", "x" * 201, "Use at most 200 characters."),
        ("subject", "Report\nBcc: eve@x.example", "Use one line, without control characters"),
        ("subject", "Report \u202egpj.exe", "Use one line, without control characters"),
        ("subject", "{{ nothing }}", "There is no field {{ nothing }}. There are: recipient.address, tenant.name"),
        ("body", "{{ recipient.password }}", "There is no field {{ recipient.password }}."),
        ("body", "{% for x in y %}", "Only fields like {{ tenant.name }} can be used"),
        ("body", "[x](javascript.html)", "The link “javascript.html” must start with https:// or mailto:"),
        ("link", "https://evil.example/", "Give the path of a page of this dashboard, like /runs."),
        ("link", "//evil.example", "Give the path of a page of this dashboard, like /runs."),
        ("link", "/\\evil.example", "Give the path of a page of this dashboard, like /runs."),
        ("link", "/no-such-page", "Give the path of a page of this dashboard, like /runs."),
        ("link", "/runs/../sign-out", "Give the path of a page of this dashboard, like /runs."),
        ("link", "/sign-out", "Give the path of a page of this dashboard, like /runs."),
        ("link_label", "a\nb", "Use one line."),
        ("format", "pdf", "Choose one of 'markdown' or 'html'."),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_each_mistake_is_a_sentence_at_its_field(in_acme: None, field: str, typed: str, sentence: str) -> None:
    errors = errors_of(**{field: typed})
    assert list(errors) == [field]
    assert sentence in errors[field]


@pytest.mark.parametrize("link", ["/", "/runs", "/runs?state=failed", "/schedules/new"])
def test_a_page_of_the_dashboard_can_be_linked_to(in_acme: None, link: str) -> None:
    assert parsed(link=link).link == link


def test_parameters_can_be_checked_where_no_tenant_is_bound(app: Dashboard) -> None:
    with app.app_context():
        job_params.validate(EmailMessage.Params, mail_params(body="[runs](/runs) {{ link }}", link="/runs"))


def test_ten_thousand_recipients_are_shown_short(in_acme: None) -> None:
    stored = mail_params(*(f"{number}@acme.example" for number in range(10_000)))
    shown = dict(job_params.shown(EmailMessage.Params, stored))
    assert shown["To"].endswith("19@acme.example … and 9,980 more")


def test_the_link_and_the_fields_are_filled_in_by_the_run(
    app: Dashboard, sending: Tenant, server: MailServerForTests
) -> None:
    run = make_mail_run(
        app,
        sending,
        "olivia@acme.example",
        subject="{{ schedule.name }} of {{ brand }}",
        body="{{ recipient.address }} {{ run.id }} {{ zone }} {{ link }}",
        link="/runs?state=failed",
        link_label="See them",
    )
    perform(app, sending, run)
    (mail,) = server.mails
    assert mail.message["Subject"] == "Weekly report of Acme"
    link = "https://jobs.acme.test/runs?state=failed"
    assert f"olivia@acme.example {run.id} UTC {link}" in mail.part("plain")
    assert f"See them:\n{link}" in mail.part("plain").replace("\r\n", "\n")
    assert f'<a href="{link}"' in mail.part("html")


def test_a_tenant_without_a_mail_server_is_told_where_to_enter_one(app: Dashboard, globex: Tenant) -> None:
    with pytest.raises(NoMailServer, match="Enter one under Settings, Mail"):
        perform(app, globex, make_mail_run(app, globex))


def test_replies_go_where_the_tenant_says(app: Dashboard, server: MailServerForTests) -> None:
    tenant = make_tenant(
        app,
        "acme",
        "https://jobs.acme.test",
        **server.settings(MAIL_SENDER='"Smith, Bob" <bob@acme.test>', MAIL_REPLY_TO="Help <help@acme.test>"),
    )
    perform(app, tenant, make_mail_run(app, tenant))
    message = server.mails[0].message
    assert message["Reply-To"] == "Help <help@acme.test>"
    assert message["From"].addresses[0].addr_spec == "bob@acme.test"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Acme",
        "a@acme.example, b@acme.example",
        "Acme <a@acme.example>, Eve <e@evil.example>",
        "a@acme.example\nBcc: eve@evil.example",
        "a@acme.example\r\n\r\nbody",
        "Acme <a@acme.example>\u2028Bcc: eve@evil.example",
        "\u202eemcA <a@acme.example>",
        "group: a@acme.example, b@acme.example;",
        "grüße@acme.example",
        "<@acme.example>",
        "a@",
    ],
)
def test_a_header_names_one_address_or_none(text: str) -> None:
    with pytest.raises(BadAddress):
        one_mailbox(text)
    with pytest.raises(NoSender):
        sender_of(text, "")


def test_a_plain_line_is_one_line_in_one_direction() -> None:
    assert plain_line(" Acme\r\n\tBcc:\x00 eve \u202ex\u2028y ") == "Acme Bcc: eve x y"


def test_the_headers_are_those_of_a_mail_that_a_program_sent(
    app: Dashboard, sending: Tenant, server: MailServerForTests
) -> None:
    run = make_mail_run(app, sending, "olivia@acme.example", subject="Grüße von {{ tenant.name }}")
    perform(app, sending, run)
    message = server.mails[0].message
    assert message["From"] == "Acme Reports <jobs@acme.test>"
    assert message["To"] == "olivia@acme.example"
    assert message["Subject"] == "Grüße von Acme"
    assert re.fullmatch(r"<[0-9a-f]{32}@jobs\.acme\.test>", message["Message-ID"])
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"].datetime.tzinfo is not None
    assert message["Reply-To"] is None
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    raw = BytesParser(policy=policy.compat32).parsebytes(server.mails[0].content)
    assert [name for name, _ in raw.items()].count("To") == 1
