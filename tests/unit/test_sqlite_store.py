"""The file of the SQLite broker: its address, its schema, who may use it, and what it says when it cannot be used."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from umbel.broker import Broker, BrokerSettings, Settle
from umbel.brokers import make_broker
from umbel.brokers.sqlite import Address, SQLiteBroker
from umbel.brokers.sqlite import schema as schema_module
from umbel.brokers.sqlite import store as store_module
from umbel.brokers.sqlite.filesystem import is_network, kind_at
from umbel.clock import SYSTEM
from umbel.envelope import Envelope
from umbel.errors import BrokerError, BrokerUnreachable, ConfigError, StoreFull, StoreUnusable
from umbel.outcome import Done

Open = Callable[..., SQLiteBroker]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Opens handles on one file, closed at the end."""
    made: list[SQLiteBroker] = []

    def make(busy_timeout: float = 30.0, file: Path = path) -> SQLiteBroker:
        broker = SQLiteBroker(Address(file, busy_timeout=busy_timeout), BrokerSettings(), SYSTEM)
        made.append(broker)
        broker.open()
        return broker

    yield make
    for broker in made:
        broker.close()


def messages(count: int = 1, body: bytes = b"body") -> list[Envelope]:
    return [Envelope(f"m{i}", "q", body) for i in range(count)]


def ready(broker: Broker) -> int:
    return sum(one.ready for one in broker.stats())


class TestAddress:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("sqlite:///relative.db", Address(Path("relative.db"))),
            ("sqlite:////var/lib/a%20b.db", Address(Path("/var/lib/a b.db"))),
            ("sqlite:///x.db?synchronous=full&busy_timeout=0.5", Address(Path("x.db"), "FULL", 0.5)),
        ],
    )
    def test_read(self, url: str, expected: Address) -> None:
        assert Address.of(url) == expected

    @pytest.mark.parametrize(
        "url",
        [
            "sqlite://",
            "sqlite:///",
            "sqlite://host/x.db",
            "sqlite:///:memory:",
            "sqlite:///x.db?synchronous=OFF",
            "sqlite:///x.db?busy_timeout=soon",
            "sqlite:///x.db?busy_timeout=-1",
            "sqlite:///x.db?busytimeout=3",
            "sqlite:///a%00b",
        ],
    )
    def test_refused_with_what_to_write(self, url: str) -> None:
        with pytest.raises(ConfigError, match="broker address"):
            make_broker(url)

    def test_its_options_arrive(self, path: Path) -> None:
        with closing(make_broker(f"sqlite:///{path}?synchronous=FULL")) as broker:
            broker.open()
            assert isinstance(broker, SQLiteBroker)
            assert broker.store.connection.execute("PRAGMA synchronous").fetchone() == (2,)


def open_at_once(path: Path, begin: threading.Barrier, answers: Any) -> None:
    broker = make_broker(f"sqlite:///{path}")
    begin.wait()
    try:
        broker.open()
        broker.enqueue([Envelope(f"m{os.getpid()}", "q", b"")])
        answers.put("")
    except Exception as exc:
        answers.put(repr(exc))
    broker.close()


