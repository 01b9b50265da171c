"""Sentences, by numbers."""

import pytest

from umbel.worker.judge import HOSTAGE_AGE, RECONNECT_AGE, STUCK_AGE, Sentence, holds_hostages, judge
from umbel.worker.slots import IDLE, Pulse, Running

RUN = Running(version=5, seq=2, size=4, at=1, batch_since=100.0, started=100.1, soft=105.0, hard=110.0)


@pytest.mark.parametrize(
    ("now", "soft_done", "sentence"),
    [
        (104.9, 0, Sentence.NOTHING),
        (105.0, 0, Sentence.SOFT),
        (105.0, 4, Sentence.SOFT),
        (106.0, 5, Sentence.NOTHING),
        (110.0, 5, Sentence.HARD),
        (110.0, 0, Sentence.HARD),
    ],
)
def test_limits(now, soft_done, sentence):
    assert judge(RUN, now, soft_done, Pulse(now), 0.0) is sentence


def test_no_limits_no_sentence():
    assert judge(RUN._replace(soft=0.0, hard=0.0), 1e9, 0, Pulse(0.0), 0.0) is Sentence.NOTHING


@pytest.mark.parametrize(
    ("silent", "sentence"),
    [(1.0, Sentence.NOTHING), (RECONNECT_AGE + 1, Sentence.RECONNECT), (STUCK_AGE + 1, Sentence.STUCK)],
)
def test_an_idle_child_that_does_not_turn_its_loop(silent, sentence):
    assert judge(IDLE, 1000.0, 0, Pulse(1000.0 - silent), 1.0) is sentence


def test_a_child_that_has_not_begun_yet_is_left_alone():
    assert judge(IDLE, 1000.0, 0, Pulse(0.0), 1.0) is Sentence.NOTHING


def test_a_child_is_not_to_blame_for_a_broker_that_is_away():
    long_ago = Pulse(1.0, 1.0)
    assert judge(IDLE, 1000.0, 0, long_ago, None) is Sentence.NOTHING
    assert judge(IDLE, 1000.0, 0, long_ago, 999.0) is Sentence.NOTHING, "it is back for a second only"
    assert judge(IDLE, 1000.0, 0, long_ago, 999.0 - RECONNECT_AGE) is Sentence.RECONNECT


def test_a_loop_that_turns_while_all_its_exchanges_fail_is_stuck_too():
    assert judge(IDLE, 1000.0, 0, Pulse(999.9, 1000.0 - STUCK_AGE - 1), 1.0) is Sentence.STUCK
    assert judge(IDLE, 1000.0, 0, Pulse(999.9, 1000.0 - RECONNECT_AGE - 1), 1.0) is Sentence.NOTHING, "it connects anew by itself"


def test_hostages_are_what_waits_behind_a_task_in_an_old_batch():
    late = RUN.batch_since + HOSTAGE_AGE + 0.01
    assert holds_hostages(RUN, late)
    assert not holds_hostages(RUN, RUN.batch_since + 0.1)
    assert not holds_hostages(RUN._replace(at=3), late), "the last of its batch keeps nobody waiting"
    assert holds_hostages(RUN._replace(at=-1), late), "it may hang in a settle, or in a subscriber"
    assert not holds_hostages(IDLE, late)
