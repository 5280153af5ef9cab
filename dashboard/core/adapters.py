"""Keep the URL adapter of each root: for a task as for any code without a page of its own it is always the same."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

from werkzeug.routing import Map, MapAdapter

from dashboard.core.tenancy import Root


class RootAdapter(MapAdapter):
    """Builds the links of one root; it stands on the root's first page, which it looks up once."""

    @cached_property
    def _first_page(self) -> Any:
        return super().match(return_rule=True)

    def match(self, *args: Any, **options: Any) -> Any:
        """Return what Flask asks a request's adapter for, without looking it up again; all else as ever."""
        if args or options != {"return_rule": True}:
            return super().match(*args, **options)
        rule, values = self._first_page
        return rule, dict(values)


@lru_cache(maxsize=1024)
def adapter_of(url_map: Map, root: Root) -> RootAdapter:
    """Return the adapter that builds the links of `root` with the rules of `url_map`."""
    bound = url_map.bind(root.netloc, script_name=root.prefix or "/", url_scheme=root.scheme)
    return RootAdapter(
        url_map, bound.server_name, bound.script_name, bound.subdomain, bound.url_scheme, "/", bound.default_method
    )
