"""Pools: where the tasks of a child run that runs many at once."""
