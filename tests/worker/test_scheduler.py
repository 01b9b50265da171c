"""The loop's part of schedules: what is asked of the store, when, and what follows from each answer."""

import math
import random

import pytest

from tests.waiting import wait_for
from umbel import cron, every
from umbel.broker import BrokerSettings
from umbel.brokers import make_broker
from umbel.errors import BrokerUnreachable, ReplyLost
from umbel.events import TickFired, TickSkipped
from umbel.facets import Inspects, Place, require
from umbel.message import decode_body
from umbel.testing.clock import ManualClock
from umbel.ticks import Origin, Planned, Ticks
from umbel.timetable import Definition
from umbel.worker.clerk import Clerk
from umbel.worker.firing import UPHELD, put_in_force
from umbel.worker.lease import Lease
from umbel.worker.scheduler import Scheduler

SECOND = 1000


def planned(name, when, task="t"):
    return Definition(when=when, task=task, queue="q").planned(name)


class Worker:
    """A supervisor's parts that schedules need, moved by hand. ``own``: a clock of its own, unlike the store's."""

    def __init__(self, stage, name, own=None):
        self.stage, self.told, self.asked = stage, [], 0
        self.clock = own or stage.clock
        self.broker = stage.broker()
        self.clerk = Clerk(self.broker, lambda: None)
        self.clerk.start()
        heart = stage.broker()
        heart.open()
        self.lease = Lease(heart, name, 600, 150, b"", self.clock, lambda: None)
        self.scheduler = Scheduler(self.clerk, self.lease, self.clock, self.told.append)

    def beat(self):
        self.lease._beat()
        return self

    def settle(self, upholding=True):
        """Turn until there is nothing to do now."""
        for _ in range(200):
            if self.scheduler.left(upholding) > 0:
                return self
            self.scheduler.turn(upholding)
            self.asked += 1
            wait_for(lambda: self.clerk.deliver() or not self.scheduler._asking, every=0.0002)
        raise AssertionError("it asks without end")

    def run(self, seconds, step=1.0):
        """Let time pass, with heartbeats."""
        for _ in range(int(seconds / step)):
            self.stage.clock.advance(int(step * 1000))
            self.beat().settle()
        return self


class Stage:
    def __init__(self, name):
        self.clock = ManualClock()
        self.url = f"memory://{name}"
        self.look = self.broker()
        self.look.open()
        self.ticks = require(self.look, Ticks)
        self.workers = []

    def broker(self):
        return make_broker(self.url, BrokerSettings(), self.clock)

    def worker(self, *code, stamp="1", own=None):
        made = Worker(self, f"w{len(self.workers)}", own)
        made.scheduler.declare(code, stamp)
        self.workers.append(made)
        return made.beat().settle()

    def entries(self):
        return {one.name: one for one in self.ticks.timetable().entries}

    def calls(self):
        """(schedule, tick) of all messages, in their order."""
        found = require(self.look, Inspects).browse("q", Place.READY, 1000).messages
        heads = [decode_body(one.envelope.body).h for one in found]
        return [(head["u-schedule"], head["u-tick"]) for head in heads]

    def at(self, seconds):
        """The wall time of so many seconds after the start."""
        return self.begin + seconds * SECOND

    @property
    def begin(self):
        from umbel.testing.clock import START

        return START


@pytest.fixture
def stage(request):
    made = Stage(request.node.name)
    yield made
    for worker in made.workers:
        worker.clerk.stop()


def test_it_sleeps_until_the_next_tick_and_asks_nothing_meanwhile(stage):
    worker = stage.worker(planned("a", every(60)))
    first = stage.entries()["a"].done // 60_000 * 60_000 + 60_000
    asked = worker.asked
    assert worker.scheduler.left() == min(15.0, (first - stage.clock.now()) / 1000)
    worker.run(14)
    assert worker.asked == asked, "heartbeats alone are no reason to ask"
    worker.run(30)
    assert next(tick for _, tick in stage.calls()) == first
    assert [type(one) for one in worker.told][:1] == [TickFired]
    assert worker.told[0].lag < 1.0


def test_nothing_to_do_costs_nothing(stage):
    worker = stage.worker()
    asked = worker.asked
    assert worker.scheduler.left() == math.inf
    worker.run(100)
    assert worker.asked == asked
    assert stage.ticks.timetable().stamp == "1", "but what comes later must know that this one was here before"


def test_two_supervisors(stage):
    for _ in range(2):
        stage.worker(planned("a", every(5)))
    for _ in range(60):
        stage.clock.advance(SECOND)
        for worker in stage.workers:
            worker.beat().settle()
    ticks = [tick for _, tick in stage.calls()]
    assert ticks == list(range(ticks[0], ticks[0] + 12 * 5 * SECOND, 5 * SECOND))
    assert sum(isinstance(one, TickFired) for worker in stage.workers for one in worker.told) == 12


