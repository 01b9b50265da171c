"""A worker in real web servers: they serve, the worker works, TERM drains, a fork copies nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest

from tests.waiting import wait_for
from umbel import Umbel
from umbel.facets import Inspects, require

LIMIT = 180.0
WEB = """
import logging, os, threading, time
from pathlib import Path
from umbel import Umbel

logging.basicConfig(level="INFO")
app = Umbel("web", broker="sqlite:///web.db", lease_ttl=6, heartbeat=1, shutdown_timeout=40)
HERE = Path(__file__).parent


@app.task(name="where", track=True)
def where() -> int:
    return os.getpid()


@app.task(name="slow", track=True)
def slow() -> str:
    (HERE / f"slow.{os.getpid()}").touch()
    while not (HERE / "release").exists():
        time.sleep(0.01)
    return "finished"


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served by %d" % os.getpid()]
"""


class Site:
    """A project with a store, as a caller from outside sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.app = Umbel("web", broker=f"sqlite:///{folder}/web.db", set_as_current=False)
        self.write("pyproject.toml", "")  # the store of a relative address stands beside it
        self.write("web.py", WEB)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(dedent(text))

    def workers(self) -> list[str]:
        broker = self.app.make_broker()
        broker.open()
        try:
            return [seen.worker for seen in require(broker, Inspects).workers()]
        finally:
            broker.close()

    def processes(self) -> set[int]:
        """Those that have a worker."""
        return {int(name.split(".")[-2]) for name in self.workers()}

    def call(self, name: str = "where"):
        return self.app.send_task(name, track=True)

    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    @contextmanager
    def server(self, *command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("UMBEL_")}
        with (self.folder / "server.log").open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-u", *command],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**kept, "PYTHONPATH": str(self.folder), **environment},
            )
        try:
            yield process
        except BaseException:
            print(self.log())
            raise
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()

    def slow_in(self) -> int:
        """The process in which the slow task runs."""
        return int(wait_for(lambda: list(self.folder.glob("slow.*")), LIMIT)[0].suffix[1:])

    def is_told_to_end(self) -> None:
        wait_for(lambda: "shutting down: up to" in self.log(), LIMIT)


