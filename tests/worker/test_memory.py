"""What a process weighs, what there is, and what a child may have of it."""

import os
import subprocess
import sys

import pytest

from umbel.worker.allowance import ROOM, allowance
from umbel.worker.memory import MIB, KernelKills, Surroundings, anonymous

GIB = 1024 * MIB


def _machine(root, files):
    for name, text in {"proc/meminfo": f"MemTotal: {8 * GIB // 1024} kB\nMemFree: 1 kB\n", **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Surroundings(root)


# -- what a process has


def test_what_a_process_writes_is_its_own_and_what_it_maps_is_not(tmp_path):
    (tmp_path / "file").write_bytes(b"1" * 64 * MIB)
    code = """if True:
        import mmap, sys
        say = lambda: print(flush=True) or sys.stdin.readline()
        say()
        with open(sys.argv[1], "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        sum(mapped[::4096])
        say()
        ballast = b"1" * (64 << 20)
        say()"""
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "file"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def weight():
            process.stdout.readline()
            found = anonymous(process.pid)
            process.stdin.write("\n")
            process.stdin.flush()
            return found

        born, with_file, with_ballast = weight(), weight(), weight()
    assert abs(with_file - born) < 8 * MIB
    assert abs(with_ballast - with_file - 64 * MIB) < 8 * MIB
    assert anonymous(process.pid) is None


def test_a_process_weighs_itself():
    assert anonymous("self") == pytest.approx(anonymous(os.getpid()), abs=MIB)


# -- what there is


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, 8 * GIB),
        ({"proc/meminfo": "nothing here"}, 0),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{GIB}\n"}, GIB),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 8 * GIB),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": f"{GIB}\n", "sys/fs/cgroup/a/b/memory.max": "max\n"}, GIB),
        ({"proc/self/cgroup": "0::/the/host/s\n", "sys/fs/cgroup/memory.max": f"{GIB}\n"}, GIB),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/a\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": f"{GIB}\n",
            },
            GIB,
        ),
    ],
    ids=["machine", "nothing", "v2", "v2 without a limit", "v2, the group around it", "v2 in a container", "v1"],
)
def test_the_least_limit_counts(tmp_path, files, limit):
    assert _machine(tmp_path, files).limit() == limit


def test_this_machine_has_memory():
    assert MIB < Surroundings().limit() < 1 << 50
    assert Surroundings().kills() >= 0


# -- whom the kernel killed


@pytest.mark.parametrize(
    "files",
    [
        {"proc/vmstat": "pgfault 7\noom_kill {}\n"},
        {"proc/vmstat": "oom_kill 99\n", "proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.events": "oom 3\noom_kill {}\n"},
        {
            "proc/vmstat": "oom_kill 99\n",
            "proc/self/cgroup": "4:memory:/a\n",
            "sys/fs/cgroup/memory/a/memory.oom_control": "under_oom 0\noom_kill {}\n",
        },
    ],
    ids=["machine", "v2", "v1"],
)
def test_each_kill_explains_one_death(tmp_path, files):
    def count(n):
        return _machine(tmp_path, {name: text.format(n) for name, text in files.items()})

    killed = KernelKills(count(4))
    assert not killed.explain_one()
    count(6)
    assert [killed.explain_one() for _ in range(3)] == [True, True, False]
    count(7)
    killed.forget()
    assert not killed.explain_one()


# -- what a child may have


def test_eight_tenths_are_shared(tmp_path):
    assert allowance("auto", 4, 30 * MIB, _machine(tmp_path, {})) == (int(8 * GIB * 0.8 / 4), "", "")


def test_more_children_than_there_is_room_for_are_told_of(tmp_path):
    found = allowance("auto", 200, 30 * MIB, _machine(tmp_path, {}))
    assert (found.limit, found.refused) == (0, "")
    assert "200 of them share 6554 MiB" in found.warning


def test_a_limit_below_what_a_child_is_born_with_is_refused(tmp_path):
    around = _machine(tmp_path, {})
    least = (30 * MIB + ROOM) // 1024
    assert allowance(least, 4, 30 * MIB, around) == (least * 1024, "", "")
    refused = allowance(least - 1, 4, 30 * MIB, around).refused
    assert "born with 30 MiB" in refused and "46MiB or more" in refused and "KiB" in refused


def test_a_limit_beyond_all_there_is_is_refused(tmp_path):
    """Bytes, where KiB are meant."""
    refused = allowance(200_000_000, 4, 30 * MIB, _machine(tmp_path, {})).refused
    assert "there are only 8192 MiB" in refused and "KiB" in refused


def test_what_cannot_be_weighed_has_no_limit_unless_one_was_asked_for(tmp_path):
    around = _machine(tmp_path, {})
    assert allowance("auto", 4, None, around) == (0, "", "")
    assert allowance(None, 4, 30 * MIB, around) == (0, "", "")
    assert "no /proc" in allowance(100_000, 4, None, around).refused
