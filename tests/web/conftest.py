"""Gives web tests the people they sign in as."""

from __future__ import annotations

import pytest

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from tests.factories.people import People, make_people


@pytest.fixture
def people(app: Dashboard, acme: Tenant, globex: Tenant) -> People:
    """Alice, Olivia and Victor of Acme, Mallory of Globex, and Root, who owns the platform."""
    return make_people(app, acme, globex)