def test_ten_days_of_two_then_five_that_are_killed_and_come_back(stage):
    """At random; while one is there, each tick is fired, once, and in its time."""
    chance = random.Random(8)
    code = (planned("daily", cron("30 2 * * *", "America/New_York")), planned("often", every(1800, missed="all")))
    workers = [stage.worker(*code) for _ in range(2)]
    born = 2
    for step in range(10 * 24 * 4):
        stage.clock.advance(900 * SECOND)
        if step == 300:
            workers += [stage.worker(*code) for _ in range(3)]
        if chance.random() < 0.2:  # killed, with whatever it knew
            workers.pop(chance.randrange(len(workers)))
            workers.append(stage.worker(*code))
            born += 1
        for worker in chance.sample(workers, chance.randint(1, len(workers))):
            worker.beat().settle()
    lags = [one.lag for worker in stage.workers for one in worker.told if isinstance(one, TickFired)]
    daily, often = ([tick for name, tick in stage.calls() if name == wanted] for wanted in ("daily", "often"))
    assert len(daily) == len(set(daily)) == 10
    assert often == list(range(often[0], often[0] + 480 * 1800 * SECOND, 1800 * SECOND))
    assert max(lags) <= 900, "the clock moves by a quarter of an hour at a time here"
    assert born > 150


def test_a_worker_with_a_wrong_clock_fires_in_time(stage):
    """Its wall clock is an hour fast; the store's decides, and it knows that from the heartbeats."""
    fast = ManualClock(stage.clock.now() + 3_600_000)
    worker = stage.worker(planned("a", every(60)), own=fast)
    assert worker.scheduler.left() <= 60
    for _ in range(130):
        stage.clock.advance(SECOND)
        fast.advance(SECOND)
        worker.settle()
    ticks = [tick for _, tick in stage.calls()]
    assert len(ticks) == 2 and max(ticks) <= stage.clock.now()


def test_too_early_is_refused_and_waited_out(stage):
    """The store's clock is set back between heartbeats."""
    worker = stage.worker(planned("a", every(60)))
    due = worker.scheduler._heap[0][0]
    worker.beat()
    stage.clock.advance(due - stage.clock.now())
    stage.clock.step(-10 * SECOND)
    worker.settle()
    assert stage.calls() == []
    assert worker.scheduler.left(False) == 10.0
    stage.clock.advance(10 * SECOND)
    worker.settle()
    assert stage.calls() == [("a", due)]


def test_the_store_steps_an_hour_ahead_and_back(stage):
    worker = stage.worker(planned("a", every(60)))
    worker.run(60)
    stage.clock.step(3_600_000)
    worker.run(60)
    fired = stage.calls()
    assert any(isinstance(one, TickFired) and one.missed >= 59 for one in worker.told)
    stage.clock.step(-3_600_000)
    worker.run(600)
    assert stage.calls() == fired, "nothing twice"
    stage.clock.advance(3_000_000)
    worker.run(120)
    assert len(stage.calls()) > len(fired)
    assert len(stage.calls()) == len(set(stage.calls()))


def test_a_change_is_seen_with_the_next_heartbeat(stage):
    worker = stage.worker()
    stage.ticks.add_schedule(planned("a", every(1)))
    stage.clock.advance(5 * SECOND)
    assert worker.settle().asked and stage.calls() == []
    worker.beat().settle()
    assert [name for name, _ in stage.calls()] == ["a"]


def test_a_definition_that_changed_meanwhile_is_read_anew(stage):
    worker = stage.worker()
    stage.ticks.add_schedule(planned("a", every(60)))
    worker.beat().settle()
    stage.ticks.add_schedule(planned("a", every(60), task="other"), replace=True)
    stage.clock.advance(61 * SECOND)
    worker.settle()
    [one] = require(stage.look, Inspects).browse("q", Place.READY).messages
    assert decode_body(one.envelope.body).t == "other"


def test_overlap_is_told(stage):
    worker = stage.worker(planned("a", every(10, overlap=False)))
    worker.run(30)
    assert len(stage.calls()) == 1
    skipped = [one for one in worker.told if isinstance(one, TickSkipped)]
    assert {one.reason for one in skipped} == {"overlap"} and len(skipped) == 2
    assert stage.entries()["a"].overlapped == 2


@pytest.mark.parametrize("error", [BrokerUnreachable, ReplyLost])
def test_a_call_that_fails_is_made_anew(stage, error, monkeypatch):
    """Also where only the reply was lost: then it is told that the tick is taken."""
    worker = stage.worker(planned("a", every(10)))
    failures, fire = [error("as ordered")], worker.broker.fire

    def failing(firings):
        answer = fire(firings) if error is ReplyLost or not failures else None
        if failures:
            raise failures.pop()
        return answer

    monkeypatch.setattr(worker.broker, "fire", failing)
    worker.run(13)
    assert failures == []
    assert len(stage.calls()) == 1
    assert len([one for one in worker.told if isinstance(one, TickFired)]) == (error is BrokerUnreachable)


