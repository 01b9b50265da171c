"""Sending over a wire that breaks: every step of it may be repeated, and a flow that cannot be sent whole does not run on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from umbel import EnqueueRefused, EnqueueUnknown, FlowState, chain, chord
from umbel.errors import BrokerUnreachable, ReplyLost
from umbel.joins import OPEN_REASON
from umbel.testing import Sandbox
from umbel.testing.sandbox import SandboxBroker

from .conftest import Go
from .tasks import add, app, handle, handled, total

VERBS = ("open_flow", "add_nodes", "close_flow")


def losing(monkeypatch: pytest.MonkeyPatch, verb: str, times: int, error: Callable[[str], Exception] = ReplyLost) -> list[int]:
    """The first ``times`` answers of ``verb`` are lost; answers with how often it was called."""
    whole, calls = getattr(SandboxBroker, verb), [0]

    def lossy(self: Any, *args: Any) -> Any:
        calls[0] += 1
        if error is ReplyLost:
            answer = whole(self, *args)
        if calls[0] <= times:
            raise error("as ordered")
        return answer

    monkeypatch.setattr(SandboxBroker, verb, lossy)
    return calls


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("verb", VERBS)
def test_a_lost_answer_is_asked_for_again(go: Go, monkeypatch: pytest.MonkeyPatch, verb: str, times: int) -> None:
    calls = losing(monkeypatch, verb, times)
    result = go(chord((add.s(n, n) for n in range(1_500)), total.s()))
    assert calls[0] > times
    assert result.get() == sum(2 * n for n in range(1_500))
    assert len(go.ran) == 1_501, "each once"


@pytest.mark.parametrize("verb", VERBS)
def test_a_wire_that_stays_broken(go: Go, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    losing(monkeypatch, verb, 1_000)
    with pytest.raises(EnqueueUnknown, match="may be stored or not") as caught:
        chain(add.s(1, 1), add.s(1)).delay()
    monkeypatch.undo()
    assert not caught.value.repeatable
    if verb != "open_flow":
        assert app.FlowResult(caught.value.id).state is FlowState.REVOKED
    go.on()
    assert go.ran == []


def test_a_store_that_refuses(go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    losing(monkeypatch, "add_nodes", 1_000, BrokerUnreachable)
    with pytest.raises(EnqueueRefused, match="was not stored"):
        chain(add.s(1, 1), add.s(1)).delay()
    assert go.on() == []


def test_cancelled_while_it_is_sent(go: Go, box: Sandbox) -> None:
    def members() -> Any:
        for n in range(1_000):
            yield add.s(n, n)
        [id] = box.store.flows.all
        app.FlowResult(id).revoke()
        for n in range(1_001):
            yield add.s(n, n)

    with pytest.raises(EnqueueRefused, match="was ended"):
        chord(members(), total.s()).delay()
    assert go.on() == []


def test_a_producer_that_died(go: Go, box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after SIGKILL: neither closed nor cancelled."""
    handled.clear()
    monkeypatch.setattr("umbel.flowsender.FlowSender._give_up", lambda self, exc: None)

    def members() -> Any:
        yield from (add.s(n, n) for n in range(1_000))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chord(members(), total.s()).link_error(handle.s()).delay()
    assert len(go.on()) == 1_000
    box.clock.advance(601)
    assert go.on() == ["handle"]
    assert [(one.reason, one.node) for one in handled] == [(OPEN_REASON, None)]
    assert app.FlowResult(handled[0].flow).state is FlowState.FAILURE
