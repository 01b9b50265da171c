"""Sentences, by numbers."""

import pytest

from umbel.worker.judge import HOSTAGE_AGE, STUCK_AGE, Sentence, holds_hostages, judge
from umbel.worker.slots import IDLE, Running

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
    assert judge(RUN, now, soft_done, beat=now) is sentence


def test_no_limits_no_sentence():
    assert judge(RUN._replace(soft=0.0, hard=0.0), 1e9, 0, 0.0) is Sentence.NOTHING


def test_an_idle_child_that_does_not_turn_its_loop_is_stuck():
    assert judge(IDLE, 1000.0, 0, 1000.0 - STUCK_AGE - 1) is Sentence.STUCK
    assert judge(IDLE, 1000.0, 0, 999.0) is Sentence.NOTHING
    assert judge(IDLE, 1000.0, 0, 0.0) is Sentence.NOTHING, "a child that has not begun yet"


def test_hostages_are_what_waits_behind_a_task_in_an_old_batch():
    late = RUN.batch_since + HOSTAGE_AGE + 0.01
    assert holds_hostages(RUN, late)
    assert not holds_hostages(RUN, RUN.batch_since + 0.1)
    assert not holds_hostages(RUN._replace(at=3), late), "the last of its batch keeps nobody waiting"
    assert not holds_hostages(RUN._replace(at=-1), late)
