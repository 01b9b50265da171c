"""An app on a broker in memory, for the time of a test: nothing that it sends leaves the process, or the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from ..broker import Broker, Exchanged, Receipted, Settle
from ..brokers.memory import MemoryBroker, Store
from ..clock import Clock
from ..connections import Connections
from ..envelope import Envelope, Extra
from ..errors import WireError
from ..facets import Record
from ..joins import Flow, FlowSeen
from ..message import decode_body
from ..outcome import Node, Replaced
from ..producer import Producer
from ..registry import replace_current
from .enqueued import Enqueued, Wanted
from .frozen import FrozenClock
from .run import SandboxError
from .stepping import SteppedWorker, stepping
from .ticking import Ticking

if TYPE_CHECKING:
    from ..app import Umbel
    from ..task import Task

_open: list[Sandbox] = []
"""The innermost last."""


class Sandbox:
    """``with Sandbox(app) as box:`` inside the block, whatever is sent through ``app``, by module-level tasks, ``shared_task`` or
    ``send_task``, goes into a fresh store in memory; afterwards the app is as it was. No thread or process is started.

    ``clock``: where the sandbox takes time from; a :class:`FrozenClock` unless another is given. ``eager``: run each call where
    it is made. ``propagate`` and ``retry`` are for eager calls: is the error of one raised where it was called (or only kept in
    its record)? Is it retried as its policy says, at once (or raised at its first failure)?

    Blocks nest. The store belongs to the block; the app's tasks, its settings and its subscribers are the app's own.
    """

    def __init__(self, app: Umbel, *, clock: Clock | None = None, eager: bool = False, propagate: bool = True, retry: bool = True) -> None:
        self.app = app
        self.clock: Any = clock if clock is not None else FrozenClock()
        """What :class:`FrozenClock` says, or the clock that was given."""
        self.eager = eager
        self.propagate = propagate
        self.retry = retry
        self.store = Store()
        self.ticking = Ticking(app, self.clock)
        self.queues: set[str] = set()
        """All that messages were stored in."""
        self._made: list[Envelope] = []
        self._before: tuple[Any, ...] | None = None
        self._worker: SteppedWorker | None = None
        self._workers: list[SteppedWorker] = []
        self._free: list[SteppedWorker] = []
        """Those for eager calls that are not at work; kept, since clients that tasks hold belong to their event loops."""

    # -- in and out

    def __enter__(self) -> Sandbox:
        if self._before is not None:
            raise SandboxError("this sandbox is open already; make another one")
        app = self.app
        self.ticking = Ticking(app, self.clock)
        connections = Connections(self.broker, lambda: app.settings, self.clock)
        producer = SandboxProducer(connections, lambda: app.settings, app.middleware, app.events, self.clock)
        producer.sandbox = self
        self._before = (app.producer, app.clock, app.replace_broker(self.broker), replace_current(app))
        app.producer, app.clock = producer, self.clock
        _open.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._before is None:
            return
        self.app.producer, self.app.clock, broker, current = self._before
        self.app.replace_broker(broker)
        replace_current(current)
        self._before = None
        _open.remove(self)
        for worker in self._workers:
            worker.close()
        self._worker, self._workers, self._free = None, [], []

    def broker(self) -> Broker:
        """A handle on the sandbox's store: what an inspector would see, or a test that looks for a dead letter."""
        from ..app import broker_settings

        return SandboxBroker(self, broker_settings(self.app.settings))

    @property
    def worker(self) -> SteppedWorker:
        """The worker that is stepped by hand."""
        if self._worker is None:
            self._worker = self._new_worker()
        return self._worker

    def _new_worker(self) -> SteppedWorker:
        if self._before is None:
            raise SandboxError("this sandbox is not open: with Sandbox(app) as box: …")
        worker = SteppedWorker(self.app, self.broker(), self.clock, self.queues, self.name_of)
        worker.tick = self._tick
        self._workers.append(worker)
        return worker

    def _tick(self, broker: Broker) -> None:
        """Schedules that are due make their calls."""
        self._made += self.ticking.fire(broker)

    # -- what was sent

    def enqueued_calls(self, task: Task[..., Any] | str | None = None, /) -> list[Enqueued]:
        """All calls that were made in this sandbox (of ``task``, which may be its name), in their order; also those that have
        run meanwhile. Duplicates of an earlier call are none."""
        calls = [Enqueued(one, self._task_of(one)) for one in self._made]
        name = task if isinstance(task, str) or task is None else task.name
        return [call for call in calls if name is None or call.task == name]

    def assert_enqueued(self, task: Task[..., Any] | str, /, *args: Any, times: int | None = None, **given: Any) -> Enqueued:
        """See :func:`assert_enqueued`."""
        if times is not None and times < 1:
            raise ValueError(f"assert_enqueued(times={times}): that it was not enqueued at all says assert_not_enqueued")
        wanted, calls = self._wanted(task, args, given), self.enqueued_calls()
        found = [call for call in calls if wanted.matches(call)]
        if not found:
            raise AssertionError(wanted.failure("was not enqueued", calls, self._redact))
        if times is not None and len(found) != times:
            raise AssertionError(wanted.failure(f"was enqueued {_count(len(found))}, not {_count(times)}", calls, self._redact))
        return found[0]

    def assert_not_enqueued(self, task: Task[..., Any] | str, /, *args: Any, **given: Any) -> None:
        """See :func:`assert_not_enqueued`."""
        wanted, calls = self._wanted(task, args, given), self.enqueued_calls()
        found = [call for call in calls if wanted.matches(call)]
        if found:
            raise AssertionError(wanted.failure(f"was enqueued {_count(len(found))}", found, self._redact))

    def forget_calls(self) -> None:
        """Assertions from now on are about later calls only. What waits in the store stays there."""
        self._made.clear()

    def _wanted(self, task: Task[..., Any] | str, args: tuple[Any, ...], given: Mapping[str, Any]) -> Wanted:
        known = self.app.resolve(task) if isinstance(task, str) else task
        return Wanted(task, known, args, given)

    @property
    def _redact(self) -> Sequence[str]:
        return self.app.settings.redact

    def _task_of(self, envelope: Envelope) -> Task[..., Any] | None:
        try:
            return self.app.resolve(decode_body(envelope.body).t)
        except WireError:
            return None

    def name_of(self, id: str) -> str | None:
        """The task's name of a call that was made here."""
        return next((decode_body(one.body).t for one in self._made if one.id == id), None)

    # -- what the producer and the broker ask

    def prepared(self, envelopes: Sequence[Envelope]) -> Sequence[Envelope]:
        """The envelopes as they are to be stored."""
        if isinstance(self.clock, FrozenClock) and any(one.due for one in envelopes):
            before = self.clock.now()
            self.clock.catch_up()
            self.ticking.skip(before)
        if not self.eager:
            return envelopes
        return [msgspec.structs.replace(one, due=0, after=0, extras=_unheld(one.extras)) for one in envelopes]

    def stored(self, envelopes: Sequence[Envelope], answers: Sequence[Receipted]) -> None:
        """Note the calls; run them, where calls are eager and not made by a task: what a task calls is run after it."""
        self.note([one for one, answer in zip(envelopes, answers, strict=True) if answer.duplicate_of is None])
        if self.eager and not stepping.get():
            self.run_eagerly()

    def note(self, envelopes: Sequence[Envelope]) -> None:
        """These were made here."""
        self._made += envelopes

    def prepared_node(self, node: Node) -> Node:
        """A node as it is to be stored."""
        if not self.eager or node.envelope is None:
            return node
        return msgspec.structs.replace(node, envelope=msgspec.structs.replace(node.envelope, due=0, after=0))

    def note_nodes(self, nodes: Sequence[Node]) -> None:
        """Members of flows are calls too."""
        envelopes = [node.envelope for node in nodes if node.envelope is not None]
        self.queues.update(envelope.queue for envelope in envelopes)
        self._made += envelopes

    def note_handler(self, handler: Envelope | None) -> None:
        """A failure handler may come into its queue."""
        if handler is not None:
            self.queues.add(handler.queue)

    def run_eagerly(self) -> None:
        """Run all that is ready, with a worker that no other call is using: that one is in the middle of a task."""
        try:
            worker = self._free.pop()
        except IndexError:
            worker = self._new_worker()
        worker.skips_waits, worker.retries = True, self.retry
        worker.tick = lambda _: None
        try:
            worker.run_until_idle(propagate=self.propagate)
        finally:
            self._free.append(worker)


