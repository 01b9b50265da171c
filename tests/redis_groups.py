"""Several redis servers that belong together: a primary watched by sentinels, a cluster."""

from __future__ import annotations

import socket
import subprocess
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Self

import redis

from tests.servers import REDIS_SERVER, RedisServer
from tests.waiting import wait_for

SLOTS = 16384


def ask(server: RedisServer | Sentinel, *command: str) -> Any:
    """One command on a connection of its own."""
    with closing(redis.Redis(port=server.port, decode_responses=True, retry=None, socket_timeout=5, protocol=2)) as client:
        return client.execute_command(*command)


def role(server: RedisServer) -> str:
    """``master``, ``slave``, or empty when it does not answer."""
    try:
        return str(ask(server, "ROLE")[0])
    except redis.RedisError:
        return ""


class Group:
    """Servers that start and end together, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self.servers: list[RedisServer] = []

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def start(self) -> None:
        """Start all, and return once they know each other."""
        raise NotImplementedError

    def folder(self) -> Path:
        """A new one."""
        found = self._folder / f"server-{len(list(self._folder.iterdir()))}"
        found.mkdir()
        return found

    def serve(self, *options: str) -> RedisServer:
        """Start one more."""
        self.servers.append(self._stack.enter_context(RedisServer(self.folder(), *options)))
        return self.servers[-1]


class Sentinel:
    """One that watches ``primary`` under the name ``bank``; it needs a file that it may write into."""

    def __init__(self, folder: Path, primary: RedisServer, *more: str) -> None:
        assert REDIS_SERVER is not None
        self.port = free_port()
        file = folder / "sentinel.conf"
        file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor bank 127.0.0.1 {primary.port} 2\n"
            "sentinel down-after-milliseconds bank 500\nsentinel failover-timeout bank 3000\n" + "".join(f"{line}\n" for line in more)
        )
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen([REDIS_SERVER, str(file), "--sentinel"], stdout=log, stderr=log, start_new_session=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def knows_all(self, others: int, replicas: int) -> bool:
        try:
            flat = _raw(self, "SENTINEL", "MASTER", "bank")
        except redis.RedisError:
            return False
        told = dict(zip(flat[::2], flat[1::2], strict=True))
        return (int(told["num-other-sentinels"]), int(told["num-slaves"])) == (others, replicas)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(180)


class Watched(Group):
    """A primary, a replica, and three sentinels that take the primary for dead after half a second."""

    def start(self) -> None:
        self.primary = self.serve()
        self.replica = self.serve("--replicaof", f"127.0.0.1 {self.primary.port}", "--repl-diskless-sync-delay", "0")
        wait_for(lambda: _online(self.primary))
        self.sentinels = [self._stack.enter_context(Sentinel(self.folder(), self.primary)) for _ in range(3)]
        wait_for(lambda: all(one.knows_all(others=2, replicas=1) for one in self.sentinels), 30)

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://{hosts}/bank/0"


def _online(primary: RedisServer) -> bool:
    return "state=online" in str(_raw(primary, "INFO", "replication"))


class Cluster(Group):
    """Three primaries and one replica of the one that serves ``slot``."""

    def __init__(self, folder: Path, slot: int) -> None:
        super().__init__(folder)
        self._slot = slot

    def start(self) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0")
        nodes = [self.serve(*options, "--cluster-port", str(free_port())) for _ in range(4)]
        self.primaries, self.replica = nodes[:3], nodes[3]
        for number, node in enumerate(self.primaries):
            ask(node, "CLUSTER", "ADDSLOTSRANGE", str(SLOTS * number // 3), str(SLOTS * (number + 1) // 3 - 1))
            ask(node, "CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        for node in nodes[1:]:
            bus = _config(node, "cluster-port")
            ask(nodes[0], "CLUSTER", "MEET", "127.0.0.1", str(node.port), bus)
        wait_for(lambda: all(len(self.known(node)) == 4 for node in nodes), 20)
        self.owner = self.primaries[self._slot * 3 // SLOTS]
        self.others = [node for node in self.primaries if node is not self.owner]
        ask(self.replica, "CLUSTER", "REPLICATE", ask(self.owner, "CLUSTER", "MYID"))
        wait_for(lambda: all(_state(node) == "ok" for node in nodes) and _online(self.owner), 20)
        wait_for(lambda: all(_knows_replica(node, self.replica.port) for node in nodes), 20)

    @staticmethod
    def known(node: RedisServer) -> list[str]:
        """A line for each node that this one has shaken hands with."""
        lines = str(_raw(node, "CLUSTER", "NODES")).splitlines()
        return [line for line in lines if "handshake" not in line]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.primaries)


def _raw(server: RedisServer | Sentinel, *command: str) -> Any:
    """As ``ask``, without redis-py's reading of the answer."""
    with closing(redis.Redis(port=server.port, decode_responses=True, retry=None, socket_timeout=5, protocol=2)) as client:
        client.response_callbacks.clear()
        return client.execute_command(*command)


def _state(node: RedisServer) -> str:
    return next(line.partition(":")[2] for line in str(_raw(node, "CLUSTER", "INFO")).splitlines() if line.startswith("cluster_state"))


def _knows_replica(node: RedisServer, port: int) -> bool:
    return any(f":{port}@" in line and "slave" in line for line in Cluster.known(node))


def _config(node: RedisServer, name: str) -> str:
    answer = _raw(node, "CONFIG", "GET", name)
    return str(answer[1])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
