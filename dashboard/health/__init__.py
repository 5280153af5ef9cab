"""Probes and the doctor: does each part work, and what to do if not."""
