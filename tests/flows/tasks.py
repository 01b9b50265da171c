"""Tasks of the tests, and what they leave behind."""

from __future__ import annotations

from datetime import date
from typing import Any

from umbel import Discard, FlowFailure, MemberFailed, Umbel, chain, chord, group

app = Umbel("flows", broker="memory://", enqueue_retry=0)
failing: set[str] = set()
handled: list[FlowFailure] = []
seen: list[Any] = []


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task(queue="sums")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
def show(*args: Any, **kwargs: Any) -> Any:
    return [list(args), kwargs]


@app.task
def note(value: Any) -> None:
    seen.append(value)


@app.task
def step(name: str, *before: Any) -> str:
    if name in failing:
        raise ValueError(f"{name} fails")
    return name


@app.task
def fails(*args: Any) -> None:
    raise ValueError("boom")


@app.task
def gives_up(*args: Any) -> None:
    raise Discard("not today")


@app.task
def handle(failure: FlowFailure) -> None:
    handled.append(failure)


@app.task
def sound(values: list[int | MemberFailed]) -> list[int]:
    return [value for value in values if not isinstance(value, MemberFailed)]


@app.task
def next_day(day: date, days: int = 1) -> date:
    return date.fromordinal(day.toordinal() + days)


@app.task
def unkept() -> Any:
    return object()


@app.task
async def double(x: int) -> int:
    return 2 * x


@app.task(bind=True)
def flow_id(self: Any, *args: Any) -> str | None:
    found: str | None = self.request.flow_id
    return found


@app.task(bind=True)
def branch(self: Any, n: int, shape: str) -> Any:
    if shape == "call":
        self.replace(add.s(n, 1))
    if shape == "chain":
        self.replace(chain(add.s(n, 1), add.s(1)))
    if shape == "chord":
        self.replace(chord([add.s(i, 1) for i in range(n)], total.s()))
    if shape == "group":
        self.replace(group(add.s(i, 1) for i in range(n)))
    if shape == "again":
        self.replace(branch.s(n, "call"))
    if shape == "failing":
        self.replace(chain(step.si("inner"), add.si(n, 1)))
    return n
