"""States of a record, outcomes of a run, and every word that stands for a reason."""

from __future__ import annotations

from umbel.facets import Place, State
from umbel.outcome import DEAD_REASONS, DROPPED_REASONS, RELEASED_REASONS

from .declared import attribute_words
from .table import code, table


def page() -> str:
    """The page."""
    words = attribute_words(State)
    states = [(code(state), "yes" if state.final else "", words[state.name]) for state in State]
    return f"""# States and reasons

## States

What `AsyncResult.state` and `umbel task show` say of a tracked call (`track=True`). A final one changes no more, unless a dead letter
is run again.

{table(("state", "final", "what"), states)}
```text
 delay ──▶ PENDING ──▶ STARTED ──┬──▶ SUCCESS
   │          ▲                  ├──▶ FAILURE     (umbel dead retry: PENDING again)
   │      due │                  ├──▶ REVOKED     discarded, or cancelled while it ran
   └──▶ SCHEDULED ◀── snoozed, ──┤
        eta,          parked     ├──▶ PENDING     given back: shutdown, a dead child, a lost worker
        countdown                └──▶ RETRY ── due ──▶ STARTED

 before it begins, from any of them: EXPIRED (its expires has passed), REVOKED (cancelled, purged)
```

## Places

Where a message stands, tracked or not: {", ".join(code(place) for place in Place)}. `umbel queues list` counts
them. A message that has ended is gone from all of them, unless it is a dead letter.

## Reasons

### Why a message is a dead letter

`umbel dead list` shows the word, `--reason` chooses by it; so do `TaskFailed.reason` and the events `TaskFailed` and `Buried`.

{table(("reason", "what happened"), _rows(DEAD_REASONS))}
### Why a message is gone without an end of its own

{table(("reason", "what happened"), _rows(DROPPED_REASONS))}
### Why a message was given back

No attempt is used. The event `TaskReleased` tells the reasons that its own process decides.

{table(("reason", "what happened"), _rows(RELEASED_REASONS))}"""


def _rows(reasons: dict[str, str]) -> list[tuple[str, str]]:
    return [(code(word), says) for word, says in reasons.items()]
