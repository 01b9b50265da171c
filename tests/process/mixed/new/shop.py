"""The newer release of the shop, run by this release of umbel."""

import os
import time

from umbel import Umbel

app = Umbel("shop", lease_ttl=2, heartbeat=0.5)
_NOTES = os.open(os.environ.get("SHOP_NOTES", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(*words):
    """One line, whole or not at all."""
    os.write(_NOTES, ("new " + " ".join(map(str, words)) + "\n").encode())


@app.task(name="both", track=True)
def both(n):
    note("both", n)
    return n


@app.task(name="hold")
def hold(n):
    note("hold", n)
    time.sleep(600)


@app.task(name="letter", aliases=("mail",))
def letter(n):
    note("letter", n)


@app.task(name="charge")
def charge(n, cents, *, currency="EUR"):
    note("charge", n, cents, currency)


@app.task(name="refund")
def refund(n, reason):
    note("refund", n, reason)


@app.task(name="report")
def report(n):
    note("report", n)


@app.task(name="export", unknown_kwargs="drop")
def export(n):
    note("export", n)


@app.task(name="strict", unknown_kwargs="error")
def strict(n):
    note("strict", n)


@app.task(name="alone", lock="k")
def alone(n, gate):
    note("alone", n)
    while not os.path.exists(gate):
        time.sleep(0.01)


@app.task(name="invented")
def invented(n):
    note("invented", n)


CALLS = [
    (letter, (1,), {}),
    (charge, (2, 50), {}),
    (charge, (3, 50), {"currency": "USD"}),
    (refund, (4, "late"), {}),
    (refund, (5,), {"reason": "lost"}),
    (report, (6,), {}),
    (export, (7,), {}),
    (strict, (8,), {}),
    (invented, (9,), {}),
]
"""What a caller of this release makes."""


def call():
    for task, args, kwargs in CALLS:
        task.apply_async(args, kwargs)
