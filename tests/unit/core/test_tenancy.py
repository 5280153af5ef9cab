"""The configuration shows the bound tenant's values on every way to read it, and refuses to be written meanwhile."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from flask import Flask, current_app, g

from dashboard.core.errors import NoTenant
from dashboard.core.tenancy import (
    PER_TENANT,
    SYSTEM,
    Actor,
    Binding,
    Root,
    Tenant,
    TenantConfig,
    act_as,
    bound,
    carry,
    current_binding,
    current_tenant,
)

OWN = Root(id=UUID(int=1), scheme="https", host="jobs.acme.test", port=None, prefix="")
ALIAS = Root(id=UUID(int=2), scheme="http", host="app.test", port=8080, prefix="/acme")
ACME = Tenant(
    id=UUID(int=3),
    slug="acme",
    name="Acme",
    active=True,
    roots=(OWN, ALIAS),
    values={"MAIL_SENDER": "jobs@acme.test", "MAIL_REPLY_TO": "", "TIMEZONE": "Europe/Zurich"},
)
GLOBEX = Tenant(
    id=UUID(int=4), slug="globex", name="Globex", active=True, roots=(OWN,), values={"MAIL_SENDER": "mail@globex.test"}
)
OVERLAID = {"MAIL_SENDER", "MAIL_REPLY_TO", "TIMEZONE", "SERVER_NAME", "APPLICATION_ROOT", "PREFERRED_URL_SCHEME"}


@pytest.fixture
def config() -> TenantConfig:
    return TenantConfig(".", {"MAIL_SENDER": PER_TENANT, "TIMEZONE": "UTC", "DEBUG": False, "SERVER_NAME": None})


@pytest.fixture
def acme() -> Iterator[None]:
    with bound(Binding.of(ACME)):
        yield


READS: dict[str, Callable[[TenantConfig], Any]] = {
    "[]": lambda config: config["MAIL_SENDER"],
    "get": lambda config: config.get("MAIL_SENDER"),
    "get with a default": lambda config: config.get("MAIL_SENDER", "nobody@nowhere.test"),
    "dict": lambda config: dict(config)["MAIL_SENDER"],
    "items": lambda config: dict(config.items())["MAIL_SENDER"],
    "values": lambda config: next(value for value in config.values() if value == "jobs@acme.test"),
    "copy": lambda config: config.copy()["MAIL_SENDER"],
    "copy.copy of a copy": lambda config: copy.copy(config.copy())["MAIL_SENDER"],
    "unpacking": lambda config: {**config}["MAIL_SENDER"],
    "or": lambda config: (config | {})["MAIL_SENDER"],
    "or, from the left": lambda config: ({} | config)["MAIL_SENDER"],
    "namespace": lambda config: config.get_namespace("MAIL_")["sender"],
    "iteration": lambda config: next(config[key] for key in config if key == "MAIL_SENDER"),
}


@pytest.mark.parametrize("way", READS)
def test_every_way_to_read_shows_the_tenants_value(config: TenantConfig, acme: None, way: str) -> None:
    assert READS[way](config) == "jobs@acme.test"


def test_keys_that_only_the_tenant_has_are_there_too(config: TenantConfig, acme: None) -> None:
    assert "MAIL_REPLY_TO" in config
    assert set(config) == set(config.keys()) == {*OVERLAID, "DEBUG", "TRUSTED_HOSTS"}
    assert list(reversed(config)) == list(config)[::-1]
    assert len(config) == len(config.items()) == len(config.values()) == len(OVERLAID) + 2


def test_without_a_tenant_the_base_stands(config: TenantConfig) -> None:
    assert config["TIMEZONE"] == "UTC"
    assert "MAIL_REPLY_TO" not in config
    assert len(config) == 4
    assert config == config.copy()


def test_equality_follows_the_tenant(config: TenantConfig) -> None:
    base = config.copy()
    with bound(Binding.of(ACME)):
        assert config != base


@pytest.mark.parametrize("read", [lambda config: config["MAIL_SENDER"], lambda config: config.get("MAIL_SENDER", "x")])
def test_what_only_a_tenant_can_give_raises_without_one(config: TenantConfig, read: Callable[[Any], Any]) -> None:
    with pytest.raises(NoTenant, match="MAIL_SENDER"):
        read(config)


WRITES: dict[str, Callable[[TenantConfig], Any]] = {
    "[]=": lambda config: config.__setitem__("DEBUG", True),
    "del": lambda config: config.__delitem__("DEBUG"),
    "update": lambda config: config.update({"DEBUG": True}),
    "update by name": lambda config: config.update(DEBUG=True),
    "|=": lambda config: config.__ior__({"DEBUG": True}),
    "setdefault": lambda config: config.setdefault("NEW", True),
    "pop": lambda config: config.pop("DEBUG"),
    "from_mapping": lambda config: config.from_mapping(DEBUG=True),
    "from_object": lambda config: config.from_object(type("Settings", (), {"DEBUG": True})),
}


@pytest.mark.parametrize("way", WRITES)
def test_every_way_to_write_is_refused_while_a_tenant_is_bound(config: TenantConfig, way: str) -> None:
    base = config.copy()
    with bound(Binding.of(ACME)), pytest.raises(RuntimeError, match="would change for all tenants"):
        WRITES[way](config)
    assert config == base


@pytest.mark.parametrize("way", WRITES)
def test_every_way_to_write_works_while_none_is_bound(config: TenantConfig, way: str) -> None:
    base = config.copy()
    WRITES[way](config)
    assert config != base


def test_the_configuration_is_never_emptied(config: TenantConfig) -> None:
    for empty in (config.clear, config.popitem):
        with pytest.raises(TypeError):
            empty()


def test_setdefault_returns_the_tenants_value(config: TenantConfig, acme: None) -> None:
    assert config.setdefault("TIMEZONE", "UTC") == "Europe/Zurich"


def test_its_representation_holds_no_value(config: TenantConfig, acme: None) -> None:
    assert repr(config) == "<TenantConfig of acme>"


@pytest.mark.parametrize(
    ("root", "implied"),
    [
        (OWN, {"SERVER_NAME": "jobs.acme.test", "APPLICATION_ROOT": "/", "PREFERRED_URL_SCHEME": "https"}),
        (ALIAS, {"SERVER_NAME": "app.test:8080", "APPLICATION_ROOT": "/acme", "PREFERRED_URL_SCHEME": "http"}),
    ],
    ids=["own host", "port and prefix"],
)
def test_the_root_in_use_decides_what_flask_builds_links_from(root: Root, implied: dict[str, str]) -> None:
    settings = Binding.of(ACME, root.id).settings
    assert implied.items() <= settings.items()
    assert settings["TRUSTED_HOSTS"] == ["app.test", "jobs.acme.test"]


def test_a_root_of_somebody_else_becomes_the_canonical_one() -> None:
    assert Binding.of(ACME, UUID(int=99)).root is OWN


def test_bindings_nest_and_end() -> None:
    with bound(Binding.of(ACME)):
        with bound(Binding.of(GLOBEX)):
            assert current_tenant() is GLOBEX
        with bound(None):
            assert current_binding() is None
        assert current_tenant() is ACME
    with pytest.raises(NoTenant):
        current_tenant()


def test_the_actor_is_named_for_the_rest_of_the_binding() -> None:
    actor = Actor(kind="user", id=UUID(int=5))
    with bound(Binding.of(ACME, locale="de")):
        act_as(actor)
        binding = current_binding()
        assert binding is not None
        assert (binding.actor, binding.locale) == (actor, "de")
    with bound(Binding.of(ACME)):
        assert Binding.of(ACME).actor == SYSTEM


def test_another_thread_has_the_tenant_only_if_it_is_carried() -> None:
    app = Flask(__name__)
    found: dict[str, Any] = {}

    def look(name: str) -> None:
        binding = current_binding()
        found[name] = binding and binding.tenant.slug
        if binding:
            found["app"], found["g"] = current_app.name == app.name, "mine" in g

    with app.app_context(), bound(Binding.of(ACME)):
        g.mine = True
        for name, target in (("carried", carry(look)), ("alone", look)):
            thread = threading.Thread(target=target, args=(name,))
            thread.start()
            thread.join()
    assert found == {"carried": "acme", "alone": None, "app": True, "g": False}


def test_a_carried_function_can_be_called_often() -> None:
    app = Flask(__name__)
    with app.app_context(), bound(Binding.of(ACME)):
        slug = carry(lambda: current_tenant().slug)
    assert [slug(), slug()] == ["acme", "acme"]
