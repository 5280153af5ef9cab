"""Processes die while they send: no mail is lost, none arrives twice, and what nobody can know is listed."""

from __future__ import annotations

import random

import pytest

from tests.chaos.mail_storm import MailStorm
from tests.chaos.site import Site

pytestmark = pytest.mark.xdist_group("chaos")


def test_no_mail_is_lost_and_none_arrives_twice_while_what_sends_them_dies(site: Site) -> None:
    storm = MailStorm(site, random.Random(27))
    report = storm.blow(kills=40)
    assert report.is_sound, f"{report}\n{storm.said()}"
    assert report.sent + report.uncertain == report.mails


def test_a_mailing_that_forgets_what_may_have_left_turns_this_suite_red(site: Site) -> None:
    storm = MailStorm(site, random.Random(1), ("tests.chaos.forgetful_mailing",))
    assert storm.blow(kills=10, answers_after=0.1).doubled
