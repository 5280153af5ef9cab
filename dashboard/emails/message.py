"""The job type `email.message`: a mail to one or many, written in Markdown or HTML with fields."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from flask import current_app, render_template
from markupsafe import Markup
from pydantic import BaseModel, Field, ValidationInfo, field_validator

from config.settings import Settings
from dashboard.core.clock import utc_now
from dashboard.core.links import page_url
from dashboard.core.security import is_page
from dashboard.core.tenancy import Tenant
from dashboard.core.zones import tenant_zone
from dashboard.emails import board, delivery, rendering
from dashboard.emails.addresses import MOST_RECIPIENTS, Recipients, is_plain_line
from dashboard.emails.composition import Sender, compose, sender_of
from dashboard.emails.delivery import Claim, Holder
from dashboard.emails.failures import NobodyReached, NoMailServer
from dashboard.emails.fields import FIELDS
from dashboard.emails.mailing import send_to_all
from dashboard.emails.rendering import BodyFormat, Button, Look, Mail
from dashboard.emails.smtp import MailServer
from dashboard.emails.states import BOUNCED, DEFERRED, SENT, UNCERTAIN
from dashboard.jobs.context import RunContext
from dashboard.jobs.kinds import Labels, Multiline
from dashboard.jobs.outcomes import Result, RetryLater
from dashboard.jobs.registry import JobType

LONGEST_WAIT_SECONDS = 20.0
SHARE_OF_LEASE = 0.4
"""A mail server's answer is waited for less than half a lease, so that a slow server never costs us the run."""

FIELDS_HELP = f"You can use {', '.join(f'{{{{ {name} }}}}' for name in FIELDS)}."


class EmailMessage(JobType):
    """Sends one mail to each recipient. A crash repeats none that left: the delivery ledger knows each one's state."""

    key = "email.message"
    label = "Email"
    description = "Sends a mail to one or many recipients, each on its own."
    queue = "email"
    timeout = timedelta(hours=4)  # 10,000 mails take 34 minutes at the send rate that tenants begin with
    idempotent = True
    max_attempts = 3

    class Params(BaseModel):
        to: Recipients = Field(title="To", description=f"One address per line; at most {MOST_RECIPIENTS:,}.")
        subject: str = Field(min_length=1, max_length=200, description="On one line. The fields below work here too.")
        format: Annotated[BodyFormat, Labels({"markdown": "Markdown", "html": "HTML"})] = Field(
            "markdown", title="Written in"
        )
        body: Annotated[str, Multiline(rows=14)] = Field(
            min_length=1, max_length=100_000, title="Text", description=FIELDS_HELP
        )
        link: str = Field(
            "",
            max_length=500,
            title="Link to a page",
            description="A page of this dashboard, like /runs: shown as a button under the text. Leave empty for none.",
        )
        link_label: str = Field("Open the page", max_length=60, title="Text of the link")

        @field_validator("subject")
        @classmethod
        def _subject(cls, subject: str) -> str:
            if not is_plain_line(subject):
                raise ValueError("use one line, without control characters or marks that reorder text")
            if not subject.strip():
                raise ValueError("fill this in")
            rendering.check_subject(subject)
            return subject

        @field_validator("body")
        @classmethod
        def _body(cls, body: str, info: ValidationInfo) -> str:
            if "format" in info.data:
                rendering.check_body(body, info.data["format"])
            return body

        @field_validator("link")
        @classmethod
        def _link(cls, link: str) -> str:
            link = link.strip()
            if link and not is_page(current_app, link):
                raise ValueError("give the path of a page of this dashboard, like /runs")
            return link

        @field_validator("link_label")
        @classmethod
        def _link_label(cls, label: str) -> str:
            if not is_plain_line(label):
                raise ValueError("use one line")
            return label.strip() or "Open the page"

    def run(self, ctx: RunContext, params: Params) -> Result:
        """Send what is left to send, and return how many mails are in which state."""
        settings: Settings = current_app.extensions["settings"]
        server = mail_server(ctx.tenant, ctx.config, settings)
        sender = sender_of(ctx.config["MAIL_SENDER"], ctx.config["MAIL_REPLY_TO"])
        mail, values = _prepared(ctx, params)
        delivery.freeze_audience(ctx.run_id, params.to, domain=ctx.tenant.roots[0].host)
        send_to_all(
            ctx,
            Holder(run_id=ctx.run_id, fence=ctx.fence, lease=settings.lease),
            server,
            sender=sender.mailbox.addr_spec,
            rate=ctx.config["SEND_RATE"],
            compose=lambda claim: _message(claim, mail, values, sender),
        )
        return _outcome(ctx.run_id)

    def detail(self, run_id: UUID) -> Markup:
        """Return the run's recipients and what became of each one's mail."""
        return Markup(render_template("emails/_deliveries.html", deliveries=board.of_run(run_id)))  # noqa: S704


def mail_server(tenant: Tenant, config: Mapping[str, Any], settings: Settings) -> MailServer:
    """Return the tenant's mail server from its `config`. Raises NoMailServer if it has none."""
    if not config["SMTP_HOST"]:
        raise NoMailServer
    return MailServer(
        host=config["SMTP_HOST"],
        port=config["SMTP_PORT"],
        protection=config["SMTP_TLS"],
        user=config["SMTP_USER"],
        password=config["SMTP_PASSWORD"],
        our_name=tenant.roots[0].host,
        allow_private=settings.allow_private_networks,
        timeout=min(LONGEST_WAIT_SECONDS, settings.lease.total_seconds() * SHARE_OF_LEASE),
    )


def _prepared(ctx: RunContext, params: EmailMessage.Params) -> tuple[Mail, Mapping[str, str]]:
    """Return the mail, and the values of the fields that are the same for everybody."""
    link = page_url(params.link) if params.link else ""
    now = utc_now().astimezone(tenant_zone())
    config: Mapping[str, Any] = ctx.config
    mail = rendering.prepare(
        subject=params.subject,
        body=params.body,
        body_format=params.format,
        look=Look(brand=config["BRAND_NAME"], hue=config["ACCENT_HUE"], language=config["LOCALE"]),
        button=Button(label=params.link_label, url=link) if link else None,
    )
    return mail, {
        "tenant.name": ctx.tenant.name,
        "brand": config["BRAND_NAME"],
        "schedule.name": ctx.name,
        "run.id": str(ctx.run_id),
        "date": f"{now.day} {now:%B %Y}",
        "time": f"{now:%H:%M}",
        "zone": str(now.tzinfo),
        "link": link,
    }


def _message(claim: Claim, mail: Mail, values: Mapping[str, str], sender: Sender) -> bytes:
    filled = mail.fill({**values, "recipient.address": claim.address})
    return compose(filled, sender=sender, recipient=claim.address, message_id=claim.message_id, at=utc_now())


def _outcome(run_id: UUID) -> Result:
    """Decide how the run ends. Raises RetryLater while mails were put off, NobodyReached if every one was refused."""
    counts = delivery.counts(run_id)
    if counts[DEFERRED]:
        raise RetryLater(delivery.RETRY_AFTER, f"The mail server put off {counts[DEFERRED]:,} mail(s).")
    if counts[BOUNCED] and not counts[SENT] and not counts[UNCERTAIN]:
        raise NobodyReached(f"{NobodyReached.__doc__} {delivery.commonest_error(run_id)}")
    return {"recipients": sum(counts.values()), **{state: number for state, number in counts.items() if number}}
