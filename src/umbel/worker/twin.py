"""The twin: a copy of the worker's process, taken before it has threads, connections or a line of the user's, that becomes the first
template.

Supervisor and template are made of the same modules: umbel's, and those of the broker's library. A fork shares their memory, where two
interpreters would each have their own. The twin is forked first of all, when there is nothing that a copy must not have, and waits; its
orders, and the file descriptors that a template inherits, come over the socket. Templates that follow (new code, or one that died) are
fresh interpreters: by then the supervisor has threads, and whoever asks for new code means that of installed packages too.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import msgspec

from ..brokers import factory_of, known_schemes, scheme_of
from ..clock import SYSTEM
from ..config import Config
from ..errors import UmbelError
from .options import Inherited, WorkerOptions
from .points import reach

_SENT_AT_ONCE = 250
"""File descriptors in one message: Linux takes 253."""
_HELD_BACK = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGQUIT}
_OF_OTHERS = {"unix"}
"""Schemes that stand in the environment for other programs, such as Docker."""
_LOOK_FIRST, _LOOK = 0.0005, 0.05
"""Seconds between two looks whether it has ended."""


class Orders(msgspec.Struct, frozen=True):
    """What makes a twin a template. The file descriptors in ``inherited`` are the supervisor's numbers."""

    options: WorkerOptions
    inherited: Inherited


class Twin:
    """As the supervisor sees it: what it uses of ``subprocess.Popen``, and the socket."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid = pid
        self.sock = sock
        self._status: int | None = None

    def instruct(self, orders: Orders) -> bool:
        """Make it a template. False if that cannot be; then it has ended."""
        reach("twin.instruct")
        fds = orders.inherited.fds
        try:
            for i in range(0, len(fds), _SENT_AT_ONCE):
                socket.send_fds(self.sock, [b" "], fds[i : i + _SENT_AT_ONCE])
            self.sock.sendall(msgspec.json.encode(orders) + b"\n")
        except OSError:
            self.sock.close()
            self.kill()
            self.wait()
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, if it was not waited for yet."""
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Its status as of ``os.waitpid``. Raises ``subprocess.TimeoutExpired`` after ``timeout`` seconds."""
        begin, pause = SYSTEM.monotonic(), _LOOK_FIRST
        while self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = status
            elif timeout is not None and SYSTEM.monotonic() - begin >= timeout:
                raise subprocess.TimeoutExpired("template", timeout)
            else:
                time.sleep(pause)
                pause = min(pause * 2, _LOOK)
        return self._status


def split(options: WorkerOptions) -> Twin | None:
    """Fork the twin. None where that is not safe, or not possible: the first template is then started like those that follow."""
    if not _is_alone():
        return None
    _import_broker(options)
    # The collector would touch, and so copy, what is shared from here on. Nothing is collected before: the holes would be filled again
    gc.freeze()
    if not _is_alone():  # a library may start threads
        return None
    ours, theirs = socket.socketpair()
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    try:
        pid = os.fork()
        if not pid:
            ours.close()
            _live(theirs)
    except OSError:  # no room for a process: there may be some when the next template is tried
        ours.close()
        return None
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
    theirs.close()
    return Twin(pid, ours)


def _is_alone() -> bool:
    """Is this Linux, and the command ``umbel`` itself, with one thread? A program of somebody else's that calls it may have anything open
    that a copy must not share."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    ours = spec.name == "umbel.__main__" if spec else Path(getattr(main, "__file__", None) or "").name == "umbel"
    try:
        return sys.platform == "linux" and ours and len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def _import_broker(options: WorkerOptions) -> None:
    """The broker's library too, if its address can be known before the user's code is read."""
    for scheme in _schemes(options):
        try:
            factory_of(scheme)
        except Exception:
            pass  # if the code wants it, the template will say what is wrong


def _schemes(options: WorkerOptions) -> Iterable[str]:
    """What the address begins with, if it is said outside the code. Else of such addresses as stand in the environment, under whatever
    name: the code may take it from there, and if it does not, it most likely uses that library for something else."""
    config = Config()
    try:
        config.override(**options.settings)
        address = config.settings.broker
    except UmbelError:
        return ()  # the template says what is wrong
    if config.origin("broker") != "default":
        return (scheme_of(address),)
    found = {scheme_of(value) for value in os.environ.values() if "://" in value}
    return found & known_schemes() - _OF_OTHERS


# -- the twin itself


def _live(sock: socket.socket) -> NoReturn:
    """Its whole life."""
    status = 70
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal signals the whole group; only the supervisor decides
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
        reach("twin.born")
        status = _become_template(sock)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _become_template(sock: socket.socket) -> int:
    _look_started(sock.fileno())
    orders = _await_orders(sock)
    if orders is None:
        return 0
    from .template import live

    return live(orders.options, orders.inherited, sock)


def _look_started(control: int) -> None:
    """What the user's modules see is as in a template that was started: standard input, open files, the path, arguments."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
        if fd > 2 and fd != control and _is_inheritable(fd):
            os.close(fd)
    script = sys.argv[0]
    if not sys.flags.safe_path and sys.path[:1] == [os.path.dirname(os.path.realpath(script))]:
        del sys.path[0]  # the folder of the script ``umbel``
    sys.argv[:] = [os.path.join(os.path.dirname(__file__), "template.py")]
    os.environ["PYTHONPATH"] = python_path()


def _is_inheritable(fd: int) -> bool:
    """Would another program get it? What came from whoever started us is such; what this interpreter has opened itself is not."""
    try:
        return os.get_inheritable(fd)
    except OSError:  # of the list itself, gone by now
        return False


def _await_orders(sock: socket.socket) -> Orders | None:
    """None if the supervisor ended before it gave any."""
    data, fds = b"", []
    while not data.endswith(b"\n"):
        more, with_it, _, _ = socket.recv_fds(sock, 1 << 16, _SENT_AT_ONCE)
        if not more:
            return None
        data += more
        fds += with_it
    for fd in fds:
        os.set_inheritable(fd, False)  # recv_fds does not pass MSG_CMSG_CLOEXEC on, though it takes flags
    orders = msgspec.json.decode(data, type=Orders)
    return Orders(orders.options, orders.inherited.renumbered(sock.fileno(), fds))


def python_path() -> str:
    """``PYTHONPATH`` for templates: the user's modules are looked for where the worker was started, as ``python -m`` itself would."""
    return os.pathsep.join(p for p in (os.getcwd(), os.environ.get("PYTHONPATH", "")) if p)
