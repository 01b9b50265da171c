"""Names of releases' queues, where calls go, and what a child takes over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from umbel import Umbel
from umbel.broker import Broker
from umbel.errors import ArgumentError, BrokerUnreachable, ConfigError
from umbel.events import TaskEnqueued
from umbel.facets import Served, Serves, require
from umbel.release import base_of, check_queue, check_release, consumed, version_of
from umbel.testing.clock import ManualClock
from umbel.worker.turns import Turns


class TestNames:
    def test_versions(self) -> None:
        assert version_of("emails", "2026.11") == "emails@2026.11"
        assert version_of("emails@1", "2") == "emails@1"
        assert base_of("emails@2026.11") == base_of("emails") == "emails"
        assert consumed(["a", "b"], "1") == ["a@1", "a", "b@1", "b"]
        assert consumed(["a@1", "b"], "2") == ["a@1", "b@2", "b"]
        assert consumed(["a", "b"], "") == ["a", "b"]

    @pytest.mark.parametrize("name", ["a@b", "@", "", 7, "a\n", "x" * 51])
    def test_no_release(self, name: object) -> None:
        with pytest.raises(ArgumentError):
            check_release(name)

    def test_the_mark_is_reserved(self) -> None:
        with pytest.raises(ArgumentError, match="must not have '@'"):
            check_queue("a@b")
        app = Umbel("names", broker="memory://names")
        with pytest.raises(ConfigError, match="queue"):
            app.task(name="t", queue="a@b")(lambda: None)
        with pytest.raises(ConfigError, match="default_queue"):
            Umbel("names", default_queue="a@b")
        with pytest.raises(ArgumentError, match="must not have '@'"):
            app.send_task("t", queue="a@b")

    def test_versions_need_a_release(self) -> None:
        with pytest.raises(ConfigError, match="needs the setting release"):
            Umbel("names", versioned_queues=True).settings  # noqa: B018 - looked at for its refusal
        with pytest.raises(ConfigError, match="versioned_queues"):
            Umbel("names", versioned_queues="perhaps")  # type: ignore[arg-type]  # a mistake on purpose

    def test_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("UMBEL_RELEASE", "2026.11")
        monkeypatch.setenv("UMBEL_VERSIONED_QUEUES", "true")
        settings = Umbel("names").settings
        assert (settings.release, settings.versioned_queues) == ("2026.11", True)


class Counted:
    """An app of a release whose questions to the store are counted."""

    def __init__(self, store: str, release: str = "1") -> None:
        self.clock = ManualClock()
        self.app = Umbel("sends", broker=store, clock=self.clock, release=release, versioned_queues=True, set_as_current=False)
        self.queues: list[str] = []
        self.asked = 0
        self.fails = False
        self.app.events.subscribe(TaskEnqueued, lambda event: self.queues.append(event.queue))
        self.app.task(name="t")(lambda: None)
        broker = self.app.producer.broker()
        self.serves = require(broker, Serves)
        ask = self.serves.served

        def counted() -> list[Served]:
            self.asked += 1
            if self.fails:
                raise BrokerUnreachable("as ordered")
            return ask()

        self.serves.served = counted  # type: ignore[method-assign]  # it counts, and asks the real one
        self.broker: Broker = broker

    def send(self, **options: str) -> str:
        self.app.tasks["t"].apply_async(**options)
        return self.queues[-1]


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Iterator[Counted]:
    made = Counted(f"memory://{request.node.name}")
    yield made
    made.app.close()


class TestRoutes:
    def test_to_the_release_while_a_worker_of_it_lives(self, counted: Counted) -> None:
        assert counted.send() == "default"
        counted.broker.renew("w", 600)
        counted.serves.serve("w", ["default@1", "default", "default@2"])
        counted.clock.advance(5_000)
        assert counted.send() == "default@1"
        assert counted.send(queue="emails") == "emails", "its worker serves another queue"
        counted.broker.leave("w")
        counted.clock.advance(5_000)
        assert counted.send() == "default"

    def test_one_question_in_five_seconds(self, counted: Counted) -> None:
        for _ in range(1000):
            counted.send()
        assert counted.asked == 1
        counted.clock.advance(5_000)
        counted.send()
        assert counted.asked == 2

    def test_many_at_once(self, counted: Counted) -> None:
        counted.broker.renew("w", 600)
        counted.serves.serve("w", ["default@1"])
        counted.app.tasks["t"].delay_many(() for _ in range(50))
        assert set(counted.queues) == {"default@1"} and counted.asked == 1

    def test_a_store_that_does_not_answer_changes_nothing(self, counted: Counted) -> None:
        counted.broker.renew("w", 600)
        counted.serves.serve("w", ["default@1"])
        counted.fails = True
        assert counted.send() == "default", "nothing is known, and every worker looks there"
        counted.fails = False
        counted.clock.advance(1_000)
        assert counted.send() == "default@1"
        counted.fails = True
        counted.clock.advance(5_000)
        assert counted.send() == "default@1", "what was known last"

    def test_who_does_not_use_it_asks_nobody(self, tmp_path: Path) -> None:
        with closing(Umbel("plain", broker=f"sqlite:///{tmp_path}/u.db", release="1", set_as_current=False)) as app:
            broker = app.producer.broker()
            require(broker, Serves).served = None  # type: ignore[assignment,method-assign]  # calling it would fail
            app.send_task("t")
            assert [one.queue for one in broker.stats()] == ["default"]


class Asked:
    def __init__(self, *found: Served) -> None:
        self.found: Sequence[Served] = found
        self.times = 0

    def __call__(self) -> Sequence[Served]:
        self.times += 1
        return self.found


def left(queue: str) -> Served:
    return Served(queue, alive=False, left=True, paused=False)


class TestTurns:
    def turns(self, ask: Asked | None, *queues: str, strict: bool = True) -> tuple[Turns, ManualClock]:
        clock = ManualClock()
        return Turns(queues, strict, ask, 5.0, clock), clock

    def test_each_is_first_in_turn(self) -> None:
        turns, _ = self.turns(None, "a", "b", "c", strict=False)
        assert ["".join(turns.take()) for _ in range(4)] == ["abc", "bca", "cab", "abc"]
        strict, _ = self.turns(None, "a", "b")
        assert ["".join(strict.take()) for _ in range(2)] == ["ab", "ab"]

    def test_what_nobody_serves_is_taken_over_before_its_own_queue(self) -> None:
        turns, _ = self.turns(Asked(left("b@1"), left("a@2"), left("b@2")), "a@3", "a", "b@3", "b")
        assert turns.take() == ["a@3", "a@2", "a", "b@3", "b@1", "b@2", "b"]

    def test_and_nothing_else(self) -> None:
        ask = Asked(Served("a@2", True, False, False), Served("a@1", False, False, False), left("c@1"), left("other"), left("a@3"))
        turns, _ = self.turns(ask, "a@3", "a")
        assert turns.take() == ["a@3", "a"]

    def test_it_is_let_go_when_its_workers_are_back(self) -> None:
        ask = Asked(left("a@1"))
        turns, clock = self.turns(ask, "a")
        assert turns.take() == ["a@1", "a"]
        ask.found = [Served("a@1", True, False, False)]
        assert turns.take() == ["a@1", "a"], "the last answer is good for a while"
        clock.advance(5_000)
        assert turns.take() == ["a"]
        assert ask.times == 2

    def test_a_paused_queue_holds_for_its_versions(self) -> None:
        ask = Asked(left("a@1"), Served("a", True, False, True), Served("a@2", True, False, False))
        turns, clock = self.turns(ask, "a@2", "a", "b")
        assert turns.take() == ["a", "b"]
        ask.found = [left("a@1")]
        clock.advance(5_000)
        assert turns.take() == ["a@2", "a@1", "a", "b"]

    def test_a_store_that_does_not_answer_changes_nothing(self) -> None:
        ask = Asked(left("a@1"))
        turns, clock = self.turns(ask, "a")
        turns.take()

        def fails() -> Sequence[Served]:
            ask.times += 1
            raise BrokerUnreachable("as ordered")

        turns._ask = fails
        clock.advance(5_000)
        assert turns.take() == turns.take() == ["a@1", "a"]
        assert ask.times == 2
