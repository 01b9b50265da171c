"""Why is my task not running? From what the store says to sentences, the most telling first."""

from __future__ import annotations

from ..broker import Broker, QueueStats
from ..envelope import CANCELLED
from ..facets import Inspects, Limits, Listed, Place, Record, State, Waits
from ..outcome import DEAD_REASONS
from .lanes import lane_sentence
from .roster import Roster, knows
from .summary import task_of
from .terminal import age, moment, pasted

AHEAD_MAX = 10_000
"""So many messages are counted before it; beyond, the exact number tells nobody anything."""
_PAGE = 1_000


def why(broker: Broker, listed: Listed | None, record: Record | None, roster: Roster, now: int) -> list[str]:
    """Sentences on where a message stands, and what to do."""
    if listed is None:
        return _gone(record, now)
    if listed.place == Place.DEAD:
        return _dead(listed, now)
    if listed.place == Place.LEASED:
        return _leased(listed, record, roster, now)
    stats = next((one for one in broker.stats() if one.queue == listed.envelope.queue), QueueStats(listed.envelope.queue))
    said = _state(listed, now) + _queue(listed, stats, roster)
    if listed.place == Place.READY:
        said += _lane(broker, listed, now)
        said.append(_ahead(broker, listed))
    return said


def _lane(broker: Broker, listed: Listed, now: int) -> list[str]:
    """What its lane waits for, if it stands in one that waits for more than a worker."""
    seen = broker.lane(listed.envelope) if isinstance(broker, Limits) else None
    return [lane_sentence(seen, now)] if seen and seen.waits not in (Waits.NOTHING, Waits.PAUSED) else []


def _gone(record: Record | None, now: int) -> list[str]:
    if record is None:
        return [
            "the store knows no message with this id: it finished (only tasks with track=True leave a record, for record_ttl), "
            "it was never sent, or it was sent to another store"
        ]
    if record.state.final:
        ended = f"{moment(record.finished)}, {age(now - record.finished)} ago" if record.finished else "already"
        words = {State.SUCCESS: "succeeded", State.FAILURE: "failed", State.REVOKED: "was cancelled", State.EXPIRED: "expired"}
        return [f"it {words[record.state]} {ended}" + (f" ({record.reason})" if record.reason else "")]
    return [f"its record says {record.state}, but the message is not in the store: it may just be moving, ask again"]


def _dead(listed: Listed, now: int) -> list[str]:
    meaning = DEAD_REASONS.get(listed.reason, "it was set aside").replace("`", "")
    since = f" for {age(now - listed.died)}" if listed.died else ""
    said = [f"it is a dead letter{since} ({listed.reason or 'no reason kept'}): {meaning}"]
    return said + ([f"to run it again: umbel dead retry {pasted(listed.envelope.id)}"] if listed.envelope.id else [])


def _leased(listed: Listed, record: Record | None, roster: Roster, now: int) -> list[str]:
    since = f", handed out {age(now - record.started)} ago" if record and record.started else ""
    seen = roster.get(listed.worker or "")
    place = f" (pid {seen.about.pid} on {seen.about.host})" if seen and seen.about.pid else ""
    said = [f"it is in the hands of worker {listed.worker}{place}{since}"]
    if seen is not None and not seen.alive:
        rescue = "another worker gives it back soon" if roster.alive() else "start a worker: it gives it back after its own first lease"
        said.append(f"that worker's lease ended {age(-seen.left)} ago; {rescue}")
    return said + _flags(listed, now)


def _state(listed: Listed, now: int) -> list[str]:
    e = listed.envelope
    said = _flags(listed, now)
    if e.parked:
        said.append(f"it is parked since {moment(e.parked)}: no worker that saw it knew its task, or its parameters")
    if listed.place == Place.SCHEDULED and listed.due:
        until = listed.due - now
        cause = "next try" if e.parked else f"attempt {e.attempt}" if e.attempt > 1 else "it is not due yet"
        said.append(f"{cause}: due in {age(until)}, {moment(listed.due)}" if until > 0 else f"it is due since {age(-until)}")
    return said


def _flags(listed: Listed, now: int) -> list[str]:
    e = listed.envelope
    said = []
    if e.flags & CANCELLED:
        said.append("it is cancelled, and will not run again")
    if e.expires and e.expires <= now:
        said.append(f"it expired {age(now - e.expires)} ago, and is dropped when its turn comes")
    return said


def _queue(listed: Listed, stats: QueueStats, roster: Roster) -> list[str]:
    queue, task = listed.envelope.queue, task_of(listed.envelope)
    said = []
    if stats.paused:
        said.append(f"queue {queue!r} is paused: umbel queues resume {pasted(queue)}")
    if roster.seen is None:
        return said
    serving = roster.serving(queue)
    if not serving:
        said.append(nobody_serves(queue, roster))
    elif not knows(serving, task):
        said.append(f"no worker that serves {queue!r} knows the task {task!r}: is an older release running?")
    return said


def nobody_serves(queue: str, roster: Roster) -> str:
    """The sentence for the most usual cause of all."""
    if not roster.alive():
        return f"no worker is running, so nobody serves {queue!r}: umbel worker"
    return f"no worker serves {queue!r} (those that run serve {', '.join(roster.served()) or 'nothing'}): umbel worker -Q {pasted(queue)}"


def _ahead(broker: Broker, listed: Listed) -> str:
    """Where it stands in its queue. Counted page by page, up to ``AHEAD_MAX``."""
    if not isinstance(broker, Inspects):
        return "it is ready"
    before, cursor = 0, None
    while before < AHEAD_MAX:
        page = broker.browse(listed.envelope.queue, Place.READY, _PAGE, cursor)
        ids = [one.envelope.id for one in page.messages]
        if listed.envelope.id in ids:
            before += ids.index(listed.envelope.id)
            return f"it is ready, behind {before:,} in its queue" if before else "it is ready, and the next of its queue"
        before, cursor = before + len(ids), page.cursor
        if cursor is None:
            return "it was ready a moment ago; ask again"
    return f"it is ready, behind more than {AHEAD_MAX:,} in its queue"
