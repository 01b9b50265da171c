"""Every form of a Redis address, on real servers: TLS, a socket, an ACL user, sentinels, a cluster. And their failovers."""

from __future__ import annotations

import gc
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from tests.redis_groups import Cluster, Sentinel, Watched, ask, role
from tests.servers import RedisServer
from tests.waiting import wait_for
from umbel import Umbel
from umbel.broker import Broker, BrokerSettings, Facet, Settle, Verdict
from umbel.brokers import make_broker
from umbel.brokers.redis.keys import Keys
from umbel.brokers.redis.options import MEANINGS, known_options
from umbel.brokers.redis.rights import COMMANDS, rule
from umbel.envelope import EXPLICIT, TRACKED, Envelope
from umbel.errors import BrokerUnreachable, ConfigError, StoreUnusable
from umbel.outcome import Done, Retry
from umbel.project import masked

pytestmark = pytest.mark.usefixtures("redis_server")  # which says what to do where there is no redis-server
APP = "urls"


def opened(url: str, app: str = APP) -> Broker:
    broker = make_broker(url, BrokerSettings(app=app))
    broker.open()
    return broker


def ready_of(broker: Broker) -> int:
    return sum(one.ready for one in broker.stats())


def live(broker: Broker) -> None:
    """Every verb once."""
    broker.ping()
    broker.renew("w", 60, b"about")
    broker.admit("w", "h")
    assert broker.wait(["q"], 0.01) is False
    tracked = TRACKED if Facet.REMEMBERS in broker.capabilities.facets else 0
    calls = [Envelope(str(i), "q", b"", flags=EXPLICIT | tracked if i % 2 else 0) for i in range(4)]
    broker.enqueue([*calls, Envelope("later", "q", b"", after=60_000)])
    assert broker.wait(["q"], 1) is True
    held = broker.exchange("h", 1, [], ["q"], 3).deliveries
    settles = [Settle(held[0].receipt, Done(), (Envelope("then", "q", b""),)), Settle(held[1].receipt, Retry(1))]
    assert broker.exchange("h", 2, settles, ["q"], 1).verdicts == [Verdict.WON] * 2
    assert broker.give_back("h", [held[2].receipt]) == 1
    assert len(broker.resume("h")) == 1
    broker.retire("h")
    broker.maintain(rescue=True)
    broker.purge("q")
    broker.leave("w")


def until_served(step: Callable[[], Any], timeout: float = 30) -> Any:
    """Try again while the primary is away, as a worker does."""

    def served() -> tuple[Any] | None:
        try:
            return (step(),)
        except BrokerUnreachable:
            return None

    return wait_for(served, timeout, every=0.05)[0]


# -- what an address says


