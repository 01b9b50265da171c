"""A worker on threads of this process: it runs tasks, leaves nothing behind, and kills nobody."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.servers import RedisServer
from tests.waiting import wait_for
from umbel import Retry, SoftTimeLimitExceeded, State, TaskInterrupted, Umbel, current_task, every, registry
from umbel.embedding import NoWorker, only_watches, patched_threads
from umbel.errors import BrokerUnreachable, ConfigError, WorkerError
from umbel.events import TaskTimedOut
from umbel.facets import Inspects, require


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "_current", [])
    app = Umbel("embedded", broker=f"sqlite:///{tmp_path}/umbel.db", shutdown_timeout=20, lease_ttl=6, heartbeat=1)
    yield app
    app.close()


def open_files() -> set[tuple[str, str]]:
    """But memory: errors that were logged know it by their frames, and pytest keeps what was logged."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
        except FileNotFoundError:
            pass  # that of the listing itself
    return {one for one in found if "/memfd:" not in one[1]}


@pytest.fixture(autouse=True)
def nothing_left(request):
    if "redis_server" in request.fixturenames:
        request.getfixturevalue("redis_server")  # the session's, which stays
    before, files = set(threading.enumerate()), open_files()
    yield
    wait_for(lambda: [one for one in threading.enumerate() if one not in before] == [])
    # a loop, its threads and its shared memory know each other, so they go when the collector comes
    wait_for(lambda: gc.collect() >= 0 and open_files() <= files)


def standing(app: Umbel) -> dict[str, int]:
    broker = app.make_broker()
    broker.open()
    try:
        [one] = broker.stats() or [None]
        return {"ready": one.ready, "scheduled": one.scheduled, "leased": one.leased, "dead": one.dead} if one else {}
    finally:
        broker.close()


def workers(app: Umbel) -> list[str]:
    broker = app.make_broker()
    broker.open()
    try:
        return [seen.worker for seen in require(broker, Inspects).workers()]
    finally:
        broker.close()


def test_it_runs_tasks_side_by_side_and_stops(app):
    gate = threading.Barrier(5)

    @app.task(name="meet", track=True)
    def meet(n: int) -> int:
        gate.wait(180)
        return n

    with app.start_worker(threads=4) as worker:
        assert worker.running
        wait_for(lambda: worker.ready)
        assert workers(app) == [worker.worker]
        results = [meet.delay(n) for n in range(4)]
        gate.wait(180)
        assert [result.get(timeout=180) for result in results] == [0, 1, 2, 3]
    assert not worker.running
    assert workers(app) == []
    assert worker.stop() is True


def test_schedules_fire_here_too(app):
    seen: list[int] = []

    @app.task(name="tick", schedule=every(0.2, missed="all"))
    def tick() -> None:
        request = current_task.request
        assert request.schedule == "tick"
        seen.append(round(request.tick.timestamp() * 1000))

    with app.start_worker(threads=1):
        wait_for(lambda: len(seen) >= 4, 60)
    assert sorted(seen) == list(range(min(seen), max(seen) + 1, 200))


def test_many_small_ones_and_coroutines(app):
    @app.task(name="add")
    def add(n: int) -> None:
        done.append(n)

    @app.task(name="coro", track=True)
    async def coro(n: int) -> int:
        return n + 1

    done: list[int] = []
    with app.start_worker(threads=3):
        add.delay_many((n,) for n in range(500))
        result = coro.delay(1)
        wait_for(lambda: len(done) == 500, 60)
        assert result.get(timeout=180) == 2
    assert sorted(done) == list(range(500))
    assert standing(app) == {}


def test_retries_and_soft_limits(app):
    @app.task(name="shaky", bind=True, retry=Retry(max=2, on=(OSError,), delay=0.05), track=True)
    def shaky(self) -> int:
        if self.request.attempt < 3:
            raise OSError
        return self.request.attempt

    @app.task(name="slow", soft_time_limit=0.2, time_limit=60, track=True)
    def slow() -> str:
        try:
            while True:
                time.sleep(0.01)
        except SoftTimeLimitExceeded:
            return "cleaned up"

    with app.start_worker(threads=2):
        one, two = shaky.delay(), slow.delay()
        assert one.get(timeout=180) == 3
        assert two.get(timeout=180) == "cleaned up"


