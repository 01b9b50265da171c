"""Every error that umbel raises, in one tree. What stands behind ``Do:`` in a docstring is for whoever meets the error.

::

    UmbelError
    ├── ConfigError                  a setting, an option or a command line that cannot be used
    ├── ArgumentError                a call's arguments would not survive the trip (also a TypeError)
    │   └── PayloadTooLarge          the encoded call is over ``max_payload``
    ├── WireError                    bytes that are not a message of ours
    ├── EnqueueError                 a call was not, or perhaps not, stored
    │   ├── EnqueueRefused           certainly not stored
    │   │   └── QueueFull            ``max_depth`` messages wait in the queue
    │   └── EnqueueUnknown           the reply was lost: stored or not; ``.repeatable`` says whether to call again is safe
    ├── BrokerError                  what a broker raises (the producer turns these into EnqueueErrors)
    │   ├── BrokerUnreachable        nothing was done: no connection, or the store refused to begin
    │   ├── ReplyLost                it may have been done: repeat with the same sequence number or id
    │   ├── StoreFull                the store has no room; nothing was done
    │   ├── StoreUnusable            newer schema, network file system, damaged file
    │   ├── NotSupported             this broker does not have the facet that was asked for
    │   ├── SequenceError            a holder's exchange numbers have a gap: a bug in the caller
    │   └── Fenced                   the holder may not act any more (or not yet)
    ├── ResultError
    │   ├── ResultNotKept            the task keeps no record (``track=True`` turns it on)
    │   ├── ResultTimeout            not finished in the time given (also a TimeoutError)
    │   ├── ResultUnreadable         it succeeded, but its value was too large or not JSON
    │   ├── TaskFailed               the task's last attempt failed; carries its error
    │   │   └── FlowFailed           a member of a flow failed, and what follows it never starts
    │   ├── TaskRevoked              it was cancelled or discarded before it finished
    │   └── TaskExpired              it expired before it began
    ├── TaskSignal                   raised *by* a task to say what shall happen next
    │   ├── RetryLater               run me again after a countdown; costs an attempt
    │   ├── Snooze                   run me again later; costs no attempt
    │   ├── Discard                  drop me; not a failure
    │   └── Replacement              what ``self.replace()`` raises
    ├── MaxRetriesExceeded           ``self.retry()`` without a cause when no retry is left
    ├── SoftTimeLimitExceeded        raised *in* a task when its soft limit is over
    │   └── TaskInterrupted          raised *in* a task when the worker's drain time is over
    └── WorkerError                  the worker cannot start or go on
        └── AppNotFound              the user's module does not import, or holds no app
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta


class UmbelError(Exception):
    """Base of every error of umbel's own.

    Do: catch this to catch them all.
    """


class ConfigError(UmbelError):
    """A setting, an option or an address cannot be used.

    Do: the message names it, where it came from, and what it accepts; ``umbel config`` shows all of them.
    """


class ArgumentError(UmbelError, TypeError):
    """An argument of a task call would not arrive as it was given. Nothing was sent.

    Do: pass a key and load the object in the task; or annotate the parameter with a type that travels.
    """


class PayloadTooLarge(ArgumentError):
    """The encoded call is larger than ``max_payload`` bytes. Nothing was sent.

    Do: store the data, and pass where it is.
    """


class WireError(UmbelError, ValueError):
    """Bytes that cannot be read as a message.

    Do: nothing where a worker meets them: they become a dead letter, ``unreadable``; find out who wrote them.
    """


class EnqueueError(UmbelError):
    """A call could not be shown to be stored: base of the two below.

    Do: catch these two apart; they call for different things.
    """


class EnqueueRefused(EnqueueError):
    """The call is certainly not stored; nothing will run.

    Do: call again later, or tell the user. It was tried for ``enqueue_retry`` seconds already where the broker was away.
    """


class QueueFull(EnqueueRefused):
    """As many messages wait in the queue as the setting ``max_depth`` allows. The call is not stored.

    Do: call again later, or start workers; what is sent in bulk waits by itself with ``delay_many(max_backlog=…)``.
    """


class EnqueueUnknown(EnqueueError):
    """The reply was lost: the call is stored or it is not.

    ``id`` is the message's id; ``ids`` has all of them where several calls went in one step. With ``repeatable``, calling
    again with the same ``task_id`` is safe: the caller chose the ids, and the store remembers those for a day. Ids that
    umbel made are not remembered, so a call whose repetition would do harm is made with a ``task_id`` in the first place.

    Do: with ``repeatable`` call again with the same ``task_id``; else decide which is worse, twice or never.
    """

    def __init__(self, message: str, *, id: str, ids: tuple[str, ...] = (), repeatable: bool = False) -> None:
        super().__init__(message)
        self.id = id
        self.ids = ids or (id,)
        self.repeatable = repeatable


class BrokerError(UmbelError):
    """Base of what a broker raises to whoever uses it directly: workers, commands, results. Calls raise ``EnqueueError``.

    Do: catch this to catch them all.
    """


class BrokerUnreachable(BrokerError, ConnectionError):
    """The store could not be reached or did not begin: nothing was done.

    Do: ask again; a worker does so by itself, for ever.
    """


class ReplyLost(BrokerError, ConnectionError):
    """The store was asked and the answer did not arrive: it may have been done.

    Do: look before repeating what must not happen twice; what only reads may be asked again.
    """


class StoreFull(BrokerError):
    """The store has no room (memory limit, full disk): nothing was done.

    Do: make room, or run more workers. What is running can still end.
    """


class StoreUnusable(BrokerError):
    """The store is there and cannot be used: newer schema, network file system, damaged file, a wrong password.

    Do: as the message says; ``umbel doctor`` says more. Nothing runs until it is mended.
    """


class NotSupported(BrokerError):
    """This broker does not have what was asked for.

    Do: take a broker that has it.
    """


class SequenceError(BrokerError):
    """A holder's exchange number is neither its last one nor the one after it.

    Do: report it, unless you write a consumer of your own: it is a bug.
    """


class Fenced(BrokerError):
    """The holder may do nothing.

    ``final`` is True when it is not admitted (never was, retired, or rescued): it must end. It is False when only its
    worker's lease has run out and nobody has taken anything yet: a renewal in time lifts the fence, and the same
    exchange may be repeated.

    Do: nothing; a worker's child that is fenced for good ends, and another one takes its place.
    """

    def __init__(self, message: str, *, final: bool = True) -> None:
        super().__init__(message)
        self.final = final


class ResultError(UmbelError):
    """A result cannot be had: base of what ``AsyncResult.get()`` raises.

    Do: catch this to catch them all.
    """


class ResultNotKept(ResultError):
    """The task keeps no record of its runs, or its record is gone.

    Do: ``@app.task(track=True)``; keep records longer with ``record_ttl``.
    """


class ResultTimeout(ResultError, TimeoutError):
    """The task did not finish in the time given. It may still do so.

    Do: wait longer, or ask ``umbel task show ID`` why it has not run; the message says if no worker serves its queue.
    """


class ResultUnreadable(ResultError):
    """The task succeeded, but its value could not be kept (larger than ``max_result``, or not JSON).

    Do: store the value yourself, and return where it is.
    """


class TaskFailed(ResultError):
    """The task's last attempt failed.

    ``type`` is the qualified name of the task's exception, ``message`` its text, ``traceback`` the formatted trace,
    ``reason`` the word under which its dead letter is kept.

    Do: mend the cause, then ``umbel dead retry ID``.
    """

    def __init__(self, message: str, *, type: str = "", traceback: str = "", reason: str = "") -> None:
        super().__init__(f"{type}: {message}" if type else message)
        self.type = type
        self.message = message
        self.traceback = traceback
        self.reason = reason


class FlowFailed(TaskFailed):
    """A member of a flow failed, and its failure is no value: what follows it is abandoned.

    Besides what ``TaskFailed`` says: ``flow`` is the flow's id, ``node`` the number of the member (None where the flow as such
    failed: its producer was lost), ``task_id`` the id of its message.

    Do: ``umbel flow show ID`` says where; mend the cause, then ``umbel flow retry ID``, or ``.retry()``.
    """

    def __init__(
        self,
        message: str,
        *,
        type: str = "",
        traceback: str = "",
        reason: str = "",
        flow: str = "",
        node: int | None = None,
        task_id: str = "",
    ) -> None:
        super().__init__(message, type=type, traceback=traceback, reason=reason)
        self.flow = flow
        self.node = node
        self.task_id = task_id


class TaskRevoked(ResultError):
    """The task was cancelled, purged, or discarded by itself.

    Do: nothing will come; call again if it is still wanted.
    """


class TaskExpired(ResultError):
    """The task's expiry passed before it began.

    Do: more workers, or a later ``expires``.
    """


class TaskSignal(UmbelError):
    """Base of what a task may raise to say what shall happen next; never counted as a failure by itself.

    Do: let it pass: a task that catches ``Exception`` around its body catches these too.
    """


class RetryLater(TaskSignal):
    """Run this task again after ``countdown`` seconds (None: as its retry policy says). Costs an attempt.

    ``exc`` is the cause: kept as the error, and the task's error if no attempt is left.

    Do: raise it in a task.
    """

    def __init__(self, countdown: float | None = None, *, exc: BaseException | None = None, max_retries: int | None = None) -> None:
        super().__init__(f"retry in {countdown} s" if countdown is not None else "retry")
        self.countdown = countdown
        self.exc = exc
        self.max_retries = max_retries


class Snooze(TaskSignal):
    """Run this task again after ``seconds`` (or a ``timedelta``); no attempt is used.

    Do: raise it in a task.
    """

    def __init__(self, seconds: float | timedelta, reason: str = "") -> None:
        super().__init__(reason or f"snoozed for {seconds} s")
        self.seconds = seconds
        self.reason = reason


class Discard(TaskSignal):
    """Drop this task: no retry, no dead letter; the record says REVOKED with the reason.

    Do: raise it in a task.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "discarded by the task")
        self.reason = reason


