"""What htmx is answered, and when a live panel asks again."""

import json

import pytest
from flask import Flask, Response

from dashboard.core import htmx
from dashboard.core.htmx import Live

PAGE = "/acme/runs?state=failed&q=a+b"
BY_HTMX = {"HX-Request": "true", "HX-Request-Type": "partial"}


@pytest.fixture
def app() -> Flask:
    return Flask("small")


def live(app: Flask, url: str = PAGE, *, active: bool = True, final: bool = False) -> Live:
    with app.test_request_context(url):
        return Live.of(active=active, final=final, tag="7")


def test_a_panel_asks_often_while_something_moves_and_seldom_otherwise(app: Flask) -> None:
    assert live(app).seconds == 2
    assert live(app, active=False).seconds == 10


def test_a_panel_does_not_ask_when_nothing_can_change_or_the_viewer_paused_it(app: Flask) -> None:
    assert live(app, final=True).seconds is None
    assert live(app, PAGE + "&live=off").seconds is None


def test_the_viewers_pace_is_kept_and_asked_for_again(app: Flask) -> None:
    slow = live(app, PAGE + "&live=15", active=False)
    assert (slow.seconds, slow.url) == (15, PAGE + "&live=15")


def test_a_pace_that_is_not_offered_is_the_usual_one(app: Flask) -> None:
    assert live(app, PAGE + "&live=0.001").seconds == 2


def test_the_choices_keep_the_query_and_mark_the_present_one(app: Flask) -> None:
    with app.test_request_context(PAGE + "&live=5"):
        options = list(Live.of(active=True).options)
    assert [option.label for option in options if option.active] == ["5 s"]
    assert [option.url for option in options] == [PAGE + "&live=off", PAGE, PAGE + "&live=5", PAGE + "&live=15"]


def test_a_quiet_tick_is_answered_304_with_the_same_tag(app: Flask) -> None:
    with app.test_request_context(PAGE, headers=BY_HTMX | {"HX-PTag": "7"}):
        answer = htmx.unchanged("7")
        assert htmx.unchanged("8") is None
    assert answer is not None
    assert (answer.status_code, answer.headers["HX-PTag"]) == (304, "7")


def test_a_browser_that_loads_the_page_is_never_told_that_nothing_changed(app: Flask) -> None:
    with app.test_request_context(PAGE, headers={"HX-PTag": "7"}):
        assert htmx.unchanged("7") is None


def test_what_is_rendered_for_one_person_is_kept_by_no_cache(app: Flask) -> None:
    response = htmx.uncached(Response())
    assert response.headers["Cache-Control"] == "private, no-store"
    assert response.headers["Vary"] == "HX-Request"


def test_htmx_is_led_on_by_a_header_and_a_browser_by_303(app: Flask) -> None:
    with app.test_request_context(PAGE, headers=BY_HTMX):
        assert htmx.see_other("/acme/runs").headers["HX-Redirect"] == "/acme/runs"
    with app.test_request_context(PAGE):
        answer = htmx.see_other("/acme/runs")
    assert (answer.status_code, answer.location) == (303, "/acme/runs")


def test_htmx_that_asks_for_a_whole_page_gets_one(app: Flask) -> None:
    with app.test_request_context(PAGE, headers=BY_HTMX | {"HX-Request-Type": "full"}) as context:
        assert not htmx.wants_fragment(context.request)
        assert htmx.is_htmx(context.request)


def test_events_add_up_and_travel_as_ascii() -> None:
    response = htmx.trigger(htmx.with_flash(Response(), "Grüße"), "refresh")
    assert response.headers["HX-Trigger"].isascii()
    assert json.loads(response.headers["HX-Trigger"]) == {"flash": {"message": "Grüße", "tone": "ok"}, "refresh": {}}