class SandboxProducer(Producer):
    """The app's producer inside a sandbox."""

    sandbox: Sandbox

    def enqueue(self, envelopes: Sequence[Envelope]) -> list[Receipted]:
        answers = super().enqueue(self.sandbox.prepared(envelopes))
        self.sandbox.stored(envelopes, answers)
        return answers

    def stored(self, envelopes: Sequence[Envelope]) -> None:
        super().stored(envelopes)
        self.sandbox.note(envelopes)

    def flow_sent(self) -> None:
        self.sandbox.stored((), ())


class SandboxBroker(MemoryBroker):
    """The memory broker; but nobody else would end a wait for a result, so it never begins one."""

    def __init__(self, sandbox: Sandbox, settings: Any) -> None:
        super().__init__(sandbox.store, settings, sandbox.clock)
        self._sandbox = sandbox

    def accept(self, envelope: Envelope, now: int) -> Receipted:
        self._sandbox.queues.add(envelope.queue)
        return super().accept(envelope, now)

    def open_flow(self, flow: Flow) -> bool:
        self._sandbox.note_handler(flow.handler)
        return super().open_flow(flow)

    def add_nodes(self, flow: str, nodes: Sequence[Node]) -> bool:
        nodes = [self._sandbox.prepared_node(node) for node in nodes]
        self._sandbox.note_nodes(nodes)
        return super().add_nodes(flow, nodes)

    def exchange(self, holder: str, seq: int, settles: Sequence[Settle], queues: Sequence[str], limit: int) -> Exchanged:
        for settle in settles:
            if isinstance(settle.outcome, Replaced):
                self._sandbox.note_nodes(settle.outcome.nodes)
        return super().exchange(holder, seq, settles, queues, limit)

    def await_flow(self, id: str, timeout: float) -> FlowSeen | None:
        seen = self.flow(id)
        if seen is not None and not seen.state.final and self._sandbox.eager:
            self._sandbox.run_eagerly()
            seen = self.flow(id)
        if seen is None or seen.state.final:
            return seen
        raise SandboxError(
            f"flow {id} is {seen.state}, and nothing runs here by itself: call worker.run_until_idle() before result.get() "
            "(after clock.advance(…), if a member waits for its time), or make calls eager"
        )

    def await_record(self, id: str, timeout: float) -> Record | None:
        record = self.record(id)
        if record is not None and not record.state.final and self._sandbox.eager:
            self._sandbox.run_eagerly()
            record = self.record(id)
        if record is None or record.state.final:
            return record
        name = self._sandbox.name_of(id) or "the task"
        raise SandboxError(
            f"{name}[{id}] is {record.state}, and nothing runs here by itself: call worker.run_until_idle() before result.get() "
            "(after clock.advance(…), if it waits for its time), or make calls eager"
        )


