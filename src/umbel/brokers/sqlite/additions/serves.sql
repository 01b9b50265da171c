-- Who serves which queue: see the facet Serves. Parameters: none. Run once, in a write transaction.

-- Queues that a worker said it serves, and when one last said so (ms). A row outlives its workers, so that what they left is found.
CREATE TABLE served (
    queue TEXT PRIMARY KEY,
    said INTEGER NOT NULL
) WITHOUT ROWID;

-- `worker` is a name and not a number, since the numbers of forgotten workers are given again.
CREATE TABLE serves (
    queue TEXT NOT NULL,
    worker TEXT NOT NULL,
    PRIMARY KEY (queue, worker)
) WITHOUT ROWID;
