"""The older release of a shop, run by the older release of umbel."""

import os
import time

from umbel import Umbel

app = Umbel("shop", lease_ttl=2, heartbeat=0.5)
_NOTES = os.open(os.environ.get("SHOP_NOTES", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(*words):
    """One line, whole or not at all."""
    os.write(_NOTES, ("old " + " ".join(map(str, words)) + "\n").encode())


@app.task(name="both", track=True)
def both(n):
    note("both", n)
    return n


@app.task(name="hold")
def hold(n):
    note("hold", n)
    time.sleep(600)


@app.task(name="mail")
def mail(n):
    note("mail", n)


@app.task(name="charge")
def charge(n, cents):
    note("charge", n, cents)


@app.task(name="refund")
def refund(n):
    note("refund", n)


@app.task(name="report")
def report(n, form="pdf"):
    note("report", n, form)


@app.task(name="export")
def export(n, form="csv"):
    note("export", n, form)


@app.task(name="strict")
def strict(n, form="csv"):
    note("strict", n, form)


@app.task(name="retired")
def retired(n):
    note("retired", n)


CALLS = [
    (mail, (1,), {}),
    (charge, (2, 50), {}),
    (refund, (3,), {}),
    (report, (4,), {"form": "odt"}),
    (report, (5,), {}),
    (report, (6, "rtf"), {}),
    (export, (7,), {"form": "xls"}),
    (export, (8, "ods"), {}),
    (strict, (9,), {"form": "xls"}),
    (retired, (10,), {}),
]
"""What a caller of this release makes."""


def call():
    for task, args, kwargs in CALLS:
        task.apply_async(args, kwargs)
