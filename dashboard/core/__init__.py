"""Mechanisms that know no feature: tenancy, links, ORM walls, errors, paging, security, time, ids, templates."""
