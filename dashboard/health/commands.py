"""`flask doctor`: say how each part is, and what to do about those that are not well."""

from __future__ import annotations

from dataclasses import asdict

import click
from flask.cli import with_appcontext

from dashboard.core.console import LoneCommand, json_option, print_record
from dashboard.health.checks import Finding, examine, failed
from dashboard.health.mail import mail_servers

WORDS = {"ok": ("ok  ", "green"), "warn": ("WARN", "yellow"), "fail": ("FAIL", "red")}


@click.command("doctor", cls=LoneCommand)
@click.option("--mail", is_flag=True, help="Also sign in to the mail server of each tenant.")
@json_option
@with_appcontext
def doctor(mail: bool, as_json: bool) -> None:
    """Check every part; exit 1 if one is not well, and say what to do.

    Checks the database, its roles, walls and migrations, the broker, clocks, time zone rules, workers, beat, plugins
    and Flower.
    """
    findings = examine()
    if mail and not failed(findings, "database") and not failed(findings, "migrations"):
        findings += mail_servers()
    healthy = all(finding.status != "fail" for finding in findings)
    if as_json:
        print_record({"healthy": healthy, "checks": [asdict(finding) for finding in findings]}, as_json=True)
    else:
        for finding in findings:
            _tell(finding)
    if not healthy:
        raise click.exceptions.Exit(1)


def _tell(finding: Finding) -> None:
    word, colour = WORDS[finding.status]
    click.echo(f"{click.style(word, fg=colour)}  {finding.part:<10}  {finding.sentence}")
    if finding.advice and finding.status != "ok":
        click.echo(f"{'':18}{finding.advice}")
