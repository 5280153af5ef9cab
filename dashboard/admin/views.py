"""What the back office shows: tenants, people, memberships, processes and the audit trail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, cast
from uuid import UUID

from flask import Flask, abort, current_app, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_admin import Admin, AdminIndexView, expose
from flask_login import current_user
from sqlalchemy.orm import Session
from wtforms import Form

from dashboard.accounts import actions
from dashboard.accounts.access import View, platform_owner
from dashboard.accounts.models import Membership, User
from dashboard.admin import office
from dashboard.admin.forms import MembershipForm, NewMembershipForm, NewUserForm, TenantForm, UserForm
from dashboard.admin.office import Guarded, OfficeView
from dashboard.audit.models import AuditEntry
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import resolver_of
from dashboard.runs import limits
from dashboard.runs.models import Process
from dashboard.tenants import actions as tenant_actions
from dashboard.tenants.models import TenantRecord


class Entrance(Guarded, AdminIndexView):
    """Where the back office begins."""

    @expose("/")
    def index(self) -> ResponseReturnValue:
        """Lead to the tenants."""
        return redirect(url_for("back_office_tenants.index_view"), 303)


class Tenants(OfficeView):
    """The tenants; their slugs are permanent, and nobody deletes one by a click."""

    can_create = True
    noun = "tenant"
    form = TenantForm
    details_template = "admin/tenant.html"
    column_list = ("name", "slug", "root", "runs_paused_at", "suspended_at", "created_at")
    column_labels: ClassVar[dict[str, str]] = {
        "slug": "Short name",
        "root": "Address",
        "suspended_at": "Suspended",
        "suspended_reason": "Reason",
        "runs_paused_at": "Runs paused",
        "runs_paused_reason": "Why paused",
        "created_at": "Since",
    }
    column_searchable_list = ("name", "slug")
    column_sortable_list = ("name", "slug", "suspended_at", "created_at")
    column_default_sort = "name"
    related = (TenantRecord.roots,)
    column_details_list = (
        "name",
        "slug",
        "addresses",
        "runs_paused_at",
        "runs_paused_reason",
        "suspended_at",
        "suspended_reason",
        "created_at",
    )
    column_formatters: ClassVar[dict[str, Any]] = {"root": lambda _v, _c, tenant, _n: ", ".join(_addresses(tenant)[:1])}
    column_formatters_detail: ClassVar[dict[str, Any]] = {
        "addresses": lambda _v, _c, tenant, _n: ", ".join(_addresses(tenant))
    }

    def add(self, session: Session, form: Form) -> TenantRecord:
        roots = form.roots.data.split()
        return tenant_actions.create(session, form.slug.data, form.name.data, roots, form.timezone.data)

    def render(self, template: str, **kwargs: Any) -> Any:
        """Render a page; a tenant's own shows its limits, or what was typed in their place."""
        if template == self.details_template:
            known = limits.limits_of(self.session.session_of_request(), kwargs["model"].id)
            kwargs = {"fields": limits.LIMITS, "limits": known, "errors": {}, **kwargs}
        return super().render(template, **kwargs)

    @expose("/limits/", methods=("POST",))
    def limits_view(self) -> ResponseReturnValue:
        """Set how much of the workers a tenant may have, and how often its runs may start."""
        tenant = self.get_one(request.form.get("id", "")) or abort(404)
        typed = {key: value for key, value in request.form.items() if key in limits.KEYS}
        try:
            with system_scope("back office") as session:
                limits.set_limits(session, tenant.id, typed)
        except InvalidInput as problem:
            page: ResponseReturnValue = self.render(
                self.details_template,
                model=tenant,
                details_columns=self._details_columns,
                get_value=self.get_detail_value,
                return_url=self.get_url(".index_view"),
                limits={**dict.fromkeys(limits.KEYS, ""), **typed},
                errors=problem.errors,
            )
            return page
        flash("The limits are set. They count from the next admission.", "ok")
        return redirect(self.get_url(".details_view", id=str(tenant.id), _anchor="limits"), 303)

    @expose("/run-pauses/", methods=("POST",))
    def pause_runs_view(self) -> ResponseReturnValue:
        """Let none of a tenant's runs start, for a reason that its people read."""
        reason = request.form.get("reason", "")
        return self._act(lambda session, tenant_id: limits.pause_runs(session, tenant_id, reason))

    @expose("/run-resumptions/", methods=("POST",))
    def resume_runs_view(self) -> ResponseReturnValue:
        """Let a tenant's runs start again."""
        return self._act(limits.resume_runs)

    @expose("/suspensions/", methods=("POST",))
    def suspend_view(self) -> ResponseReturnValue:
        """Suspend a tenant, for a reason that is kept."""
        reason = request.form.get("reason", "")
        return self._act(lambda session, tenant_id: tenant_actions.suspend(session, tenant_id, reason))

    @expose("/resumptions/", methods=("POST",))
    def resume_view(self) -> ResponseReturnValue:
        """Let a suspended tenant work again."""
        return self._act(tenant_actions.resume)

    def _act(self, act: Callable[[Session, UUID], None]) -> ResponseReturnValue:
        tenant_id = request.form.get("id", type=UUID) or abort(404)
        try:
            with system_scope("back office") as session:
                act(session, tenant_id)
        except Refused as refusal:
            flash(str(refusal), "warn")
        except InvalidInput as problem:
            flash(" ".join(problem.errors.values()), "warn")
        else:
            flash("Done. Every process sees it within two seconds.", "ok")
        return redirect(self.get_url(".details_view", id=str(tenant_id)), 303)


