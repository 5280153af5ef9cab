"""Every state of every feature has a word, an icon and a tone."""

import pytest

from dashboard.core.vocabulary import DELIVERY_WORDS, RUN_WORDS, WORDS, state_word
from dashboard.emails.states import DELIVERY_STATES
from dashboard.runs.states import PROBLEM_STATES, RUN_STATES


def test_every_state_of_a_run_and_of_a_delivery_has_a_word() -> None:
    assert set(RUN_WORDS) == set(RUN_STATES)
    assert set(DELIVERY_WORDS) == set(DELIVERY_STATES)


def test_no_two_features_give_one_state_two_words() -> None:
    labels = [word.label for word in WORDS.values()]
    assert len(labels) == len(set(labels))


def test_a_problem_looks_like_one() -> None:
    assert {state for state, word in RUN_WORDS.items() if word.tone == "bad"} == set(PROBLEM_STATES)


def test_a_state_without_a_word_is_an_error() -> None:
    with pytest.raises(KeyError):
        state_word("perplexed")
