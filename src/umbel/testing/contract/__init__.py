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

from .arrivals import TestArrivals, TestFailures
from .backlog import TestBacklog
from .claiming import TestExpiry, TestHandedAlone, TestOrder, TestScheduled, TestUnreadable
from .debounce import TestDebounce, TestThrottle
from .declaring import TestDeclaring
from .enqueue import TestEnqueue, TestExplicitIds, TestHostile, TestOpen, TestUnfit, TestWhatTheBrokerLacks
from .exchange import TestAdmit, TestFence, TestOutcomes, TestSequence, TestVerdicts
from .flows_in_lanes import TestFlowsInLanes
from .graphs import TestFlowMachine
from .harness import Harness
from .inspects import TestBrowse, TestCancel, TestDeadLetters, TestFind, TestPause, TestWorkers
from .joins import TestAwaitFlow, TestFlowBuilding, TestFlowValues, TestReplaced
from .lane_machine import TestLaneMachine
from .lanes import TestLanes, TestPlaces
from .lanes_seen import TestLanesSeen
from .leases import TestGiveBack, TestLeave, TestNewerFormat, TestRenew, TestRescue, TestResume
from .locks import TestLocks, TestSkipping
from .machine import TestMachine
from .queues import TestPruning, TestPurge, TestStats
from .rates import TestRates, TestRules
from .remembers import TestAwaitRecord, TestKeeping, TestManyRecords, TestRecords, TestReport, TestWhoWaits
from .repeats import TestRepeating
from .retire import TestRetire
from .serves import TestForgottenQueues, TestServes
from .steering import TestCancelFlow, TestForgetFlow, TestRetryFlow
from .ticks import TestFiring, TestOverlap, TestSchedules
from .tombstones import TestManyDeadLetters, TestTombstones
from .tracked import TestTrackedMachine
from .turns import TestTurns
from .unique import TestUnique, TestUniqueUntilStart
from .waiting import TestWait, TestWaitAndPause, TestWaitWithFullHands

__all__ = [
    "Harness",
    "TestAdmit",
    "TestArrivals",
    "TestAwaitFlow",
    "TestAwaitRecord",
    "TestBacklog",
    "TestBrowse",
    "TestCancel",
    "TestCancelFlow",
    "TestDeadLetters",
    "TestDebounce",
    "TestDeclaring",
    "TestEnqueue",
    "TestExpiry",
    "TestExplicitIds",
    "TestFailures",
    "TestFence",
    "TestFind",
    "TestFlowBuilding",
    "TestFlowMachine",
    "TestFlowValues",
    "TestFlowsInLanes",
    "TestForgetFlow",
    "TestFiring",
    "TestForgottenQueues",
    "TestGiveBack",
    "TestHandedAlone",
    "TestHostile",
    "TestKeeping",
    "TestLaneMachine",
    "TestLanes",
    "TestLanesSeen",
    "TestLeave",
    "TestLocks",
    "TestMachine",
    "TestManyDeadLetters",
    "TestManyRecords",
    "TestNewerFormat",
    "TestOpen",
    "TestOrder",
    "TestOutcomes",
    "TestOverlap",
    "TestPause",
    "TestPlaces",
    "TestPruning",
    "TestPurge",
    "TestRates",
    "TestRecords",
    "TestRenew",
    "TestRepeating",
    "TestReplaced",
    "TestReport",
    "TestRescue",
    "TestResume",
    "TestRetire",
    "TestRetryFlow",
    "TestRules",
    "TestScheduled",
    "TestSchedules",
    "TestSequence",
    "TestServes",
    "TestSkipping",
    "TestStats",
    "TestThrottle",
    "TestTombstones",
    "TestTrackedMachine",
    "TestTurns",
    "TestUnfit",
    "TestUnique",
    "TestUniqueUntilStart",
    "TestUnreadable",
    "TestVerdicts",
    "TestWait",
    "TestWaitAndPause",
    "TestWaitWithFullHands",
    "TestWhatTheBrokerLacks",
    "TestWhoWaits",
    "TestWorkers",
]
