"""The conformance suite: what a broker must do, as tests that run against any.

An author of a broker writes a ``conftest.py`` with three fixtures and a module that imports this one::

    @pytest.fixture
    def make_harness(tmp_path):              # a Harness on a fresh store at every call
        def make(live: bool = False) -> Harness: ...
        return make

    @pytest.fixture
    def harness(make_harness): ...           # one of them, closed afterwards

    @pytest.fixture
    def live_harness(make_harness): ...      # make_harness(live=True)

    from umbel.testing.contract import *     # in test_contract.py

``live`` asks for a harness on the machine's own clock, for the tests that wait. A facet that the broker does not declare is
not skipped: those tests then assert that it is refused. pytest shows values in failed assertions when ``conftest.py`` says
``pytest.register_assert_rewrite("umbel.testing.contract")`` first.
"""

from .claiming import TestExpiry, TestHandedAlone, TestOrder, TestScheduled, TestUnreadable
from .declaring import TestDeclaring
from .enqueue import TestEnqueue, TestExplicitIds, TestHostile, TestOpen, TestUnfit, TestWhatTheBrokerLacks
from .exchange import TestAdmit, TestFence, TestOutcomes, TestSequence, TestVerdicts
from .harness import Harness
from .inspects import TestBrowse, TestCancel, TestDeadLetters, TestFind, TestPause, TestWorkers
from .leases import TestGiveBack, TestLeave, TestNewerFormat, TestRenew, TestRescue, TestResume
from .machine import TestMachine
from .queues import TestPruning, TestPurge, TestStats
from .remembers import TestAwaitRecord, TestKeeping, TestManyRecords, TestRecords, TestReport, TestWhoWaits
from .repeats import TestRepeating
from .retire import TestRetire
from .serves import TestForgottenQueues, TestServes
from .ticks import TestFiring, TestOverlap, TestSchedules
from .tombstones import TestManyDeadLetters, TestTombstones
from .tracked import TestTrackedMachine
from .waiting import TestWait, TestWaitAndPause, TestWaitWithFullHands

__all__ = [
    "Harness",
    "TestAdmit",
    "TestAwaitRecord",
    "TestBrowse",
    "TestCancel",
    "TestDeadLetters",
    "TestDeclaring",
    "TestEnqueue",
    "TestExpiry",
    "TestExplicitIds",
    "TestFence",
    "TestFind",
    "TestFiring",
    "TestForgottenQueues",
    "TestGiveBack",
    "TestHandedAlone",
    "TestHostile",
    "TestKeeping",
    "TestLeave",
    "TestMachine",
    "TestManyDeadLetters",
    "TestManyRecords",
    "TestNewerFormat",
    "TestOpen",
    "TestOrder",
    "TestOutcomes",
    "TestOverlap",
    "TestPause",
    "TestPruning",
    "TestPurge",
    "TestRecords",
    "TestRenew",
    "TestRepeating",
    "TestReport",
    "TestRescue",
    "TestResume",
    "TestRetire",
    "TestScheduled",
    "TestSchedules",
    "TestSequence",
    "TestServes",
    "TestStats",
    "TestTombstones",
    "TestTrackedMachine",
    "TestUnfit",
    "TestUnreadable",
    "TestVerdicts",
    "TestWait",
    "TestWaitAndPause",
    "TestWaitWithFullHands",
    "TestWhatTheBrokerLacks",
    "TestWhoWaits",
    "TestWorkers",
]
