"""What a dead child of many tasks leaves: who is blamed, and for what."""

import signal
from types import SimpleNamespace

import pytest

from umbel.broker import Blame
from umbel.envelope import Delivery, Envelope, Receipt
from umbel.message import encode_body
from umbel.outcome import Dead
from umbel.policy import HardLimitPolicy
from umbel.worker.catalog import TaskFacts
from umbel.worker.crew import Killed, Member
from umbel.worker.endings import EXIT_OVERDUE
from umbel.worker.roster import Rosters, Row, key_of
from umbel.worker.suspects import inquest_of_many

TASKS = {"task": TaskFacts(1.0, 2.0, HardLimitPolicy())}
IN_TIME, LATE, FREE = Receipt("h", 1, 0), Receipt("h", 1, 7), Receipt("h", 9, 3)
ROWS = [Row(key_of(IN_TIME), 9.5, 11.5), Row(key_of(LATE), 1.0, 3.0), Row(key_of(FREE), 1.0, 0.0)]
HELD = [Delivery(receipt, Envelope(str(receipt.index), "q", encode_body("task", None, None))) for receipt in (IN_TIME, LATE, FREE)]


def _inquest(killed=Killed.NO, status=signal.SIGKILL, rows=ROWS, **fields):
    member = Member(0, "h", SimpleNamespace(), TASKS, 0.0, pid=1, killed=killed, status=status, ended=10.0, rows=rows, **fields)
    return inquest_of_many(member, rows, HELD, TASKS)


def test_of_a_death_of_its_own_all_are_suspected():
    found = _inquest()
    assert found.blamed == [Blame(IN_TIME), Blame(LATE), Blame(FREE)]
    assert [one.envelope.id for one in found.ran] == ["0", "7", "3"]
    assert found.timed_out == []


@pytest.mark.parametrize(
    "how",
    [{"killed": Killed.HARD}, {"status": EXIT_OVERDUE << 8, "rows": ROWS[1:2]}, {"status": None, "overdue": 9.0}],
    ids=["killed", "left", "left, nobody saw how"],
)
def test_of_an_end_for_the_hard_limit_only_those_that_are_over_theirs(how):
    found = _inquest(**how)
    [blame] = found.blamed
    assert blame.receipt == LATE
    assert isinstance(blame.outcome, Dead)
    assert blame.outcome.reason == "time_limit"
    assert [one.envelope.id for one in found.timed_out] == ["7"]


def test_a_task_that_ends_its_process_with_that_status_is_a_crash():
    """Else it could do so for ever."""
    assert len(_inquest(status=EXIT_OVERDUE << 8).blamed) == 3
    assert _inquest(status=EXIT_OVERDUE << 8, rows=ROWS[:1]).blamed == [Blame(IN_TIME)]


def test_a_crash_while_it_drains_is_a_crash():
    assert len(_inquest(overdue=9.0).blamed) == 3


@pytest.mark.parametrize("killed", [Killed.SHUTDOWN, Killed.LOST, Killed.STUCK])
def test_what_the_worker_did_is_charged_to_nobody(killed):
    assert _inquest(killed).blamed == []


def test_where_nothing_ran_nobody_can_tell():
    assert _inquest(rows=[]).blamed is None


def test_a_roster_says_what_runs_and_what_waits():
    roster = Rosters.create(3, 2).of(1)
    roster.clear()
    roster.begin(1, key_of(FREE), 4.0, 5.0)
    assert roster.rows() == [Row(key_of(FREE), 4.0, 5.0)]
    assert roster.rows()[0].receipt("h") == FREE
    roster.end(1)
    assert roster.rows() == []
    roster.wait([11, 12, 13], 7.0)
    assert (roster.unbegun(2), roster.waits_since, roster.generation) == ([12, 13], 7.0, 1)
    assert [roster.cancel(n) for n in range(33)] == [True] * 32 + [False]
    assert roster.cancels() == list(range(32))
    assert roster.cancels() == []
    assert roster.cancel(99)
    assert roster.cancels() == [99]
