"""Fit Flask-Admin into our frame: who gets in, which database session it reads with, how it writes and looks.

It reads through one system session per request. It never writes by itself: what an owner does goes through the same
audited actions as everywhere else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from flask import Flask, abort, current_app, flash, g, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_admin import BaseView
from flask_admin.contrib.sqla import ModelView
from flask_admin.form import BaseForm
from flask_admin.tools import iterdecode
from flask_login import current_user
from flask_wtf import FlaskForm
from markupsafe import Markup
from sqlalchemy.orm import Session, selectinload
from wtforms import Form

from dashboard.accounts import signing_in
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.orm import system_scope
from dashboard.core.security import safe_next
from dashboard.core.templating import local_time
from dashboard.core.tenancy import current_binding
from dashboard.extensions import login_manager

PAGE_SIZE = 50


class OfficeForm(BaseForm):
    """A form whose token is the site's own; Flask-Admin's SecureForm would send another under the same name."""

    class Meta(FlaskForm.Meta):
        """WTForms reads its options here."""


class OfficeSession:
    """What Flask-Admin takes for a session: it can read, by a system session of the request's own, and nothing else."""

    session = None  # Flask-Admin tells a database from a session by whether this exists

    def query(self, *entities: Any) -> Any:
        """Begin a query, as Flask-Admin's lists do."""
        return _session_of_request().query(*entities)

    def get(self, model: type[Any], key: Any, related: Sequence[Any] = ()) -> Any:
        """Return a record by its primary key, with what is related to it."""
        return _session_of_request().get(model, key, options=[selectinload(each) for each in related])

    def session_of_request(self) -> Session:
        """Return the session itself, for what reads more than a record."""
        return _session_of_request()


def _session_of_request() -> Session:
    if "office_session" not in g:
        g.office_exit = ExitStack()
        g.office_session = g.office_exit.enter_context(system_scope("back office"))
    session: Session = g.office_session
    return session


def close_session(_: BaseException | None) -> None:
    """Close the request's session, if it had one."""
    if "office_exit" in g:
        g.pop("office_session")
        g.pop("office_exit").close()


def init_app(app: Flask) -> None:
    """Close the sessions that the office opens."""
    app.teardown_appcontext(close_session)


class Guarded:
    """Lets in platform owners who gave their password a short while ago, and nobody inside a tenant."""

    def is_accessible(self) -> bool:
        """Whether the person may see the page at all."""
        return current_binding() is None and bool(current_user.is_platform_owner) and signing_in.is_fresh()

    def inaccessible_callback(self, _name: str, **_: Any) -> ResponseReturnValue:
        """Ask an owner for the password again, a visitor to sign in; there is nothing here for anybody else."""
        if current_binding() is not None:
            abort(404)
        if not current_user.is_authenticated:
            unauthorized: ResponseReturnValue = login_manager.unauthorized()
            return unauthorized
        if not current_user.is_platform_owner:
            abort(404)
        here = request.full_path.rstrip("?") if request.method == "GET" else url_for("back_office.index")
        return redirect(url_for("sessions.confirm", next=here), 303)


def _as_text(_view: BaseView, value: Any, _name: str) -> str:
    return str(value)


def _as_yes(_view: BaseView, value: bool, _name: str) -> str:
    return "yes" if value else ""


def _as_time(_view: BaseView, value: datetime, _name: str) -> Markup:
    return local_time(value)


def _as_nothing(_view: BaseView, _value: None, _name: str) -> str:
    return ""


def _as_json(_view: BaseView, value: Any, _name: str) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True) if value else ""


FORMATS = {
    type(None): _as_nothing,
    bool: _as_yes,
    datetime: _as_time,
    UUID: _as_text,
    dict: _as_json,
    list: _as_json,
}


class OfficeView(Guarded, ModelView):
    """A list of one kind of thing, with its details. Reading only, unless a view says otherwise."""

    can_create = can_edit = can_delete = can_export = False
    can_view_details = True
    can_set_page_size = False
    page_size = PAGE_SIZE
    simple_list_pager = True  # no count over a table that only grows
    action_disallowed_list: ClassVar[list[str]] = ["delete"]
    column_editable_list = None
    column_type_formatters = column_type_formatters_detail = FORMATS
    column_display_pk = False
    form_base_class = OfficeForm
    form = OfficeForm
    edit_form_class = OfficeForm
    list_template = "admin/list.html"
    create_template = edit_template = "admin/form.html"
    details_template = "admin/details.html"
    noun = "record"
    related: Sequence[Any] = ()

    def __init__(self, model: type[Any], name: str, endpoint: str) -> None:
        super().__init__(model, OfficeSession(), name=name, endpoint=f"back_office_{endpoint}", url=endpoint)

    def get_query(self) -> Any:
        """Return the list's query; what is related comes along in one query each."""
        return super().get_query().options(*(selectinload(each) for each in self.related))

    def get_one(self, id: str) -> Any:  # noqa: A002 - Flask-Admin's name
        """Return one record, or None where the id is none of the kind."""
        try:
            key = tuple(UUID(part) for part in iterdecode(id))
        except ValueError:
            return None
        return (
            self.session.get(self.model, key, self.related)
            if len(key) == len(self.model.__mapper__.primary_key)
            else None
        )

    def get_edit_form(self) -> type[Form]:
        """Return the form for what exists; new things may need another one."""
        return self.edit_form_class

    def render(self, template: str, **kwargs: Any) -> Any:
        """Render a page; an answer to a form that did not do is 422."""
        page = super().render(template, **kwargs)
        return (page, 422) if request.method == "POST" else page

    def removal_question(self, model: Any) -> str:
        """Return what is asked before a record is removed: which, and what that means."""
        raise NotImplementedError

    def create_model(self, form: Form) -> Any:
        """Let `add` make the thing; what it does not take is said beside the fields."""
        return self._written(form, lambda session: self.add(session, form))

    def update_model(self, form: Form, model: Any) -> Any:
        """Let `change` change the thing; what it does not take is said beside the fields."""
        return self._written(form, lambda session: self.change(session, model, form))

    def delete_model(self, model: Any) -> Any:
        """Let `remove` remove the thing."""
        return self._written(None, lambda session: self.remove(session, model))

    def add(self, session: Session, form: Form) -> Any:
        """Make the thing that the form describes, and return its record."""
        raise NotImplementedError

    def change(self, session: Session, model: Any, form: Form) -> Any:
        """Change the thing to what the form says, and return its record."""
        raise NotImplementedError

    def remove(self, session: Session, model: Any) -> Any:
        """Remove the thing, and return its record."""
        raise NotImplementedError

    def _written(self, form: Form | None, act: Any) -> Any:
        try:
            with system_scope("back office") as session:
                return act(session)
        except Refused as refusal:
            flash(str(refusal), "warn")
        except InvalidInput as problem:
            _tell(form, problem)
        return False

    def _handle_view(self, name: str, **kwargs: Any) -> ResponseReturnValue | None:
        target = request.values.get("url")
        if target and safe_next(current_app, target) is None:  # Flask-Admin's own check lets `///evil` through
            abort(400)
        answer: ResponseReturnValue | None = super()._handle_view(name, **kwargs)
        return answer


def _tell(form: Form | None, problem: InvalidInput) -> None:
    for name, message in problem.errors.items():
        if form is not None and name in form:
            form[name].errors = [message]
        else:
            flash(message, "warn")
