"""What a child says of itself between two runs."""

import os
import signal

import pytest

from umbel import Umbel
from umbel.broker import BrokerSettings
from umbel.brokers import make_broker
from umbel.envelope import Envelope
from umbel.events import TaskSucceeded
from umbel.message import encode_body
from umbel.testing.clock import ManualClock
from umbel.testing.faults import Fault, FaultyBroker
from umbel.worker.child import Birth, Child, run_child
from umbel.worker.claimer import Claimer
from umbel.worker.judge import Sentence, judge
from umbel.worker.permits import Permits
from umbel.worker.slots import POKE, Slots


@pytest.fixture
def signals():
    before = signal.getsignal(POKE)
    yield
    signal.set_wakeup_fd(-1)
    signal.signal(POKE, before)


def test_a_child_is_not_stuck_right_after_a_run_of_minutes(signals):
    clock = ManualClock()
    app = Umbel("minutes", broker="memory://", clock=clock)

    @app.task(name="minutes")
    def minutes():
        clock.advance(300_000)

    app.finalize()
    broker = make_broker("memory://", BrokerSettings(), clock)
    broker.open()
    broker.renew("w", 20_000.0)
    broker.admit("w", "h")
    broker.enqueue([Envelope("m", "q", encode_body("minutes", None, None))])
    slots, permits = Slots.create(1), Permits.create()
    slots.clear(0)
    clock.advance(10_000)  # a beat at zero would be none
    child = Child(app, broker, "h", slots.child(0), permits, ["q"], False)
    sentences = []

    def look(event):
        sentences.append(judge(slots.running(0), clock.monotonic(), slots.soft_done(0), slots.pulse(0), 1.0))
        child.quiet = True

    app.events.subscribe(TaskSucceeded, look)
    child.serve()
    assert sentences == [Sentence.NOTHING]


def test_a_child_whose_broker_is_away_turns_its_loop(signals):
    """So that it is not taken for stuck when the broker is back."""
    clock = ManualClock()
    app = Umbel("away", broker="memory://", clock=clock)
    app.finalize()
    inner = make_broker("memory://", BrokerSettings(), clock)
    inner.open()
    inner.renew("w", 20_000.0)
    inner.admit("w", "h")
    broker = FaultyBroker(inner)
    broker.close = lambda: None  # a memory store lives as long as its handle
    for call in (1, 2):
        broker.fail("exchange", call, Fault.BEFORE)
    slots, permits = Slots.create(1), Permits.create()
    slots.clear(0)
    clock.advance(10_000)  # zero would be none
    child = Child(app, broker, "h", slots.child(0), permits, ["q"], False)
    seen = []

    def pause(span):
        clock.advance(1_000)
        child._pause(0.0)
        seen.append((clock.monotonic(), slots.pulse(0)))

    child.settler._pause = pause
    child.settler.exchange(["q"], 1)
    assert len(seen) == 2
    assert [at for at, _ in seen] == [pulse.beat for _, pulse in seen]
    assert all(pulse.failing for _, pulse in seen)
    assert slots.pulse(0).failing == 0


def test_what_is_finished_is_settled_though_the_child_cannot_go_on(tmp_path, monkeypatch):
    app = Umbel("broken", broker=f"sqlite:///{tmp_path}/umbel.db")

    @app.task(name="fine")
    def fine():
        pass

    app.finalize()
    store = app.make_broker()
    store.open()
    store.renew("w", 60.0)
    store.admit("w", "h")
    store.enqueue([Envelope("m", "q", encode_body("fine", None, None))])
    monkeypatch.setattr(Claimer, "ran", lambda *_: 1 / 0)  # right after the run, in the child's own code
    slots, permits = Slots.create(1), Permits.create()
    slots.clear(0)
    life, write = os.pipe()
    pid = os.fork()
    if not pid:
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 2)
        try:
            run_child(app, Birth("h", slots.child(0), permits, life, os.getppid()), ["q"], False)
        except ZeroDivisionError:
            os._exit(7)
        os._exit(8)
    slots.seen(0, pid)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert not store.resume("h")
    assert not any(q.ready or q.leased or q.dead for q in store.stats())
    store.close()
    for fd in (life, write):
        os.close(fd)


def test_a_task_that_another_one_declared_is_run(signals):
    """As by an import within a task: this child knows it then, though nobody knew it when the child was born."""
    clock = ManualClock()
    app = Umbel("late", broker="memory://", clock=clock)
    ran = []

    @app.task(name="first")
    def first():
        app.task(name="late")(lambda: ran.append("late"))

    app.finalize()
    broker = make_broker("memory://", BrokerSettings(), clock)
    broker.open()
    broker.renew("w", 20_000.0)
    broker.admit("w", "h")
    broker.enqueue([Envelope(name, "q", encode_body(name, None, None)) for name in ("first", "late")])
    slots, permits = Slots.create(1), Permits.create()
    slots.clear(0)
    child = Child(app, broker, "h", slots.child(0), permits, ["q"], False)

    def count(event):
        child.quiet = event.task == "late"

    app.events.subscribe(TaskSucceeded, count)
    child.serve()
    assert ran == ["late"]
