"""Name what goes wrong between us and a mail server; each docstring is what the operator reads.

What derives from PermanentError needs a person; after the others the run tries again. The mail server's own words are
never repeated: they come from whoever the tenant named as its mail server.
"""

from __future__ import annotations

from dashboard.core.errors import StationmasterError
from dashboard.jobs.outcomes import PermanentError


class MailError(StationmasterError):
    """The mail could not be sent."""


class NoMailServer(MailError, PermanentError):
    """No mail server is set. Enter one under Settings, Mail."""


class NoSender(MailError, PermanentError):
    """No sender is set, or it is not one address. Enter one like Acme <jobs@acme.example> under Settings, Mail."""


class MailServerForbidden(MailError, PermanentError):
    """The mail server's address or port may not be used: it must be public, at port 25, 465, 587 or 2525."""


class MailServerUnknown(MailError, PermanentError):
    """The mail server's name does not exist. Check it under Settings, Mail."""


class MailServerAway(MailError):
    """The mail server does not answer, or broke off."""


class MailServerBusy(MailError):
    """The mail server asks to try again later."""


class MailServerRefused(MailError, PermanentError):
    """The mail server refuses to talk to us. Check its name, port and user under Settings, Mail."""


class NoEncryption(MailError, PermanentError):
    """The mail server does not offer STARTTLS. Choose another encryption or port under Settings, Mail."""


class BadCertificate(MailError, PermanentError):
    """The mail server's certificate is not valid for its name, so nothing was sent to it."""


class NoSignIn(MailError, PermanentError):
    """The mail server takes no user name and password like this. Choose another encryption, or leave the user empty."""


class WrongPassword(MailError, PermanentError):
    """The mail server refuses the user name or password. Check them under Settings, Mail."""


class SignInNeeded(MailError, PermanentError):
    """The mail server wants a user name and password. Enter them under Settings, Mail."""


class SenderRefused(MailError, PermanentError):
    """The mail server refuses the sender. Check it under Settings, Mail: it may only take addresses of its own."""


class NobodyReached(MailError, PermanentError):
    """The mail server refused every recipient."""


class MailTooLarge(MailError, PermanentError):
    """The mail becomes too large once its fields are filled in. Shorten it."""
