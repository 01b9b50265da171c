"""The hot path: settle and claim within one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...broker import BrokerSettings, Removed, Settle, Verdict
from ...envelope import Delivery
from ...errors import Fenced, SequenceError
from ...outcome import Done
from . import ending
from .accept import Prepared, accept
from .rows import SLOT_BITS, Row, delivery, read, side_by_side, slot_of
from .statements import SQL
from .store import Store

_FEW = 16
"""Up to so many settles are looked up one by one; more, and all that the holder holds is read at once."""
_LETTERS = {Verdict.WON: "w", Verdict.SUPERSEDED: "s", Verdict.ABSENT: "a"}
_VERDICTS = {letter: verdict for verdict, letter in _LETTERS.items()}


class Holder(NamedTuple):
    """An admitted holder, as the fence found it."""

    id: int
    name: str
    seq: int
    verdicts: str

    def last_verdicts(self) -> list[Verdict]:
        return [_VERDICTS[letter] for letter in self.verdicts]


def fence(store: Store, name: str, now: int) -> Holder:
    """The holder; ``Fenced`` if it may not act."""
    found = store.connection.execute(SQL["fence"], (name,)).fetchone()
    if found is None:
        raise Fenced(f"the holder {name!r} is not admitted (never was, retired, or rescued): it must end")
    id, seq, verdicts, _, expires, worker = found
    if expires <= now:
        raise Fenced(f"the lease of worker {worker!r} has run out: nothing until it is renewed", final=False)
    return Holder(id, name, seq, verdicts)


def is_repeat(holder: Holder, seq: int) -> bool:
    """Is it the last exchange once more? ``SequenceError`` if it is neither that nor the next one."""
    if seq == holder.seq and seq > 0:
        return True
    if seq != holder.seq + 1:
        raise SequenceError(f"exchange {seq} of holder {holder.name!r}: its last one was {holder.seq}")
    return False


def settle(
    store: Store,
    settings: BrokerSettings,
    holder: Holder,
    settles: Sequence[Settle],
    carried: Mapping[int, list[Prepared]],
    now: int,
    dropped: list[Removed],
) -> list[Verdict]:
    """Apply what is finished, in order. ``carried`` has what settles enqueue, by their index. Adds cancelled ones to ``dropped``."""
    if not settles:
        return []
    held = _held(store, holder, settles)
    verdicts: list[Verdict] = []
    finished: list[int] = []
    then: list[Prepared] = []
    for index, one in enumerate(settles):
        slot = slot_of(one.receipt, holder.name)
        found = held.pop(slot, None)
        if found is None:
            verdicts.append(_lost(store, holder, slot))
            continue
        verdicts.append(Verdict.WON)
        if type(one.outcome) is Done and found[1] is None and found[2] is None:  # nearly always: gathered, to be removed at once
            finished.append(found[0])
        else:
            _apply(store, found[0], one, now, dropped)
        if one.then:
            then += carried[index]
    store.connection.executemany(SQL["remove_run"], side_by_side(finished))
    if then:
        accept(store, settings, then, now)
    return verdicts


def _apply(store: Store, pos: int, one: Settle, now: int, dropped: list[Removed]) -> None:
    row = Row(*store.connection.execute(SQL["row"], (pos,)).fetchone())
    removed = ending.apply(store, row, one.outcome, now)
    if removed is not None and removed.reason == "cancelled":
        dropped.append(removed)


def _held(store: Store, holder: Holder, settles: Sequence[Settle]) -> dict[int, tuple[int, int | None, int | None]]:
    """(pos, record, flow) of deliveries by slot: of those that are settled at least."""
    execute = store.connection.execute
    if len(settles) > _FEW:
        rows = execute(SQL["held"], (holder.id,)).fetchall()
    else:
        slots = {slot_of(one.receipt, holder.name) for one in settles}
        rows = [row for slot in slots for row in execute(SQL["held_one"], (holder.id, slot))]
    return {slot: (pos, record, flow) for slot, pos, record, flow in rows}


def _lost(store: Store, holder: Holder, slot: int) -> Verdict:
    taken = store.connection.execute(SQL["taken_is"], (holder.id, slot)).fetchone()
    return Verdict.SUPERSEDED if taken else Verdict.ABSENT


def note(store: Store, holder: Holder, seq: int, verdicts: list[Verdict]) -> None:
    """Keep what repeating this exchange needs."""
    store.connection.execute(SQL["sequence"], (seq, "".join([_LETTERS[v] for v in verdicts]), holder.id))


def held_deliveries(store: Store, holder: int, name: str, seq: int | None = None) -> list[Delivery]:
    """What a holder holds, in the order of its receipts; with ``seq``, of one exchange only."""
    first, last = (0, 1 << 62) if seq is None else (seq << SLOT_BITS, (seq + 1 << SLOT_BITS) - 1)
    rows = store.connection.execute(SQL["held_data"], (holder, first, last)).fetchall()
    return [delivery(name, slot, read(data, queue, handed)) for slot, handed, data, queue in rows]
