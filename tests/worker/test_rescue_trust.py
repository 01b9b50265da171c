"""Nobody rescues before it has renewed on time for a whole lease, with both clocks passing alike."""

from umbel.testing.clock import ManualClock
from umbel.worker.lease import Lease, RescueTrust

TTL, BEAT = 20.0, 5.0


def _renew(trust, start, end, *, offset_ms=0):
    at = start
    while at <= end:
        trust.renewed(at, round(at * 1000) + offset_ms)
        at += BEAT
    return at - BEAT


def test_not_before_a_whole_lease():
    trust = RescueTrust(TTL, BEAT)
    last = _renew(trust, 100.0, 115.0)
    assert not trust.trusted(last + 1)
    last = _renew(trust, 120.0, 120.0)
    assert trust.trusted(last + 0.1)


def test_a_failed_heartbeat_begins_it_anew():
    trust = RescueTrust(TTL, BEAT)
    _renew(trust, 100.0, 130.0)
    trust.failed()
    assert not trust.trusted(131.0)
    _renew(trust, 135.0, 150.0)
    assert not trust.trusted(151.0)
    _renew(trust, 155.0, 155.0)
    assert trust.trusted(155.5)


def test_a_late_heartbeat_begins_it_anew():
    trust = RescueTrust(TTL, BEAT)
    _renew(trust, 100.0, 130.0)
    trust.renewed(130.0 + 2 * BEAT + 1, round((130.0 + 2 * BEAT + 1) * 1000))
    assert not trust.trusted(142.0)


def test_a_silent_heartbeat_ends_it():
    trust = RescueTrust(TTL, BEAT)
    last = _renew(trust, 100.0, 130.0)
    assert trust.trusted(last + 1)
    assert not trust.trusted(last + 2 * BEAT + 1), "we ourselves may be rescued by now"


def test_a_step_of_the_stores_clock_begins_it_anew():
    trust = RescueTrust(TTL, BEAT)
    _renew(trust, 100.0, 130.0)
    trust.renewed(135.0, 135_000 + 3_600_000)
    assert not trust.trusted(135.1)
    _renew(trust, 140.0, 155.0, offset_ms=3_600_000)
    assert trust.trusted(155.1)


def test_a_step_of_the_stores_clock_is_seen_before_the_next_heartbeat():
    trust = RescueTrust(TTL, BEAT)
    last = _renew(trust, 100.0, 120.0)
    told = trust._last[1]
    assert trust.trusted(last + 1)
    assert trust.agrees(last + 1, told + 1_000)
    assert not trust.agrees(last + 1, told + 3_600_000), "every lease seems to have ended, and none has"


def _lease(clock):
    lease = Lease(None, "w", TTL, BEAT, b"", clock, lambda: None)
    for _ in range(6):
        lease.trust.renewed(clock.boottime(), clock.now())
        clock.advance(int(BEAT * 1000))
    return lease


def test_an_order_to_rescue_holds_for_a_heartbeat():
    clock = ManualClock()
    lease = _lease(clock)
    assert lease.may_rescue_until(clock.now) == clock.now() + int(BEAT * 1000)


def test_an_answer_that_took_long_proves_nothing():
    clock = ManualClock()
    lease = _lease(clock)

    def stands_still():
        clock.advance(15_000)  # all heartbeats of all workers wait behind this question
        return clock.now()

    assert lease.may_rescue_until(stands_still) is None


def test_a_store_whose_clock_stepped_is_not_believed():
    clock = ManualClock()
    lease = _lease(clock)
    assert lease.may_rescue_until(lambda: clock.now() + 3_600_000) is None
