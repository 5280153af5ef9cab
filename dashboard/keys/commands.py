"""`flask secrets …`: what keeps secrets secret."""

from __future__ import annotations

from dataclasses import asdict

from dashboard.core.console import CommandGroup, json_option, print_rows
from dashboard.keys import rotation

secrets = CommandGroup("secrets", help="What is kept encrypted.")


@secrets.command()
@json_option
def rotate(as_json: bool) -> None:
    """Encrypt all secrets anew with the first of ENCRYPTION_KEYS; afterwards the others can go.

    What no key opens any more is counted as unreadable, and stays as it is.
    """
    print_rows([asdict(tally) for tally in rotation.rotate()], as_json=as_json, empty="")