def request(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(30)
        line.connect(str(path))
        line.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        return b"".join(iter(lambda: line.recv(4096), b"")).decode()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.app.close()


def drains(site: Site, process: subprocess.Popen[bytes], signalled: Callable[[], None], status: int) -> None:
    """One slow task runs when it is told to end: it is finished, and the process ends with ``status``."""
    slow = site.call("slow")
    runner = site.slow_in()
    signalled()
    site.is_told_to_end()
    assert process.poll() is None
    later = [site.call() for _ in range(20)]
    (site.folder / "release").touch()
    assert process.wait(LIMIT) == status, site.log()
    assert slow.state == "SUCCESS"
    assert later[-1].state == "PENDING", "a worker that was told to end went on"  # the first may have come with what was on its way
    assert site.workers() == []
    assert not Path(f"/proc/{runner}").exists()


class TestGunicorn:
    CONFIG = """
        def post_worker_init(worker):
            from web import app
            app.start_worker(threads=2)
        """

    @pytest.mark.parametrize("kind", ["sync", "gthread"])
    def test_it_serves_works_and_drains(self, site: Site, kind: str) -> None:
        site.write("gunicorn.conf.py", self.CONFIG)
        command = ["-m", "gunicorn", "-k", kind, "-w", "2", "--graceful-timeout", "50", "-b", "unix:web.sock", "web:application"]
        with site.server(*command) as master:
            wait_for(lambda: len(site.workers()) == 2, LIMIT)
            ran_in = site.call().get(timeout=LIMIT)
            assert ran_in != master.pid
            assert "served by" in request(site.folder / "web.sock")
            drains(site, master, lambda: os.kill(master.pid, signal.SIGTERM), 0)

    def test_a_preloaded_app_that_started_one_is_not_half_alive(self, site: Site) -> None:
        """Started in the master, it runs there, and only there; each forked process says so, and may start its own."""
        site.write("preloaded.py", "from web import app, application\nworker = app.start_worker(threads=2)\n")
        site.write(
            "gunicorn.conf.py",
            """
            def post_worker_init(worker):
                import preloaded
                assert not preloaded.worker.running and preloaded.worker.stop() is True
                preloaded.worker = preloaded.app.start_worker(threads=1)
            """,
        )
        command = ["-m", "gunicorn", "--preload", "-w", "2", "-b", "unix:web.sock", "preloaded:application"]
        with site.server(*command) as master:
            wait_for(lambda: len(site.workers()) == 3, LIMIT)
            assert "not forked with its process: call app.start_worker() in the new process" in site.log()
            pids = site.processes()
            assert master.pid in pids
            assert {site.call().get(timeout=LIMIT) for _ in range(10)} <= pids
            os.kill(master.pid, signal.SIGTERM)
            assert master.wait(LIMIT) == 0, site.log()
        assert site.workers() == []


def test_uvicorn(site: Site) -> None:
    site.write(
        "asgi.py",
        """
        import web

        async def application(scope, receive, send):
            if scope["type"] == "lifespan":
                worker = None
                while True:
                    message = await receive()
                    if message["type"] == "lifespan.startup":
                        worker = web.app.start_worker(threads=2)
                        await send({"type": "lifespan.startup.complete"})
                    else:
                        worker.stop()
                        await send({"type": "lifespan.shutdown.complete"})
                        return
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"served"})
        """,
    )
    with site.server("-m", "uvicorn", "--uds", "web.sock", "asgi:application") as server:
        wait_for(lambda: len(site.workers()) == 1, LIMIT)
        assert site.call().get(timeout=LIMIT) == server.pid
        wait_for(lambda: (site.folder / "web.sock").exists(), LIMIT)
        assert "served" in request(site.folder / "web.sock")
        drains(site, server, lambda: os.kill(server.pid, signal.SIGTERM), -signal.SIGTERM)


def test_flask_with_its_reloader_has_one_worker(site: Site) -> None:
    site.write(
        "site_app.py",
        """
        from flask import Flask
        import web

        flask_app = Flask("site")
        worker = web.app.start_worker(threads=2)

        @web.app.task(name="version", track=True)
        def version() -> int:
            return 1
        """,
    )
    site.write("watchdog.py", "")  # the reloader that looks at times: the other one hears of every write to the store beside the code
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    command = ["-m", "flask", "--app", "site_app:flask_app", "run", "--reload", "--port", port]
    with site.server(*command) as parent:
        wait_for(lambda: len(site.workers()) == 1, LIMIT)
        assert site.call("version").get(timeout=LIMIT) == 1
        serving = site.call().get(timeout=LIMIT)
        assert serving != parent.pid
        assert len(site.workers()) == 1
        page = site.folder / "site_app.py"
        page.write_text(page.read_text().replace("return 1", "return 2"))
        wait_for(lambda: site.processes() - {serving, parent.pid}, LIMIT)
        assert site.call("version").get(timeout=LIMIT) == 2
        assert len(site.workers()) == 1
        os.killpg(parent.pid, signal.SIGINT)
        parent.wait(LIMIT)
        wait_for(lambda: site.workers() == [], LIMIT)


def test_a_process_that_simply_ends_drains_too(site: Site) -> None:
    site.write(
        "script.py",
        """
        import threading, web
        from pathlib import Path
        web.app.start_worker(threads=1)
        while not list(Path().glob("slow.*")):
            threading.Event().wait(0.01)
        """,
    )
    slow = site.call("slow")
    with site.server("script.py") as process:
        site.slow_in()
        site.is_told_to_end()
        (site.folder / "release").touch()
        assert process.wait(LIMIT) == 0, site.log()
    assert slow.state == "SUCCESS"
    assert site.workers() == []


def test_a_fork_copies_no_worker(site: Site) -> None:
    site.write(
        "forks.py",
        """
        import os, threading, web
        with web.app.start_worker(threads=2) as worker:
            assert web.where.delay().get(timeout=180) == os.getpid()
            pid = os.fork()
            if pid == 0:
                try:
                    assert threading.active_count() == 1
                    assert not worker.running and not worker.ready
                    assert worker.stop() is True
                    with web.app.start_worker(threads=1) as mine:
                        results = [web.where.delay() for _ in range(20)]
                        got = {result.get(timeout=180) for result in results}
                        assert got <= {os.getpid(), os.getppid()}, got
                    assert not mine.running
                except BaseException:
                    import traceback
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert worker.running
            assert web.where.delay().get(timeout=180) == os.getpid()
        """,
    )
    with site.server("forks.py") as process:
        assert process.wait(LIMIT) == 0, site.log()
    assert "was not forked with its process" in site.log()
    assert site.workers() == []


def test_forks_beside_busy_threads_have_a_whole_store(site: Site) -> None:
    """SQLite's locks are in the memory of the process: a copy from the middle of a transaction would wait for itself."""
    site.write(
        "often.py",
        """
        import os, web

        with web.app.start_worker(threads=2) as worker:
            while not worker.ready:
                pass
            children = []
            for n in range(40):
                web.where.delay_many([()] * 50)
                pid = os.fork()
                if pid == 0:
                    try:
                        web.where.delay()
                    except BaseException as exc:
                        print("refused", exc, flush=True)
                        os._exit(1)
                    os._exit(0)
                children.append(pid)
            codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
            assert codes == [0] * 40, codes
        """,
    )
    with site.server("often.py") as process:
        assert process.wait(LIMIT) == 0, site.log()[-3000:]


def test_a_task_that_forks_ends_its_copy(site: Site) -> None:
    """What the copy would go on with is its parent's."""
    site.write(
        "task_forks.py",
        """
        import os, web

        @web.app.task(name="forks", track=True)
        def forks() -> int:
            pid = os.fork()
            if pid == 0:
                return 7  # comes out of the task in the copy
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

        with web.app.start_worker(threads=1):
            assert forks.delay().get(timeout=180) == 0
            assert web.where.delay().get(timeout=180) == os.getpid()
        """,
    )
    with site.server("task_forks.py") as process:
        assert process.wait(LIMIT) == 0, site.log()
    assert "not forked" not in site.log()


def test_one_that_is_killed_is_rescued_by_another(site: Site) -> None:
    site.write("serve.py", "import threading, web\nweb.app.start_worker(threads=1)\nthreading.Event().wait()\n")
    slow = site.call("slow")
    with site.server("serve.py") as first:
        assert site.slow_in() == first.pid
        first.kill()
        first.wait()
    (site.folder / "release").touch()
    with site.server("serve.py"):
        assert slow.get(timeout=LIMIT) == "finished"
