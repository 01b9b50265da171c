"""Apps: registering and finding tasks, sending by name, the current app, shared tasks, signatures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import umbel
from umbel import (
    ConfigError,
    Middleware,
    Retry,
    Signature,
    Task,
    Umbel,
    current_app,
    current_task,
    shared_task,
)
from umbel.broker import Broker
from umbel.envelope import Envelope
from umbel.facets import Inspects, Place
from umbel.message import Body, decode_body
from umbel.request import Request, entered


def names_sent(store: Broker) -> list[str]:
    assert isinstance(store, Inspects)
    return [decode_body(listed.envelope.body).t for listed in store.browse(None, Place.READY, 100).messages]


# -- declaring


def test_with_and_without_parentheses(app: Umbel) -> None:
    @app.task
    def plain() -> None: ...

    @app.task()
    def empty() -> None: ...

    @app.task(name="given", queue="q", retry=Retry(max=5))
    def full() -> None: ...

    assert set(app.tasks) == {f"{__name__}.plain", f"{__name__}.empty", "given"}
    assert app.tasks["given"] is full
    assert (full.queue, plain.queue) == ("q", "default")
    with pytest.raises(ConfigError, match="by name"):
        app.task("given")  # type: ignore[call-overload]  # what is refused
    with pytest.raises(ConfigError, match=r"name=…"):
        app.task(lambda: None)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 201, "\ud800"])
def test_hostile_names_are_refused(app: Umbel, name: str) -> None:
    with pytest.raises(ConfigError, match="task name"):
        app.task(name=name)(lambda: None)
    with pytest.raises(TypeError, match="task name"):
        app.send_task(name)


def test_two_tasks_of_one_name(app: Umbel) -> None:
    def declare(result: int) -> Task[..., Any]:
        @app.task(name="t", aliases=["old"])
        def same() -> int:
            return result

        return same

    first, again = declare(1), declare(2)
    assert app.tasks["t"] is again is not first, "the same function declared anew, as by a reload"
    taken: list[dict[str, Any]] = [{"name": "t"}, {"name": "old"}, {"name": "u", "aliases": ["t"]}]
    for options in taken:
        with pytest.raises(ConfigError, match="two tasks are called"):
            app.task(**options)(names_sent)


def test_tasks_are_found_by_alias(app: Umbel) -> None:
    task = app.task(name="new", aliases=["old", "older"])(lambda: None)
    assert app.resolve("old") is app.resolve("new") is task
    assert app.resolve("nobody") is None


def test_queues_are_those_of_the_tasks_and_the_default(app: Umbel) -> None:
    for queue in ("b", "a", "b", None):
        app.task(name=f"t{queue}", queue=queue)(print) if queue != "b" else app.task(name="tb", queue=queue)(print)
    assert app.queues() == ["default", "a", "b"]
    app.conf.default_queue = "a"
    assert app.queues() == ["a", "b"]


def test_limits(app: Umbel) -> None:
    task = app.task(name="t", time_limit=22)(lambda: None)
    assert app.limits(task) == pytest.approx((20, 22))
    app.conf.update(soft_time_limit=1)
    assert app.limits(task) == (1, 22)


def test_a_script_names_its_tasks_as_a_worker_would(clean: Path) -> None:
    (clean / "jobs.py").write_text("from umbel import Umbel\napp = Umbel('x')\n@app.task\ndef t(): ...\nprint(t.name)\n")
    for command in ([sys.executable, "jobs.py"], [sys.executable, "-m", "jobs"]):
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "jobs.t\n"


# -- sending by name


def test_send_task(app: Umbel, store: Broker) -> None:
    app.task(name="known", queue="q", track=True)(lambda n: None)
    app.send_task("far.away", (1,), {"x": 2}, priority=9)
    result = app.send_task("known", (1,))
    assert sorted(names_sent(store)) == ["far.away", "known"]
    assert result.state == "PENDING"
    with pytest.raises(TypeError, match="missing 1 required"):
        app.send_task("known")
    with pytest.raises(ConfigError, match="did you mean 'queue'"):
        app.send_task("far.away", qeue="x")  # type: ignore[call-arg]  # what is refused
    with pytest.raises(TypeError, match=r"far.away\(x\): an object"):
        app.send_task("far.away", (), {"x": object()})


# -- discovery


@pytest.fixture
def packages(clean: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("shop_a", "shop_b", "shop_c"):
        (clean / name).mkdir()
        (clean / name / "__init__.py").touch()
    (clean / "shop_a" / "tasks.py").write_text("from umbel import shared_task\n@shared_task\ndef one(): ...\n")
    (clean / "shop_b" / "jobs.py").write_text("from umbel import current_app\n@current_app.task\ndef two(): ...\n")
    (clean / "shop_c" / "tasks.py").write_text("import not_installed_at_all\n")
    monkeypatch.syspath_prepend(str(clean))
    before = set(sys.modules)
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    assert not {name for name in before if name.startswith("shop_")}
    return clean


def test_tasks_are_discovered_when_they_are_asked_for(app: Umbel, packages: Path) -> None:
    asked: list[str] = []

    def names() -> list[str]:
        asked.append("asked")
        return ["shop_b"]

    app.autodiscover_tasks(["shop_a", "shop_b"])
    app.autodiscover_tasks(names, related_name="jobs")
    assert asked == []
    assert "shop_a.tasks" not in sys.modules
    assert set(app.tasks) == {"shop_a.tasks.one", "shop_b.jobs.two"}
    assert set(app.tasks) == {"shop_a.tasks.one", "shop_b.jobs.two"}
    assert asked == ["asked"]


def test_resolving_discovers_too(app: Umbel, packages: Path) -> None:
    app.autodiscover_tasks(["shop_a"])
    assert app.resolve("shop_a.tasks.one") is not None


def test_include_imports_modules(packages: Path) -> None:
    app = Umbel("x", include=["shop_a.tasks"])
    assert list(app.tasks) == ["shop_a.tasks.one"]


def test_errors_of_modules_are_not_hidden(app: Umbel, packages: Path) -> None:
    app.autodiscover_tasks(["shop_c"])
    with pytest.raises(ModuleNotFoundError, match="not_installed_at_all"):
        _ = app.tasks
    with pytest.raises(ModuleNotFoundError):
        _ = app.tasks
    other = Umbel("y")
    with pytest.raises(ConfigError, match="no package 'shop_z'"):
        other.autodiscover_tasks(["shop_z"], force=True)
    with pytest.raises(ConfigError, match="name the packages"):
        Umbel("z").autodiscover_tasks(force=True)


# -- settings


def test_unknown_settings_are_refused_at_once(clean: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'heartbeat'"):
        Umbel("x", hartbeat=1)  # type: ignore[call-arg]  # what is refused
    with pytest.raises(ConfigError, match="track=True"):
        Umbel("x", backend="redis://")  # type: ignore[call-arg]  # what is refused


def test_config_from_object(clean: Path) -> None:
    class Conf:
        UMBEL_DEFAULT_QUEUE = "q"

    app = Umbel("x", default_queue="argument")
    app.config_from_object(Conf, namespace="UMBEL")
    assert app.conf.default_queue == app.settings.default_queue == "q"
    assert app.task(name="t")(lambda: None).queue == "q"
    assert (app.name, app.Task) == ("x", Task)
    assert "0 tasks" in repr(Umbel("y"))


def test_changed_settings_count_from_the_next_call(app: Umbel, store: Broker) -> None:
    task = app.task(name="t")(lambda: None)
    task.delay()
    app.conf.default_queue = "other"
    task.delay()
    assert sorted(stats.queue for stats in store.stats() if stats.ready) == ["default", "other"]


def test_an_address_that_nobody_answers_to(clean: Path) -> None:
    app = Umbel("x", broker="gopher://x")
    with pytest.raises(ConfigError, match="gopher"):
        app.task(name="t")(lambda: None).delay()


# -- what is current


def test_the_last_app_is_current(clean: Path) -> None:
    assert not bool(current_app)
    with pytest.raises(ConfigError, match="there is no app yet"):
        _ = current_app.tasks
    first = Umbel("first")
    assert current_app == first
    second = Umbel("second")
    assert current_app == second
    Umbel("third", set_as_current=False)
    assert current_app == second
    first.set_current()
    assert current_app.name == "first"
    assert repr(current_app) == repr(first)
    assert "tasks" in dir(current_app)
    current_app.conf.default_queue = "through"
    assert first.settings.default_queue == "through"


def test_shared_tasks_belong_to_every_app(clean: Path) -> None:
    early = Umbel("early", broker="memory://early")

    @shared_task(queue="shared", bind=True)
    def t(self: Task[..., Any], n: int) -> Any:
        return self.app.name, n

    @shared_task
    def u() -> None: ...

    late = Umbel("late", broker="memory://late")
    assert early.tasks == late.tasks
    assert set(late.tasks) == {t.name, u.name}
    assert t(1) == ("late", 1)
    with late.producer.collecting() as calls:
        t.delay(1)
    assert [envelope.queue for envelope in calls.envelopes] == ["shared"]
    early.set_current()
    assert t(1) == ("early", 1)


def test_shared_tasks_need_an_app_to_be_sent(clean: Path) -> None:
    @shared_task
    def t() -> int:
        return 1

    assert t() == 1
    with pytest.raises(ConfigError, match="there is no app yet"):
        t.delay()


def test_an_apps_own_task_replaces_a_shared_one(clean: Path) -> None:
    @shared_task(name="t")
    def shared() -> None: ...

    app = Umbel("x")
    own = app.task(name="t")(lambda: None)
    assert app.tasks["t"] is own


def test_current_task(app: Umbel) -> None:
    task = app.task(name="t")(lambda: current_task.name)
    assert not bool(current_task)
    assert repr(current_task) == "<no current task>"
    with pytest.raises(RuntimeError, match="no task is running"):
        _ = current_task.name
    with entered(Request(task, Envelope("1", "q", b""), Body("t"), (), {})):
        assert task() == "t"
        assert current_task.request.id == "1"
        assert bool(current_task)


# -- signatures


@pytest.fixture
def add(app: Umbel) -> Task[..., int]:
    @app.task(name="add")
    def add(a: int, b: int = 0, *, c: int = 0) -> int:
        return a + b + c

    return add


def test_a_signature_is_a_call_to_come(add: Task[..., int], store: Broker) -> None:
    sig = add.s(2, c=5)
    assert (sig.task, sig.args, sig.kwargs, sig.options, sig.immutable) == ("add", (2,), {"c": 5}, {}, False)
    assert sig(1) == 8
    assert sig(1, c=0) == 3
    sig.set(queue="q", priority=9).delay(1)
    assert isinstance(store, Inspects)
    (listed,) = store.browse("q", Place.READY).messages
    assert listed.envelope.body == b'{"t":"add","a":[1,2],"k":{"c":5}}'
    assert listed.envelope.priority == 9
    sig.apply_async((1,), {"c": 6}, queue="r")
    assert store.browse("r", Place.READY).messages[0].envelope.body == b'{"t":"add","a":[1,2],"k":{"c":6}}'


def test_an_immutable_one_takes_no_more(add: Task[..., int]) -> None:
    sig = add.si(2)
    assert sig(40, c=1) == 2
    assert sig.clone((9,)).args == (2,)
    assert repr(sig) == "add.si(2)"
    assert repr(add.s(1, c=2)) == "add.s(1, c=2)"


def test_clones_and_dicts(add: Task[..., int]) -> None:
    sig = add.s(2).set(queue="q")
    copy = sig.clone((1,), {"c": 1}, priority=3)
    assert copy.to_dict() == {
        "task": "add",
        "args": [1, 2],
        "kwargs": {"c": 1},
        "options": {"queue": "q", "priority": 3},
        "immutable": False,
    }
    assert sig.to_dict()["options"] == {"queue": "q"}
    assert sig == add.s(2).set(queue="q") != copy
    assert isinstance(sig, Signature)


def test_unknown_options_of_a_signature(add: Task[..., int]) -> None:
    with pytest.raises(ConfigError, match="did you mean 'queue'"):
        add.s(1).set(qeue="x")
    assert add.s(1).set(link=add.s(2)).links == [add.s(2)]


# -- the package


def test_public_names_are_pinned() -> None:
    assert umbel.__all__ == [
        *("AppNotFound", "ArgumentError", "AsyncResult", "BrokerError", "BrokerUnreachable", "Concurrency", "ConfigError", "Discard"),
        *("EnqueueError", "EnqueueRefused", "EnqueueUnknown", "FlowFailed", "FlowFailure", "FlowResult", "FlowState"),
        *("MaxRetriesExceeded", "MemberFailed", "Middleware", "NotSupported", "PayloadTooLarge", "Progress", "QueueFull", "Rate"),
        *("Request", "ResultError", "ResultNotKept", "ResultTimeout", "ResultUnreadable"),
        *("Retry", "RetryLater", "Schedule", "Signature", "Snooze", "SoftTimeLimitExceeded", "State", "Task", "TaskExpired", "TaskFailed"),
        *("TaskInterrupted", "TaskRevoked", "TaskSignal", "Umbel", "UmbelError", "When", "WorkerError"),
        *("at", "chain", "chord", "cron", "crontab", "current_app", "current_task", "every", "flow", "group", "shared_task"),
    ]
    for name in umbel.__all__:
        assert getattr(umbel, name) is not None
        assert name in dir(umbel)
    assert not hasattr(umbel, "chains")
    assert Middleware.__doc__


def test_importing_does_not_import_what_a_producer_does_not_need() -> None:
    code = "import sys, umbel; umbel.Umbel, umbel.Retry, umbel.shared_task; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    unwanted = {"asyncio", "click", "redis", "sqlite3", "logging", "importlib.metadata", "dataclasses", "random", "pydantic", "tomllib"}
    assert unwanted & set(loaded) == set()
