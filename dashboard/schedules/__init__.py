"""Schedules: the rules that say when a job type runs."""
