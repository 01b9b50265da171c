"""What a child says of itself between two runs."""

import signal

import pytest

from umbel import Umbel
from umbel.broker import BrokerSettings
from umbel.brokers import make_broker
from umbel.envelope import Envelope
from umbel.events import TaskSucceeded
from umbel.message import encode_body
from umbel.testing.clock import ManualClock
from umbel.worker.child import POKE, Child
from umbel.worker.judge import Sentence, judge
from umbel.worker.permits import Permits
from umbel.worker.slots import Slots


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
