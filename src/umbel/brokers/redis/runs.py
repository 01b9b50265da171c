"""What goes into a script: envelopes as runs, settles as arguments.

A run is a header (queue, priority, kind, count) and its envelopes: see ``lua/parts/accept.lua``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...broker import Settle
from ...envelope import EXPLICIT, TRACKED, Envelope, Receipt, id_bytes
from ...errors import WireError
from ...intake import Intake, queue_bytes
from ...outcome import Dead, Done, Dropped, Node, Outcome, Released, Replaced, Retry

Argument = bytes | str | int


def runs(envelopes: Sequence[Envelope], packed: Sequence[bytes]) -> list[Argument]:
    """Script arguments for new envelopes and their packed forms, in order."""
    arguments: list[Argument] = []
    run: tuple[str, int, str] | None = None
    begun = 0
    for e, form in zip(envelopes, packed, strict=True):
        kind = "m" if e.extras or e.flags & TRACKED else "x" if e.flags & EXPLICIT else "s" if e.due > 0 or e.after > 0 else "r"
        if run != (e.queue, e.priority, kind):
            _end_run(arguments, begun, run)
            run = (e.queue, e.priority, kind)
            arguments += (queue_bytes(e.queue), e.priority, kind, 0)
            begun = len(arguments)
        if kind == "x":
            arguments.append(_stored(e.id))
        elif kind == "m":
            arguments.append(int(bool(e.flags & EXPLICIT)))
        if kind != "r":
            arguments += (e.due, e.after)
        arguments.append(form)
    _end_run(arguments, begun, run)
    return arguments


_WIDTHS = {"r": 1, "s": 3, "x": 4, "m": 4}


def _stored(id: str) -> bytes:
    packed, raw = id_bytes(id)
    return (b"r" if raw else b"t") + packed


def stored_id(id: str) -> bytes | None:
    """An id as the scripts know it, a letter before it that says how to read it (r: raw, t: text); None if it is nobody's."""
    try:
        return _stored(id)
    except (WireError, UnicodeEncodeError):
        return None


def _end_run(arguments: list[Argument], begun: int, run: tuple[str, int, str] | None) -> None:
    """Write down how many envelopes stand since ``begun``."""
    if run is not None:
        arguments[begun - 1] = (len(arguments) - begun) // _WIDTHS[run[2]]


def field(receipt: Receipt) -> str:
    """A delivery's field in its holder's hash."""
    return f"{receipt[1]}:{receipt[2]}"


def outcome_arguments(outcome: Outcome) -> tuple[Argument, Argument, Argument]:
    """kind, a, b: see ``lua/parts/outcome.lua``."""
    match outcome:
        case Done(result):
            return ("D", b"", b"") if result is None else ("V", result, b"")
        case Dropped(reason, error):
            return "X", reason, error
        case Dead(reason, error):
            return "B", reason, error
        case Retry(after, error):
            return "R", max(after, 0), error
        case Released(after, reason, parked):
            return "F", max(after, 0), 1 if parked else 2 if reason == "unbegun" else 0
        case Replaced(needs, value, _):
            return "N", needs, value


def node_arguments(nodes: Sequence[Node], intake: Intake) -> list[Argument]:
    """Script arguments for nodes: see ``lua/parts/member.lua``."""
    arguments: list[Argument] = []
    for node, packed in zip(nodes, intake.noded(nodes), strict=True):
        arguments += (node.number, int(node.flags), node.needs, node.expires_after, node.label, len(node.followers))
        for edge in node.followers:
            arguments += edge
        if node.envelope is None or packed is None:
            arguments += (b"", 0, 0, b"")
        else:
            arguments += (queue_bytes(node.envelope.queue), node.envelope.due, node.envelope.after, packed)
    return arguments


class SettleArguments:
    """The settles of one exchange: those with nothing to do but to remove the delivery, and the others.

    Receipts of another holder are absent, whatever they say: nothing of this holder's may be touched for them.
    """

    __slots__ = ("_intake", "carries", "order", "others", "plain")

    def __init__(self, holder: str, settles: Sequence[Settle], intake: Intake) -> None:
        self._intake = intake
        self.plain: list[Argument] = []
        self.others: list[Argument] = []
        self.carries = False
        """Do they bring new envelopes?"""
        self.order = ""
        """One letter for each settle, p, o or f; empty when all are plain."""
        if (plain := _all_plain(holder, settles)) is not None:
            self.plain = plain
            return
        letters = []
        unlike = len({s.receipt for s in settles}) == len(settles)  # twice the same receipt: their order decides
        for settle in settles:
            receipt = settle.receipt
            if receipt[0] != holder:
                letters.append("f")
            elif unlike and not settle.then and type(settle.outcome) is Done and settle.outcome.result is None:
                letters.append("p")
                self.plain.append(f"{receipt[1]}:{receipt[2]}")
            else:
                letters.append("o")
                self._add_other(settle)
        self.order = "".join(letters)

    def _add_other(self, settle: Settle) -> None:
        then = runs(settle.then, self._intake.carried(settle))
        if type(settle.outcome) is Replaced:
            nodes = node_arguments(settle.outcome.nodes, self._intake)
            then = [len(nodes), *nodes, *then]
        self.carries = self.carries or bool(then)
        self.others += (field(settle.receipt), *outcome_arguments(settle.outcome), len(then), *then)


def _all_plain(holder: str, settles: Sequence[Settle]) -> list[Argument] | None:
    """Their fields if all have nothing to do but to remove a delivery of this holder, as nearly always; else None."""
    fields: list[Argument] = []
    for settle in settles:
        name, seq, index = settle.receipt
        outcome = settle.outcome
        if settle.then or name != holder or type(outcome) is not Done or outcome.result is not None:
            return None
        fields.append(f"{seq}:{index}")
    return fields if len(set(fields)) == len(fields) else None
