"""What an atomic run called is the settle's to carry, if the run succeeded and only then: whatever strikes, and wherever it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from umbel import SoftTimeLimitExceeded, Umbel
from umbel.broker import Exchanged, Settle, Verdict
from umbel.envelope import Delivery, Envelope, Receipt
from umbel.errors import BrokerUnreachable, NotSupported
from umbel.lane import Rule
from umbel.message import encode_body
from umbel.outcome import Dead, Done
from umbel.testing.clock import ManualClock
from umbel.worker.declaring import Declaring
from umbel.worker.executor import Executor, Prepared
from umbel.worker.settler import HEAVY, Settler


class Late:
    """A guard in which the soft limit strikes when the task's code has run to its end."""

    def __init__(self, strikes: bool) -> None:
        self._strikes = strikes

    def call(self, version: int, function: Callable[..., Any], /, *args: Any) -> Any:
        value = function(*args)
        if self._strikes:
            raise SoftTimeLimitExceeded
        return value

    def wait_for(self, coroutine: Any, /) -> Any:
        return asyncio.run(coroutine)


@pytest.fixture
def app() -> Iterator[Umbel]:
    app = Umbel("atomic", broker="memory://", set_as_current=False)
    child = app.task(name="child")(lambda: None)
    app.task(name="parent", atomic=True)(lambda: child.delay() and None)

    @app.task(name="slow", atomic=True)
    async def slow(fails: bool) -> None:
        child.delay()
        await asyncio.sleep(0)
        await child.adelay()
        if fails:
            raise ValueError

    app.task(name="plain")(lambda: child.delay() and None)
    yield app
    app.close()


def prepared(executor: Executor, name: str, args: bytes | None = None) -> Prepared:
    found = executor.prepare(Delivery(Receipt("h", 1, 0), Envelope("m", "q", encode_body(name, args, None))))
    assert isinstance(found, Prepared)
    return found


def executor(app: Umbel, *, strikes: bool = False) -> Executor:
    return Executor(app, Late(strikes), app.clock.now, lambda delivery, data: False)


def waiting(app: Umbel) -> int:
    return sum(one.ready for one in app.producer.broker().stats())


def test_a_run_that_succeeds(app: Umbel) -> None:
    runs = executor(app)
    one = prepared(runs, "parent")
    assert runs.run(one, 1) == Done() and len(one.then) == 1 and waiting(app) == 0
    plain = prepared(runs, "plain")
    assert runs.run(plain, 1) == Done() and plain.then == () and waiting(app) == 1


def test_a_limit_that_strikes_behind_the_last_line(app: Umbel) -> None:
    runs = executor(app, strikes=True)
    one = prepared(runs, "parent")
    assert isinstance(runs.run(one, 1), Dead)
    assert one.then == () and waiting(app) == 0


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("beside", [True, False])
def test_a_coroutine(app: Umbel, fails: bool, beside: bool) -> None:
    async def drive(coroutine: Any) -> Any:
        return await asyncio.ensure_future(coroutine)

    runs = executor(app)
    one = prepared(runs, "slow", b"[true]" if fails else b"[false]")
    outcome = asyncio.run(runs.run_beside(one, drive)) if beside else runs.run(one, 1)
    assert isinstance(outcome, Dead if fails else Done)
    assert len(one.then) == (0 if fails else 2) and waiting(app) == 0


class Store:
    """Answers exchanges as it is told."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict

    def open(self) -> None: ...
    def close(self) -> None: ...
    def exchange(self, holder: str, seq: int, settles: Any, queues: Any, limit: int, /) -> Exchanged:
        return Exchanged([self.verdict] * len(settles), [], None, [], 0)


@pytest.mark.parametrize(("verdict", "told"), [(Verdict.WON, 1), (Verdict.SUPERSEDED, 0)])
def test_calls_are_told_once_they_are_stored(verdict: Verdict, told: int) -> None:
    sent: list[Any] = []
    settler = Settler(Store(verdict), "h", ManualClock(), sent=sent.append)
    call = Envelope("a", "q", b"")
    settler.add(Receipt("h", 1, 0), Done(), 0.0, (call,))
    settler.add(Receipt("h", 1, 1), Done(), 0.0)
    settler.flush()
    assert sent == [(call,)] * told


def test_many_calls_are_settled_at_once() -> None:
    settler = Settler(Store(Verdict.WON), "h", ManualClock())
    settler.add(Receipt("h", 1, 0), Done(), 0.0, (Envelope("a", "q", b""),) * HEAVY)
    assert not settler.due(0.0)
    settler.add(Receipt("h", 1, 1), Done(), 0.0, (Envelope("a", "q", b""),))
    assert settler.due(0.0)
    settler.flush()
    assert not settler.due(0.0)
    assert Settle(Receipt("h", 1, 0), Done()).then == ()


class Asked:
    """A clerk that keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, Any, Any]] = []

    def ask(self, call: Any, done: Any, failed: Any) -> None:
        self.asked.append((call, done, failed))


def test_limits_are_declared_until_the_store_has_heard(caplog: pytest.LogCaptureFixture) -> None:
    clerk, clock = Asked(), ManualClock()
    declaring = Declaring(clerk, clock)  # type: ignore[arg-type]  # one that asks nobody
    declaring.turn()
    declaring.say({})
    declaring.turn()
    assert clerk.asked == [], "there is nothing to say"
    rules = {"task:a": Rule(concurrency=1)}
    declaring.say(rules)
    declaring.turn()
    declaring.turn()
    assert len(clerk.asked) == 1
    clerk.asked[0][2](BrokerUnreachable("away"))
    declaring.turn()
    assert len(clerk.asked) == 1, "in a moment"
    clock.advance(1_000)
    declaring.turn()
    assert len(clerk.asked) == 2, "the first failure is tried again"
    clerk.asked[1][1](None)
    declaring.say(dict(rules))
    clock.advance(60_000)
    declaring.turn()
    assert len(clerk.asked) == 2, "the same once more is nothing new"
    declaring.say({"task:a": Rule(concurrency=2)})
    declaring.turn()
    assert len(clerk.asked) == 3
    clerk.asked[2][2](NotSupported("the x broker keeps no limits"))
    clock.advance(60_000)
    declaring.turn()
    assert len(clerk.asked) == 3 and "keeps no limits" in caplog.text
