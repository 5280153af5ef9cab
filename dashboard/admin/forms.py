"""The forms of the back office; the actions behind them judge what is typed."""

from __future__ import annotations

from wtforms import BooleanField, PasswordField, SelectField, StringField, TextAreaField
from wtforms.validators import InputRequired

from dashboard.accounts.access import Role
from dashboard.admin.office import OfficeForm
from dashboard.core.clock import zone_names

needed = InputRequired("Fill this in.")
ROLES = [role.value for role in Role]


class TenantForm(OfficeForm):
    """A new tenant."""

    name = StringField("Name", [needed])
    slug = StringField("Short name", [needed], description="For commands and links, like acme: it never changes.")
    roots = TextAreaField("Addresses", [needed], description="One a line, the one that links shall use first.")
    timezone = SelectField("Time zone", choices=list(zone_names()))


class NewUserForm(OfficeForm):
    """A new person."""

    email = StringField("Email address", [needed])
    name = StringField("Name", [needed])
    password = PasswordField("Password", [needed], description="At least 10 characters. They can change it.")
    is_platform_owner = BooleanField("Platform owner", description="Sees this back office.")


class UserForm(OfficeForm):
    """A person who exists."""

    name = StringField("Name", [needed])
    password = PasswordField("New password", description="Leave empty to keep theirs. A new one ends their sessions.")
    is_platform_owner = BooleanField("Platform owner", description="Sees this back office.")
    is_disabled = BooleanField("Disabled", description="Cannot sign in; sessions end at once.")


class NewMembershipForm(OfficeForm):
    """A person's place in a tenant."""

    email = StringField("Email address", [needed], description="Of somebody who can sign in already.")
    slug = StringField("Tenant", [needed], description="Its short name.")
    role = SelectField("Role", choices=ROLES)


class MembershipForm(OfficeForm):
    """The role that a member has."""

    role = SelectField("Role", choices=ROLES)