def test_what_waits_behind_a_long_task_goes_to_others(app):
    """A batch is claimed by the means of short tasks; a long one among them must not keep the rest."""
    release = threading.Event()

    @app.task(name="job")
    def job(long: bool) -> None:
        if long:
            release.wait(180)

    job.delay_many([(False,)] * 200)
    with app.start_worker(threads=1) as worker:
        wait_for(lambda: standing(app) == {})
        job.delay_many([(True,), *[(False,)] * 20])
        wait_for(lambda: standing(app).get("ready", 0) == 20, 30)
        release.set()
        wait_for(lambda: standing(app) == {})
        assert worker.running


class TestHardLimits:
    def test_the_run_is_written_off_and_its_thread_comes_back(self, app, caplog):
        release, told = threading.Event(), []
        app.events.subscribe(TaskTimedOut, lambda event: told.append(event.kind))

        @app.task(name="deaf", soft_time_limit=None, time_limit=0.3, track=True)
        def deaf() -> str:
            release.wait(180)
            return "late"

        @app.task(name="job", track=True)
        def job() -> str:
            return "ran"

        with app.start_worker(threads=2) as worker:
            stuck = deaf.delay()
            wait_for(lambda: stuck.state is State.FAILURE, 30)
            assert "did not end at its hard time limit of 0.3 s" in str(stuck.error)
            assert told == ["hard"]
            assert job.delay().get(timeout=180) == "ran"
            second = deaf.delay()
            wait_for(lambda: second.state is State.FAILURE, 30)
            assert "all 2 threads of this process's worker hang" in caplog.text
            waiting = job.delay()
            release.set()
            assert waiting.get(timeout=180) == "ran"
            assert (stuck.state, second.state) == (State.FAILURE, State.FAILURE)
            assert worker.stop() is True
        assert "what it came to is dropped" in caplog.text
        assert "the store says" not in caplog.text, "an outcome was sent that was settled before"

    def test_it_is_retried_as_its_policy_says(self, app):
        release, attempts = threading.Event(), []

        @app.task(name="deaf", bind=True, soft_time_limit=None, time_limit=0.3, retry=Retry(max=1, delay=0.05, on_timeout=True), track=True)
        def deaf(self) -> str:
            attempts.append(self.request.attempt)
            if self.request.attempt == 1:
                release.wait(180)
            return "second"

        with app.start_worker(threads=2):
            assert deaf.delay().get(timeout=180) == "second"
            release.set()
        assert attempts == [1, 2]

    def test_a_drain_does_not_wait_for_it(self, app):
        release = threading.Event()
        deaf = app.task(name="deaf", soft_time_limit=None, time_limit=0.3, track=True)(lambda: release.wait(180))
        worker = app.start_worker(threads=1)
        result = deaf.delay()
        wait_for(lambda: result.state is State.FAILURE, 30)
        assert worker.stop(timeout=60) is False
        release.set()


