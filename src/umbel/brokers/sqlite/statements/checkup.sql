-- What the file is asked when it is looked at. None of these runs in normal service.

-- name: leases_over
-- Workers whose lease has ended, and all. Parameters: now. Cost: the number of workers.
SELECT coalesce(sum(expires <= ?), 0), count(*) FROM worker;

-- name: stranded
-- Leased messages whose holder is not admitted by any worker. Cost: the leased messages.
SELECT count(*) FROM message WHERE state = 2 AND holder NOT IN (SELECT h.id FROM holder h JOIN worker w ON w.id = h.worker);
