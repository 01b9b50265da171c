"""Every key of an app, and the only place that builds them.

All begin with one root, whose braces make it the hash tag: an app's keys share one slot of a cluster, and scripts may make
further keys from the root. Names of queues, workers and holders stand last, so no byte in them can reach into another key.

====================  ======  ==============================================================================
key (after the root)  type    what
====================  ======  ==============================================================================
``queues``            set     names of all queues that ever had a message
``r:PRIORITY:QUEUE``  list    ready envelopes, packed; the next one to be claimed is at the left
``s:QUEUE``           zset    scheduled: serial number (6 bytes) and packed envelope, by due time
``t:QUEUE``           list    at most one token, which wakes one who waits
``a:QUEUE``           list    the same, for one who holds nothing: what stands next is to be handed out alone
``workers``           zset    workers by the end of their lease
``about``             hash    worker to what it said of itself
``w:WORKER``          set     its holders
``lost:WORKER``       set     holders that were taken from it; kept for a day
``c:WORKER``          zset    commands by number, told with each heartbeat until one says that they were heard
``h:HOLDER``          hash    worker, last sequence, verdicts; one field for each delivery
``k:HOLDER``          zset    receipts that were taken from it, by sequence: the last thousand
``gone``              zset    names of holders that ended, by time; kept for a day
``ids``               zset    ids that callers chose, by the end of the time for which they are remembered
``serial``            string  counter
``dead``              hash    dead letters by name
``died``              zset    their names by time
``buried``            hash    queue to how many dead letters
``deadsize``          string  bytes in ``dead``
``paused``            set     queues that give nothing
``tombs``             set     queues that have tombstones
``z:QUEUE``           zset    tombstones: ids of messages that were cancelled while they stood ready, by time
``m:ID``              hash    the record of a tracked message: see ``lua/parts/record.lua``
``n:ID``              stream  its news, for who waits: one entry at the end, kept for a minute
``recorded``          set     queues that ever had a tracked message
``served``            zset    queues that a worker said it serves, by the time when one last did
``v:QUEUE``           set     workers that said so
``schedules``         set     names of schedules
``y:NAME``            hash    a schedule: see ``lua/parts/ticks.lua``
``ticks``             hash    revision of all of them, the set of code in force, until when it is upheld
``stamps``            zset    sets of code that were met, numbered in that order; the last 200
====================  ======  ==============================================================================

Room is kept for what is not here yet: lanes (``l:``), groups (``g:``), flows (``f:``).
"""

from __future__ import annotations

_ESCAPES = str.maketrans({"%": "%25", "{": "%7B", "}": "%7D"})


class Keys:
    """The keys of one app, as bytes."""

    __slots__ = (
        "about",
        "buried",
        "dead",
        "died",
        "gone",
        "ids",
        "paused",
        "queues",
        "root",
        "schedules",
        "served",
        "stamps",
        "ticks",
        "workers",
    )

    def __init__(self, app: str) -> None:
        # a closing brace in the app's name would end the hash tag early
        self.root = b"{umbel:%b}:" % app.translate(_ESCAPES).encode("utf-8", "surrogatepass")
        self.queues = self.root + b"queues"
        self.workers = self.root + b"workers"
        self.about = self.root + b"about"
        self.gone = self.root + b"gone"
        self.ids = self.root + b"ids"
        self.dead = self.root + b"dead"
        self.died = self.root + b"died"
        self.buried = self.root + b"buried"
        self.paused = self.root + b"paused"
        self.served = self.root + b"served"
        self.schedules = self.root + b"schedules"
        self.ticks = self.root + b"ticks"
        self.stamps = self.root + b"stamps"

    def ready(self, queue: bytes, priority: int) -> bytes:
        return b"%br:%d:%b" % (self.root, priority, queue)

    def token(self, queue: bytes) -> bytes:
        return self.root + b"t:" + queue

    def alone_token(self, queue: bytes) -> bytes:
        return self.root + b"a:" + queue

    def queue_of_token(self, key: bytes) -> bytes:
        return key[len(self.root) + 2 :]

    def held(self, holder: str) -> bytes:
        return self.root + b"h:" + holder.encode()

    def taken(self, holder: str) -> bytes:
        return self.root + b"k:" + holder.encode()

    def holders(self, worker: str) -> bytes:
        return self.root + b"w:" + worker.encode()

    def lost(self, worker: str) -> bytes:
        return self.root + b"lost:" + worker.encode()

    def commands(self, worker: str) -> bytes:
        return self.root + b"c:" + worker.encode()

    def record(self, id: bytes) -> bytes:
        """``id`` as stored."""
        return self.root + b"m:" + id

    def news(self, id: bytes) -> bytes:
        return self.root + b"n:" + id
