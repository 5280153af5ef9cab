"""Judge the names a tenant may take: its slug, and the roots it is mounted at."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import Flask

from dashboard.core.errors import InvalidInput
from dashboard.core.mounting import HOST_MOUNTS, normal_port
from dashboard.core.tenancy import HTTP, HTTPS, Scheme

SLUG = re.compile(r"[a-z](?:-?[a-z0-9]){1,39}")
HOST = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
PREFIX = re.compile(r"(?:/[A-Za-z0-9][A-Za-z0-9_-]*)*")

ALWAYS_RESERVED = HOST_MOUNTS | {"admin", "api", "dev", "login", "logout", "platform", "system", "www"}
"""Words that would be taken for the platform itself, besides the first words of its own addresses."""

_LOOKALIKES = str.maketrans({"0": "o", "1": "l", "3": "e", "5": "s", "-": "", "_": "", ".": ""})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A root as somebody typed it, taken apart; `port` is None for the scheme's own."""

    scheme: Scheme
    host: str
    port: int | None
    prefix: str


def check_slug(app: Flask, slug: str, taken: Iterable[str]) -> str:
    """Return the slug. Raises InvalidInput for one that is malformed, reserved, taken, or looks like one of those."""
    if not SLUG.fullmatch(slug):
        raise InvalidInput({"slug": "Use 2 to 40 small letters, digits and single hyphens, beginning with a letter."})
    looks = looks_like(slug)
    if looks in {looks_like(word) for word in reserved_words(app)}:
        raise InvalidInput({"slug": f"{slug} is reserved, or looks like a word that is. Choose another one."})
    if looks in {looks_like(other) for other in taken}:
        raise InvalidInput({"slug": f"{slug} is taken, or looks like one that is. Choose another one."})
    return slug


def looks_like(word: str) -> str:
    """Return what a hasty reader sees: `acme-1`, `acme1` and `acmel` are the same."""
    return word.lower().translate(_LOOKALIKES).replace("rn", "m").replace("vv", "w")


def reserved_words(app: Flask) -> frozenset[str]:
    """Return the first words of our own addresses: a tenant's prefix there would hide a page."""
    first_words = {rule.rule.split("/")[1] for rule in app.url_map.iter_rules()}
    return ALWAYS_RESERVED | {word for word in first_words if word and "<" not in word}


def check_root(app: Flask, url: str) -> Place:
    """Return the root's parts. Raises InvalidInput for an address that no tenant can be mounted at."""
    place = _parse(url)
    first_word = place.prefix.removeprefix("/").partition("/")[0]
    if first_word in reserved_words(app):
        raise InvalidInput({"roots": f"{url}: /{first_word} is reserved. Choose another prefix."})
    platform = urlsplit(app.config["PLATFORM_ROOT"])
    at_platform = (place.host, place.port) == (platform.hostname, normal_port(platform.port))
    if at_platform and place.prefix in {"", platform.path}:
        raise InvalidInput(
            {"roots": f"{url} is the platform's own address. Add a prefix, like {url.rstrip('/')}/acme."}
        )
    return place


def _parse(url: str) -> Place:
    wrong = InvalidInput(
        {"roots": f"{url} is no root. Write it like https://jobs.acme.example or http://host:8080/acme."}
    )
    try:
        parts = urlsplit(url)
        port = normal_port(parts.port)
    except ValueError:
        raise wrong from None
    host, prefix = parts.hostname or "", parts.path.rstrip("/")
    extras = parts.query or parts.fragment or parts.username or parts.password
    if parts.scheme not in {HTTP, HTTPS} or extras or not HOST.fullmatch(host) or not PREFIX.fullmatch(prefix):
        raise wrong
    return Place(scheme=HTTPS if parts.scheme == HTTPS else HTTP, host=host, port=port, prefix=prefix)
