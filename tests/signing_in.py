"""Signs test persons in through the real form, and gives them a browser that works at a tenant's root."""

from __future__ import annotations

from functools import cache
from ipaddress import IPv4Address
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from dashboard.accounts.actions import user_by_email
from dashboard.accounts.models import Credential, WebSession
from dashboard.accounts.passwords import hash_password
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from tests.pages import check_page, read_page

PASSWORD = "four words nobody guesses"
ADDRESSES = (IPv4Address("10.0.0.0") + number for number in count(1))
"""Each browser has an address of its own: attempts are counted by it."""

UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}


class Browser(FlaskClient):
    """A test client at one root: paths are the mount's own (`/runs`), and forms carry their token by themselves.

    Every page that it gets is checked (`tests.pages`). `csrf=False` leaves the token out.
    """

    root: str = ""
    token: str = ""

    def open(self, *args: Any, csrf: bool = True, **kwargs: Any) -> TestResponse:
        if args and isinstance(args[0], str):
            kwargs.setdefault("base_url", origin(self.root))
            if args[0].startswith("/") and kwargs["base_url"] == origin(self.root):
                args = (urlsplit(self.root).path + args[0], *args[1:])
            headers = dict(kwargs.get("headers") or {})
            if str(kwargs.get("method", "GET")).upper() in UNSAFE:
                headers.setdefault("Referer", kwargs["base_url"] + "/")
                if csrf and self.token:
                    headers.setdefault("X-CSRFToken", self.token)
            kwargs["headers"] = headers
        response: TestResponse = super().open(*args, **kwargs)
        check_page(response)
        return response

    def take_token(self) -> str:
        """Read a page's form token, and send it along from now on."""
        self.token = read_page(self.get("/sign-in")).tokens[0]
        return self.token

    @property
    def cookie_line(self) -> str:
        """The Cookie header with which another client is signed in as well."""
        return "; ".join(f"{cookie.key}={cookie.value}" for cookie in (self._cookies or {}).values())

    def sign_in(self, email: str, password: str = PASSWORD, **kwargs: Any) -> TestResponse:
        """Send the sign-in form."""
        self.take_token()
        response = self.post("/sign-in", data={"email": email, "password": password}, **kwargs)
        if response.status_code < 400:
            self.take_token()
        return response


def visit(app: Flask, tenant: Tenant | None) -> Browser:
    """Return a browser at a tenant's canonical root, or at the platform's, where nobody is signed in."""
    browser = Browser(app, app.response_class, use_cookies=True)
    browser.environ_base["REMOTE_ADDR"] = str(next(ADDRESSES))
    browser.root = tenant.roots[0].url if tenant else app.config["PLATFORM_ROOT"]
    return browser


def sign_in(app: Flask, tenant: Tenant | None, email: str) -> Browser:
    """Return a browser in which the person with this address is signed in; `make_user` made them."""
    set_password(app, email)
    browser = visit(app, tenant)
    assert browser.sign_in(email).status_code == 303
    return browser


def set_password(app: Flask, email: str, password: str = PASSWORD) -> None:
    """Give a person a password, unless they have one."""
    with app.app_context(), system_scope("test") as session:
        user = user_by_email(session, email)
        assert user is not None
        if session.scalar(sa.select(Credential).where(Credential.user_id == user.id)) is None:
            session.add(Credential(user_id=user.id, password_hash=hash_of(password)))


def make_stale(app: Flask) -> None:
    """Let everybody's password have been given an hour ago."""
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(WebSession).values(signed_in_at=sa.text("now() - interval '1 hour'")))


@cache
def hash_of(password: str) -> str:
    """Return a hash, made once: hashing takes its time by design."""
    return hash_password(password)


def origin(url: str) -> str:
    """Return scheme and host of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
