"""What authors of brokers and of apps test with: a clock moved by hand, faults on order, the conformance suite.

Nothing here is imported by the rest of umbel. ``umbel.testing.contract`` needs pytest and hypothesis; ``clock`` and
``faults`` need neither.
"""
