"""To which delivery a death is laid, and what becomes of it."""

import pytest

from umbel import Retry as UserRetry
from umbel import Umbel
from umbel.broker import Blame
from umbel.envelope import Delivery, Envelope, Receipt
from umbel.message import encode_body
from umbel.outcome import Dead, Dropped, Released, Retry
from umbel.policy import HardLimitPolicy
from umbel.worker.catalog import TaskFacts
from umbel.worker.crew import Killed, Member, blame_for, cause_of, found_running, is_expected
from umbel.worker.options import WorkerOptions
from umbel.worker.slots import IDLE, Running, Wish
from umbel.worker.template import catalog_of

RAN = Running(version=5, seq=2, size=4, at=1, batch_since=0.0, started=0.0, soft=0.0, hard=0.0)
RECEIPT = Receipt("h", 2, 1)
TASKS = {"task": TaskFacts(1.0, 2.0, HardLimitPolicy())}
HELD = [
    Delivery(Receipt("h", 2, 0), Envelope("other", "q", encode_body("task", None, None))),
    Delivery(RECEIPT, Envelope("mine", "q", encode_body("task", None, None))),
]


def _blame(killed=Killed.NO, version=5, last=RAN, held=HELD):
    member = Member(0, "h", None, TASKS, 0.0, pid=1, killed=killed, killed_version=version, last=last)
    return blame_for(member, found_running(member, held), TASKS)


def test_a_death_of_its_own_is_a_crash_of_what_it_ran():
    assert _blame() == Blame(RECEIPT)


@pytest.mark.parametrize("killed", list(Killed))
def test_nobody_is_to_blame_for_a_death_between_two_runs(killed):
    assert _blame(killed, last=IDLE) is None


def test_the_hard_limit_ends_what_it_was_meant_for():
    blame = _blame(Killed.HARD)
    assert blame.receipt == RECEIPT
    assert isinstance(blame.outcome, Dead)
    assert blame.outcome.reason == "time_limit"
    assert b"2 s" in blame.outcome.error


def test_a_cancel_drops_what_it_was_meant_for():
    assert _blame(Killed.CANCEL) == Blame(RECEIPT, Dropped("cancelled"))


def test_the_memory_that_it_took_is_charged_to_a_task_as_a_crash():
    assert _blame(Killed.MEMORY) == Blame(RECEIPT)


@pytest.mark.parametrize("killed", [Killed.HARD, Killed.CANCEL, Killed.MEMORY])
def test_what_began_after_the_sentence_is_given_back_uncharged(killed):
    assert _blame(killed, version=4) == Blame(RECEIPT, Released(0, "killed"))


@pytest.mark.parametrize(("killed", "reason"), [(Killed.SHUTDOWN, "shutdown"), (Killed.STUCK, "killed"), (Killed.LOST, "killed")])
def test_what_the_worker_did_is_not_charged_to_the_task(killed, reason):
    assert _blame(killed) == Blame(RECEIPT, Released(0, reason))


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({}, "crashed"),
        ({"leaving": True}, "crashed"),
        ({"leaving": True, "last": IDLE}, "dismissed"),
        ({"wish": Wish.TASKS}, "crashed"),
        ({"wish": Wish.TASKS, "last": IDLE}, "max_tasks"),
        ({"wish": Wish.MEMORY, "last": IDLE, "leaving": True}, "max_memory"),
        ({"out_of_memory": True}, "out_of_memory"),
        ({"killed": Killed.MEMORY}, "memory_limit"),
    ],
)
def test_the_cause_of_a_death_is_one_word(changed, cause):
    assert cause_of(Member(0, "h", None, TASKS, 0.0, **{"pid": 1, "last": RAN, **changed})) == cause


@pytest.mark.parametrize("killed", [one for one in Killed if one is not Killed.NO])
def test_every_kill_has_a_word(killed):
    assert cause_of(Member(0, "h", None, TASKS, 0.0, pid=1, killed=killed)) != "crashed"


def test_who_dies_in_a_task_is_no_less_missed_for_having_wished_to_go():
    wished = Member(0, "h", None, TASKS, 0.0, pid=1, wish=Wish.TASKS, last=RAN)
    assert not is_expected(wished)
    wished.last = IDLE
    assert is_expected(wished)


def test_what_the_store_has_no_more_is_still_named():
    """So that the others in its hands are known not to have begun."""
    assert _blame(held=HELD[:1]) == Blame(RECEIPT)


def test_the_hard_limit_s_policy_is_found_by_an_old_name():
    app = Umbel("renamed", broker="memory://")
    app.task(name="new", aliases=["task"], retry=UserRetry(max=3, on_timeout=True))(lambda: None)
    catalog = catalog_of(app, WorkerOptions(app="x:y"))
    assert sorted(catalog.tasks) == ["new"]
    member = Member(0, "h", None, catalog.facts(), 0.0, pid=1, killed=Killed.HARD, killed_version=5, last=RAN)
    blame = blame_for(member, found_running(member, HELD), member.tasks)
    assert isinstance(blame.outcome, Retry)
