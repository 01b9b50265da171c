"""What happened, in figures: from the mail server's count, and from what the worker said of the child that was killed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .mailbox import Report

_DEATH = re.compile(r"child (?P<pid>\d+) [^;\"]+; (?P<held>\d+) messages given back")


def recovered_by(log: Path, pid: int) -> int | None:
    """How many messages process ``pid`` held when it was killed, the one that it ran included, by the worker's own log; None
    if it says nothing of it."""
    for death in _DEATH.finditer(log.read_text(encoding="utf-8", errors="replace")):
        if int(death["pid"]) == pid:
            return int(death["held"])
    return None


@dataclass(frozen=True)
class Figures:
    """One run of the demo."""

    users: frozenset[str]
    called: int
    report: Report
    killed: int
    """The child that was killed; 0 for none."""
    recovered: int | None
    """What it held then; None if the worker did not say."""
    hard_limit: float

    @property
    def sent(self) -> int:
        return len(self.users & self.report.deliveries.keys())

    @property
    def lost(self) -> list[str]:
        return sorted(self.users - self.report.deliveries.keys())

    @property
    def strangers(self) -> list[str]:
        return sorted(self.report.deliveries.keys() - self.users)

    @property
    def duplicates(self) -> int:
        return sum(len(moments) - 1 for moments in self.report.deliveries.values())

    @property
    def in_flight(self) -> int:
        """The bound of duplicates."""
        return self.recovered or 0

    @property
    def timed_out(self) -> int:
        """Clients that gave a silent server up before the hard limit would have ended them: the soft limit's work."""
        return sum(1 for span in self.report.hung.values() if 0 < span < self.hard_limit)

    @property
    def refused(self) -> int:
        return sum(self.report.refused.values())

    @property
    def rate(self) -> float:
        """Mails per second, from the first to the last."""
        return self.sent / self.report.seconds if self.report.seconds else 0.0

    def wait(self, share: float) -> float:
        """The wait in seconds, from the call to the first beginning, that ``share`` of the tasks kept under."""
        return percentile(self.report.waited_ms, share) / 1000

    def faults(self) -> list[str]:
        """Everything that contradicts what the demo is to show; empty if all is well."""
        lost, strangers, hung = self.lost, self.strangers, len(self.report.hung)
        found = [
            (bool(lost), f"{len(lost)} users have no mail: {_some(lost)}"),
            (bool(strangers), f"mails to nobody's address: {_some(strangers)}"),
            (self.called != len(self.users), f"{self.called} calls were stored, for {len(self.users)} users"),
            (self.duplicates > self.in_flight, f"{self.duplicates} mails came twice, more than the {self.in_flight} in flight at the kill"),
            (self.timed_out != hung, f"the server hung on {hung} mails, and the soft limit ended {self.timed_out} of them"),
            (bool(self.killed) and self.recovered is None, f"the worker's log does not tell of the death of child {self.killed}"),
        ]
        return [words for wrong, words in found if wrong]

    def table(self) -> str:
        """For people."""
        if self.killed:
            held = f"held by child {self.killed} when it was killed (SIGKILL) half-way; run again"
            bound = f"at most {self.in_flight}: what was in flight at the kill"
        else:
            held, bound = "no child was killed", "none is allowed"
        rows = [
            ("sent", f"{self.sent:,}", f"of {len(self.users):,} users, by the mail server's count"),
            ("retried", f"{self.refused + len(self.report.hung):,}", f"{self.refused:,} refused with 451, the rest timed out"),
            ("timed out", f"{self.timed_out:,}", f"the server hung on {len(self.report.hung):,}; the soft limit ended the wait"),
            ("recovered", f"{self.in_flight:,}", held),
            ("duplicates", f"{self.duplicates:,}", bound),
            ("lost", f"{len(self.lost):,}", ""),
            ("tasks/s", f"{self.rate:,.0f}", "from the first mail to the last"),
            ("wait p50", f"{self.wait(0.50):.2f} s", "from the call to the beginning of the task"),
            ("wait p99", f"{self.wait(0.99):.2f} s", "all were called at once, so this is mostly the queue"),
        ]
        return "\n".join(f"  {name:<11} {figure:>9}   {words}".rstrip() for name, figure, words in rows)


def percentile(values: Sequence[int], share: float) -> float:
    """The smallest value that ``share`` of all do not exceed; 0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, -int(-share * len(ordered) // 1) - 1))]


def _some(addresses: Sequence[str]) -> str:
    return ", ".join(addresses[:5]) + (" …" if len(addresses) > 5 else "")
