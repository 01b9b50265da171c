"""``--reload``: the project's sources are watched on a thread, and what changed is handed to the supervisor's loop.

A change is made live as SIGHUP does it: a new template imports the new code, and the children come from it. Only here the
old children have ``RELOAD_GRACE`` seconds for what they run. Code that does not import changes nothing: the old goes on.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator
from fnmatch import fnmatch
from importlib.util import cache_from_source
from typing import Any

from .catalog import Catalog

RELOAD_GRACE = 5.0
"""Seconds for what runs in a child of old code, or until the change after the next: then it is interrupted, and given back."""
_STEP, _DEBOUNCE = 50, 300
"""Ms without a change after which some are told, and after which they are told in any case: the default database lies in the
project too, and a worker writes to it all the time."""
_LOOK = 200
"""Ms after which the watching thread looks up, though nothing changed."""
_WATCHING: dict[str, Any] = {
    "step": _STEP,
    "debounce": _DEBOUNCE,
    "rust_timeout": _LOOK,
    "yield_on_timeout": True,
    "raise_interrupt": False,
    "recursive": False,  # only folders that count are watched: a virtual environment has thousands, and each takes a watch
    "ignore_permission_denied": True,
}
_POLL = 0.5
"""Seconds between two looks where the system does not tell of edits."""
_IGNORED_FOLDERS = ("__pycache__", "node_modules", "site-packages")
_EDITORS = ("flycheck_*", "*_flymake.py", "___jb_*")
"""Copies that editors put beside a file while somebody types; names that begin with a dot are passed over in any case."""
_NAMED = 3

log = logging.getLogger("umbel.worker")


class Sources:
    """Which of the files below some folders count."""

    def __init__(self, folders: Collection[str], patterns: Collection[str]) -> None:
        """``patterns``: of file names, as a shell writes them (``*.py``)."""
        self._folders = sorted((folder.rstrip(os.sep) + os.sep for folder in folders), key=len, reverse=True)
        self._patterns = tuple(patterns)

    def have(self, path: str) -> bool:
        """Does a change of this file count?"""
        folders, name = self._within(path)
        return self._named(name) and not any(_ignored(part) for part in (*folders, name))

    def folders(self) -> list[str]:
        """All in which sources may lie."""
        return [at for at, _ in self._walk()]

    def stamps(self) -> dict[str, tuple[int, int, int]]:
        """Each source, with what is another when it has changed."""
        found: dict[str, tuple[int, int, int]] = {}
        for at, files in self._walk():
            for path in [os.path.join(at, file) for file in files if self._named(file) and not _ignored(file)]:
                try:
                    state = os.stat(path)
                except OSError:  # gone while we looked
                    continue
                found[path] = (state.st_mtime_ns, state.st_size, state.st_ino)
        return found

    def _walk(self) -> Iterator[tuple[str, list[str]]]:
        """Folders and their files; not those of virtual environments, whatever they are called: they hold more than all others."""
        for folder in self._folders:
            for at, folders, files in os.walk(folder):
                environment = "pyvenv.cfg" in files
                folders[:] = [] if environment else [one for one in folders if not _ignored(one)]
                if not environment:
                    yield at.rstrip(os.sep), files

    def _named(self, name: str) -> bool:
        return any(fnmatch(name, one) for one in self._patterns) and not any(fnmatch(name, one) for one in _EDITORS)

    def _within(self, path: str) -> tuple[list[str], str]:
        """The folders between the watched one and the file, and the file's name: what lies above is nobody's business."""
        below = next((path[len(folder) :] for folder in self._folders if path.startswith(folder)), path)
        *folders, name = below.split(os.sep)
        return folders, name


def _ignored(part: str) -> bool:
    return part.startswith(".") or part in _IGNORED_FOLDERS


class SourceWatch:
    """Watches until stopped. Needs the package ``watchfiles``, which is imported on the thread.

    What the system tells is a hint only; what counts is how the sources look then. So nothing is missed while the watch is
    set up, or set up anew since a folder came, and polling is the same without the hints.
    """

    def __init__(self, folders: Collection[str], patterns: Collection[str], notify: Callable[[], None]) -> None:
        """``notify`` is called from the thread when there is something to ``take``."""
        self._sources = Sources(folders, patterns)
        self._notify = notify
        self._changed: deque[str] = deque()
        self._stop = threading.Event()
        self._stands = threading.Event()
        self._thread = threading.Thread(target=self._run, name="umbel-reload", daemon=True)

    def start(self) -> None:
        """Returns once every later change is seen."""
        self._thread.start()
        self._stands.wait()

    def stop(self) -> None:
        """Twice is once."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_LOOK / 1000 * 5)

    def take(self) -> list[str]:
        """Files that changed since this was last asked."""
        found: list[str] = []
        while self._changed:
            found.append(self._changed.popleft())
        return sorted(set(found))

    def _run(self) -> None:
        try:
            known = self._sources.stamps()
        finally:
            self._stands.set()
        for _ in self._hints():
            now = self._sources.stamps()
            changed = [path for path in known.keys() | now.keys() if known.get(path) != now.get(path)]
            known = now
            if changed:
                self._changed.extend(changed)
                self._notify()

    def _hints(self) -> Iterator[None]:
        """Moments at which sources may have changed."""
        try:
            while not self._stop.is_set() and not _polling_wanted():
                yield from self._told()
        except Exception as exc:  # the user's inotify instances or watches are used up, most often
            log.warning("the system does not tell of edits (%s), so files are looked at again and again; --reload-dir names fewer", exc)
        while not self._stop.wait(_POLL):
            yield

    def _told(self) -> Iterator[None]:
        """As the system tells, until folders came or went. The first comes by itself, for what happened before the watch stood."""
        from watchfiles import Change, watch

        folders = self._sources.folders()
        known, first, moved = set(folders), True, False

        def counts(change: Change, path: str) -> bool:
            nonlocal moved
            moved = moved or path in known or (change is Change.added and os.path.isdir(path))
            return first or moved or self._sources.have(path)

        try:
            for changes in watch(*folders, watch_filter=counts, stop_event=self._stop, **_WATCHING):
                if changes or first:
                    first = False
                    yield
                if moved:
                    return
        except FileNotFoundError:  # a folder went while the watch was set up
            self._stop.wait(_POLL)


