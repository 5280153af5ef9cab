"""Tenants: their roots, their settings, and how a request finds them."""
