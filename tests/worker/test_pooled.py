"""The loop of a child of many tasks, on a thread of this process: orders, cancellations and failures that come at the worst moment."""

import asyncio
import itertools
import threading
import time

import pytest

from tests.waiting import wait_for
from umbel import Umbel, registry
from umbel.broker import BrokerSettings
from umbel.brokers import make_broker
from umbel.clock import SYSTEM
from umbel.errors import BrokerUnreachable
from umbel.testing.faults import Fault, FaultyBroker
from umbel.worker import roster
from umbel.worker.permits import Permits
from umbel.worker.pooled import Place, PooledChild
from umbel.worker.roster import Rosters
from umbel.worker.slots import Command, Slots


class Stage:
    """One child, and what its supervisor would see of it."""

    def __init__(self, folder, kind, beside=4):
        self.address = f"sqlite:///{folder}/umbel.db"
        self.app = Umbel("pooled", broker=self.address)
        self.store = make_broker(self.address, BrokerSettings("pooled"), SYSTEM)
        self.store.open()
        self.store.renew("w", 600.0)
        self.store.admit("w", "w/1")
        self.slots, self.rosters = Slots.create(1), Rosters.create(1, beside)
        self.slots.clear(0)
        self.roster = self.rosters.of(0)
        self.broker = FaultyBroker(self.app.make_broker())
        self.waits = self.app.make_broker()
        self.kind = kind
        self.raised = []

    def start(self):
        place = Place(self.slots.child(0), self.roster, Permits.create())
        self.child = PooledChild(self.app, self.kind, self.broker, self.waits, "w/1", place, ["default"], False)
        self.thread = threading.Thread(target=self._live)
        self.thread.start()

    def _live(self):
        self.child.connect()
        try:
            self.child.serve()
        except BaseException as exc:
            self.raised.append(exc)
        self.child.settle_last()
        self.child.broker.close()

    def order(self, command):
        self.slots.command(0, command)
        self.child.notify()

    def cancel(self, id):
        """As an operator, and then the supervisor, do it."""
        self.store.cancel(id, terminate=True)
        [key] = [run.key for run in self.child.hand.runs.values() if run.prepared.delivery.envelope.id == id]
        assert self.roster.cancel(key)
        self.child.notify()

    @property
    def heeded(self):
        return self.roster._words[roster._HEEDED] == self.roster._words[roster._ASKED]

    def standing(self):
        return {q.queue: (q.ready, q.leased, q.dead) for q in self.store.stats()}.get("default", (0, 0, 0))

    def end(self):
        self.order(Command.INTERRUPT)
        self.thread.join(180)
        self.child.stop()
        self.store.close()
        self.app.close()


@pytest.fixture
def staged(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_current", [])
    made = []

    def make(kind, beside=4):
        made.append(Stage(tmp_path, kind, beside))
        return made[-1]

    yield make
    for stage in made:
        stage.end()


def test_a_cancel_that_comes_before_the_first_line_is_kept(staged):
    """What has begun by its permit may wait for its first line for as long as others keep the loop."""
    stage, begun, go, ended = staged("asyncio"), threading.Event(), threading.Event(), []

    @stage.app.task(name="keeps")
    async def keeps() -> None:
        begun.set()
        go.wait(180)

    @stage.app.task(name="late")
    async def late() -> None:
        try:
            await asyncio.sleep(60)
        except BaseException as exc:
            ended.append(exc)
            raise

    keeps.delay()
    id = late.delay().id
    stage.start()
    assert begun.wait(180)
    wait_for(lambda: stage.child.hand.running == 2)
    stage.cancel(id)
    wait_for(lambda: stage.heeded)  # whoever forgets it now has lost it
    go.set()
    wait_for(lambda: stage.standing() == (0, 0, 0), 30)
    assert [type(exc).__name__ for exc in ended] == ["TaskCancelled"]


def test_a_coroutine_that_others_cancel_before_its_first_line_has_failed(staged):
    stage, ran = staged("asyncio"), []

    @stage.app.task(name="sweeps")
    async def sweeps() -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    @stage.app.task(name="late", track=True)
    async def late() -> None:
        ran.append(1)

    sweeps.delay()
    result = late.delay()
    stage.start()
    wait_for(lambda: result.state == "FAILURE", 30)
    assert "CancelledError" in repr(result.error) or "Cancelled" in str(result.traceback)
    assert not ran
    assert stage.child.hand.running == 0
    late.delay().get(timeout=180)


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_what_runs_is_interrupted_though_the_broker_is_away(staged, kind):
    stage, begun, heard = staged(kind), threading.Event(), threading.Event()

    @stage.app.task(name="short")
    def short() -> None:
        assert begun.wait(180)

    @stage.app.task(name="long")
    def long() -> None:
        begun.set()
        try:
            while True:
                time.sleep(0.01)
        finally:
            heard.set()

    long.delay()
    stage.start()
    assert begun.wait(180)
    for call in range(stage.broker.calls["exchange"] + 1, stage.broker.calls["exchange"] + 2000):
        stage.broker.fail("exchange", call, Fault.BEFORE)
    short.delay()
    failed = stage.broker.calls["exchange"] + 2
    wait_for(lambda: stage.broker.calls["exchange"] >= failed, 30)  # from here on it repeats that exchange
    stage.order(Command.INTERRUPT)
    assert heard.wait(180)
    stage.broker._faults.clear()


def test_what_has_ended_is_settled_though_the_loop_cannot_go_on(staged):
    stage, broken = staged("threads"), RuntimeError("as ordered")

    @stage.app.task(name="job")
    def job() -> None:
        pass

    ended = PooledChild.ended

    def ends(child, run, outcome):
        ended(child, run, outcome)
        child.broken(broken)

    stage.start()
    stage.child.ended = lambda run, outcome: ends(stage.child, run, outcome)
    job.delay()
    wait_for(lambda: stage.raised == [broken], 30)
    stage.thread.join(180)
    assert stage.standing() == (0, 0, 0), "it would run again"


def test_waits_that_fail_are_not_tried_again_and_again_without_a_pause(staged, caplog):
    """A server may answer one connection and have none for a second."""
    stage, tries = staged("threads"), []

    class Deaf:
        def open(self):
            tries.append(time.monotonic())
            raise BrokerUnreachable("max number of clients reached")

        def close(self):
            pass

    stage.waits = Deaf()
    stage.start()
    wait_for(lambda: len(tries) >= 4, 30)
    assert min(later - earlier for earlier, later in itertools.pairwise(tries)) > 0.15
    assert "waiting for work: max number of clients" in caplog.text

    done = threading.Event()

    @stage.app.task(name="job")
    def job() -> None:
        done.set()

    job.delay()
    assert done.wait(180), "it works all the same"
