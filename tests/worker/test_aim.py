"""An interruption hits the run it was meant for, once, or nothing: in threads, and in coroutines."""

import asyncio
import contextlib
import sys
import threading
import time

import pytest

from tests.waiting import wait_for
from umbel.errors import SoftTimeLimitExceeded, TaskInterrupted
from umbel.worker.interruptible import Interruptible
from umbel.worker.pools.aim import Aim, Guard, OwnLoop, SharedLoop


@contextlib.contextmanager
def hasty():
    """Threads take turns as often as they can, so that each comes in everywhere."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextlib.contextmanager
def sniper(shoot):
    """Another thread that shoots as fast as it can."""
    stop = threading.Event()

    def live():
        while not stop.is_set():
            shoot()

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def loop():
    """One that turns on a thread of its own."""
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join()
    made.close()


@pytest.fixture
def own():
    made = OwnLoop()
    yield made
    made.close()


def _busy():
    """Works until it is interrupted."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        sum(range(100))
    return "never interrupted"


def test_a_thread_is_interrupted():
    aim = Aim()
    threading.Timer(0.05, lambda: aim.strike(SoftTimeLimitExceeded)).start()
    with pytest.raises(SoftTimeLimitExceeded, match="soft time limit is over"):
        aim.call(_busy)


def test_only_what_runs_can_be_struck():
    aim = Aim()
    assert not aim.strike(SoftTimeLimitExceeded)
    assert aim.call(lambda: "done") == "done"
    assert not aim.strike(SoftTimeLimitExceeded)
    sum(range(1000))


def test_it_is_struck_once():
    aim = Aim()
    told = []

    def cleans_up():
        try:
            told.append(aim.strike(SoftTimeLimitExceeded))
            _busy()
        except SoftTimeLimitExceeded:
            told.append(aim.strike(TaskInterrupted))
            return "cleaned"

    assert aim.call(cleans_up) == "cleaned"
    assert told[-1] is False


def test_a_strike_that_comes_too_late_to_be_raised_is_withdrawn(monkeypatch):
    """It was asked for, and the run ends before the interpreter looks."""
    aim = Aim()
    asked = []
    monkeypatch.setattr("umbel.worker.pools.aim._raise_in", lambda thread, kind: asked.append(kind))
    assert aim.call(lambda: aim.strike(SoftTimeLimitExceeded)) is True
    assert asked == [SoftTimeLimitExceeded, None]


def test_ten_thousand_rounds_never_hit_the_next_run_of_a_thread():
    now = [Aim()]
    hits = rounds = 0

    def run(number):
        sum(range(200))
        return number

    with hasty(), sniper(lambda: now[0].strike(SoftTimeLimitExceeded)):
        while rounds < 10_000 or not hits:
            rounds += 1
            aim = now[0] = Aim()
            try:
                assert aim.call(run, rounds) == rounds
            except SoftTimeLimitExceeded:
                hits += 1
                assert not aim._token, "the exception of another run"
            sum(range(20))  # outside of any run: what is raised here fails the test


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_threads_own_loop_goes_on_after_interruptions(own):
    """They are raised before it has the coroutine, or in the coroutine, and never in the loop itself."""
    now = [Aim()]
    guard = Guard(own)
    hits = rounds = 0

    async def short():
        await asyncio.sleep(0)
        return "value"

    with hasty(), sniper(lambda: now[0].strike(SoftTimeLimitExceeded)):
        while rounds < 10_000 or not hits:
            rounds += 1
            guard.aim = now[0] = Aim()
            try:
                assert guard.call(0, lambda: guard.wait_for(short())) == "value"
            except SoftTimeLimitExceeded:
                hits += 1
    guard.aim = Aim()
    assert guard.call(0, lambda: guard.wait_for(short())) == "value"


@pytest.mark.parametrize("shared", [False, True])
def test_a_coroutine_that_a_thread_waits_for_is_interrupted(loop, own, shared):
    guard = Guard(SharedLoop(loop) if shared else own)
    seen = []

    async def hangs():
        try:
            await asyncio.Event().wait()
        except SoftTimeLimitExceeded as exc:
            seen.append(type(exc).__name__)
            raise

    def strike():
        while guard.aim._token in ([], [None]) or not guard.aim.strike(SoftTimeLimitExceeded):
            time.sleep(0.001)

    thread = threading.Thread(target=strike)
    thread.start()
    with pytest.raises(SoftTimeLimitExceeded) as caught:
        guard.call(0, lambda: guard.wait_for(hangs()))
    thread.join()
    assert type(caught.value) is SoftTimeLimitExceeded
    assert seen


