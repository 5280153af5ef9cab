"""Believable tenants for development: people, schedules of all kinds, and runs of which some fail."""
