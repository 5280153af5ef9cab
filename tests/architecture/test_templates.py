"""Every template compiles, every page has a title, and nothing in one needs more than the strict content policy."""

import re
from functools import cache
from pathlib import Path

import pytest
from jinja2 import Environment, nodes

from config.settings import Settings
from dashboard.app import create_app
from tests.architecture.project import ROOT

TEMPLATES = ROOT / "dashboard" / "templates"
NAMES = sorted(str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*") if path.is_file())
MAIL = re.compile(r"(^emails/|^layouts/email|^components/email|\.txt$)")
PAGES = [name for name in NAMES if not re.match(r"(layouts|components|emails)/|.*/_", name)]
FORBIDDEN = {
    "an inline script": re.compile(r"<script(?![^>]*\bsrc=)[^>]*>", re.IGNORECASE),
    "an inline style": re.compile(r"<style\b|\sstyle\s*=", re.IGNORECASE),
    "an inline handler": re.compile(r"<[^>{%]*\son[a-z]+\s*=", re.IGNORECASE),
    "hx-on": re.compile(r"\bhx-on\b"),
    "a js: or javascript: value": re.compile(r"[\"'](js|javascript):"),
    "a trigger filter": re.compile(r"hx-trigger=\"[^\"{]*\["),
    "an address of another site": re.compile(r"(src|href|action)=[\"'](https?:)?//"),
}


@cache
def environment() -> Environment:
    variables = {
        "DATABASE_URL": "postgresql://app@127.0.0.1/none",
        "REDIS_URL": "redis://127.0.0.1/0",
        "SECRET_KEY": "only-for-compiling-templates-0123456789",
        "ENCRYPTION_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        "PLATFORM_ROOT": "http://platform.test",
    }
    return create_app(Settings.from_env(variables)).jinja_env


@cache
def parsed(name: str) -> nodes.Template:
    return environment().parse((TEMPLATES / name).read_text())


@pytest.mark.parametrize("name", NAMES)
def test_it_compiles(name: str) -> None:
    environment().compile((TEMPLATES / name).read_text(), name)


@pytest.mark.parametrize("name", NAMES)
def test_every_template_it_names_exists(name: str) -> None:
    tree = parsed(name)
    named = [node.template for node in tree.find_all(nodes.Extends)]
    named += [node.template for node in tree.find_all(nodes.Include)]
    named += [node.template for node in tree.find_all(nodes.Import)]
    named += [node.template for node in tree.find_all(nodes.FromImport)]
    assert {node.value for node in named if isinstance(node, nodes.Const)} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_uses_every_macro_it_imports(name: str) -> None:
    tree = parsed(name)
    used = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "load"}
    for node in tree.find_all(nodes.FromImport):
        for imported in node.names:
            assert (imported if isinstance(imported, str) else imported[1]) in used


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_a_title(name: str) -> None:
    assert has_title(name)


def has_title(name: str) -> bool:
    """Whether the page, or what it extends short of the layout, fills the title."""
    tree = parsed(name)
    if any(block.name == "title" for block in tree.find_all(nodes.Block)):
        return True
    bases = [node.template for node in tree.find_all(nodes.Extends)]
    return any(
        isinstance(base, nodes.Const) and not base.value.startswith("layouts/") and has_title(base.value)
        for base in bases
    )


@pytest.mark.parametrize("name", [name for name in NAMES if not MAIL.search(name)])
def test_it_keeps_to_the_content_policy(name: str) -> None:
    source = re.sub(r"\{#.*?#\}", "", (TEMPLATES / name).read_text(), flags=re.DOTALL)
    assert [what for what, pattern in FORBIDDEN.items() if pattern.search(source)] == []


def test_there_are_templates() -> None:
    assert Path(TEMPLATES / "layouts" / "app.html").exists()
