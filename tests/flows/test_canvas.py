"""The canvas, in Celery's words: what runs, with which arguments, and what comes of it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from umbel import ArgumentError, ConfigError, FlowFailed, FlowState, TaskRevoked, Umbel, chain, chord, group
from umbel.envelope import pack
from umbel.errors import EnqueueRefused, ResultNotKept, ResultUnreadable
from umbel.joins import NodeState
from umbel.testing import Sandbox

from . import tasks
from .conftest import Go
from .tasks import add, branch, double, fails, flow_id, gives_up, handle, next_day, note, show, sound, step, total, unkept


@pytest.fixture(autouse=True)
def _clean() -> None:
    for left in (tasks.failing, tasks.handled, tasks.seen):
        left.clear()


SHAPES: list[tuple[Any, Any]] = [
    (lambda: chain(add.s(1, 2), add.s(3), add.s(4)), 10),
    (lambda: add.s(1, 2) | add.s(3) | add.s(4), 10),
    (lambda: chain([add.s(1, 2), add.s(3)]), 6),
    (lambda: chain(chain(add.s(1, 2), add.s(3)), chain(add.s(4))), 10),
    (lambda: chain(add.s(1, 2), add.si(5, 6)), 11),
    (lambda: chain(next_day.s(date(2026, 12, 31)), next_day.s(days=2)), "2027-01-03"),
    (lambda: chain(double.s(4), double.s()), 16),
    (lambda: group(add.s(1, 1), add.s(2, 2)), [2, 4]),
    (lambda: group([add.s(1, 1)]), [2]),
    (lambda: group([]), []),
    (lambda: group(group(add.s(1, 1), add.s(2, 2)), add.s(3, 3), group()), [[2, 4], 6, []]),
    (lambda: chord([add.s(i, i) for i in range(4)], total.s()), 12),
    (lambda: chord([], total.s()), 0),
    (lambda: chord(group(add.s(1, 1)), total.s()) | add.s(1), 3),
    (lambda: group(add.s(1, 1), add.s(2, 2)) | total.s(), 6),
    (lambda: group(add.s(1, 1), add.s(2, 2)) | total.s() | add.s(1), 7),
    (lambda: chain(add.s(1, 1), group(add.s(10), add.s(20)), total.s()), 34),
    (lambda: add.s(1, 1) | group(add.s(10), add.s(20)), [12, 22]),
    (lambda: group(add.s(1, 1), add.s(2, 2)) | group(show.s(), show.s(7)), [[[[2, 4]], {}], [[[2, 4], 7], {}]]),
    (lambda: chain(group(), group(show.s()), show.s()), [[[[[[]], {}]]], {}]),
    (lambda: chain(group(chain(add.s(1, 1), add.s(1)), chord([add.s(2, 2)], total.s())), total.s()), 7),
    (lambda: chord([chord([add.s(1, 1)], total.s()), group(add.s(2, 2))], show.s()), [[[2, [4]]], {}]),
    (lambda: chain(add.s(1, 1), chord([add.s(1), add.s(2)], total.s()), add.s(100)), 107),
    (lambda: chain(add.starmap([(1, 2), (3, 4)]), total.s()), 10),
    (lambda: chain(double.map([1, 2, 3])), [2, 4, 6]),
    (lambda: chain(next_day.map([date(2026, 1, 1)])), ["2026-01-02"]),
    (lambda: add.chunks(((i, i) for i in range(5)), 2), [[0, 2], [4, 6], [8]]),
    (lambda: add.chunks([(i, i) for i in range(5)], 2) | show.s(), [[[[0, 2], [4, 6], [8]]], {}]),
    (lambda: group(add.s(i, i) for i in range(5)), [0, 2, 4, 6, 8]),
    (lambda: group(add.s(i, i) for i in range(0)), []),
    (lambda: chord((add.s(i, i) for i in range(5)), total.s()), 20),
    (lambda: chord((add.s(i, i) for i in range(0)), total.s()), 0),
    (lambda: group(add.s(i, i) for i in range(5)) | total.s() | add.s(1), 21),
    (lambda: group(chain(add.s(i, i), add.s(1)) for i in range(3)) | total.s(), 9),
    (lambda: group(chord([add.s(i, i)], total.s()) for i in range(3)) | group(total.s(), show.s()), [6, [[[0, 2, 4]], {}]]),
    (lambda: chain(add.s(1, 1), group(add.s(i) for i in range(3)), total.s()), 9),
    (lambda: chain(branch.s(3, "call"), add.s(100)), 104),
    (lambda: chain(branch.s(3, "chain"), add.s(100)), 105),
    (lambda: chain(branch.s(3, "chord"), add.s(100)), 106),
    (lambda: chain(branch.s(3, "group"), total.s()), 6),
    (lambda: chain(branch.s(0, "group"), total.s()), 0),
    (lambda: chain(branch.s(3, "again"), add.s(100)), 104),
    (lambda: group(branch.s(3, "group"), add.s(1, 1)) | show.s(), [[[[1, 2, 3], 2]], {}]),
    (lambda: chain(branch.s(3, "no"), add.s(100)), 103),
]


@pytest.mark.parametrize(("make", "value"), SHAPES, ids=range(len(SHAPES)))
def test_shapes_and_their_values(go: Go, make: Any, value: Any) -> None:
    result = go(make())
    assert result.get(timeout=1) == value if not isinstance(value, str) else str(result.get(timeout=1)) == value
    assert result.state is FlowState.SUCCESS
    seen = result.seen()
    assert seen is not None
    assert (seen.done, seen.failed, seen.abandoned) == (seen.total, 0, 0)


def test_a_value_is_typed_by_the_last_tasks_annotation(go: Go) -> None:
    assert go(chain(next_day.s(date(2026, 1, 1)))).get() == date(2026, 1, 2)


def test_arguments_of_the_whole_go_to_what_begins_it(go: Go) -> None:
    assert go(chain(add.s(1), add.s(10)), 5).get() == 16
    assert go(group(add.s(1), add.s(2)), 5).get() == [6, 7]
    assert go(chord([add.s(1), add.s(2)], total.s()), 5).get() == 13
    assert go(group(add.s(i) for i in range(2)) | total.s(), 5).get() == 11
    assert go(group(add.s(i) for i in range(2)), 5, queue="own").get() == [5, 6]
    assert chord([add.s(1, 1)])(total.s()).get is not None
    assert go.on() == ["add", "total"]


def test_members_of_a_generator_run_before_it_ends(go: Go) -> None:
    ran: list[int] = []

    def members() -> Any:
        for n in range(2_500):
            if n == 2_000:
                ran.append(len(go.on()))
            yield add.si(n, 0)

    result = go(chord(members(), show.s()))
    assert ran == [2_000]
    assert result.get() == [[list(range(2_500))], {}]


def test_a_failing_generator_cancels_the_flow(go: Go) -> None:
    def members() -> Any:
        yield from (add.s(n, 0) for n in range(1_500))
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone") as caught:
        go(chord(members(), total.s()))
    [note] = caught.value.__notes__
    id = note.split()[1]
    assert go.on() == []
    assert tasks.app.FlowResult(id).state is FlowState.REVOKED


def test_each_message_of_a_long_chain_is_small(go: Go, box: Sandbox) -> None:
    go(chain([add.s(1, 1), *(add.s(1) for _ in range(3_000))]))
    sizes = [len(pack(envelope)) for envelope in box._made]
    assert len(sizes) == 3_001
    assert max(sizes) < 300


def test_groups_after_groups_have_a_gate_between(go: Go) -> None:
    result = go(chain(group([add.s(1, 1)] * 30), group([show.s()] * 30)))
    edges = sum(last - first + 1 for node in result.nodes() for first, last in node.followers)
    assert edges == 60
    assert result.get() == [[[[2] * 30], {}]] * 30


def test_a_flow_that_fails(go: Go) -> None:
    result = go(chain(add.s(1, 1), fails.s(), add.s(1), add.s(1)).link_error(handle.s()))
    assert go.ran == ["add", "fails", "handle"]
    assert (result.failed(), result.ready(), result.successful()) == (True, True, False)
    with pytest.raises(FlowFailed, match="boom") as caught:
        result.get()
    assert (caught.value.type, caught.value.reason, caught.value.node, caught.value.flow) == ("ValueError", "failed", 2, result.id)
    assert "in fails" in caught.value.traceback
    [failure] = tasks.handled
    assert (failure.flow, failure.node, failure.task_id, failure.type, failure.message) == (
        result.id, 2, caught.value.task_id, "ValueError", "boom",
    )  # fmt: skip
    assert [node.state for node in sorted(result.nodes(), key=lambda n: n.number)] == ["DONE", "FAILED", "ABANDONED", "ABANDONED"]


def test_retry_runs_only_what_is_missing(go: Go) -> None:
    tasks.failing.add("b")
    result = go(chain(step.si("a"), step.si("b"), step.si("c")))
    assert go.ran == ["step", "step"]
    tasks.failing.clear()
    assert result.retry() == 1
    assert go.on() == ["step", "step"]
    assert result.get() == "c"
    assert result.retry() == 0


def test_a_chord_whose_member_fails(go: Go) -> None:
    result = go(chord([add.s(1, 1), fails.s()], total.s()))
    assert sorted(go.ran) == ["add", "fails"]
    with pytest.raises(FlowFailed):
        result.get()


def test_continue_gives_followers_the_failure(go: Go) -> None:
    whole = chord([add.s(1, 1), fails.s(), gives_up.s(), add.s(2, 2)], sound.s()).set(on_error="continue")
    assert go(whole).get() == [2, 4]
    plain = go(group(add.s(1, 1), fails.s()) | note.s(), on_error="continue")
    assert plain.state is FlowState.SUCCESS
    [[good, bad]] = tasks.seen
    assert good == 2
    assert (bad.reason, bad.type, bad.message) == ("failed", "ValueError", "boom")


def test_continue_for_one_part_alone(go: Go) -> None:
    assert go(chain(fails.s().set(on_error="continue"), show.s())).get()[0][0]["type"] == "ValueError"
    assert go(chord([fails.s(), add.s(1, 1)], sound.s()).set(on_error="continue") | add.si(1, 1)).get() == 2
    with pytest.raises(FlowFailed):
        go(chain(group(fails.s(), add.s(1, 1)).set(on_error="continue"), fails.s())).get()
    with pytest.raises(ConfigError, match="stop"):
        add.s().set(on_error="ignore")


def test_a_failure_that_does_not_fit_the_annotation_is_a_dead_letter(go: Go) -> None:
    with pytest.raises(FlowFailed) as caught:
        go(chord([fails.s().set(on_error="continue")], total.s())).get()
    assert caught.value.reason == "bad_arguments"


def test_links(go: Go) -> None:
    result = add.s(1, 1).link(note.s()).link(chain(add.s(10), note.s())).delay()
    go.on()
    assert result.get() == 2
    assert sorted(tasks.seen) == [2, 12]
    go(chain(add.s(1, 1), add.s(1)).link(note.s()))
    assert tasks.seen[-1] == 3
    go(group(add.s(1, 1)), link=note.s())
    assert tasks.seen[-1] == [2]


def test_links_of_what_is_read_while_it_is_sent(go: Go) -> None:
    go(chord((add.s(n, n) for n in range(3)), total.s()).link(note.s()).link_error(handle.s()))
    assert tasks.seen == [6]
    go(chord((add.s(n, n) for n in range(3)), fails.s()).link_error(handle.s()))
    assert len(tasks.handled) == 1
    go(group(add.s(n, n) for n in range(3)).link(note.s()))
    assert tasks.seen[-1] == [0, 2, 4]
    go(chain(chord((fails.s() for _ in range(2)), sound.s()).set(on_error="continue"), note.s()))
    assert tasks.seen[-1] == []
    go(chain(group(fails.s() for _ in range(2)), sound.s(), note.s()), on_error="continue")
    assert tasks.seen[-1] == []


def test_link_error_of_a_single_call(go: Go) -> None:
    fails.s().link_error(handle.s()).delay()
    assert go.on() == ["fails", "handle"]
    with pytest.raises(ConfigError, match="one failure handler"):
        chain(fails.s().link_error(handle.s()), fails.s().link_error(note.s())).delay()


def test_options_of_the_whole(go: Go, box: Sandbox) -> None:
    part = chain(add.s(1, 1), add.s(1).set(queue="own"))
    part.apply_async(countdown=60, queue="all", priority=7, headers={"a": 1}, expires=timedelta(hours=1))
    assert go.on() == []
    box.clock.advance(61)
    assert go.on() == ["add", "add"]
    second, first = box.enqueued_calls()
    assert [(call.queue, call.priority, call.headers) for call in (first, second)] == [("all", 7, {"a": 1}), ("own", 7, {"a": 1})]
    with pytest.raises(ConfigError, match="did you mean 'countdown'"):
        part.apply_async(countdow=60)
    with pytest.raises(ConfigError, match="countdow"):
        part.set(countdow=60)


def test_expires_of_a_task_counts_from_when_it_is_ready(go: Go, box: Sandbox) -> None:
    quick = tasks.app.task(name="quick", expires=60)(lambda *args: "in time")
    result = chain(step.si("a"), quick.s()).apply_async(countdown=3_600)
    box.clock.advance(3_601)
    go.on()
    assert result.get() == "in time"


def test_an_id_of_ones_own(go: Go) -> None:
    assert go(chain(add.s(1, 1)), task_id="sync-7").id == "sync-7"
    go(chain(add.s(1, 1)), task_id="sync-7")
    assert go.ran == [], "the same flow once more"
    assert tasks.app.FlowResult("sync-7").get() == 2
    with pytest.raises(ConfigError, match="task_id"):
        chain(add.s(1, 1).set(task_id="x")).delay()


def test_calls_are_checked_before_anything_is_stored(go: Go, box: Sandbox) -> None:
    for wrong, words in (
        (chain(add.s(1, 1), total.s(2)), r"2 were given; in the flow it is given 1 value .* \.si\(\)"),
        (chain(add.s(1)), "missing"),
        (chord([add.s(1, 1)], total.si()), "missing"),
    ):
        with pytest.raises(TypeError, match=words):
            wrong.delay()
    with pytest.raises(ArgumentError):
        chain(add.s(1, 1), add.s(object())).delay()
    with pytest.raises(ConfigError, match="part 1 is a int"):
        chain(add.s(1, 1), 7)  # type: ignore[arg-type]  # what is shown
    with pytest.raises(ConfigError, match="chord needs a body"):
        chord([add.s(1, 1)]).delay()
    assert list(box.store.flows.all) == []


def test_not_inside_of_a_collector(box: Sandbox) -> None:
    with tasks.app.producer.collecting(), pytest.raises(EnqueueRefused, match="collected"):
        chain(add.s(1, 1)).delay()


@pytest.mark.parametrize("option", [{"unique": "{x}"}, {"debounce": 1, "debounce_key": "{x}"}, {"throttle": 1}])
def test_members_may_stand_for_no_other_call(option: dict[str, Any]) -> None:
    app = Umbel("flows", broker="memory://", set_as_current=False)

    @app.task(name="alone", **option)
    def alone(x: int) -> int:
        return x

    with pytest.raises(ConfigError, match=next(iter(option))):
        chain(alone.s(1)).delay()


@pytest.mark.parametrize("lock", ["sync:{x}", lambda x, y: f"sync:{x}"])
def test_a_lock_is_made_of_what_the_call_itself_says(go: Go, lock: Any) -> None:
    @tasks.app.task(name=f"locked {lock!r}", lock=lock)
    def locked(x: int, y: int) -> int:
        return x + y

    assert go(chain(locked.s(1, 2), show.s())).get() == [[3], {}]
    with pytest.raises(ArgumentError, match=r"lock.*comes from the step before"):
        chain(add.s(1, 1), locked.s(7)).delay()
    assert go(chain(add.s(1, 1), locked.si(7, 1))).get() == 8


def test_a_value_that_others_need_and_nobody_can_keep(go: Go) -> None:
    with pytest.raises(FlowFailed, match="cannot be kept"):
        go(chain(unkept.s(), show.s())).get()
    with pytest.raises(ResultUnreadable):
        go(chain(unkept.s())).get()
    assert go(chain(unkept.s(), step.si("a"))).get() == "a"


def test_replacing_by_what_fails(go: Go) -> None:
    tasks.failing.add("inner")
    result = go(chain(branch.s(3, "failing"), add.s(1)))
    with pytest.raises(FlowFailed, match="inner fails"):
        result.get()
    tasks.failing.clear()
    assert result.retry() == 1
    go.on()
    assert result.get() == 5


def test_replace_is_for_members(go: Go) -> None:
    branch.delay(3, "call")
    [run] = go.box.worker.run_until_idle(propagate=False)
    assert isinstance(run.error, ConfigError)
    assert "chain(" in str(run.error)


def test_a_member_knows_its_flow(go: Go) -> None:
    result = go(chain(flow_id.s(), flow_id.s()))
    assert result.get() == result.id
    assert flow_id.request.flow_id is None


def test_revoke(go: Go, box: Sandbox) -> None:
    result = chain(add.s(1, 1), add.s(1)).delay()
    assert result.revoke().found
    assert go.on() == []
    with pytest.raises(TaskRevoked):
        result.get()
    assert isinstance(result.get(propagate=False), TaskRevoked)
    assert result.retry() == 0
    assert result.forget()
    assert result.state is FlowState.UNKNOWN
    with pytest.raises(ResultNotKept):
        result.get()


def test_progress(go: Go, box: Sandbox) -> None:
    result = chain(add.s(1, 1), add.s(1)).delay()
    box.worker.run_one()
    progress = result.progress
    assert progress is not None
    assert (progress.done, progress.total, progress.fraction) == (1, 2, 0.5)
    assert {node.number: node.state for node in result.nodes()} == {1: NodeState.DONE, 2: NodeState.READY}
    with pytest.raises(ResultNotKept, match="no node named"):
        result.value_of("nobody")
    assert result.value_of(1) == 2


async def _awaited(result: Any) -> Any:
    return await result


def test_from_a_coroutine(go: Go) -> None:
    import asyncio

    async def main() -> Any:
        result = await chain(add.s(1, 1), add.s(1)).adelay()
        await asyncio.to_thread(go.on)
        return await result

    assert asyncio.run(main()) == 3


def test_eager_calls(shop: Any) -> None:
    with Sandbox(tasks.app, eager=True):
        assert chain(add.s(1, 1), add.s(1)).delay().get() == 3
        assert chord((add.s(i, i) for i in range(3)), total.s()).apply_async(countdown=60).get() == 6
        with pytest.raises(ValueError, match="boom"):
            chain(fails.s(), add.s(1)).delay()
    with Sandbox(tasks.app, eager=True, propagate=False):
        assert chain(fails.s(), add.s(1)).delay().failed()


def test_assertions_see_members(box: Sandbox) -> None:
    chain(add.s(1, 1), add.s(5)).delay()
    box.assert_enqueued(add, 1, 1)
    assert len(box.enqueued_calls(add)) == 2
    box.assert_not_enqueued(total)