class TestStopping:
    def test_what_runs_is_finished_and_the_rest_given_back(self, app):
        begun, release = threading.Event(), threading.Event()

        @app.task(name="job", track=True)
        def job() -> str:
            begun.set()
            release.wait(180)
            return "finished"

        worker = app.start_worker(threads=1)
        first, second = job.delay(), job.delay()
        assert begun.wait(180)
        stopping = threading.Thread(target=worker.stop)
        stopping.start()
        hand = worker._resident.hand
        wait_for(lambda: hand.closed)  # from here on nothing more is begun
        assert stopping.is_alive()
        assert not worker.running
        release.set()
        stopping.join(180)
        states = sorted([first.state, second.state])
        assert states == [State.PENDING, State.SUCCESS]
        assert standing(app) == {"ready": 1, "scheduled": 0, "leased": 0, "dead": 0}

    def test_what_does_not_end_is_interrupted_and_given_back_uncharged(self, app):
        begun, heard = threading.Event(), []

        @app.task(name="job", track=True)
        def job() -> None:
            begun.set()
            try:
                while True:
                    time.sleep(0.01)
            except TaskInterrupted as exc:
                heard.append(str(exc))
                raise

        worker = app.start_worker(threads=1)
        result = job.delay()
        assert begun.wait(180)
        assert worker.stop(timeout=0.1) is False
        assert len(heard) == 1
        assert result.state is State.PENDING
        assert standing(app) == {"ready": 1, "scheduled": 0, "leased": 0, "dead": 0}

    def test_what_hears_nothing_is_left_behind(self, app):
        begun, release = threading.Event(), threading.Event()

        @app.task(name="job")
        def job() -> None:
            begun.set()
            release.wait(180)

        worker = app.start_worker(threads=1)
        job.delay()
        assert begun.wait(180)
        assert worker.stop(timeout=0) is False
        assert standing(app)["ready"] == 1
        assert workers(app) == []
        release.set()

    def test_while_the_broker_is_away(self, tmp_path, monkeypatch):
        monkeypatch.setattr(registry, "_current", [])
        app = Umbel("away", broker="redis://127.0.0.1:1/0")
        worker = app.start_worker(threads=2)
        assert worker.running and not worker.ready
        worker.stop(timeout=0.2)
        assert not worker.running

    def test_while_the_broker_has_gone_away(self, redis_server, tmp_path, monkeypatch):
        """What has just ended cannot be settled, and is not waited for beyond the drain: it runs again elsewhere."""
        monkeypatch.setattr(registry, "_current", [])
        begun, release = threading.Event(), threading.Event()
        (tmp_path / "redis").mkdir()
        with RedisServer(tmp_path / "redis") as server:
            app = Umbel("gone", broker=server.url)

            @app.task(name="job")
            def job() -> None:
                begun.set()
                release.wait(180)

            worker = app.start_worker(threads=1)
            job.delay()
            assert begun.wait(180)
            server.kill()
            release.set()
            assert worker.stop(timeout=0.2) is False
        app.close()

    def test_a_task_cannot_stop_its_worker(self, app):
        found = []

        @app.task(name="job", track=True)
        def job() -> None:
            with pytest.raises(WorkerError, match="cannot stop the worker that runs it"):
                found[0].stop()

        with app.start_worker(threads=1) as worker:
            found.append(worker)
            job.delay().get(timeout=180)
        found.clear()

    def test_one_at_a_time(self, app):
        first = app.start_worker(threads=1)
        with pytest.raises(WorkerError, match="runs in this process already"):
            app.start_worker()
        first.stop()
        app.start_worker(threads=1).stop()


def test_a_cancel_with_terminate_reaches_what_is_begun_later(app):
    """A message that is in hand, behind another one, when the order comes."""
    begun, release, ran = threading.Event(), threading.Event(), []

    @app.task(name="first")
    def first() -> None:
        begun.set()
        release.wait(180)

    @app.task(name="second", track=True)
    def second() -> None:
        ran.append(1)
        while True:
            time.sleep(0.01)

    with app.start_worker(threads=1) as worker:
        wait_for(lambda: worker.ready)
        resident = worker._resident
        resident.room.wanted = lambda free, waiting: max(0, 2 - waiting)  # it claims more than it can begin
        worker._hostages.turn = lambda resident, leaving: None  # and keeps it
        first.delay()
        assert begun.wait(180)
        result = second.delay()
        resident.notify()
        wait_for(lambda: resident.hand.waiting == 1, 30)
        result.revoke(terminate=True)
        wait_for(lambda: worker._cancels._wanted, 30)
        wait_for(lambda: worker._cancels._next > 0, 30)  # the store was asked who has it
        release.set()
        wait_for(lambda: result.state is State.REVOKED, 30)
    assert standing(app) == {}


def test_what_a_lost_holder_had_is_given_back_once_the_broker_answers(app):
    done = threading.Event()
    with app.start_worker(threads=1) as worker:
        wait_for(lambda: worker.ready)
        broker, refused = worker._clerk._broker, []
        retire = broker.retire

        def retires(*args):
            if len(refused) < 2:
                refused.append(1)
                raise BrokerUnreachable("as ordered")
            retired.append(args[0])
            return retire(*args)

        retired: list[str] = []
        broker.retire = retires
        holder = worker._resident.holder
        worker._resident.abandon()  # its loop ends by an accident
        wait_for(lambda: retired == [holder], 30)
        app.task(name="job")(done.set).delay()
        assert done.wait(180)


def test_a_cancel_with_terminate_reaches_the_task(app):
    begun = threading.Event()

    @app.task(name="job", track=True)
    def job() -> None:
        begun.set()
        while True:
            time.sleep(0.01)

    with app.start_worker(threads=1):
        result = job.delay()
        assert begun.wait(180)
        result.revoke(terminate=True)
        wait_for(lambda: result.state is State.REVOKED, 30)


