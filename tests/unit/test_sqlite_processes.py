"""The SQLite broker between processes: nothing lost, nothing twice, and whoever is killed leaves a whole file."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.waiting import wait_for
from umbel.broker import BrokerSettings, Settle, Verdict
from umbel.brokers.sqlite import Address, SQLiteBroker
from umbel.clock import SYSTEM
from umbel.envelope import Envelope
from umbel.outcome import Done, Released

SPAWN = multiprocessing.get_context("spawn")


def opened(path: Path) -> SQLiteBroker:
    broker = SQLiteBroker(Address(path), BrokerSettings(), SYSTEM)
    broker.open()
    return broker


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def broker(path: Path) -> Iterator[SQLiteBroker]:
    broker = opened(path)
    yield broker
    broker.close()


def produce(path: Path, name: str, count: int) -> None:
    broker = opened(path)
    for i in range(0, count, 10):
        broker.enqueue([Envelope(f"{name}.{i + j}", "q", b"") for j in range(10)])
    broker.close()


def consume(path: Path, name: str, mouth: Connection) -> None:
    """Until told to end: claim, give some back, settle the rest; tell what was settled."""
    broker, settles, seq = opened(path), list[Settle](), 0
    broker.renew(name, 600)
    broker.admit(name, name)
    while not mouth.poll():
        seq += 1
        answer = broker.exchange(name, seq, settles, ["q"], 7)
        if answer.verdicts.count(Verdict.WON) != len(settles):
            mouth.send(["lost"])
        for delivery in answer.deliveries[5:]:
            broker.give_back(name, [delivery.receipt])
        kept = answer.deliveries[:5]
        settles = [Settle(d.receipt, Released() if d.envelope.delivery == 1 else Done()) for d in kept]
        mouth.send([d.envelope.id for d in kept if d.envelope.delivery > 1])
        if not answer.deliveries:
            broker.wait(["q"], 0.05)
    if settles:
        broker.exchange(name, seq + 1, settles, [], 0)
    broker.close()
    mouth.send(None)


def test_each_is_done_once_however_many_produce_and_consume(path: Path, broker: SQLiteBroker) -> None:
    producers = [SPAWN.Process(target=produce, args=(path, f"p{i}", 300)) for i in range(2)]
    pipes = [SPAWN.Pipe() for _ in range(3)]
    consumers = [SPAWN.Process(target=consume, args=(path, f"c{i}", mouth)) for i, (_, mouth) in enumerate(pipes)]
    done = Counter[str]()

    def hear() -> bool:
        for ear, _ in pipes:
            while ear.poll():
                done.update(ear.recv() or [])
        return len(done) >= 600 and not broker.stats()

    for process in (*producers, *consumers):
        process.start()
    wait_for(hear, 60)
    for ear, _ in pipes:
        ear.send("end")
    for process in (*producers, *consumers):
        process.join(180)
    assert done == Counter(f"p{i}.{j}" for i in range(2) for j in range(300))


def accept_until_killed(path: Path, mouth: Connection) -> None:
    broker, count = opened(path), 0
    broker.renew("w", 600)
    broker.admit("w", "w.a")
    while True:
        broker.enqueue([Envelope(f"{os.getpid()}.{count}", "q", b"x" * 500), Envelope(f"{os.getpid()}.{count}.b", "q", b"")])
        mouth.send(count)
        count += 1


@pytest.mark.parametrize("after", [1, 40, 300])
def test_what_was_accepted_outlives_a_kill(path: Path, broker: SQLiteBroker, after: int) -> None:
    ear, mouth = SPAWN.Pipe()
    process = SPAWN.Process(target=accept_until_killed, args=(path, mouth))
    process.start()
    accepted = -1
    while accepted < after:
        assert ear.poll(30), "it accepts nothing"
        accepted = ear.recv()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while ear.poll():
        accepted = ear.recv()
    assert broker.store.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    broker.renew("v", 600)
    broker.admit("v", "v.a")
    ids, seq = list[str](), 0
    while True:
        seq += 1
        got = broker.exchange("v.a", seq, [], ["q"], 1000).deliveries
        if not got:
            break
        ids += [d.envelope.id for d in got]
    stored = [id for i in range(len(ids) // 2) for id in (f"{process.pid}.{i}", f"{process.pid}.{i}.b")]
    assert ids == stored, "a call was stored in part"
    assert accepted + 1 <= len(ids) // 2 <= accepted + 2, "an accepted call was lost"