class People(OfficeView):
    """Everybody who can sign in."""

    can_create = can_edit = can_delete = True
    noun = "person"
    form = NewUserForm
    edit_form_class = UserForm
    column_list = ("name", "email", "is_platform_owner", "disabled_at", "created_at")
    column_labels: ClassVar[dict[str, str]] = {
        "email": "Email address",
        "is_platform_owner": "Platform owner",
        "disabled_at": "Disabled",
        "created_at": "Since",
    }
    column_details_list = column_list
    column_searchable_list = ("name", "email")
    column_sortable_list = ("name", "email", "is_platform_owner", "disabled_at", "created_at")
    column_default_sort = "name"

    def add(self, session: Session, form: Form) -> User:
        return actions.create_user(
            session, form.email.data, form.name.data, form.password.data, form.is_platform_owner.data
        )

    def on_form_prefill(self, form: Form, id: str) -> None:  # noqa: A002 - Flask-Admin's name
        form.is_disabled.data = self.get_one(id).disabled_at is not None

    def change(self, session: Session, model: User, form: Form) -> User:
        user = actions.update_user(
            session,
            model.id,
            name=form.name.data,
            platform_owner=form.is_platform_owner.data,
            disabled=form.is_disabled.data,
            by=current_user.id,
        )
        if form.password.data:
            actions.set_password(session, user, form.password.data)
        return user

    def removal_question(self, model: User) -> str:
        return (
            f"Delete {model.name} ({model.email}) for good? They are out of every tenant at once. What they made stays,"
            " and so does their name in the audit trail. Disable who may come back."
        )

    def remove(self, session: Session, model: User) -> User:
        return actions.delete_user(session, model.id, by=current_user.id)


class Memberships(OfficeView):
    """Who belongs to which tenant, as what."""

    can_create = can_edit = can_delete = True
    noun = "membership"
    form = NewMembershipForm
    edit_form_class = MembershipForm
    column_list = ("tenant.name", "user.name", "user.email", "role", "created_at")
    column_labels: ClassVar[dict[str, str]] = {
        "tenant.name": "Tenant",
        "user.name": "Person",
        "user.email": "Email address",
        "created_at": "Since",
    }
    column_details_list = column_list
    column_searchable_list = ("tenant.name", "tenant.slug", "user.name", "user.email")
    column_sortable_list = ("tenant.name", "user.name", "user.email", "role", "created_at")
    column_default_sort = "tenant.name"
    related = (Membership.tenant, Membership.user)

    def add(self, session: Session, form: Form) -> Membership:
        return actions.add_member(session, form.email.data, form.slug.data, form.role.data)

    def change(self, session: Session, model: Membership, form: Form) -> Membership:
        return actions.change_role(session, model.tenant_id, model.user_id, form.role.data)

    def removal_question(self, model: Membership) -> str:
        return f"End the membership of {model.user.name} in {model.tenant.name}? It takes effect at once."

    def remove(self, session: Session, model: Membership) -> Membership:
        return actions.remove_member(session, model.tenant_id, model.user_id)


class Processes(OfficeView):
    """The workers and beats that report that they live."""

    column_list = ("kind", "name", "host", "pid", "slots", "busy", "started_at", "seen_at", "stopped_at")
    column_details_list = (*column_list, "queues", "tick_ms", "skew_ms", "tzdata")
    column_labels: ClassVar[dict[str, str]] = {
        "started_at": "Started",
        "seen_at": "Last seen",
        "stopped_at": "Stopped",
        "pid": "PID",
        "tzdata": "Time zone rules",
    }
    column_sortable_list = ("kind", "name", "host", "started_at", "seen_at")
    column_default_sort = ("seen_at", True)


class AuditTrail(OfficeView):
    """Who did what, on the platform and in every tenant."""

    column_list = ("at", "actor_name", "actor_kind", "action", "subject_kind", "subject_name", "tenant_id", "address")
    column_details_list = (*column_list, "actor_id", "subject_id", "details", "request_id")
    column_labels: ClassVar[dict[str, str]] = {
        "at": "When",
        "actor_name": "Who",
        "actor_kind": "As",
        "subject_kind": "What",
        "subject_name": "Which",
        "tenant_id": "Tenant",
        "address": "From",
    }
    column_formatters: ClassVar[dict[str, Any]] = {"tenant_id": lambda _v, _c, entry, _n: _tenant_name(entry.tenant_id)}
    column_searchable_list = ("actor_name", "action", "subject_name")
    column_sortable_list = ("at",)
    column_default_sort = ("at", True)


def init_app(app: Flask) -> None:
    """Register the back office, each of its views under the owners' policy."""
    office.init_app(app)
    entrance = Entrance(name="Back office", endpoint="back_office", url="/platform")
    entrance.static_folder = None  # its Bootstrap and scripts stay out: our pages and our policy do without
    admin = Admin(app, name="Back office", index_view=entrance, url="/platform", endpoint="back_office")
    admin.add_views(
        Tenants(TenantRecord, "Tenants", "tenants"),
        People(User, "People", "people"),
        Memberships(Membership, "Memberships", "memberships"),
        Processes(Process, "Processes", "processes"),
        AuditTrail(AuditEntry, "Audit", "audit"),
    )
    for endpoint, view in app.view_functions.items():
        if endpoint.partition(".")[0].startswith("back_office"):
            app.view_functions[endpoint] = platform_owner(cast(View, view))


def _addresses(tenant: TenantRecord) -> list[str]:
    return [root.snapshot().url for root in tenant.roots]


def _tenant_name(tenant_id: UUID | None) -> str:
    tenant = resolver_of(current_app).by_id(tenant_id) if tenant_id else None
    return tenant.name if tenant else str(tenant_id or "")