class Replacement(TaskSignal):
    """What ``self.replace()`` raises: the task goes on as others.

    Do: let it pass, as every signal.
    """

    def __init__(self, outcome: object) -> None:
        super().__init__("the task goes on as others")
        self.outcome = outcome


class MaxRetriesExceeded(UmbelError):
    """``self.retry()`` was called without a cause and no retry is left.

    Do: give ``self.retry(exc=...)`` the cause, so that the dead letter shows it.
    """


class SoftTimeLimitExceeded(UmbelError):
    """The task's soft time limit is over; it may clean up until the hard limit. Raised in the task.

    Do: catch it to clean up; raise ``soft_time_limit`` and ``time_limit`` if the work is right and takes longer.
    """

    def __init__(self, words: str = "the task's soft time limit is over") -> None:
        super().__init__(words)  # without words it is raised in threads, where only a type can be


class TaskInterrupted(SoftTimeLimitExceeded):
    """The worker shuts down and its drain time is over; the task will run again elsewhere, uncharged. Raised in the task.

    Do: save how far you came, and let it pass.
    """

    def __init__(self, words: str = "the worker shuts down; this task will run again elsewhere") -> None:
        super().__init__(words)


class WorkerError(UmbelError):
    """The worker cannot start or cannot go on.

    Do: as the message says.
    """


class AppNotFound(WorkerError):
    """The user's module does not import, or no app was found in it.

    Do: the message has your module's own trace; name the app with ``-A module:attribute``.
    """
