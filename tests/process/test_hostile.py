"""Garbage in the store stops no worker: each piece ends as a dead letter with a reason."""

from __future__ import annotations

import random
import sqlite3

from tests.process.arena import Arena
from tests.waiting import wait_for
from umbel.envelope import Envelope
from umbel.message import new_id

COUNT = 10_000
SEED = 20261123


def _bodies(rng: random.Random):
    """Random bytes, broken calls, calls of nobody, calls that do not fit."""
    good = b'{"t":"mark","a":[1],"k":{},"h":{"u-eta":1}}'
    for n in range(COUNT):
        kind = n % 8
        if kind == 0:
            yield rng.randbytes(rng.randrange(64))
        elif kind == 1:
            yield good[: rng.randrange(len(good))]
        elif kind == 2:
            spoiled = bytearray(good)
            for _ in range(3):
                spoiled[rng.randrange(1, 12)] = rng.randrange(256)  # never only in the arguments: it would be a call
            yield bytes(spoiled)
        elif kind == 3:
            yield b'{"t":"nobody%d","a":[1]}' % n
        elif kind == 4:
            yield b'{"t":"mark","a":[1,2,3,4],"k":{"x":%d}}' % n
        elif kind == 5:
            yield b'{"t":"mark","a":{"not":"a list"}}'
        elif kind == 6:
            yield b'{"t":"mark","a":' + b"[" * 3000 + b"]" * 3000 + b',"k":{"zz":1}}'
        else:
            yield b'{"t":"mark\\u0000\\u001b[31m../{x}","a":[1],"h":{"h":"\\ud800"}}'


def test_ten_thousand_pieces_of_garbage(tmp_path):
    arena = Arena(tmp_path, f"sqlite:///{tmp_path}/umbel.db")
    arena.environment["UMBEL_DEPLOY_GRACE"] = "0"  # what nobody knows is set aside at once, and not parked for a day
    broker = arena.app.make_broker()
    broker.open()
    try:
        bodies = list(_bodies(random.Random(SEED)))
        for at in range(0, COUNT, 500):
            broker.enqueue([Envelope(new_id(1_700_000_000_000), "default", body) for body in bodies[at : at + 500]])
        with sqlite3.connect(tmp_path / "umbel.db") as raw:
            raw.execute("UPDATE message SET data = randomblob(60) WHERE pos % 10 = 3")  # not even envelopes
        raw.close()
        worker = arena.worker().ready()
        arena.send("mark", "after")
        arena.all_ran(["after"], timeout=120)
        wait_for(lambda: [(q.ready, q.scheduled, q.leased, q.dead) for q in broker.stats()] == [(0, 0, 0, COUNT)], 60)
        reasons = set()
        cursor = None
        while True:
            page = broker.browse(None, "dead", 500, cursor)
            reasons |= {listed.reason for listed in page.messages}
            cursor = page.cursor
            if cursor is None:
                break
        assert reasons == {"unreadable", "unknown_task", "unknown_parameters", "bad_arguments"}
        assert worker.process.poll() is None
        assert "\x1b" not in worker.log.read_text(errors="replace"), "a control character reached the log"
    finally:
        broker.close()
        arena.close()
