"""Read from the installed Flower what its pages need: its static files, and the hash of its one inline script."""

from __future__ import annotations

import base64
import gzip
import hashlib
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tornado.template import filter_whitespace

INLINE_SCRIPT = re.compile(r"<script[^>]*>(.+?)</script>", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFile:
    """A file of Flower's, ready to be sent; `gzipped` is the same, compressed."""

    content_type: str
    body: bytes
    gzipped: bytes


def static_file(name: str) -> StaticFile | None:
    """Return the static file with this name below Flower's static folder, or None."""
    path = _static_paths().get(name)
    return _load(path) if path else None


@cache
def inline_script_hash() -> str:
    """Return the CSP source of the script in Flower's page of workers, as Tornado writes it where pages refresh."""
    template = (_package() / "templates" / "workers.html").read_text()
    scripts = INLINE_SCRIPT.findall(template)
    if len(scripts) != 1:
        raise RuntimeError("This release of Flower has other inline scripts: look at them before they are allowed.")
    script = filter_whitespace("single", scripts[0].replace("{{ autorefresh }}", "1"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{digest}'"


@cache
def _static_paths() -> Mapping[str, Path]:
    """List the files there are, so that no name in an address is ever a path."""
    folder = _package() / "static"
    return {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}


@cache
def _load(path: Path) -> StaticFile:
    body = path.read_bytes()
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return StaticFile(content_type=kind, body=body, gzipped=gzip.compress(body))


def _package() -> Path:
    """Find Flower without importing it: the web process needs none of its code."""
    spec = find_spec("flower")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("Flower is not installed: its static files are served from its package.")
    return Path(spec.submodule_search_locations[0])