def test_its_lease_is_taken_and_it_begins_anew(app):
    """As after a suspension, or a task that held the interpreter for too long: others have what it held."""
    begun, release = threading.Event(), threading.Event()
    runs = []

    @app.task(name="job", track=True)
    def job() -> str:
        runs.append(True)
        begun.set()
        if len(runs) == 1:
            release.wait(180)
        return f"run {len(runs)}"

    with app.start_worker(threads=1) as worker:
        result = job.delay()
        assert begun.wait(180)
        broker = app.make_broker()
        broker.open()
        broker.leave(worker.worker)
        broker.close()
        assert result.get(timeout=180) == "run 2"
        release.set()
        assert job.delay().get(timeout=180) == "run 3"
    assert result.get() == "run 2"


def test_queues_of_its_release(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_current", [])
    app = Umbel("shop", broker=f"sqlite:///{tmp_path}/umbel.db", release="2", versioned_queues=True, heartbeat=1, lease_ttl=6)
    where = app.task(name="where", bind=True, track=True)(lambda self: self.request.queue)
    with app.start_worker(threads=1):
        wait_for(lambda: where.delay().get(timeout=180) == "default@2", 30)
    app.close()


def test_a_store_in_memory(monkeypatch):
    monkeypatch.setattr(registry, "_current", [])
    app = Umbel("here", broker="memory://embedded-test")
    job = app.task(name="job", track=True)(lambda: 1)
    with app.start_worker(threads=1):
        assert job.delay().get(timeout=180) == 1
    app.close()
    with pytest.raises(ConfigError, match="give it a name"):
        Umbel("nowhere", broker="memory://", set_as_current=False).start_worker()


@pytest.mark.parametrize("threads", [0, -1, True, "4", 1001])
def test_threads_that_cannot_be(app, threads):
    with pytest.raises(ConfigError, match="whole number from 1 to 1000"):
        app.start_worker(threads=threads)


def test_no_signal_is_touched(app):
    import signal

    before = [signal.getsignal(number) for number in range(1, 32) if number not in (9, 19)]
    with app.start_worker(threads=1) as worker:
        wait_for(lambda: worker.ready)
        assert [signal.getsignal(number) for number in range(1, 32) if number not in (9, 19)] == before
        assert signal.set_wakeup_fd(-1) == -1


class TestWhereItIsNotStarted:
    @pytest.mark.parametrize(
        ("environment", "arguments", "watches"),
        [
            ({}, ["gunicorn"], False),
            ({"FLASK_RUN_FROM_CLI": "true", "FLASK_DEBUG": "1"}, ["flask", "run"], True),
            ({"FLASK_RUN_FROM_CLI": "true", "FLASK_DEBUG": "1", "WERKZEUG_RUN_MAIN": "true"}, ["flask", "run"], False),
            ({"FLASK_RUN_FROM_CLI": "true"}, ["flask", "run", "--reload"], True),
            ({"FLASK_RUN_FROM_CLI": "true", "FLASK_DEBUG": "1"}, ["flask", "run", "--no-reload"], False),
            ({"FLASK_RUN_FROM_CLI": "true", "FLASK_DEBUG": "0"}, ["flask", "run"], False),
            ({"FLASK_RUN_FROM_CLI": "true", "FLASK_DEBUG": "1"}, ["flask", "shell"], False),
        ],
    )
    def test_a_reloader(self, environment, arguments, watches):
        assert only_watches(environment, arguments) is watches

    def test_django(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "django", sys)
        assert only_watches({}, ["manage.py", "runserver"]) is True
        assert only_watches({"RUN_MAIN": "true"}, ["manage.py", "runserver"]) is False
        assert only_watches({}, ["manage.py", "runserver", "--noreload"]) is False

    def test_nothing_can_be_done_with_it_but_stop(self, app, monkeypatch):
        monkeypatch.setenv("FLASK_RUN_FROM_CLI", "true")
        monkeypatch.setattr("sys.argv", ["flask", "run", "--reload"])
        with app.start_worker() as worker:
            assert isinstance(worker, NoWorker)
            assert not worker.running
        assert worker.stop() is True

    def test_green_threads(self):
        class Patched:
            @staticmethod
            def is_module_patched(name: str) -> bool:
                return name == "threading"

        assert patched_threads({"gevent.monkey": Patched}) is True
        assert patched_threads({"gevent.monkey": None}) is False