class TestAddress:
    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("redis://h/0?socket_timout=1", "did you mean 'socket_timeout'"),
            ("redis://h/0?retry_on_timeout=yes", "retry_on_timeout"),
            ("redis://h/0?socket_timeout=soon", "socket_timeout='soon': it must be seconds"),
            ("redis://h/0?socket_timeout=0", "a number over 0"),
            ("redis://h/0?strict=maybe", "true or false"),
            ("redis://h/0?db=1", "given twice"),
            ("redis://h/first", "number of a database"),
            ("redis://h:70000/0", "host:port"),
            ("redis://h/0?ssl_ca_certs=x", "begins with rediss:"),
            ("redis://h/0?sentinel_password=x", r"begins with redis\+sentinel:"),
            ("rediss://h/0?ssl_ca_certs=/nowhere", "a file that can be read"),
            ("redis://someone@h/0", "without a password"),
            ("redis://:a@h/0?password_file=f", "twice"),
            ("redis://h/0?password=a&password_file=f", "exclude each other"),
            ("redis://a,b/0", "several hosts"),
            ("unix://run/redis.sock", "three slashes"),
            ("redis+sentinel://h:26379", "which service"),
            ("redis+sentinel://h:26379/bank/x", "number of a database"),
            ("redis+cluster://h/1", "only database 0"),
            ("redis+cluster://h?db=1", "only database 0"),
            ("reddis://h/0", "did you mean 'redis'"),
        ],
    )
    def test_what_is_wrong_is_named(self, url: str, said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            make_broker(url)

    @pytest.mark.parametrize(
        "url",
        [
            "redis://user:hunter2@h:x/0",
            "redis://user:hunter2@h/0?nonsense=1",
            "redis://user:hun?ter2@h/0",
            "redis://user:hun#ter2@h:x/0",
            "redis://h/0?password=hunter2&password=hunter2",
            "redis+sentinel://user:hunter2@h/bank/0?sentinel_password=",
        ],
    )
    def test_no_error_repeats_a_password(self, url: str) -> None:
        with pytest.raises(ConfigError) as refused:
            make_broker(url)
        assert not re.search("hun|ter2", str(refused.value))
        assert not re.search("hun|ter2", masked(url))


# -- passwords and rights


class TestUsers:
    @pytest.fixture
    def locked(self, tmp_path: Path) -> Iterator[RedisServer]:
        rights = rule(Keys(APP).root).split()
        with RedisServer(tmp_path, "--user", "bank", "on", ">pass/word@1", *rights) as server:
            yield server

    def test_the_documented_rights_are_enough_for_every_verb(self, locked: RedisServer) -> None:
        with closing(opened(locked.url.replace("//", "//bank:pass%2Fword%401@"))) as broker:
            live(broker)

    def test_and_give_nothing_else(self, locked: RedisServer) -> None:
        with pytest.raises(StoreUnusable, match=r"NOPERM|permission"):
            live(opened(locked.url.replace("//", "//bank:pass%2Fword%401@"), app="another"))

    def test_every_command_of_a_script_is_among_them(self) -> None:
        lua = files("umbel.brokers.redis") / "lua"
        text = "".join(
            path.read_text("utf-8") for folder in (lua, lua / "parts") for path in folder.iterdir() if path.name.endswith(".lua")
        )
        called = set(re.findall(r"redis\.p?call\(\s*['\"](\w+)['\"]", text))
        assert len(called) > 20
        assert {one.lower() for one in called} - {one.partition("|")[0] for one in COMMANDS} == set()

    def test_a_password_file_is_read_at_each_connection(self, locked: RedisServer, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        url = locked.url.replace("//", "//bank@") + f"?password_file={secret}"
        with pytest.raises(StoreUnusable, match="secret cannot be read: No such file"):
            opened(url)
        secret.write_text("wrong\n")
        with pytest.raises(StoreUnusable, match="refuses the user or the password") as refused:
            opened(url)
        assert "wrong" not in str(refused.value)
        secret.write_text("pass/word@1\n")
        with closing(opened(url)) as broker:
            assert broker.ping() > 0
            ask(locked, "ACL", "SETUSER", "bank", "resetpass", ">changed")
            secret.write_text("changed")
            ask(locked, "CLIENT", "KILL", "USER", "bank")
            assert broker.ping() > 0


# -- a socket, TLS


def test_a_unix_socket(redis_server: RedisServer, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as short:  # a socket's path has 107 bytes at most
        path = f"{short}/redis.sock"
        with RedisServer(tmp_path, "--unixsocket", path) as server:
            with closing(opened(f"unix://{path}?db=3")) as broker:
                live(broker)
                broker.enqueue([Envelope("a", "q", b"")])
            assert "db3" in ask(server, "INFO", "keyspace")
        with pytest.raises(BrokerUnreachable, match=re.escape(path)):
            opened(f"unix://{path}")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and a certificate for 127.0.0.1 that it has signed."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    # Python 3.13 asks an authority to say what its key is for, and a server not to be an authority
    authority = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl(*new, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem", *authority)
    server = ("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", *server)
    openssl(*new, "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.pem", *signed)
    return folder


class TestTLS:
    @pytest.fixture
    def server(self, certificates: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RedisServer]:
        files = [f"--tls-{name}-file {certificates / file}" for name, file in _TLS_FILES.items()]
        with socket.create_server(("127.0.0.1", 0)) as taken:  # held, lest both ports be the same one
            self.port = taken.getsockname()[1]
            options = " ".join([f"--tls-port {self.port}", *files, f"--tls-auth-clients {getattr(request, 'param', 'no')}"])
            server = RedisServer(tmp_path, *options.split())
        with server:
            yield server

    def url(self, *options: str) -> str:
        return f"rediss://127.0.0.1:{self.port}/0?{'&'.join(options)}"

    def test_every_verb(self, server: RedisServer, certificates: Path) -> None:
        with closing(opened(self.url(f"ssl_ca_certs={certificates}/ca.pem"))) as broker:
            live(broker)
            before = ask(server, "INFO", "stats")["total_connections_received"]
            for _ in range(20):
                broker.ping()
            assert ask(server, "INFO", "stats")["total_connections_received"] == before + 1, "a connection is kept"

    def test_a_connection_closed_while_idle_costs_nothing(self, server: RedisServer, certificates: Path) -> None:
        with closing(opened(self.url(f"ssl_ca_certs={certificates}/ca.pem"))) as broker:
            broker.enqueue([Envelope("a", "q", b"")])
            assert ask(server, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") >= 1
            wait_for(lambda: int(ask(server, "INFO", "clients")["connected_clients"]) == 1)
            broker.enqueue([Envelope("b", "q", b"")])
            assert ready_of(broker) == 2

    def test_an_unknown_authority_is_refused_with_the_remedy(self, server: RedisServer) -> None:
        with pytest.raises(StoreUnusable, match=r"\?ssl_ca_certs=FILE"):
            opened(self.url())
        with closing(opened(self.url("ssl_cert_reqs=none"))) as broker:
            assert broker.ping() > 0

    def test_a_certificate_of_another_name_is_refused(self, server: RedisServer, certificates: Path) -> None:
        url = self.url(f"ssl_ca_certs={certificates}/ca.pem").replace("127.0.0.1", "localhost")
        with pytest.raises(StoreUnusable, match="localhost"):
            opened(url)
        with closing(opened(url + "&ssl_check_hostname=false")) as broker:
            assert broker.ping() > 0

    @pytest.mark.parametrize("server", ["yes"], indirect=True)
    def test_a_certificate_of_ours(self, server: RedisServer, certificates: Path) -> None:
        url = self.url(f"ssl_ca_certs={certificates}/ca.pem")
        with pytest.raises((StoreUnusable, BrokerUnreachable)):
            opened(url)
        with closing(opened(f"{url}&ssl_certfile={certificates}/server.pem&ssl_keyfile={certificates}/server.key")) as broker:
            assert broker.ping() > 0

    def test_no_tls_there(self, redis_server: RedisServer) -> None:
        with pytest.raises(BrokerUnreachable, match="redis: instead of rediss:"):  # redis waits for the rest of what it takes for a line
            opened(redis_server.url.replace("redis:", "rediss:") + "?socket_timeout=0.2")


_TLS_FILES = {"cert": "server.pem", "key": "server.key", "ca-cert": "ca.pem"}


# -- sentinels


TASKS = """
from umbel import Umbel

app = Umbel("shop")

@app.task(name="mark")
def mark(n: int) -> None:
    with open("marks", "a") as file:
        file.write(f"{n}\\n")
"""


def marks(folder: Path) -> list[int]:
    """What the tasks have written, in order."""
    file = folder / "marks"
    return sorted(map(int, file.read_text().split())) if file.exists() else []


@contextmanager
def a_worker(folder: Path, url: str) -> Iterator[None]:
    log = folder / "worker.log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "umbel", "-A", "tasks", "worker", "-c", "2", "-l", "info"]
        worker = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, env={**os.environ, "UMBEL_BROKER": url})
    try:
        wait_for(lambda: "ready" in log.read_text(), 30)
        yield
        worker.terminate()
        assert worker.wait(180) == 0, log.read_text()
    finally:
        worker.kill()
        worker.wait()


class TestSentinels:
    @pytest.fixture
    def group(self, redis_server: RedisServer, tmp_path: Path) -> Iterator[Watched]:
        with Watched(tmp_path) as group:
            yield group

    def test_a_failover(self, group: Watched, tmp_path: Path) -> None:
        with pytest.raises(StoreUnusable, match="no sentinel knows a service 'shop'"):
            opened(group.url.replace("/bank/", "/shop/"))
        (tmp_path / "tasks.py").write_text(TASKS)
        app = Umbel("shop", broker=group.url, enqueue_retry=30, set_as_current=False)
        with closing(opened(group.url)) as broker, closing(opened(group.url)) as waiting, a_worker(tmp_path, group.url):
            live(broker)
            broker.enqueue([Envelope("before", "q", b"")])
            for n in range(20):
                app.send_task("mark", (n,))
            wait_for(lambda: marks(tmp_path) == list(range(20)), 30)
            assert ask(group.primary, "WAIT", "1", "5000") >= 1
            group.sentinels[0].kill()
            group.primary.kill()
            heard: list[bool] = []
            waiter = threading.Thread(target=lambda: heard.append(until_served(lambda: waiting.wait(["late"], 5) or None)))
            waiter.start()
            app.send_task("mark", (20,))  # made while nobody serves: it waits for the other to be promoted
            assert role(group.replica) == "master"
            for n in range(21, 40):
                app.send_task("mark", (n,))
            until_served(lambda: broker.enqueue([Envelope("after", "q", b"")]))
            assert {one.queue: one.ready for one in broker.stats()}["q"] == 2
            until_served(lambda: broker.enqueue([Envelope("late", "late", b"")]))
            waiter.join(180)
            assert heard == [True]
            wait_for(lambda: set(marks(tmp_path)) == set(range(40)), 60)
        app.close()

    def test_a_handover_and_who_is_not_the_primary(self, group: Watched) -> None:
        with closing(opened(group.url)) as broker:
            broker.enqueue([Envelope("before", "q", b"")])
            assert ask(group.primary, "WAIT", "1", "5000") >= 1
            ask(group.sentinels[0], "SENTINEL", "FAILOVER", "bank")
            wait_for(lambda: (role(group.primary), role(group.replica)) == ("slave", "master"), 30)
            until_served(lambda: broker.enqueue([Envelope("after", "q", b"")]))  # READONLY, or the old primary's goodbye
            assert ready_of(broker) == 2
        ask(group.replica, "REPLICAOF", "127.0.0.1", str(group.primary.port))  # behind the sentinels' back
        with pytest.raises(BrokerUnreachable, match="is not the primary"):
            opened(group.url)


def test_sentinels_have_a_password_of_their_own(redis_server: RedisServer, tmp_path: Path) -> None:
    with Sentinel(tmp_path, redis_server, "requirepass hunter2") as sentinel:
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/bank"
        until_served(lambda: opened(f"{url}?sentinel_password=hunter2").close())
        with pytest.raises(StoreUnusable, match=r"NOAUTH|Authentication required"):
            opened(url)


def test_sentinels_that_are_away_are_named(redis_server: RedisServer) -> None:
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1"):
        opened("redis+sentinel://127.0.0.1:1/bank")


# -- a cluster


class TestCluster:
    @pytest.fixture
    def cluster(self, redis_server: RedisServer, tmp_path: Path) -> Iterator[Cluster]:
        with Cluster(tmp_path, key_slot(Keys(APP).root)) as cluster:
            yield cluster

    def test_one_primary_has_all_keys_of_an_app(self, cluster: Cluster) -> None:
        with closing(opened(cluster.url)) as broker:
            live(broker)
            broker.enqueue([Envelope(str(i), f"q{i}", b"") for i in range(20)])
        assert ask(cluster.owner, "DBSIZE") > 20
        assert [ask(node, "DBSIZE") for node in cluster.others] == [0, 0]
        for number in range(6):
            with closing(opened(cluster.url, f"app-{number}")) as broker:
                live(broker)
        assert all(ask(node, "DBSIZE") for node in cluster.primaries)

    def test_a_failover(self, cluster: Cluster) -> None:
        with closing(opened(cluster.url)) as broker:
            broker.enqueue([Envelope("before", "q", b"")])
            assert ask(cluster.owner, "WAIT", "1", "5000") == 1 or ready_of(broker)
            wait_for(lambda: ask(cluster.replica, "DBSIZE") == ask(cluster.owner, "DBSIZE"))
            cluster.owner.kill()
            until_served(lambda: broker.enqueue([Envelope("after", "q", b"")]))
            assert role(cluster.replica) == "master"
            assert ready_of(broker) == 2

    def test_a_handover_is_followed_without_an_error(self, cluster: Cluster) -> None:
        with closing(opened(cluster.url)) as broker:
            broker.enqueue([Envelope("before", "q", b"")])
            ask(cluster.replica, "CLUSTER", "FAILOVER")
            wait_for(lambda: role(cluster.owner) == "slave")
            broker.enqueue([Envelope("after", "q", b"")])  # MOVED, and then NOSCRIPT
            assert ready_of(broker) == 2
            assert broker.wait(["q"], 1) is True

    def test_a_slot_on_its_way_refuses_whole_and_is_followed(self, cluster: Cluster) -> None:
        slot, source, target = str(key_slot(Keys(APP).root)), cluster.owner, cluster.others[0]
        names = {node: ask(node, "CLUSTER", "MYID") for node in (source, target)}
        with closing(opened(cluster.url)) as broker:
            broker.renew("w", 60)
            broker.admit("w", "h")
            broker.enqueue([Envelope(str(i), "q", b"") for i in range(5)])
            ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
            ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
            first = Keys(APP).ready(b"q", 5).decode()  # one that every step below needs, in whatever order the server lists them
            rest = [key for key in ask(source, "CLUSTER", "GETKEYSINSLOT", slot, "100") if key != first]
            ask(source, "MIGRATE", "127.0.0.1", str(target.port), first, "0", "5000")
            for step in (
                lambda: broker.enqueue([Envelope("x", "q", b"")]),
                lambda: broker.exchange("h", 1, [], ["q"], 5),
                lambda: broker.renew("w", 60),
                broker.maintain,
            ):
                with pytest.raises(BrokerUnreachable, match=r"ASK|TRYAGAIN"):
                    step()
            ask(source, "MIGRATE", "127.0.0.1", str(target.port), "", "0", "5000", "KEYS", *rest)
            for node in (target, source, cluster.others[1]):
                ask(node, "CLUSTER", "SETSLOT", slot, "NODE", names[target])
            assert len(broker.exchange("h", 1, [], ["q"], 9).deliveries) == 5, "nothing was done by halves"

    def test_an_address_for_one_server_says_what_to_write(self, cluster: Cluster) -> None:
        with pytest.raises(StoreUnusable, match=r"redis\+cluster://"):
            opened(cluster.others[0].url).enqueue([Envelope("x", "q", b"")])


def test_no_cluster_there(redis_server: RedisServer) -> None:
    with pytest.raises(StoreUnusable, match="no node of a cluster"):
        opened(redis_server.url.replace("redis:", "redis+cluster:"))


# -- threads and forks


def test_threads_have_connections_of_their_own_and_close_them(redis_server: RedisServer) -> None:
    app = Umbel("threads", broker=redis_server.url, set_as_current=False)
    job = app.task(name="job")(lambda n: None)

    def connections() -> int:
        return str(ask(redis_server, "CLIENT", "LIST")).count("umbel:threads")

    together = threading.Barrier(9)

    def send() -> None:
        for n in range(100):
            if n % 10 == 0:
                ask(redis_server, "SCRIPT", "FLUSH")  # error replies, whose tracebacks must keep nothing
            job.delay(n)
        together.wait(180)
        together.wait(180)

    threads = [threading.Thread(target=send) for _ in range(8)]
    gc.disable()
    try:
        for thread in threads:
            thread.start()
        together.wait(180)
        assert connections() == 8
        together.wait(180)
        for thread in threads:
            thread.join(180)
        wait_for(lambda: connections() == 0)
    finally:
        gc.enable()
    assert ready_of(app.producer.broker()) == 800
    app.close()


def test_a_process_keeps_to_its_connections(redis_server: RedisServer) -> None:
    url = f"{redis_server.url}?max_connections=2&socket_connect_timeout=0.2&client_name=seated"
    first, second = opened(url), opened(url)
    with pytest.raises(BrokerUnreachable, match=r"all 2 connections .* \(max_connections\)"):
        opened(url)
    first.close()
    third = opened(url)
    assert str(ask(redis_server, "CLIENT", "LIST")).count("name=seated") == 2
    del second  # as a thread that ends lets go of its own
    fourth = opened(url)
    ask(redis_server, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert third.ping() and fourth.ping(), "one that broke is made anew in its own seat"
    third.close()
    fourth.close()


FORKS = """
import os, sys
from umbel import Umbel
from umbel.broker import BrokerSettings
from umbel.brokers import make_broker
from umbel.envelope import EXPLICIT, TRACKED, Envelope

app = Umbel("forks", broker=sys.argv[1])
job = app.task(name="job")(lambda n: None)
raw = make_broker(sys.argv[1], BrokerSettings(app="forks"))
raw.open()
job.delay(0)
mine = raw._line.call("CLIENT", "ID")
children = []
for child in range(4):
    pid = os.fork()
    if pid == 0:
        assert raw._line.call("CLIENT", "ID") != mine
        for n in range(100):
            job.delay(n)
            raw.enqueue([Envelope(f"{child}-{n}", "raw", b"")])
        raw.close()
        app.close()
        sys.exit(0)
    children.append(pid)
for n in range(100):
    job.delay(n)
    raw.enqueue([Envelope(f"parent-{n}", "raw", b"")])
assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
assert raw._line.call("CLIENT", "ID") == mine
raw.enqueue([Envelope("last", "raw", b"")])
print(sorted((one.queue, one.ready) for one in raw.stats()))
"""


def test_forks_leave_the_parents_connection_alone(redis_server: RedisServer) -> None:
    done = subprocess.run([sys.executable, "-c", FORKS, redis_server.url], capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert (done.returncode, done.stdout.strip()) == (0, "[('default', 501), ('raw', 501)]"), done.stderr


# -- what the page says


PAGE = (Path(__file__).parents[2] / "docs" / "redis.md").read_text("utf-8")


def test_the_page_has_the_rule_and_no_option_that_is_none() -> None:
    assert f"user bank on >SECRET {rule(Keys('bank').root)}\n" in PAGE
    table = PAGE[PAGE.index("## Options") : PAGE.index("## Sentinel")]
    named = set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))
    assert named
    assert named <= set(known_options())


def test_every_option_says_what_it_is_for() -> None:
    assert MEANINGS.keys() == set(known_options())
