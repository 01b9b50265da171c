"""The conformance suite, for every broker that conftest.py makes."""

from umbel.testing.contract import *  # noqa: F403 - the tests of the suite are this module's
