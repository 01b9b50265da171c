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
``rules``             hash    rule to the numbers that were declared
``overrides``         hash    rule to what an operator said instead
``changed``           set     rules changed just now, whose lanes are yet to be looked at again
``rates``             zset    limits by their theoretical arrival time
``e:LIMIT``           set     receipts that hold it
``x:LIMIT``           zset    lanes that stand on it, groups that wait for it
``b:RULE``            zset    limits that follow a rule of many, in whose lanes somebody waited
``l:n:QUEUE:SPOT``    list    messages of a lane, see ``lua/parts/lane.lua``; n is the length of QUEUE
``i:QUEUE``           zset    the queue's lanes
``y:n:QUEUE:GROUP``   zset    a group's lanes that may be served
``g:QUEUE``           zset    groups that may be served
``u:QUEUE``           zset    lanes and groups that wait for a token, by its time
``laned``             hash    queue to when its lanes are to be looked at
``waits``             hash    queue to how many messages wait in its lanes
``uniques``           hash    unique key to the id of the message that has it
``debounced``         hash    key to the message that waits for calls to stop, see ``lua/parts/keyed.lua``
``throttled``         hash    key to the end of its window and the id of the message in it
``throttles``         zset    these keys by that end
``f:FLOW``            hash    a flow; ``fn:`` ``fm:`` ``fr:`` ``fz:`` ``fx:`` ``fs:`` are its nodes, messages, values …:
                              see ``lua/parts/flow.lua``
``flows``             zset    all flows by the time when they began
``fopen``             zset    open ones by the time when they were last touched
``fends``             zset    finished ones by the time until when they are kept
``fbusy``             set     those that maintenance has to go on with
``fdead``             hash    name of a member's dead letter to its flow
``schedules``         set     names of schedules
``tick:NAME``         hash    a schedule: see ``lua/parts/ticks.lua``
``ticks``             hash    revision of all of them, the set of code in force, until when it is upheld
``stamps``            zset    sets of code that were met, numbered in that order; the last 200
====================  ======  ==============================================================================
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
        "flows",
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
        self.flows = self.root + b"flows"
        self.schedules = self.root + b"schedules"
        self.ticks = self.root + b"ticks"
        self.stamps = self.root + b"stamps"

    def ready(self, queue: bytes, priority: int) -> bytes:
        return b"%br:%d:%b" % (self.root, priority, queue)

    def lanes(self, queue: bytes) -> bytes:
        return self.root + b"i:" + queue

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

    def flow(self, id: str) -> bytes:
        return self.root + b"f:" + id.encode()

    def flow_nodes(self, id: str) -> bytes:
        return self.root + b"fn:" + id.encode()

    def flow_values(self, id: str) -> bytes:
        return self.root + b"fr:" + id.encode()

    def flow_news(self, id: str) -> bytes:
        return self.root + b"fs:" + id.encode()
