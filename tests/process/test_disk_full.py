"""SQLite on a disk that is full to the last byte: new work is refused, what runs is settled, nothing is damaged."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import IN_CI
from tests.process.arena import Arena
from tests.process.wires import nothing_is_left
from tests.waiting import wait_for
from umbel import EnqueueRefused

SIZE = 12 << 20


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run([mount, "-t", "tmpfs", "-o", f"size={SIZE}", "umbel", place], capture_output=True, text=True)
    if not made or made.returncode:
        missing = f"a small tmpfs cannot be mounted here: {made.stderr.strip() if made else 'no mount'}"
        pytest.fail(missing) if IN_CI else pytest.skip(missing)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def arena(tmp_path, disk) -> Iterator[Arena]:
    made = Arena(tmp_path, f"sqlite:///{disk}/umbel.db")
    yield made
    made.close()


def fill(disk: Path) -> None:
    """To the last byte."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue


def free(disk: Path) -> int:
    return os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize


def test_running_work_settles_and_new_work_is_refused(arena, disk):
    worker = arena.worker().ready()
    children = worker.children()
    sent: list[str] = []

    def send(name: str) -> None:
        arena.send("weigh", name, "x" * 10_000, countdown=2)
        sent.append(name)

    with pytest.raises(EnqueueRefused, match=r"umbel\.db: .* left on the disk.*Free some"):
        for n in range(SIZE // 10_000):
            send(f"stored{n}")
    assert 0 < len(sent) < SIZE // 10_000
    assert free(disk) > 0, "some is kept, so that running work can settle"
    through = ["through0", "through1"]
    freed = disk / "umbel.db-wal"
    print(f"refused after {len(sent)} messages of 10 kB, {free(disk) >> 10} KiB free, log of {freed.stat().st_size >> 10} KiB")
    arena.all_ran(sent)
    nothing_is_left(arena)

    for name in through:
        arena.send("slow", name, 1.0)
    wait_for(lambda: all(arena.runs(name, "begin") for name in through))

    def is_full() -> bool:
        """The store may yet find room by copying its log back: then that is filled too."""
        fill(disk)
        try:
            arena.send("mark", name := f"squeezed{len(sent)}")
        except EnqueueRefused as refused:
            return "the disk" in str(refused)
        sent.append(name)
        return False

    for _ in range(3):
        wait_for(is_full)
    arena.all_ran(through)
    time.sleep(2.5)  # longer than the lease: nobody can write, so nobody is rescued
    (disk / "ballast").unlink()
    arena.send("mark", "after")
    arena.all_ran(["after"])
    nothing_is_left(arena)
    assert {name: len(runs) for name, runs in arena.marks().items() if name not in through} == dict.fromkeys([*sent, "after"], 1)
    assert [len(arena.runs(name, "begin")) for name in through] == [1, 1]
    assert worker.children() == children
    with closing(sqlite3.connect(disk / "umbel.db")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