class TestSchema:
    def test_several_processes_create_it_at_once(self, tmp_path: Path, opened: Open) -> None:
        spawn = multiprocessing.get_context("spawn")  # forked ones would start one after the other
        for round in range(2):
            file, begin, answers = tmp_path / f"{round}.db", spawn.Barrier(4), spawn.Queue()
            racers = [spawn.Process(target=open_at_once, args=(file, begin, answers)) for _ in range(4)]
            for racer in racers:
                racer.start()
            assert [answers.get(timeout=180) for _ in racers] == [""] * 4
            for racer in racers:
                racer.join()
            assert ready(opened(file=file)) == 4

    def test_it_may_appear_between_two_looks_at_a_new_file(self, path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        others, connect = list[SQLiteBroker](), store_module.Store._connect

        def another_creates_it(statement: str) -> None:
            if "count(*) FROM sqlite_master" in statement and not others:
                others.append(SQLiteBroker(Address(path, busy_timeout=0.05), BrokerSettings(), SYSTEM))
                with contextlib.suppress(BrokerUnreachable):  # it has to wait for who is looking
                    others[0].open()

        def connect_and_listen(store: store_module.Store) -> sqlite3.Connection:
            connection = connect(store)
            connection.set_trace_callback(another_creates_it)
            return connection

        monkeypatch.setattr(store_module.Store, "_connect", connect_and_listen)
        assert opened().enqueue(messages())
        assert others
        others[0].close()

    def test_a_newer_one_is_refused_and_not_touched(self, path: Path, opened: Open) -> None:
        opened().close()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {schema_module.newest() + 1}")
        before = path.read_bytes()
        with pytest.raises(StoreUnusable, match=r"newer release.*Upgrade umbel"):
            opened()
        assert path.read_bytes() == before

    def test_an_older_one_is_migrated(self, path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        opened().enqueue(messages())
        later = (*schema_module.migrations(), (schema_module.newest() + 1, "-- adds a table\nCREATE TABLE later (a);\n"))
        monkeypatch.setattr(schema_module, "migrations", lambda: later)
        broker = opened()
        assert broker.store.connection.execute("SELECT count(*) FROM later").fetchone() == (0,)
        assert ready(broker) == 1

    def test_a_migration_that_fails_leaves_the_file_as_it_was(self, path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = (*schema_module.migrations(), (2, "CREATE TABLE half (a);\nCREATE TABLE half (a);\n"))
        monkeypatch.setattr(schema_module, "migrations", lambda: broken)
        with pytest.raises(StoreUnusable):
            opened()
        monkeypatch.undo()
        assert opened().enqueue(messages())[0].id == "m0"

    def test_another_programs_database_is_refused(self, path: Path, opened: Open) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE auth_user (id)")
        with pytest.raises(StoreUnusable, match="another program"):
            opened()
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",), "it was changed"

    def test_what_is_no_database_is_refused(self, path: Path, opened: Open) -> None:
        path.write_bytes(b"no database at all" * 1000)
        with pytest.raises(StoreUnusable, match="not an SQLite database"):
            opened()

    def test_a_damaged_file_is_told(self, path: Path, opened: Open) -> None:
        broker = opened()
        for _ in range(5):
            broker.enqueue(messages(1000))
        broker.close()
        data = bytearray(path.read_bytes())
        data[8192:] = b"\xee" * (len(data) - 8192)
        path.write_bytes(data)
        with pytest.raises(StoreUnusable, match="damaged"):
            opened().stats()

    def test_a_folder_that_is_not_there(self, tmp_path: Path, opened: Open) -> None:
        with pytest.raises(StoreUnusable, match="folder must exist"):
            opened(file=tmp_path / "missing" / "store.db")

    def test_a_file_that_cannot_be_written(self, opened: Open) -> None:
        broker = opened()
        broker.store.connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreUnusable, match="cannot be written"):
            broker.enqueue(messages())


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 22 0:52 / /mnt/share rw,relatime shared:2 - nfs4 server:/share rw
32 22 0:53 / /home/me/remote rw - fuse.sshfs me@host: rw
a line that is none
"""


class TestNetwork:
    @pytest.mark.parametrize(
        ("major", "minor", "kind", "refused"),
        [(8, 1, "ext4", False), (0, 52, "nfs4", True), (0, 53, "fuse.sshfs", True), (9, 9, "", False)],
    )
    def test_told_by_the_mounts(self, major: int, minor: int, kind: str, refused: bool) -> None:
        assert kind_at(os.makedev(major, minor), MOUNTS) == kind
        assert is_network(kind) == refused

    def test_refused(self, path: Path, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        device = os.stat(tmp_path).st_dev
        mounts = tmp_path / "mountinfo"
        mounts.write_text(f"31 22 {os.major(device)}:{os.minor(device)} / / rw - cifs //server/share rw\n")
        monkeypatch.setattr("umbel.brokers.sqlite.filesystem.MOUNTS", mounts)
        with pytest.raises(StoreUnusable, match=r"network file system \(cifs\)"):
            opened()
        assert not path.exists()


class TestLocked:
    def test_unreachable_after_the_time_and_nothing_was_done(self, path: Path, opened: Open) -> None:
        broker = opened(busy_timeout=0.05)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(BrokerUnreachable, match="locked by another process"):
                broker.enqueue(messages())
            assert ready(broker) == 0, "who reads waits for nobody"
            other.execute("ROLLBACK")
        broker.enqueue(messages())
        assert ready(broker) == 1

    def test_waited_for(self, path: Path, opened: Open) -> None:
        broker = opened()
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        later = threading.Timer(0.1, other.execute, ["ROLLBACK"])
        later.start()
        broker.enqueue(messages())
        later.join()
        other.close()
        assert ready(broker) == 1


class TestAllOrNothing:
    def test_a_step_that_fails_half_way_leaves_no_trace(self, opened: Open) -> None:
        broker, other = opened(), opened()
        broker.enqueue([Envelope("a", "q", b"")])
        broker.renew("w", 600)
        broker.admit("w", "w.a")
        [held] = broker.exchange("w.a", 1, [], ["q"], 1).deliveries
        # the last thing that an exchange writes fails: all before it must be gone
        broker.store.connection.execute(
            "CREATE TEMP TRIGGER fails BEFORE UPDATE OF seq ON main.holder BEGIN SELECT RAISE(ABORT, 'on purpose'); END"
        )
        then = (Envelope("b", "new queue", b""),)
        with pytest.raises(BrokerError, match="on purpose"):
            broker.exchange("w.a", 2, [Settle(held.receipt, Done(), then)], ["q"], 5)
        assert [(s.queue, s.ready, s.leased) for s in other.stats()] == [("q", 0, 1)]
        broker.store.connection.execute("DROP TRIGGER fails")
        assert broker.exchange("w.a", 2, [Settle(held.receipt, Done(), then)], ["new queue"], 5).verdicts == ["won"]
        assert [(s.queue, s.ready, s.leased) for s in other.stats()] == [("new queue", 0, 1)]

    def test_an_interruption_leaves_no_trace_either(self, opened: Open) -> None:
        broker = opened()

        def interrupted(_: int) -> None:
            broker.store.connection.execute("INSERT INTO queue (name) VALUES ('half')")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            broker.store.write(interrupted)
        assert not broker.store.connection.in_transaction
        assert broker.enqueue(messages()) and [s.queue for s in broker.stats()] == ["q"]


class TestFull:
    def test_refused_loudly_while_running_work_settles(self, opened: Open) -> None:
        broker = opened()
        broker.enqueue(messages(100, b"x" * 1000))
        broker.renew("w", 600)
        broker.admit("w", "w.a")
        held = broker.exchange("w.a", 1, [], ["q"], 50).deliveries
        connection = broker.store.connection
        [(pages,)] = connection.execute("PRAGMA page_count")
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreFull, match="no room"):
            broker.enqueue(messages(1000, b"x" * 1000))
        assert ready(broker) == 50, "a part of it was stored"
        done = broker.exchange("w.a", 2, [Settle(d.receipt, Done()) for d in held], ["q"], 50)
        assert done.verdicts == ["won"] * 50 and len(done.deliveries) == 50
        connection.execute("PRAGMA max_page_count = 1000000")
        assert len(broker.enqueue(messages(1000, b"x" * 1000))) == 1000

    def test_new_work_is_refused_while_there_is_still_room_to_settle(
        self, path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broker, log = opened(), Path(f"{path}-wal")
        broker.enqueue(messages(500, b"x" * 1000))
        broker.renew("w", 600)
        broker.admit("w", "w.a")
        [held] = broker.exchange("w.a", 1, [], ["q"], 1).deliveries
        assert log.stat().st_size > 0
        monkeypatch.setattr(store_module, "free_bytes", lambda _: 1_000_000)
        with pytest.raises(StoreFull, match="976 KiB are left"):
            broker.enqueue(messages())
        assert log.stat().st_size == 0, "first it makes what room it can"
        with pytest.raises(StoreFull):
            broker.exchange("w.a", 2, [Settle(held.receipt, Done(), (Envelope("then", "q", b""),))], [], 0)
        assert broker.exchange("w.a", 2, [Settle(held.receipt, Done())], ["q"], 5).verdicts == ["won"]
        monkeypatch.setattr(store_module, "free_bytes", lambda _: 1_500_000)
        assert broker.enqueue(messages())

    def test_the_log_is_emptied_before_it_gives_up(self, path: Path, opened: Open) -> None:
        broker, attempts, log = opened(), list[int](), Path(f"{path}-wal")
        broker.enqueue(messages(100))
        assert log.stat().st_size > 0

        def full_once(now: int) -> str:
            attempts.append(log.stat().st_size)
            if len(attempts) == 1:
                raise StoreFull("as if the disk were full")
            return "done"

        assert broker.store.write(full_once) == "done"
        assert attempts[0] > 0 and attempts[1] == 0

    def test_the_log_does_not_grow_without_end(self, path: Path, opened: Open) -> None:
        broker = opened()
        for _ in range(40):
            broker.enqueue(messages(1000, b"x" * 1000))
            broker.purge("q")
        assert Path(f"{path}-wal").stat().st_size < 32 * 1024 * 1024


class TestWhoMayUseIt:
    def test_another_thread_is_refused(self, opened: Open) -> None:
        broker, found = opened(), list[BaseException]()

        def use() -> None:
            try:
                broker.enqueue(messages())
            except BrokerError as exc:
                found.append(exc)

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        assert len(found) == 1 and "another thread" in str(found[0])
        broker.enqueue(messages())

    def test_a_forked_child_is_refused_and_harms_nobody(self, opened: Open) -> None:
        broker = opened()
        broker.enqueue(messages())
        ear, mouth = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                broker.enqueue(messages())
                os.write(mouth, b"stored")
            except BrokerError as exc:
                os.write(mouth, str(exc).encode())
            finally:
                broker.close()
                os._exit(0)
        os.waitpid(child, 0)
        assert b"another process" in os.read(ear, 10_000)
        os.close(ear)
        os.close(mouth)
        broker.enqueue(messages())
        assert ready(broker) == 2 == ready(opened())

    def test_not_open(self, path: Path, opened: Open) -> None:
        broker = opened()
        broker.close()
        with pytest.raises(BrokerUnreachable, match="not open"):
            broker.ping()

    def test_a_deleted_file_is_noticed(self, path: Path, opened: Open) -> None:
        broker = opened()
        broker.enqueue(messages())
        for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            name.unlink()
        with pytest.raises(StoreUnusable, match="deleted or replaced"):
            broker.enqueue(messages())
        broker.close()
        broker.open()
        assert ready(broker) == 0
