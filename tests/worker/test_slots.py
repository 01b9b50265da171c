"""What a child writes is what its supervisor reads, or is seen to be half-written."""

import pytest

from umbel.worker.slots import IDLE, SLOT_SIZE, Command, Slots


@pytest.fixture
def slots():
    made = Slots.create(2)
    for number in range(2):
        made.clear(number)
    yield made
    made.close()


def test_a_cleared_slot_is_idle(slots):
    assert slots.running(0) == IDLE


def test_a_run_is_read_back(slots):
    child = slots.child(1)
    child.batch(7, 3, 100.0)
    child.begin(2, 101.0, 5.0, 9.0)
    running = slots.running(1)
    assert (running.seq, running.size, running.at, running.version) == (7, 3, 2, 2)
    assert (running.batch_since, running.started, running.soft, running.hard) == (100.0, 101.0, 106.0, 110.0)
    assert not slots.running(0).busy


def test_after_its_end_nothing_runs(slots):
    child = slots.child(0)
    child.batch(1, 1, 1.0)
    child.begin(0, 1.0, 0.0, 0.0)
    assert slots.running(0).busy
    child.end()
    assert not slots.running(0).busy


def test_no_limit_is_zero(slots):
    child = slots.child(0)
    child.batch(1, 1, 1.0)
    child.begin(0, 1.0, 0.0, 0.0)
    assert (slots.running(0).soft, slots.running(0).hard) == (0.0, 0.0)


def test_a_write_cut_off_in_its_middle_reads_as_nothing_begun(slots):
    child = slots.child(0)
    child.batch(1, 1, 1.0)
    child.begin(0, 1.0, 0.0, 0.0)
    slots._memory[0:1] = b"\x63"  # the version in front was written, the one behind was not
    assert slots.running(0) is None
    assert slots.last_words(0) == IDLE


def test_orders_reach_the_child(slots):
    child = slots.child(1)
    assert child.command == Command.RUN
    slots.command(1, Command.QUIET)
    slots.want_soft(1, 42)
    slots.returned(1, 7)
    assert (child.command, child.soft_wanted, child.returned) == (Command.QUIET, 42, 7)
    child.soft_is_done(42)
    assert slots.soft_done(1) == 42


def test_a_cleared_slot_has_no_orders_left(slots):
    slots.command(0, Command.INTERRUPT)
    slots.clear(0)
    assert slots.child(0).command == Command.RUN
    assert SLOT_SIZE >= 152


def test_what_is_read_while_a_run_is_half_written_is_no_run():
    """Packing begins with zeros: version 0 at both ends, and delivery 0, which would look busy."""
    slots = Slots.create(1)
    slots.clear(0)
    child = slots.child(0)
    child.batch(7, 500, 1.0)
    child.begin(3, 1.0, 0.0, 0.0)
    slots._memory[0:72] = bytes(72)
    assert slots.running(0) is None
    assert not slots.last_words(0).busy
    slots.close()