def _polling_wanted() -> bool:
    """Is watchfiles' variable set? Its own way of polling misses a second edit within a second, so ours is used."""
    return os.environ.get("WATCHFILES_FORCE_POLLING", "").lower() not in ("", "false", "disable", "disabled")


def drop_bytecode(paths: Collection[str]) -> None:
    """Remove what Python keeps of these sources: it takes two edits within one second for the same if the size is the same."""
    for path in paths:
        if path.endswith(".py"):
            try:
                os.unlink(cache_from_source(path))
            except (OSError, NotImplementedError):  # none is kept, or kept elsewhere
                pass


def named(paths: Collection[str]) -> str:
    """Some files, for a log line."""
    names = [os.path.relpath(path) for path in paths]
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def difference(old: Catalog, new: Catalog) -> str:
    """What new code brings, for a log line."""
    said = [f"{len(new.tasks)} tasks"]
    for word, names in (("new", new.tasks.keys() - old.tasks.keys()), ("gone", old.tasks.keys() - new.tasks.keys())):
        if names:
            said.append(f"{word}: {', '.join(sorted(names)[:_NAMED])}" + (" …" if len(names) > _NAMED else ""))
    return "; ".join(said)


def needs_restart(old: Catalog, new: Catalog) -> list[str]:
    """Settings that new code says otherwise, so that its children would look for their work where this worker is not."""
    pairs = {"name": (old.app, new.app), "broker": (old.broker, new.broker)}
    return [key for key, (before, after) in pairs.items() if before != after]
