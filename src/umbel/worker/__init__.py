"""The worker: a supervisor that runs no user code, a warm template, and the children that are forked from it."""
