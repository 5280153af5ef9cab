"""Tell failures apart by what went wrong, not by the numbers, names and times in their messages."""

from __future__ import annotations

import hashlib
import re

LONGEST_READ = 2000
LONGEST_LIKENESS = 300

_STANDS_FOR = (
    (re.compile(r"https?://[^\s\"'<>]+"), "<url>"),
    (re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]+(?:\.[\w-]+)+"), "<mail>"),
    (re.compile(r"\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"), "<time>"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "<n>"),
    (re.compile(r"\s+"), " "),
)
"""What varies between two failures of one kind, in the order in which it is looked for, and what it is read as."""


def likeness(error_type: str, message: str) -> str:
    """Return what two failures of one kind have in common: the error's type, and its message without what varies.

    Empty where there is neither. Takes time in proportion to the message, of which it reads the first 2,000 characters.
    """
    if not error_type and not message:
        return ""
    text = message[:LONGEST_READ]
    for pattern, stand_in in _STANDS_FOR:
        text = pattern.sub(stand_in, text)
    return f"{error_type}\n{text.strip()[:LONGEST_LIKENESS]}"


def fingerprint(job_type: str, alike: str) -> str:
    """Return the fingerprint of a run of `job_type` with this likeness: 16 hexadecimal digits, or '' without one."""
    return hashlib.sha256(f"{job_type}\n{alike}".encode()).hexdigest()[:16] if alike else ""


def of_run(likeness_sql: str) -> str:
    """Return the SQL of a run's fingerprint, given the SQL of its likeness: the row knows its job type best."""
    return (
        f"CASE WHEN {likeness_sql} = '' THEN '' ELSE"
        f" left(encode(sha256(convert_to(run.job_type || E'\\n' || {likeness_sql}, 'UTF8')), 'hex'), 16) END"
    )
