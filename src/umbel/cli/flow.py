"""``umbel flow``: list flows, draw one, retry, cancel, delete it."""

from __future__ import annotations

from itertools import islice

import click

from ..broker import Broker
from ..facets import require
from ..failure import decode_failure
from ..joins import FlowSeen, FlowState, Joins, NodeSeen
from .consent import agree
from .drawing import Drawing
from .exits import Refused
from .page import Pages
from .target import Target, storable, target_options
from .terminal import age, counted, facts, moment, note, pasted, say, say_json, shown, table

_STATES = [state.value for state in FlowState if state is not FlowState.UNKNOWN]
_PAGE = 500


@click.group(
    cls=Pages,
    exits=(0, 1, 2, 3, 69),
    invoke_without_command=True,
    examples="""
        umbel flow
        umbel flow show ID
        umbel flow retry ID
        umbel flow cancel ID --terminate
    """,
)
@target_options
@click.pass_context
def flow(context: click.Context) -> None:
    """List, draw, retry and cancel flows: chains, groups, chords, graphs. Alone: the list."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


@flow.command(
    "list",
    examples="""
        umbel flow list
        umbel flow list --state FAILURE -n 100
        umbel flow list --json
    """,
)
@target_options
@click.option("--state", type=click.Choice(_STATES, case_sensitive=False), help="Only in this state.")
@click.option("-n", "--limit", default=20, type=click.IntRange(1, 100_000), metavar="N", help="Flows to show.  [default: 20]")
@click.pass_obj
def list_(target: Target, /, state: str | None, limit: int) -> None:
    """Flows, the newest first."""
    with target.opened() as broker:
        now = broker.ping()
        found = list(islice((one for one in _flows(broker) if state is None or one.state == state.upper()), limit + 1))
    if target.as_json:
        say_json([_json(one) for one in found[:limit]])
        return
    if not found:
        say("no flows")
        return
    rows = [
        (one.id, f"{age(now - one.created)} ago", one.state, f"{one.done + one.failed:,}/{one.total:,}", one.label) for one in found[:limit]
    ]
    table(("ID", "BEGUN", "STATE", "ENDED", "FLOW"), rows, give=4, right=(3,), under=[_why(one) for one in found[:limit]])
    if len(found) > limit:
        note(f"there are more; -n {limit * 10} shows more")


@flow.command(
    exits=(0, 1, 2, 3, 69),
    examples="""
        umbel flow show 01a20ad0-0f39-73a4-9947-ab8671189a37
        umbel flow show ID --mermaid > flow.mmd
        umbel flow show ID --dot | dot -Tsvg > flow.svg
        umbel flow show ID --json | jq .nodes
    """,
)
@target_options
@click.option("--mermaid", "form", flag_value="mermaid", help="As a flowchart for Mermaid.")
@click.option("--dot", "form", flag_value="dot", help="As a digraph for Graphviz.")
@click.option("-n", "--limit", default=2_000, type=click.IntRange(1, 1_000_000), metavar="N", help="Nodes to draw.  [default: 2000]")
@click.argument("id", type=storable)
@click.pass_obj
def show(target: Target, /, id: str, form: str | None, limit: int) -> None:
    """One flow: how it stands, and all its tasks as a tree. ✓ done, ▸ ready or running, · waits for others, ✗ failed, - abandoned."""
    with target.opened() as broker:
        joins = require(broker, Joins)
        seen = _seen(joins, id)
        nodes = _nodes(joins, id, limit)
    drawing = Drawing(nodes)
    if target.as_json:
        say_json({**_json(seen), "nodes": [_node_json(node) for node in drawing.nodes.values()]})
    elif form is not None:
        say("\n".join(drawing.mermaid() if form == "mermaid" else drawing.dot()))
    else:
        _print(seen)
        say("\n".join(drawing.tree()))
        if seen.state is FlowState.FAILURE and seen.failed_node is not None:
            say(f"\nTo run what is missing: umbel flow retry {pasted(id)}")
    if len(nodes) >= limit:
        note(f"only {counted(limit, 'node')} were read; -n says how many")


@flow.command(
    exits=(0, 1, 2, 3, 69),
    examples="""
        umbel flow retry ID
    """,
)
@target_options
@click.argument("id", type=storable)
@click.pass_obj
def retry(target: Target, /, id: str) -> None:
    """Run the failed tasks of a flow again, and with them what was abandoned because of them. What is done stays done."""
    with target.opened() as broker:
        joins = require(broker, Joins)
        seen, retried = _seen(joins, id), 0
        while True:
            answer = joins.retry_flow(id)
            retried += answer.retried
            if not answer.found:
                raise Refused(f"flow {id!r} cannot be retried: it is {seen.state}" + (f" ({seen.reason})" if seen.reason else ""))
            if not answer.more or retried >= seen.failed > 0:
                break
    if target.as_json:
        say_json({"retried": retried})
    else:
        say(f"{counted(retried, 'task')} ready again" if retried else "nothing of it has failed")


@flow.command(
    exits=(0, 1, 2, 3, 69),
    examples="""
        umbel flow cancel ID
        umbel flow cancel ID --terminate
    """,
)
@target_options
@click.option("--terminate", is_flag=True, help="Tell tasks that run to stop.")
@click.argument("id", type=storable)
@click.pass_obj
def cancel(target: Target, /, id: str, terminate: bool) -> None:
    """End a flow: what waits never starts, and what runs does not run again."""
    with target.opened() as broker:
        joins = require(broker, Joins)
        seen = _seen(joins, id)
        answer = joins.cancel_flow(id, terminate)
        running = dict.fromkeys(answer.running)
        while answer.more:
            answer = joins.cancel_flow(id, terminate)
            running.update(dict.fromkeys(answer.running))
    if not answer.found and not running:
        raise Refused(f"flow {id!r} has ended already: it is {seen.state}")
    if target.as_json:
        say_json({"cancelled": id, "running": list(running)})
        return
    say(f"flow {shown(id)} is cancelled")
    if running:
        told = "told to stop" if terminate else "may end their runs; --terminate tells them to stop"
        say(f"{counted(len(running), 'task')} running: {told}")


@flow.command(
    exits=(0, 1, 2, 3, 69),
    examples="""
        umbel flow delete ID --yes
    """,
)
@target_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.argument("id", type=storable)
@click.pass_obj
def delete(target: Target, /, id: str, yes: bool) -> None:
    """Delete a flow that has ended, with the values and the dead letters of its tasks. It asks before it does."""
    with target.opened() as broker:
        joins = require(broker, Joins)
        seen = _seen(joins, id)
        if not seen.finished:
            raise Refused(f"flow {id!r} is {seen.state}, and something of it may still run: cancel it first")
        agree(f"Delete flow {shown(id)} and what is kept of its {counted(seen.total, 'task')}?", yes)
        done = joins.forget_flow(id)
    if target.as_json:
        say_json({"deleted": done})
    else:
        say("deleted" if done else "it was gone already")


def _flows(broker: Broker) -> list[FlowSeen]:
    joins, cursor, found = require(broker, Joins), None, list[FlowSeen]()
    while True:
        page = joins.flows(_PAGE, cursor)
        found += page.flows
        cursor = page.cursor
        if cursor is None:
            return found


def _seen(joins: Joins, id: str) -> FlowSeen:
    seen = joins.flow(id)
    if seen is None:
        raise Refused(f"there is no flow {id!r}: never stored, or forgotten (umbel flow list shows what there is)")
    return seen


def _nodes(joins: Joins, id: str, limit: int) -> list[NodeSeen]:
    found: list[NodeSeen] = []
    cursor = None
    while len(found) < limit:
        page = joins.flow_nodes(id, min(1_000, limit - len(found)), cursor)
        found += page.nodes
        cursor = page.cursor
        if cursor is None:
            break
    return found


def _why(seen: FlowSeen) -> str:
    if seen.state is not FlowState.FAILURE:
        return ""
    failure = decode_failure(seen.error)
    return f"{seen.reason}: {failure.type}: {failure.message}" if failure.type else seen.reason


def _print(seen: FlowSeen) -> None:
    ended = f"{seen.done:,} done, {seen.failed:,} failed, {seen.abandoned:,} abandoned, {seen.ready:,} ready or running, of {seen.total:,}"
    facts(
        [
            ("id", seen.id),
            ("flow", seen.label),
            ("state", seen.state),
            ("tasks", ended),
            ("begun", moment(seen.created)),
            ("ended", moment(seen.finished) if seen.finished else ""),
            ("failed", seen.failed_id),
            ("why", _why(seen)),
        ]
    )
    say()


def _json(seen: FlowSeen) -> dict[str, object]:
    failure = decode_failure(seen.error)
    error = {"type": failure.type, "message": failure.message, "traceback": failure.traceback} if seen.error else None
    names = ("id", "state", "label", "on_error", "total", "done", "failed", "abandoned", "ready", "reason", "failed_node", "failed_id")
    return {**{name: getattr(seen, name) for name in names}, "error": error, "created": seen.created, "finished": seen.finished or None}


def _node_json(node: NodeSeen) -> dict[str, object]:
    names = ("number", "id", "label", "state", "needs", "followers", "reason")
    return {name: getattr(node, name) for name in names}