def test_what_cannot_be_read_here_holds_up_nothing(stage, caplog):
    stage.ticks.add_schedule(Planned("moon", "?", b'{"moon":1}'))
    stage.ticks.add_schedule(planned("mars", cron("* * * * *")))
    bad = stage.entries()["mars"].definition.replace(b'"cron","fields"', b'"cron","tz":"Mars/Olympus","fields"')
    stage.ticks.add_schedule(Planned("mars", "mars", bad), replace=True)
    loud = stage.entries()["mars"].definition.replace(b'"cron"', b'"every","ms":1000').replace(b'"task"', b'"priority":99,"task"')
    stage.ticks.add_schedule(Planned("loud", "loud", loud))
    stage.ticks.add_schedule(planned("a", every(10)))
    worker = stage.worker().run(30)
    assert {name for name, _ in stage.calls()} == {"a"}
    said = [record.message for record in caplog.records if "left to other workers" in record.message]
    assert len(said) == 3 and "priority 99" in "".join(said) and "Mars/Olympus" in "".join(said)
    assert worker.scheduler.left() > 0


# -- two releases


def test_a_newer_release_takes_over_and_an_older_one_does_not(stage, caplog):
    caplog.set_level("INFO", "umbel.worker")
    old = (planned("kept", every(10)), planned("dropped", every(10)))
    new = (planned("kept", every(10)), planned("fresh", every(10)))
    first = stage.worker(*old, stamp="old").run(20)
    second = stage.worker(*new, stamp="new")
    assert sorted(stage.entries()) == ["fresh", "kept"]
    third = stage.worker(*old, stamp="old")
    for _ in range(120):
        stage.clock.advance(SECOND)
        for worker in (first, second, third):
            worker.beat().settle()
    assert sorted(stage.entries()) == ["fresh", "kept"]
    assert "a newer release's schedules are in force" in caplog.text
    kept = [tick for name, tick in stage.calls() if name == "kept"]
    assert kept == list(range(kept[0], kept[0] + len(kept) * 10 * SECOND, 10 * SECOND))


def test_a_rollback(stage):
    """Once no worker of the newer release is there for a minute, the older one's schedules are in force again."""
    first = stage.worker(planned("a", every(10)), stamp="old")
    stage.worker(planned("b", every(10)), stamp="new")
    first.run(UPHELD - 1)
    assert sorted(stage.entries()) == ["b"]
    first.run(UPHELD / 4 + 2)
    assert sorted(stage.entries()) == ["a"]
    first.run(30)
    assert [name for name, _ in stage.calls()][-2:] == ["a", "a"]


def test_one_without_schedules_gives_way_to_a_rollback_too(stage):
    first = stage.worker(planned("a", every(10)), stamp="old")
    stage.worker(stamp="new")
    assert stage.entries() == {}
    first.run(UPHELD + UPHELD / 4 + 2)
    assert sorted(stage.entries()) == ["a"]


def test_what_is_due_goes_before_a_newer_release(stage):
    """Nobody was there at the old rule's tick: it is fired by the newcomer, before its own rule is in force."""
    stage.worker(planned("a", every(3600)), stamp="old")
    due = stage.entries()["a"].done // 3_600_000 * 3_600_000 + 3_600_000
    stage.clock.advance(due - stage.clock.now() + 5 * SECOND)
    stage.worker(planned("a", cron("0 0 1 1 *")), stamp="new")
    assert stage.calls() == [("a", due)]
    assert "cron" in stage.entries()["a"].rule


def test_a_tick_that_becomes_due_just_then_goes_first(stage):
    """Between the look and the step: the old rule's tick is not lost."""
    stage.worker(planned("a", every(60)), stamp="old")
    now = stage.clock.now()
    assert put_in_force(stage.look, "new", (), now) is None
    assert sorted(stage.entries()) == ["a"]
    assert put_in_force(stage.look, "new", (), now + 1) is True
    assert stage.entries() == {}


def test_a_reload_with_other_schedules(stage):
    worker = stage.worker(planned("a", every(10)), stamp="one")
    worker.scheduler.declare((planned("b", every(10)),), "two")
    worker.settle()
    assert sorted(stage.entries()) == ["b"]
    worker.scheduler.declare((planned("a", every(10)),), "one")
    worker.settle()
    assert sorted(stage.entries()) == ["a"], "who takes an edit back need not wait until nobody upholds it"


def test_one_made_at_run_time_under_the_same_name_is_told(stage, caplog):
    stage.ticks.add_schedule(planned("a", every(60), task="mine"))
    stage.worker(planned("a", every(10)), planned("b", every(10)))
    found = stage.entries()
    assert (found["a"].origin, found["b"].origin) == (Origin.RUNTIME, Origin.CODE)
    assert "schedule a was made at run time" in caplog.text


def test_one_that_drains_fires_and_says_nothing_of_its_code(stage):
    worker = stage.worker(planned("a", every(10)), stamp="old")
    for _ in range(int(UPHELD) + 2):
        stage.clock.advance(SECOND)
        worker.beat().settle(upholding=False)
    assert len(stage.calls()) == 6
    assert stage.ticks.declare_schedules("other", 600, 0, []), "nobody upholds it any more"
