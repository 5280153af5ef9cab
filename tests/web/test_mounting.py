"""A request belongs to the tenant whose root it names, and nothing in it can make it another's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Flask, current_app, request, url_for
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue

from config.settings import Settings
from dashboard.accounts.access import public
from dashboard.app import Dashboard, create_app
from dashboard.core.links import asset, host_url, page_url, platform_url, tenant_url
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant, current_binding, current_tenant
from dashboard.tenants.models import TenantRecord, TenantRoot
from dashboard.tenants.registry import forget_cached
from tests.application import PLATFORM, disconnect
from tests.factories import make_tenant, make_user
from tests.signing_in import sign_in

PAGE = UUID(int=7)


@public
def look() -> ResponseReturnValue:
    """Tell where this request is."""
    binding = current_binding()
    return {
        "tenant": binding.tenant.slug if binding else None,
        "link": url_for("runs.show", run_id=PAGE, _external=True),
        "path": request.path,
        "script_root": request.script_root,
        "scheme": request.scheme,
        "request_id": str(binding.request_id) if binding else None,
        "brand": current_app.config["BRAND_NAME"] if binding else None,
        "links": [
            asset("js/app.js").partition("?")[0],
            host_url("flower/"),
            platform_url("chooser.index"),
            page_url("/runs"),
        ],
    }


@public
def stream() -> ResponseReturnValue:
    """Tell, piece by piece, which tenant is bound."""
    return (f"{current_tenant().slug} " for _ in range(2)), 200


@pytest.fixture(scope="module")
def probing_app(migrated_app: Dashboard, settings: Settings) -> Iterator[Dashboard]:
    app = create_app(settings)
    app.testing = True
    app.add_url_rule("/look", view_func=look)
    app.add_url_rule("/stream", view_func=stream)
    yield app
    disconnect(app)
    migrated_app.extensions["celery"].set_default()


@pytest.fixture
def site(app: Flask, probing_app: Dashboard) -> Dashboard:
    """The application with two pages more, which tell where a request is."""
    forget_cached(probing_app)
    return probing_app


@pytest.fixture
def client(site: Dashboard) -> FlaskClient:
    return site.test_client()


def at(client: FlaskClient, url: str, **headers: str) -> dict[str, Any]:
    """Return what the page at this URL tells."""
    response = client.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert response.status_code == 200, response.status
    return dict(response.get_json())


@pytest.mark.parametrize("root", ["https://jobs.acme.test", f"{PLATFORM}/acme"], ids=["own host", "alias"])
def test_links_stay_at_the_root_of_the_request(client: FlaskClient, acme: Tenant, root: str) -> None:
    seen = at(client, f"{root}/look")
    assert (seen["tenant"], seen["path"]) == ("acme", "/look")
    assert seen["link"] == f"{root}/runs/{PAGE}"


def test_a_root_with_a_port_and_a_prefix_keeps_both(client: FlaskClient, initech: Tenant) -> None:
    seen = at(client, "http://initech.test:8080/ops/look")
    assert seen["link"] == f"http://initech.test:8080/ops/runs/{PAGE}"
    assert seen["script_root"] == "/ops"


def test_configuration_is_the_tenants(client: FlaskClient, acme: Tenant, globex: Tenant) -> None:
    assert at(client, "https://jobs.acme.test/look")["brand"] == "Acme"
    assert at(client, f"{PLATFORM}/globex/look")["brand"] == "Globex"


def test_the_platform_is_the_mount_without_a_tenant(client: FlaskClient, globex: Tenant) -> None:
    seen = at(client, f"{PLATFORM}/look")
    assert (seen["tenant"], seen["link"]) == (None, f"{PLATFORM}/runs/{PAGE}")


def test_links_out_of_the_mount_have_no_prefix(client: FlaskClient, acme: Tenant, initech: Tenant) -> None:
    static, flower, chooser, page = at(client, "http://initech.test:8080/ops/look")["links"]
    assert (static, flower) == ("/static/js/app.js", "/flower/")
    assert (chooser, page) == (f"{PLATFORM}/tenants", "http://initech.test:8080/ops/runs")
    with client.application.app_context():
        assert tenant_url(acme, "runs.index") == "https://jobs.acme.test/runs"


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.test/look",
        "http://jobs.acme.test.evil.test/look",
        "http://initech.test/ops/look",
        "http://initech.test:8081/ops/look",
        "http://evil.test/flower/",
        "http://[::1]/look",
    ],
    ids=["stranger", "longer name", "no port", "another port", "flower", "address"],
)
def test_a_host_that_is_nobodys_is_misdirected(client: FlaskClient, acme: Tenant, initech: Tenant, url: str) -> None:
    assert client.get(url).status_code == 421


@pytest.mark.parametrize("host", ["", "a b", "jobs.acme.test:port", "jobs.acme.test@evil.test", "jobs.acme.test,evil"])
def test_a_host_that_is_no_host_is_misdirected(client: FlaskClient, acme: Tenant, host: str) -> None:
    assert client.get("/look", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("path", ["/nobody/look", "/acmex/look", "/ACME/look", "/acme/../globex/look", "/acme%00/look"])
def test_a_prefix_that_is_nobodys_is_not_found(client: FlaskClient, acme: Tenant, globex: Tenant, path: str) -> None:
    assert client.get(f"{PLATFORM}{path}").status_code == 404


def test_a_path_with_two_slashes_is_no_prefix(client: FlaskClient, acme: Tenant) -> None:
    exact = {"HTTP_HOST": "platform.test", "SCRIPT_NAME": "", "PATH_INFO": "//acme/look"}
    assert client.open(environ_overrides=exact).status_code == 404


def test_a_known_host_without_the_prefix_is_not_found(client: FlaskClient, initech: Tenant) -> None:
    assert client.get("http://initech.test:8080/look").status_code == 404


def test_the_longest_prefix_wins(app: Flask, client: FlaskClient) -> None:
    make_tenant(app, "north", f"{PLATFORM}/group", MAIL_SENDER="north@group.test")
    make_tenant(app, "south", f"{PLATFORM}/group/south", MAIL_SENDER="south@group.test")
    assert at(client, f"{PLATFORM}/group/south/look")["tenant"] == "south"
    assert at(client, f"{PLATFORM}/group/look")["tenant"] == "north"
    assert client.get(f"{PLATFORM}/group/southern/look").status_code == 404


def test_a_prefix_without_its_slash_leads_to_the_tenants_first_page(client: FlaskClient, globex: Tenant) -> None:
    response = client.get(f"{PLATFORM}/globex")
    assert (response.status_code, response.location) == (308, f"{PLATFORM}/globex/")


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Forwarded_Host": "evil.test"},
        {"X_Forwarded_Host": "jobs.acme.test", "X_Forwarded_Proto": "https"},
        {"Forwarded": "host=evil.test;proto=https"},
        {"X_Forwarded_Prefix": "/evil"},
        {"X_Original_Host": "evil.test", "X_Rewrite_URL": "/acme/look"},
        {"X_Script_Name": "/acme"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_no_header_moves_a_request_or_its_links(
    client: FlaskClient, acme: Tenant, globex: Tenant, headers: dict[str, str]
) -> None:
    seen = at(client, f"{PLATFORM}/globex/look", **headers)
    assert (seen["tenant"], seen["link"]) == ("globex", f"{PLATFORM}/globex/runs/{PAGE}")


def test_a_host_in_other_letters_is_the_same_host_and_links_are_the_roots(client: FlaskClient, acme: Tenant) -> None:
    assert at(client, "https://jobs.acme.test/look", Host="JOBS.Acme.TEST.")["link"].startswith(
        "https://jobs.acme.test/"
    )


@pytest.mark.parametrize(
    ("script_name", "path"),
    [("/globex", "/look"), ("", "/globex/look"), ("/globex/look", ""), ("/acme", "/globex/look")],
)
def test_a_script_name_from_outside_counts_as_path(
    client: FlaskClient, acme: Tenant, globex: Tenant, script_name: str, path: str
) -> None:
    response = client.open(
        environ_overrides={"SCRIPT_NAME": script_name, "PATH_INFO": path, "HTTP_HOST": "platform.test"}
    )
    if script_name == "/acme":
        assert response.status_code == 404
    else:
        assert response.get_json()["tenant"] == "globex"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/static/js/app.js"])
@pytest.mark.parametrize("host", ["evil.test", "10.0.0.7:5000", "jobs.acme.test", ""])
def test_probes_and_static_files_answer_on_any_host(client: FlaskClient, acme: Tenant, path: str, host: str) -> None:
    response = client.get(path, headers={"Host": host})
    assert response.status_code == 200
    response.close()


def test_host_level_mounts_bind_no_tenant(client: FlaskClient, acme: Tenant) -> None:
    assert client.get("https://jobs.acme.test/metrics").status_code == 404
    assert client.get(f"{PLATFORM}/acme/healthz").status_code == 404


def test_behind_a_proxy_that_ends_tls_links_have_the_roots_scheme(client: FlaskClient, acme: Tenant) -> None:
    seen = at(client, "http://jobs.acme.test/look")
    assert (seen["scheme"], seen["link"]) == ("https", f"https://jobs.acme.test/runs/{PAGE}")


def test_a_suspended_tenant_is_closed_but_still_itself(app: Flask, acme: Tenant, globex: Tenant) -> None:
    make_user(app, "ada@acme.test", roles={acme.id: "admin"})
    browser = sign_in(app, acme, "ada@acme.test")
    assert browser.get("/runs").status_code == 200
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(TenantRecord).where(TenantRecord.id == acme.id).values(suspended_at=sa.func.now()))
    forget_cached(app)
    assert browser.get("/runs").status_code == 403


def test_a_root_that_is_not_verified_serves_nobody(app: Flask, client: FlaskClient, acme: Tenant) -> None:
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(TenantRoot).where(TenantRoot.id == acme.roots[1].id).values(verified_at=None))
    assert client.get(f"{PLATFORM}/acme/look").status_code == 404
    assert at(client, "https://jobs.acme.test/look")["tenant"] == "acme"


def test_a_streamed_body_is_produced_for_the_tenant(client: FlaskClient, globex: Tenant) -> None:
    assert client.get(f"{PLATFORM}/globex/stream").text == "globex globex "


def test_nothing_stays_bound_after_a_request(client: FlaskClient, globex: Tenant) -> None:
    at(client, f"{PLATFORM}/globex/look")
    client.get("http://evil.test/")
    assert current_binding() is None


def test_requests_have_ids_of_their_own(client: FlaskClient, globex: Tenant) -> None:
    assert len({at(client, f"{PLATFORM}/globex/look")["request_id"] for _ in range(3)}) == 3
