"""Two releases of umbel on one store, each with its own release of a user's tasks: callers, workers, the store.

The older umbel is taken from the history of this very repository, at ``OLDER``, and run by the interpreter of these tests:
its code stands before the installed one on the path. So a clone with its history is all that is needed, and no network.
"""

import io
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.waiting import wait_for
from umbel.broker import BrokerSettings
from umbel.brokers import make_broker
from umbel.facets import Inspects, Place, require

OLDER = os.environ.get("UMBEL_TEST_OLDER", "0330422ce9ffe052b7f4e16a3bc1992321707196")
"""The last commit before a store knew which queues are served: the oldest that this release says it runs beside. At a release
this becomes the tag of the release before."""
ROOT = Path(__file__).parents[2]
SHOPS = Path(__file__).parent / "mixed"


def _has_history():
    """An export has none, and a shallow clone only its end."""
    asked = subprocess.run(
        ["git", "-c", "safe.directory=*", "rev-parse", "--is-shallow-repository"], cwd=ROOT, capture_output=True, text=True
    )
    return asked.stdout.strip() == "false"


@pytest.fixture(scope="module")
def older(tmp_path_factory):
    """The folder of the older umbel's code."""
    folder = tmp_path_factory.mktemp("older")
    try:
        # a clone of another user's is as good as one's own to read from
        command = ["git", "-c", "safe.directory=*", "archive", "--format=tar", OLDER, "src/umbel"]
        archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60).stdout
    except (OSError, subprocess.CalledProcessError) as exc:
        words = getattr(exc, "stderr", b"").decode() or str(exc)
        if os.environ.get("CI") == "true" and _has_history():
            pytest.fail(f"there must be the older release in CI: {words}")
        pytest.skip(f"the older release is not at hand: {words}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder / "src"


class Release:
    """One release of the shop on one release of umbel."""

    def __init__(self, name, folder, broker_url, code=None):
        self.name, self.folder, self.code = name, folder, code
        self.environment = {**os.environ, "UMBEL_BROKER": broker_url, "SHOP_NOTES": str(folder / "notes")}
        if code is not None:
            self.environment["PYTHONPATH"] = str(code)
        self.workers = []

    def run(self, *command):
        """A command of this release, in the folder of its shop."""
        return subprocess.run(
            [sys.executable, *command], cwd=SHOPS / self.name, env=self.environment, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def call(self):
        self.run("-c", "import shop; shop.call()")

    def worker(self, concurrency=2):
        log = self.folder / f"{self.name}{len(self.workers)}.log"
        command = [sys.executable, "-m", "umbel", "-A", "shop:app", "worker", "-c", str(concurrency)]
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, cwd=SHOPS / self.name, env=self.environment, stdout=output, stderr=output, start_new_session=True
            )
        self.workers.append(process)
        wait_for(lambda: process.poll() is not None or " ready" in log.read_text(), 30)
        assert process.poll() is None, log.read_text()
        return process

    def end(self):
        for process in self.workers:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait(180)


class Stage:
    """Both releases, and what can be seen of the store and of their tasks."""

    def __init__(self, folder, broker_url, older):
        self.notes_file = folder / "notes"
        self.notes_file.touch()
        self.old, self.new = Release("old", folder, broker_url, older), Release("new", folder, broker_url)
        self.broker = make_broker(broker_url, BrokerSettings("shop"))

    def notes(self):
        return sorted(self.notes_file.read_text().splitlines())

    def noted(self, *lines):
        """Wait until exactly these lines stand there."""
        wait_for(lambda: len(self.notes()) >= len(lines), 60, 0.02)
        assert self.notes() == sorted(lines)

    def waiting(self):
        """(task, has it been parked?) of all that waits."""
        inspects = require(self.broker, Inspects)
        found = [*inspects.browse(None, Place.READY).messages, *inspects.browse(None, Place.SCHEDULED).messages]
        return sorted((one.envelope.body.split(b'"')[3].decode(), one.envelope.parked > 0) for one in found)

    def parked(self, *tasks):
        """Wait until exactly these wait, each of which somebody has parked."""
        wait_for(lambda: self.waiting() == sorted((task, True) for task in tasks), 60, 0.05)

    def empty(self):
        """Wait until nothing is left but dead letters; answers with their reasons."""
        wait_for(lambda: not any(one.ready + one.scheduled + one.leased for one in self.broker.stats()), 60, 0.05)
        return [one.reason for one in require(self.broker, Inspects).browse(None, Place.DEAD).messages]


@pytest.fixture
def stage(tmp_path, broker_url, older):
    made = Stage(tmp_path, broker_url, older)
    yield made
    made.old.end()
    made.new.end()
    made.broker.close()


def test_two_releases_of_umbel_are_two(stage, older):
    where = "import umbel; print(umbel.__file__)"
    assert Path(stage.old.run("-c", where).strip()).is_relative_to(older)
    assert not Path(stage.new.run("-c", where).strip()).is_relative_to(older)


def test_calls_of_the_older_release_meet_workers_of_the_newer(stage):
    stage.old.call()
    stage.broker.open()
    newer = stage.new.worker()
    ran = ["new letter 1", "new charge 2 50 EUR", "new report 5", "new export 7", "new export 8"]
    stage.parked("refund", "report", "report", "retired")
    stage.noted(*ran)
    newer.terminate()
    assert newer.wait(180) == 0
    stage.old.worker()
    stage.noted(*ran, "old refund 3", "old report 4 odt", "old report 6 rtf", "old retired 10")
    assert stage.empty() == ["bad_arguments"], "strict says that such a call is an error"


def test_calls_of_the_newer_release_meet_workers_of_the_older(stage):
    stage.new.call()
    stage.broker.open()
    older = stage.old.worker()
    ran = ["old charge 2 50", "old report 6 pdf", "old export 7 csv", "old strict 8 csv"]
    stage.parked("letter", "charge", "refund", "refund", "invented")
    stage.noted(*ran)
    older.terminate()
    assert older.wait(180) == 0
    stage.new.worker()
    stage.noted(*ran, "new letter 1", "new charge 3 50 USD", "new refund 4 late", "new refund 5 lost", "new invented 9")
    assert stage.empty() == []


@pytest.mark.parametrize("dies", ["old", "new"])
def test_what_a_killed_worker_held_runs_on_the_other_release(stage, dies):
    """Leases, rescue and records of one release are read by the other."""
    first, second = (stage.old, stage.new) if dies == "old" else (stage.new, stage.old)
    process = first.worker()
    stage.broker.open()
    first.run("-c", "import shop; shop.hold.apply_async((1,)); shop.hold.apply_async((2,))")
    stage.noted(f"{first.name} hold 1", f"{first.name} hold 2")
    second.worker(concurrency=3)
    os.killpg(process.pid, signal.SIGKILL)
    held = [f"{release.name} hold {n}" for release in (first, second) for n in (1, 2)]
    stage.noted(*held)
    ask = "import shop; print(shop.both.apply_async((3,)).get(timeout=180))"
    assert first.run("-c", ask) == "3\n"
    stage.noted(*held, f"{second.name} both 3")


@pytest.mark.parametrize("versioned", [False, True])
def test_both_serve_one_queue_at_once(stage, versioned):
    if versioned:
        stage.new.environment |= {"UMBEL_RELEASE": "next", "UMBEL_VERSIONED_QUEUES": "1"}
    stage.old.worker()
    stage.new.worker()
    stage.broker.open()
    for release in (stage.old, stage.new):
        release.run("-c", f"import shop; shop.both.delay_many(('{release.name}%d' % n,) for n in range(300))")
    assert stage.empty() == []
    assert sorted(line.split()[2] for line in stage.notes()) == sorted(f"{name}{n}" for name in ("old", "new") for n in range(300))
    if versioned:
        ran = [line.split() for line in stage.notes()]
        assert {by for by, _, n in ran if n.startswith("new")} == {"new"}, "a call went past its release's own queue"


def _call_alone(stage, gate, *numbers):
    stage.new.run("-c", f"import shop; [shop.alone.delay(n, {str(gate)!r}) for n in {numbers!r}]")


def test_what_waits_in_a_lane_is_nothing_to_the_older_release(stage, tmp_path):
    gate = tmp_path / "gate"
    gate.touch()
    stage.old.worker()
    stage.broker.open()
    _call_alone(stage, gate, 1, 2, 3)
    stage.old.run("-c", "import shop; shop.both.delay(4)")
    stage.noted("old both 4")
    assert stage.waiting() == [("alone", False)] * 3
    stage.new.worker()
    stage.noted("old both 4", *(f"new alone {n}" for n in (1, 2, 3)))
    assert stage.empty() == []


def test_what_the_older_release_rescued_finds_its_lock_again(stage, tmp_path):
    """It puts it back as a plain one, and knows nothing of who stood on the lock."""
    gate = tmp_path / "gate"
    killed = stage.new.worker()
    stage.broker.open()
    _call_alone(stage, gate, 1, 2)
    stage.noted("new alone 1")
    os.killpg(killed.pid, signal.SIGKILL)
    stage.old.worker()
    wait_for(lambda: ("alone", True) in stage.waiting(), 60, 0.05)
    stage.new.worker()
    wait_for(lambda: len(stage.notes()) == 2, 60, 0.05)
    assert sum(one.leased for one in stage.broker.stats()) == 1, "one of the two, since it is one lock"
    gate.touch()
    assert stage.empty() == []
    assert stage.notes() == ["new alone 1", "new alone 1", "new alone 2"]
