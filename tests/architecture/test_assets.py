"""What browsers load: vendored files are the published ones, components are whole, and pages stay small."""

import gzip
import hashlib
import re
from pathlib import Path

import pytest

from dashboard.core.templating import stylesheets
from dashboard.core.vocabulary import WORDS
from tests.architecture.project import ROOT

STATIC = ROOT / "dashboard" / "static"
TEMPLATES = ROOT / "dashboard" / "templates"
VENDORED = [line.split() for line in (STATIC / "vendor/htmx/SHA256SUMS").read_text().splitlines()]
COMPONENTS = sorted((TEMPLATES / "components").glob("*.html"))
SHEETS = sorted(path for folder in (".", "components", "modules") for path in (STATIC / "css" / folder).glob("*.css"))
SCRIPTS = sorted((STATIC / "js").glob("*.js"))
EVERY_PAGE = ("js/theme.js", "js/app.js", "vendor/htmx/htmx.min.js", "vendor/htmx/hx-ptag.min.js", "img/icons.svg")
BUDGET_KB, PAGE_KB = 60, 20


def icons() -> set[str]:
    return set(re.findall(r'<symbol id="([a-z-]+)"', (STATIC / "img/icons.svg").read_text()))


@pytest.mark.parametrize(("checksum", "name"), VENDORED)
def test_a_vendored_file_is_the_published_one(checksum: str, name: str) -> None:
    assert hashlib.sha256((STATIC / "vendor/htmx" / name).read_bytes()).hexdigest() == checksum


def test_every_vendored_script_has_a_checksum_and_the_stated_version() -> None:
    folder = STATIC / "vendor/htmx"
    assert {path.name for path in folder.glob("*.js")} == {name for _, name in VENDORED}
    version = (folder / "VERSION").read_text().strip()
    assert f'version="{version}"' in (folder / "htmx.min.js").read_text()


def test_what_every_page_loads_leaves_room_for_the_page_in_the_budget() -> None:
    """Each file compressed by itself, as it travels."""
    sizes = {name: len(gzip.compress((STATIC / name).read_bytes())) for name in (*EVERY_PAGE, *stylesheets())}
    assert sum(sizes.values()) < (BUDGET_KB - PAGE_KB) * 1000, sizes


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_of_ours_is_short_and_needs_no_eval(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) < 150
    assert not re.search(r"\beval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write", source)


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda path: path.stem)
def test_a_component_file_is_one_macro_of_its_name_with_an_explanation(path: Path) -> None:
    source = path.read_text()
    assert re.findall(r"^\{% macro (\w+)", source, re.MULTILINE) == [path.stem]
    assert "{#" in source


@pytest.mark.parametrize(
    "path", [path for path in COMPONENTS if path.stem != "email_button"], ids=lambda path: path.stem
)
def test_the_gallery_shows_every_component_of_pages(path: Path) -> None:
    pages = [*TEMPLATES.glob("gallery/*.html"), *TEMPLATES.glob("layouts/*.html"), *COMPONENTS]
    assert any(f'"components/{path.name}"' in page.read_text() for page in pages)


def test_every_icon_that_is_named_exists() -> None:
    named = {word.icon for word in WORDS.values()}
    for page in TEMPLATES.rglob("*.html"):
        named |= set(re.findall(r"(?:\bicon\(|icon_name=)'([a-z-]+)'", page.read_text()))
    assert named - icons() == set()


def test_style_sheets_load_nothing_and_put_everything_into_a_layer() -> None:
    for path in SHEETS:
        source = path.read_text()
        assert "url(" not in source
        assert "@import" not in source
        assert re.search(r"^@layer (reset|base|components|modules|utilities) \{", source, re.MULTILINE), path


def test_every_style_sheet_is_linked_or_a_page_s_own() -> None:
    linked = {STATIC / name for name in stylesheets()}
    own = "".join(page.read_text() for page in TEMPLATES.rglob("*.html"))
    for path in SHEETS:
        assert path in linked or str(path.relative_to(STATIC)) in own, path


def test_the_dark_theme_changes_tokens_only() -> None:
    for path in SHEETS:
        if path.name != "tokens.css":
            assert not re.search(r"prefers-color-scheme|data-theme|light-dark|#[0-9a-fA-F]{3,8}\b", path.read_text()), (
                path
            )
