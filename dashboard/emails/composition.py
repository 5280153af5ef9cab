"""Compose the message that goes over the wire: its headers and its two parts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from dashboard.emails.addresses import BadAddress, one_mailbox
from dashboard.emails.failures import NoSender
from dashboard.emails.rendering import Rendered


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who a mail comes from, and where replies go if not there."""

    mailbox: Address
    reply_to: Address | None


def sender_of(sender: str, reply_to: str) -> Sender:
    """Return the sender from a tenant's settings. Raises NoSender if they do not name one address each."""
    try:
        return Sender(mailbox=one_mailbox(sender), reply_to=one_mailbox(reply_to) if reply_to.strip() else None)
    except BadAddress:
        raise NoSender from None


def compose(mail: Rendered, *, sender: Sender, recipient: str, message_id: str, at: datetime) -> bytes:
    """Return the message as bytes; `at` is its Date.

    Its Message-ID is the delivery's, so that two tries of one mail are one to the reader's mail program.
    """
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = sender.mailbox
    message["To"] = one_mailbox(recipient)
    if sender.reply_to is not None:
        message["Reply-To"] = sender.reply_to
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(at)
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday note should answer
    message.set_content(mail.text, cte="quoted-printable")
    message.add_alternative(mail.html, subtype="html", cte="quoted-printable")
    message.set_boundary(f"=_{message_id.strip('<>').partition('@')[0]}")
    return message.as_bytes()