class TestCoroutines:
    def test_ten_thousand_rounds_never_hit_the_next_run(self, loop):
        """Each is aimed at by the loop's other thread at any moment of its life; whoever hears it is the one it was meant for."""
        now: list[Interruptible | None] = [None]
        wrong, counts = [], {"rounds": 0, "hits": 0}

        def shoot():
            if (target := now[0]) is not None:
                loop.call_soon_threadsafe(target.interrupt, SoftTimeLimitExceeded)
                time.sleep(0.0001)

        async def short(number):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return number

        async def rounds():
            while counts["rounds"] < 10_000 or not counts["hits"]:
                counts["rounds"] += 1
                number = counts["rounds"]
                one = now[0] = Interruptible(short(number))
                try:
                    if await asyncio.ensure_future(one.drive()) != number:
                        wrong.append(number)
                except SoftTimeLimitExceeded:
                    counts["hits"] += 1
                    if one._kind is not None:
                        wrong.append(number)
                await asyncio.sleep(0)  # what is left over would be raised here

        with hasty(), sniper(shoot):
            asyncio.run_coroutine_threadsafe(rounds(), loop).result(100)
        assert not wrong

    def test_what_is_raised_is_a_cancellation_for_libraries(self):
        """A task group ends its members for it, a timeout lets it pass."""
        ended = []

        async def member():
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("member")

        async def task():
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                group.create_task(member())
                await asyncio.sleep(0)
                group.create_task(member())
                await asyncio.Event().wait()

        async def main():
            one = Interruptible(task())
            running = asyncio.ensure_future(one.drive())
            await asyncio.sleep(0.01)
            one.interrupt(SoftTimeLimitExceeded)
            with pytest.raises(SoftTimeLimitExceeded) as caught:
                await running
            assert type(caught.value) is SoftTimeLimitExceeded

        asyncio.run(main())
        assert ended == ["member", "member"]

    def test_it_may_clean_up_and_go_on(self):
        async def task():
            try:
                await asyncio.Event().wait()
            except SoftTimeLimitExceeded:
                await asyncio.sleep(0.001)
                async with asyncio.timeout(5):
                    await asyncio.sleep(0.001)
                return "cleaned"

        async def main():
            one = Interruptible(task())
            running = asyncio.ensure_future(one.drive())
            await asyncio.sleep(0.01)
            one.interrupt(SoftTimeLimitExceeded)
            one.interrupt(TaskInterrupted)
            return await running

        assert asyncio.run(main()) == "cleaned"

    def test_before_its_first_step(self):
        async def task():
            await asyncio.sleep(0)

        async def main():
            one = Interruptible(task())
            one.interrupt(TaskInterrupted)
            with pytest.raises(TaskInterrupted):
                await one.drive()

        asyncio.run(main())

    def test_a_cancellation_of_its_own_stays_one(self):
        async def task():
            asyncio.current_task().cancel()
            await asyncio.sleep(1)

        async def main():
            with pytest.raises(asyncio.CancelledError) as caught:
                await asyncio.ensure_future(Interruptible(task()).drive())
            assert not isinstance(caught.value, SoftTimeLimitExceeded)

        asyncio.run(main())


def test_a_coroutine_that_others_cancel_before_its_first_line_answers_its_thread(loop):
    """Else the thread would wait for it until its hard limit."""
    shared, release, raised, ran = SharedLoop(loop), threading.Event(), [], []

    async def job():
        ran.append(1)

    def wait():
        try:
            guard = Guard(shared)
            guard.call(1, lambda: guard.wait_for(job()))
        except BaseException as exc:
            raised.append(exc)

    kept = threading.Event()
    loop.call_soon_threadsafe(lambda: [kept.set(), release.wait(180)])
    assert kept.wait(180)
    thread = threading.Thread(target=wait)
    thread.start()
    wait_for(lambda: len(loop._ready) > 0)  # the order to begin it is there, the loop is kept
    loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
    release.set()
    thread.join(180)
    assert not thread.is_alive()
    assert [type(exc) for exc in raised] == [asyncio.CancelledError]
    assert not ran
