"""The adapter that is kept for a root says what one made for a request at that root would say."""

from __future__ import annotations

from typing import cast
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from werkzeug.routing import Map, MapAdapter, Rule
from werkzeug.test import create_environ

from dashboard.core.adapters import adapter_of
from dashboard.core.tenancy import Root, Scheme

URLS = Map(
    [
        Rule("/", endpoint="index"),
        Rule("/runs/<int:number>", endpoint="run", methods=["GET"]),
        Rule("/runs/<int:number>", endpoint="stop", methods=["POST"]),
    ]
)

roots = st.builds(
    Root,
    id=st.uuids(),
    scheme=st.sampled_from(cast(list[Scheme], ["http", "https"])),
    host=st.sampled_from(["jobs.acme.test", "initech.localhost", "xn--mnchen-3ya.test"]),
    port=st.sampled_from([None, 80, 443, 5000]),
    prefix=st.sampled_from(["", "/globex", "/de/ops"]),
)
ACME = Root(id=UUID(int=1), scheme="https", host="jobs.acme.test", port=None, prefix="/ops")


def asked_for_at(root: Root) -> MapAdapter:
    return URLS.bind_to_environ(create_environ("/", root.url + "/"))


@given(roots, st.integers(min_value=0), st.booleans())
def test_it_builds_the_links_of_a_request_at_the_root(root: Root, number: int, external: bool) -> None:
    for endpoint, values in (("index", {}), ("run", {"number": number, "page": "2"})):
        kept = adapter_of(URLS, root).build(endpoint, values, force_external=external)
        assert kept == asked_for_at(root).build(endpoint, values, force_external=external)


@given(roots)
def test_it_stands_on_the_page_that_such_a_request_asks_for(root: Root) -> None:
    for _ in range(2):
        assert adapter_of(URLS, root).match(return_rule=True) == asked_for_at(root).match(return_rule=True)


def test_what_one_does_with_the_values_of_its_page_the_next_does_not_see() -> None:
    adapter_of(URLS, ACME).match(return_rule=True)[1]["left"] = "behind"
    assert adapter_of(URLS, ACME).match(return_rule=True)[1] == {}


def test_it_finds_other_pages_as_any_adapter_does() -> None:
    assert adapter_of(URLS, ACME).match("/runs/7") == ("run", {"number": 7})
    assert adapter_of(URLS, ACME).match("/runs/7", method="POST") == ("stop", {"number": 7})
