"""The app: registry of tasks, settings, broker. The one place that puts the parts together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, Unpack, overload

from .broker import Broker, BrokerSettings
from .call import CallKeywords
from .clock import SYSTEM, Clock
from .codec import CallSignature
from .config import Config
from .connections import Connections
from .discovery import Packages, import_related
from .errors import ConfigError
from .events import Emitter
from .middleware import Middleware
from .options import CELERY_RETRY, TaskKeywords, TaskOptions, task_options
from .producer import Producer
from .registry import AnyTask, Registry, set_current, task_name
from .result import AsyncResult
from .settings import SettingKeywords, Settings
from .task import EACH, Task, class_options

if TYPE_CHECKING:
    from .control import Control
    from .embedding import StartedWorker
    from .flowresult import FlowResult
    from .schedule import When
    from .schedules import AnyCall, Schedules

P = ParamSpec("P")
R = TypeVar("R")


class Umbel:
    """An app. Making one opens nothing and reads nothing: settings are read at first use, and the broker is opened by the
    first call, once per process and thread.

    ``name`` keeps apps in one store apart. Every setting can be given by its name; a file, the environment or the command
    line may say otherwise. ``include``: modules that declare tasks, imported when tasks are asked for.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        middleware: Sequence[Middleware] = (),
        include: Sequence[str] = (),
        clock: Clock = SYSTEM,
        set_as_current: bool = True,
        **settings: Unpack[SettingKeywords],
    ) -> None:
        self._config = Config(name, **settings)
        self.clock = clock
        self.middleware: list[Middleware] = list(middleware)
        self.events = Emitter()
        self._stand_in: Callable[[], Broker] | None = None
        self._connections = Connections(self.make_broker, self._get_settings, clock)
        self.producer = Producer(self._connections, self._get_settings, self.middleware, self.events, clock)
        self._registry = Registry()
        self._each: AnyTask | None = None
        self._schedules: Schedules | None = None
        self._to_import: list[Callable[[], None]] = []
        self._importing = threading.RLock()
        if include:
            self._to_import.append(lambda: import_related(tuple(include), None))
        if set_as_current:
            self.set_current()

    # -- settings

    @property
    def conf(self) -> Config:
        """The settings as attributes and items; ``update`` and assignment set them."""
        return self._config

    @property
    def settings(self) -> Settings:
        """All settings, checked; the same object until one changes."""
        return self._config.settings

    def _get_settings(self) -> Settings:
        return self._config.settings

    @property
    def name(self) -> str:
        """The app's name."""
        return self._config.settings.name

    def config_from_object(self, obj: object, namespace: str = "") -> None:
        """Take settings from a module, class, object or mapping, or from its name (``"module:attribute"``); with a
        ``namespace`` only names that begin with it and ``_``, such as ``UMBEL_BROKER``."""
        self._config.from_object(obj, namespace)

    # -- declaring tasks

    @overload
    def task(self, fn: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self, /, *, bind: Literal[True], base: type[Task[..., Any]] | None = None, **options: Unpack[TaskKeywords]
    ) -> Callable[[Callable[Concatenate[Any, P], R]], Task[P, R]]: ...
    @overload
    def task(
        self, /, *, bind: Literal[False] = False, base: type[Task[..., Any]] | None = None, **options: Unpack[TaskKeywords]
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...
    def task(
        self, fn: Callable[..., Any] | None = None, /, *, bind: bool = False, base: type[Task[..., Any]] | None = None, **options: Any
    ) -> Any:
        """Declare a function as a task: ``@app.task``, or ``@app.task(queue="emails", retry=Retry(max=5), …)``.

        Raises ``ConfigError`` for options that are unknown, or cannot be.
        """
        if fn is not None:
            return self._declare(fn, base, options)
        if bind:
            options["bind"] = True
        return lambda decorated: self._declare(decorated, base, options)

    def _declare(self, fn: Callable[..., Any], base: type[AnyTask] | None, options: Mapping[str, Any]) -> AnyTask:
        task = declared(fn, base, options, lambda: self)
        self._registry.add(task)
        return task

    def register_task(self, task: AnyTask | type[AnyTask]) -> AnyTask:
        """Make a class-based task known: a :class:`Task` subclass, or its instance, with ``run`` and maybe ``name``."""
        instance = task() if isinstance(task, type) else task
        kind = type(instance)
        if kind.run is Task.run:
            raise ConfigError(f"{kind.__qualname__} has no run() of its own: write one, or use it as @app.task(base={kind.__qualname__})")
        name = getattr(instance, "name", None) or f"{kind.__module__}.{kind.__qualname__}"
        instance.declare(instance.run, task_name(instance.run, name), task_options(name, class_options(kind)), lambda: self)
        self._registry.add(instance)
        return instance

    def autodiscover_tasks(self, packages: Packages = None, related_name: str | None = "tasks", force: bool = False) -> None:
        """Import ``related_name`` of each package when tasks are first asked for (at once with ``force``).

        ``packages``: names, or a callable that answers with them then; None for Django's installed apps.
        """
        self._to_import.append(lambda: import_related(packages, related_name))
        if force:
            self.finalize()

    def finalize(self) -> None:
        """Import what is to be discovered, and take in shared tasks. Twice is once; errors of modules pass through."""
        with self._importing:
            while self._to_import:
                self._to_import[0]()
                del self._to_import[0]
            self._registry.add_shared()

    @property
    def tasks(self) -> dict[str, AnyTask]:
        """All tasks by name, after everything that is to be discovered was imported."""
        self.finalize()
        return self._registry.tasks

    def resolve(self, name: str) -> AnyTask | None:
        """The task called ``name``, now or by an alias; None if there is none."""
        found = self._registry.resolve(name)
        if found is None:
            self.finalize()
            found = self._registry.resolve(name)
        if found is None and name == EACH:
            from .each import each_task

            found = self._each = self._each or each_task(lambda: self)
        return found

    def queues(self) -> list[str]:
        """The queues that tasks declare, and the default one, which is first."""
        default = self.settings.default_queue
        return [default, *sorted({task.options.queue for task in self.tasks.values() if task.options.queue} - {default})]

    def limits(self, task: AnyTask) -> tuple[float, float]:
        """A task's soft and hard limit in seconds, 0 for none."""
        return task.limits(self._config.settings)

    @property
    def Task(self) -> type[Task[..., Any]]:
        """The base class of tasks, as in ``class Mine(app.Task)``."""
        return Task

    # -- schedules

    def schedule(self, name: str, call: AnyCall, when: When) -> None:
        """Declare in code that ``call`` (a signature such as ``report.s(7)``, or a task) is made at the times of ``when``: ``cron(…)``,
        ``every(…)``, ``at(…)`` or ``crontab(…)``. Workers store it when they start; one that the code of a newer release has not any
        more is removed by its workers. Raises ``ConfigError``."""
        self.schedules.declare(name, call, when)

    @property
    def schedules(self) -> Schedules:
        """What the broker keeps of schedules: to look at, and to add, remove, pause, resume and run them at run time."""
        if self._schedules is None:
            from .schedules import Schedules  # nobody who has none should pay for them

            self._schedules = Schedules(self)
        return self._schedules

    # -- calling

    def send_task(
        self, name: str, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Unpack[CallKeywords]
    ) -> AsyncResult[Any]:
        """Send a call of a task by its name, which need not be known here. If it is, its options and checks count; if not,
        arguments must be plain JSON."""
        task = self._registry.resolve(name) or self._unknown_task(name)
        return task.apply_async(args, kwargs, **options)

    def callee(self, name: str) -> AnyTask:
        """The task called ``name``, or one that can only be sent, if it is not known here."""
        return self.resolve(name) or self._unknown_task(name)

    def _unknown_task(self, name: str) -> AnyTask:
        task: AnyTask = Task()
        task.declare(_elsewhere, name, TaskOptions(), lambda: self)
        task.use_signature(CallSignature(None, name=name))
        return task

    def AsyncResult(self, id: str) -> AsyncResult[Any]:
        """The handle of an earlier call."""
        return AsyncResult(id, self.producer)

    def FlowResult(self, id: str) -> FlowResult[Any]:
        """The handle of an earlier flow."""
        from .flowresult import FlowResult

        return FlowResult(id, self.producer)

    # -- the broker

    def make_broker(self, *, reply_timeout: float | None = None) -> Broker:
        """A broker for the settings as they are now, not opened: for a consumer or an inspector. ``ConfigError`` for an
        address that nothing answers to. ``reply_timeout``: see ``BrokerSettings``."""
        if self._stand_in is not None:
            return self._stand_in()
        from .brokers import make_broker  # 50 ms of package metadata that a declaration need not pay

        s = self._config.settings
        return make_broker(s.broker, broker_settings(s, reply_timeout), self.clock)

    def replace_broker(self, make: Callable[[], Broker] | None) -> Callable[[], Broker] | None:
        """From now on :meth:`make_broker` answers with what ``make`` makes, whatever the settings say; None: as they say again.
        Answers with what stood there before. For tests: see ``umbel.testing``."""
        before, self._stand_in = self._stand_in, make
        return before

    @property
    def control(self) -> Control:
        """Limits of tasks, changed while workers run: ``app.control.rate_limit("shop.mail.send", "50/s")``. See docs/limits.md."""
        from .control import Control  # for operators, and not for those who only send

        return Control(lambda: self.producer.broker())

    def start_worker(self, *, threads: int = 4, queues: Sequence[str] = (), strict: bool = False, name: str = "") -> StartedWorker:
        """Run a worker on ``threads`` threads of this process, for projects that want no second one; answers at once, and
        connects by itself. Stop it with ``.stop()``, as a context manager, or leave it to the end of the process.

        ``queues`` (none: all that tasks declare, and the default), ``strict`` and ``name`` as of ``umbel worker``. In the process
        that a reloader of Flask or Django keeps to watch files nothing is started. Raises ``ConfigError``; ``WorkerError`` where
        one runs already. It is not forked with the process, touches no signal, and cannot kill a task: see docs/embedding.md.
        """
        from .embedding import start_worker  # the worker's modules are not for those who only send

        return start_worker(self, threads, queues, strict, name)

    def close(self) -> None:
        """Close the producer's broker. Twice is once; the next call opens it again."""
        self._connections.close()

    def set_current(self) -> None:
        """Make this app the one that ``current_app`` and shared tasks mean."""
        set_current(self)

    def __repr__(self) -> str:
        return f"<Umbel app, {len(self._registry.tasks)} tasks>"


def broker_settings(settings: Settings, reply_timeout: float | None = None) -> BrokerSettings:
    """What a store must know of an app."""
    return BrokerSettings(
        app=settings.name,
        record_ttl=settings.record_ttl,
        dead_letter_bytes=settings.dead_letter_bytes,
        dead_letter_ttl=settings.dead_letter_ttl,
        reply_timeout=reply_timeout,
    )


def declared(fn: Callable[..., Any], base: type[AnyTask] | None, options: Mapping[str, Any], owner: Callable[[], Any]) -> AnyTask:
    """The task of ``fn``, of class ``base``, not yet known to any app."""
    kind: Any = base or Task
    if not (isinstance(kind, type) and issubclass(kind, Task)):
        raise ConfigError(f"base = {kind!r}: it must be a subclass of umbel.Task")
    if not callable(fn):
        raise ConfigError(f"@app.task takes options by name, such as @app.task(name={fn!r})")
    name = task_name(fn, options.get("name"))
    inherited = class_options(kind)
    if options.get("retry") is not None:  # what the decorator says of retries replaces all that the class says of them
        inherited = {key: value for key, value in inherited.items() if key not in CELERY_RETRY}
    given = {**inherited, **{key: value for key, value in options.items() if key != "name"}}
    task: AnyTask = kind()
    task.declare(fn, name, task_options(name, given), owner)
    return task


def _elsewhere(*args: Any, **kwargs: Any) -> Any:
    raise ConfigError("this task is declared elsewhere, and can only be sent from here")
