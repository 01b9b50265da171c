"""``umbel doctor`` on real stores: well ones, and each with one thing wrong."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, Stage
from tests.redis_groups import ask
from tests.servers import RedisServer
from tests.waiting import wait_for
from umbel.broker import Broker, BrokerSettings
from umbel.brokers import make_broker
from umbel.brokers.redis.keys import Keys
from umbel.brokers.redis.rights import COMMANDS, rule
from umbel.checkup import Examined, Finding, Grade
from umbel.clock import SystemClock
from umbel.errors import StoreUnusable

APP = "patient"
Serve = Callable[..., RedisServer]


@pytest.fixture
def serve(redis_server: RedisServer, tmp_path: Path) -> Iterator[Serve]:
    """Start a server of one's own, well unless told otherwise."""
    servers: list[RedisServer] = []

    def start(*options: str, aof: bool = True) -> RedisServer:
        servers.append(RedisServer(tmp_path, *options, aof=aof))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def opened(url: str, **more: Any) -> Broker:
    broker = make_broker(url, BrokerSettings(app=APP), **more)
    broker.open()
    return broker


def examined(url: str, **more: Any) -> dict[str, Finding]:
    with closing(opened(url, **more)) as broker:
        assert isinstance(broker, Examined)
        return {one.check: one for one in broker.checkup()}


def asked(bare: Run, url: str, code: int) -> dict[str, dict[str, str]]:
    """The findings of ``umbel doctor --json`` by check, after looking at how it ended."""
    done = bare("--broker", url, "--app-name", APP, "doctor", "--json")
    assert done.exit_code == code, done.output
    return {one["check"]: one for one in json.loads(done.stdout)["findings"]}