_HOLDING = (Extra.LANE, Extra.GROUP, Extra.DEBOUNCE)


def _unheld(extras: dict[int, bytes] | None) -> dict[int, bytes] | None:
    """Extras without what would keep an eager call from running at once."""
    return {tag: value for tag, value in extras.items() if tag not in _HOLDING} or None if extras else None


def sandbox_of(app: Umbel | None) -> Sandbox:
    """The innermost open sandbox (of ``app``). ``SandboxError`` if there is none."""
    for one in reversed(_open):
        if app is None or one.app is app:
            return one
    raise SandboxError("no sandbox is open for this app: ask for the fixture umbel_worker, or write with Sandbox(app) as box: …")


def assert_enqueued(task: Task[..., Any] | str, /, *args: Any, times: int | None = None, **given: Any) -> Enqueued:
    """Assert that a call of ``task`` (or of that name) was made in the sandbox, and answer with the first one.

    Arguments are compared by parameter, however they were passed, and by the values that the worker will get; those that are not
    named are not compared (``unittest.mock.ANY`` leaves one out). So are the options of the call: ``queue priority countdown eta
    expires headers task_id``; a parameter of the task with such a name goes first, look at the answer's ``.queue`` then.
    ``times``: exactly so many such calls. It does not matter whether it has run since. ``AssertionError`` says what was made.
    """
    return _sandbox_for(task).assert_enqueued(task, *args, times=times, **given)


def assert_not_enqueued(task: Task[..., Any] | str, /, *args: Any, **given: Any) -> None:
    """Assert that no such call was made in the sandbox; see :func:`assert_enqueued`."""
    _sandbox_for(task).assert_not_enqueued(task, *args, **given)


def enqueued_calls(task: Task[..., Any] | str | None = None, /) -> list[Enqueued]:
    """All calls of ``task`` (None: of any) that were made in the sandbox, in their order."""
    return _sandbox_for(task).enqueued_calls(task)


def _sandbox_for(task: Task[..., Any] | str | None) -> Sandbox:
    return sandbox_of(None if task is None or isinstance(task, str) else task.app)


def _count(times: int) -> str:
    return {1: "once", 2: "twice"}.get(times, f"{times} times")