class TestRedis:
    def test_a_well_server(self, serve: Serve, bare: Run) -> None:
        server = serve()
        found = asked(bare, server.url, 0)
        assert {one["grade"] for one in found.values()} == {"ok"}
        assert set(found) >= {"server", "persistence", "eviction", "memory", "clocks", "latency", "rights", "leases", "holders"}
        said = bare("--broker", server.url, "--app-name", APP, "doctor")
        assert said.exit_code == 0 and "all is well" in said.stdout and "appendfsync everysec" in said.stdout

    def test_no_persistence(self, serve: Serve, bare: Run) -> None:
        server = serve(aof=False)
        said = bare("--broker", server.url, "--app-name", APP, "doctor")
        assert said.exit_code == 1
        assert "do: CONFIG SET appendonly yes" in said.stdout and "1 thing to mend" in said.stdout
        assert asked(bare, server.url, 1)["persistence"]["grade"] == "fail"

    def test_snapshots_only(self, serve: Serve) -> None:
        server = serve(aof=False)
        ask(server, "CONFIG", "SET", "save", "3600 1")
        found = examined(server.url)["persistence"]
        assert found.grade is Grade.WARN and "save 3600 1" in found.found

    def test_appendfsync_no(self, serve: Serve) -> None:
        assert examined(serve("--appendfsync", "no").url)["persistence"].grade is Grade.WARN

    @pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
    def test_a_server_that_throws_away(self, serve: Serve, bare: Run, policy: str) -> None:
        found = asked(bare, serve("--maxmemory-policy", policy).url, 1)["eviction"]
        assert found["grade"] == "fail" and policy in found["found"] and "noeviction" in found["remedy"]

    def test_nearly_full(self, serve: Serve) -> None:
        server = serve()
        ask(server, "CONFIG", "SET", "maxmemory", str(int(ask(server, "INFO", "memory")["used_memory"]) + 100_000))
        assert examined(server.url)["memory"].grade is Grade.WARN

    @pytest.mark.parametrize(("seconds", "grade"), [(0, Grade.OK), (-5, Grade.WARN), (90, Grade.FAIL)])
    def test_clocks_that_differ(self, serve: Serve, seconds: int, grade: Grade) -> None:
        class Off(SystemClock):
            def now(self) -> int:
                return super().now() + seconds * 1000

        found = examined(serve().url, clock=Off())["clocks"]
        assert found.grade is grade
        assert not seconds or f"{abs(seconds)}.0" in found.found or f"{abs(seconds) - 1}.9" in found.found

    @pytest.mark.parametrize("lacking", ["hdel", "blpop", "script|load", "evalsha"])
    def test_a_missing_right_is_named(self, serve: Serve, lacking: str) -> None:
        rights = [part for part in rule(Keys(APP).root).split() if part != f"+{lacking}"]
        assert len(rights) > len(COMMANDS)
        server = serve("--user", "bank", "on", ">secret", *rights)
        found = examined(server.url.replace("//", "//bank:secret@"))["rights"]
        assert found.grade is Grade.FAIL and lacking.partition("|")[0] in found.found
        assert f"+{lacking}" in found.remedy and "secret" not in found.remedy

    def test_a_user_who_may_not_look_is_told_so(self, serve: Serve, bare: Run) -> None:
        rights = [part for part in rule(Keys(APP).root).split() if part not in ("+config|get", "+scan")]
        server = serve("--user", "bank", "on", ">secret", *rights, aof=False)
        url = server.url.replace("//", "//bank:secret@")
        found = asked(bare, url, 0)
        assert "cannot be seen" in found["persistence"]["found"] and "may not SCAN" in found["holders"]["found"]
        with pytest.raises(StoreUnusable, match="strict=true"):
            opened(f"{url}?strict=true")

    def test_workers_that_are_gone_and_holders_left_over(self, serve: Serve, bare: Run) -> None:
        server = serve()
        with closing(opened(server.url)) as broker:
            broker.renew("w1", 60)
            broker.admit("w1", "h1")
            assert asked(bare, server.url, 0)["leases"]["found"] == "workers: 1, all with a lease"
            broker.renew("w2", 0.001)
            wait_for(lambda: asked(bare, server.url, 0)["leases"]["grade"] == "warn")
            broker.leave("w1")
            assert "w2" in asked(bare, server.url, 1)["leases"]["found"]
        ask(server, "HSET", (Keys(APP).root + b"h:stray").decode(), "w", "nobody")
        assert "stray" in asked(bare, server.url, 1)["holders"]["found"]

    def test_nobody_there(self, serve: Serve, bare: Run) -> None:
        server = serve()
        server.kill()
        done = bare("--broker", server.url, "--app-name", APP, "doctor")
        assert done.exit_code == 69 and f"127.0.0.1:{server.port}" in done.stderr

    def test_a_wrong_password_is_something_wrong(self, serve: Serve, bare: Run) -> None:
        found = asked(bare, serve().url.replace("//", "//bank:hunter2@"), 1)
        assert "refuses the user or the password" in found["store"]["found"] and "hunter2" not in str(found)

    @pytest.mark.parametrize(("options", "refused"), [({}, False), ({"aof": False}, True), ({"policy": "allkeys-lru"}, True)])
    def test_strict_refuses_what_may_lose_messages(self, serve: Serve, bare: Run, options: dict[str, Any], refused: bool) -> None:
        aof, policy = options.get("aof", True), options.get("policy", "noeviction")
        url = serve("--maxmemory-policy", policy, aof=aof).url
        opened(url).close()
        if not refused:
            opened(f"{url}?strict=true").close()
            return
        with pytest.raises(StoreUnusable, match="strict=true refuses"):
            opened(f"{url}?strict=true")
        assert "strict=true refuses" in asked(bare, f"{url}?strict=true", 1)["store"]["found"]

    def test_a_worker_tells_it_at_its_start(self, serve: Serve, tmp_path: Path) -> None:
        server = serve("--maxmemory-policy", "allkeys-lru", aof=False)
        (tmp_path / "tasks.py").write_text("from umbel import Umbel\napp = Umbel('x')\n@app.task\ndef t(): ...\n")
        log = tmp_path / "worker.log"
        with log.open("wb") as out:
            command = [sys.executable, "-m", "umbel", "-A", "tasks", "worker", "-c", "1", "-l", "info"]
            worker = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "UMBEL_BROKER": server.url})
        try:
            wait_for(lambda: "ready" in log.read_text(), 30)
        finally:
            worker.terminate()
            assert worker.wait(180) == 0, log.read_text()
        said = log.read_text()
        assert "persistence: off" in said and "eviction: maxmemory-policy allkeys-lru" in said


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
class TestSQLite:
    def test_a_well_file(self, run: Run, stage: Stage) -> None:
        said = run("doctor")
        assert said.exit_code == 0, said.output
        for check in ("file", "schema", "journal", "file system", "disk", "integrity", "leases"):
            assert check in said.stdout
        assert "wal, synchronous NORMAL" in said.stdout and "quick_check found nothing" in said.stdout

    def test_nothing_was_ever_sent(self, run: Run, tmp_path: Path) -> None:
        assert run("doctor").exit_code == 69
        assert not (tmp_path / "store.db").exists()

    def test_a_damaged_file(self, run: Run, stage: Stage, tmp_path: Path) -> None:
        for n in range(300):
            stage.send("t.a", "x" * 200, n)
        stage.broker.close()
        file = tmp_path / "store.db"
        with file.open("r+b") as damaged:
            damaged.seek(file.stat().st_size // 2 // 4096 * 4096)
            damaged.write(os.urandom(2048))
        said = run("doctor")
        assert said.exit_code == 1, said.output
        assert "fail  integrity" in said.stdout or "fail  store" in said.stdout

    def test_a_file_of_a_newer_release(self, run: Run, stage: Stage, tmp_path: Path) -> None:
        stage.broker.close()
        with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
            connection.execute("PRAGMA user_version = 9999")
        said = run("doctor")
        assert said.exit_code == 1 and "schema 9999" in said.stdout

    def test_workers_that_are_gone(self, run: Run, stage: Stage, tmp_path: Path) -> None:
        stage.worker("default")
        stage.send("t.a")
        stage.lease("default")
        assert run("doctor").exit_code == 0
        stage.lapse()
        said = run("doctor")
        assert said.exit_code == 1 and "all workers (1)" in said.stdout
        with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
            connection.execute("DELETE FROM worker")
            connection.commit()
        assert "left over: 1" in run("doctor").stdout

    def test_tasks_that_the_app_does_not_have(self, run: Run, stage: Stage, tmp_path: Path) -> None:
        assert "no app here" in run("doctor").stdout
        (tmp_path / "doctored.py").write_text(
            "from umbel import Umbel\napp = Umbel('x', set_as_current=False)\napp.task(name='t.a', aliases=['t.old'])(lambda: None)\n"
        )
        stage.send("t.a")
        stage.send("t.old")
        assert "all of 2 waiting messages" in run("-A", "doctored", "doctor").stdout
        stage.send("t.gone")
        stage.send("t.gone", after=60_000)
        said = run("-A", "doctored", "doctor")
        assert said.exit_code == 0 and "t.gone (2)" in said.stdout and "aliases=" in said.stdout

    def test_an_app_that_does_not_import(self, run: Run, stage: Stage, tmp_path: Path) -> None:
        (tmp_path / "app.py").write_text("import nothing_of_that_name\nfrom umbel import Umbel\napp = Umbel()\n")
        assert "the app cannot be read" in run("doctor").stdout
        assert run("-A", "app", "doctor").exit_code == 3


def test_a_broker_with_nothing_to_look_at(bare: Run) -> None:
    said = bare("--broker", "memory://doctor", "doctor")
    assert said.exit_code == 0 and "nothing to look at" in said.stdout


class TestInstallation:
    """What surrounds the app and the store. Each thing that is wrong is made so, and named with its remedy."""

    @pytest.fixture
    def found(self, bare: Run, tmp_path: Path) -> Callable[..., dict[str, dict[str, str]]]:
        def ask(*line: str, app: str = "", code: int = 0) -> dict[str, dict[str, str]]:
            if app:
                name = f"doctored{abs(hash(app))}"
                (tmp_path / f"{name}.py").write_text(f"from umbel import Umbel\n{app}\n")
                line = ("-A", name, *line)
            (tmp_path / "store.db").exists() or opened(f"sqlite:///{tmp_path}/store.db").close()
            done = bare("-b", f"sqlite:///{tmp_path}/store.db", *line, "doctor", "--json")
            assert done.exit_code == code, done.output
            return {one["check"]: one for one in json.loads(done.stdout)["findings"]}

        return ask

    def test_all_is_well(self, found: Callable[..., dict[str, dict[str, str]]], tmp_path: Path) -> None:
        broker = opened(f"sqlite:///{tmp_path}/store.db")
        broker.renew("w1", 60, json.dumps({"queues": ["default"], "tasks": []}).encode())
        broker.close()
        answers = found(app="app = Umbel(set_as_current=False)\n@app.task(name='t.a')\ndef a(): ...")
        assert {one["grade"] for one in answers.values()} == {"ok"}
        assert set(answers) >= {"versions", "extras", "system", "place", "app", "settings", "limits", "queues", "tasks"}
        assert "Python 3." in answers["versions"]["found"] and "1 task" in answers["app"]["found"]

    @pytest.mark.parametrize(
        ("setting", "words"),
        [
            ("time_limit=None, soft_time_limit=None", "time_limit is none"),
            ("soft_time_limit=None", "soft_time_limit is none"),
            ("lease_ttl=600", "lease_ttl is 600 s"),
            ("lease_ttl=3, heartbeat=0.5", "heartbeat is 0.5 s"),
            ("shutdown_timeout=120", "shutdown_timeout is 120 s"),
            ("crash_limit=0", "crash_limit is 0"),
            ("deploy_grace=5", "deploy_grace is 5 s"),
            ("dead_letter_bytes=0", "dead_letter_bytes is 0"),
        ],
    )
    def test_settings_that_are_seldom_meant(self, found: Callable[..., dict[str, dict[str, str]]], setting: str, words: str) -> None:
        one = found(app=f"app = Umbel(set_as_current=False, {setting})")["settings"]
        assert one["grade"] == "warn" and words in one["found"] and one["means"] and one["remedy"]

    def test_tasks_without_limits_and_queues_without_workers(self, found: Callable[..., dict[str, dict[str, str]]], tmp_path: Path) -> None:
        app = (
            "app = Umbel(set_as_current=False)\n"
            "@app.task(name='t.endless', time_limit=None, soft_time_limit=None, queue='lonely')\n"
            "def endless(): ..."
        )
        answers = found(app=app)
        assert "t.endless" in answers["limits"]["found"] and answers["limits"]["grade"] == "warn"
        assert answers["queues"]["found"] == "no worker is running" and "lonely" in answers["queues"]["means"]
        broker = opened(f"sqlite:///{tmp_path}/store.db")
        broker.renew("w1", 60, json.dumps({"queues": ["default"], "tasks": []}).encode())
        broker.close()
        assert "lonely" in found(app=app)["queues"]["found"] and "-Q lonely" in found(app=app)["queues"]["remedy"]

    def test_an_app_without_tasks(self, found: Callable[..., dict[str, dict[str, str]]]) -> None:
        assert "declares no tasks" in found(app="app = Umbel(set_as_current=False)")["app"]["found"]

    def test_a_database_that_everybody_may_write(self, found: Callable[..., dict[str, dict[str, str]]], tmp_path: Path) -> None:
        found()
        (tmp_path / "store.db").chmod(0o666)
        assert f"chmod o-w {tmp_path}/store.db" in found()["place"]["remedy"]

    def test_a_folder_that_is_not_there(self, bare: Run, tmp_path: Path) -> None:
        done = bare("-b", f"sqlite:///{tmp_path}/gone/store.db", "doctor", "--json")
        answers = {one["check"]: one for one in json.loads(done.stdout)["findings"]}
        assert done.exit_code == 69 and answers["place"]["grade"] == "fail" and "mkdir -p" in answers["place"]["remedy"]
        assert answers["store"]["grade"] == "fail" and "there is no database" in done.stderr

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from umbel.cli.installation import installation
        from umbel.settings import Settings

        def place() -> Finding:
            return next(one for one in installation(Settings(broker=f"sqlite:///{tmp_path}/store.db")) if one.check == "place")

        assert place().grade is Grade.OK
        tmp_path.chmod(0o500)
        if os.geteuid() == 0:  # who may write everywhere is not told otherwise by the system
            monkeypatch.setattr(os, "access", lambda *_: False)
        try:
            assert place().grade is Grade.FAIL and str(tmp_path) in place().remedy
        finally:
            tmp_path.chmod(0o700)

    def test_a_missing_extra(self, bare: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        from umbel.cli import installation

        monkeypatch.setattr(installation, "_lacking", lambda extra: ["redis"] if extra == "redis" else [])
        done = bare("-b", "redis://127.0.0.1:1/0", "--app-name", "x", "doctor", "--json")
        answers = {one["check"]: one for one in json.loads(done.stdout)["findings"]}
        assert done.exit_code == 69 and answers["extras"]["grade"] == "fail" and "umbel[redis]" in answers["extras"]["remedy"]
        assert installation._lacking("no such extra") == []

    def test_a_clock_that_was_never_set(self) -> None:
        from umbel.cli.installation import installation
        from umbel.settings import Settings

        class Never(SystemClock):
            def now(self) -> int:
                return 0

        [system] = [one for one in installation(Settings(broker="memory://"), Never()) if one.check == "system"]
        assert system.grade is Grade.FAIL

    def test_an_unknown_broker(self, bare: Run) -> None:
        done = bare("-b", "rabbit://h/0", "--app-name", "x", "doctor")
        assert done.exit_code == 1 and "rabbit" in done.stdout
