"""The SQL of the SQLite broker: each statement says what it is for, fits the schema, is used, and is as cheap as it says."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import umbel.brokers.sqlite
from umbel.brokers.sqlite.counters import stamped
from umbel.brokers.sqlite.rows import runs, side_by_side
from umbel.brokers.sqlite.schema import additions, migrations, statements
from umbel.brokers.sqlite.statements import FOLDER, SQL, parse
from umbel.envelope import ALONE, Envelope, Extra, pack, unpack

SOURCE = Path(umbel.brokers.sqlite.__file__).parent


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    for _, text in (*migrations(), *additions()):
        for statement in statements(text):
            connection.execute(statement)
    yield connection
    connection.close()


def plan(connection: sqlite3.Connection, name: str) -> str:
    parameters = (0,) * SQL[name].count("?")
    return "\n".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {SQL[name]}", parameters))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.sql")), ids=lambda path: path.name)
def test_each_says_what_it_is_for(path: Path) -> None:
    parts = path.read_text().split("-- name: ")
    assert parts[0].startswith("-- ")
    assert [part.splitlines()[0] for part in parts[1:] if not part.splitlines()[1].startswith("-- ")] == []
    assert [part.splitlines()[0] for part in parts[1:] if "Cost:" not in part] == []


@pytest.mark.parametrize("name", sorted(SQL))
def test_each_fits_the_schema(connection: sqlite3.Connection, name: str) -> None:
    plan(connection, name)


def test_each_is_used_and_each_used_one_exists() -> None:
    code = "\n".join(path.read_text() for path in SOURCE.glob("*.py"))
    named = set(re.findall(r'SQL\["(\w+)"\]', code))
    assert named - set(SQL) == set()
    assert [name for name in SQL if name not in named and f'"{name}"' not in code] == []


def test_no_two_have_one_name() -> None:
    names = [name for path in FOLDER.glob("*.sql") for name in parse(path.read_text())]
    assert sorted(names) == sorted(set(names)) == sorted(SQL)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("ready", "message_ready (queue=?)"),
        ("any_ready", "message_ready (queue=?)"),
        ("next_due", "message_scheduled (queue=?)"),
        ("due", "message_scheduled (queue=? AND due<?)"),
        ("held", "message_leased (holder=?)"),
        ("held_one", "message_leased (holder=? AND slot=?)"),
        ("held_data", "message_leased (holder=? AND slot>? AND slot<?)"),
        ("held_rows", "message_leased (holder=?)"),
        ("expired", "message_expiring (expires>? AND expires<?)"),
        ("lease", "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("remove_run", "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("places_tracked", "message_tracked (record=?)"),
        ("prune_records", "record_ends (ends>? AND ends<?)"),
        ("prune_known", "known_until (until<?)"),
        ("prune_dead", "dead_died (died<?)"),
        ("prune_gone", "gone_at (at<?)"),
        ("ready_at", "message_ready (queue=? AND priority=?)"),
        ("lane_heads", "message_laned (queue=? AND lane=?)"),
        ("lane_has_any", "message_laned (queue=? AND lane=?)"),
        ("count_laned", "message_laned (queue=?)"),
        ("lanes_ready", "lane_ready (grp=?)"),
        ("lanes_ripen", "lane_shut (grp=? AND opens>? AND opens<?)"),
        ("lanes_first", "lane_shut (grp=? AND opens>?)"),
        ("lanes_open", "sqlite_autoindex_lane_1 (lim=?)"),
        ("lane_by_names", "sqlite_autoindex_lane_1 (lim=? AND grp=?)"),
        ("limit_has_lane", "sqlite_autoindex_lane_1 (lim=?)"),
        ("limit_is_held", "lane_hold_limit (lim=?)"),
        ("limit_get", "lane_hold_limit (lim=?)"),
        ("limits_rested", "lane_limit_tat (tat>? AND tat<?)"),
        ("groups_ready", "sqlite_autoindex_lane_group_1 (queue=? AND priority=?)"),
        ("group_stirs", "INTEGER PRIMARY KEY (rowid=?)"),
        ("queue_asked", "sqlite_autoindex_lane_group_1 (queue=?)"),
        ("key_free", "message_key_pos (pos=?)"),
        ("throttle_prune", "throttle_key_until (until<?)"),
    ],
)
def test_what_runs_often_goes_by_its_index(connection: sqlite3.Connection, name: str, index: str) -> None:
    found = plan(connection, name)
    assert index in found
    if name != "places_tracked":  # a sort of one or two
        assert "TEMP B-TREE" not in found, "it sorts, so it costs what waits"


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), unique_by=lambda pair: pair[0]))
def test_runs_are_what_they_are_made_of(pairs: list[tuple[int, int]]) -> None:
    found = runs(pairs)
    assert [(pos, pos + offset) for offset, first, last in found for pos in range(first, last + 1)] == pairs


def test_a_claim_in_order_is_one_run() -> None:
    assert runs([(7, 100), (8, 101), (9, 102)]) == [(93, 7, 9)]
    assert runs([(7, 100), (9, 101), (10, 102)]) == [(93, 7, 7), (92, 9, 10)]


@given(st.lists(st.integers(1, 60), unique=True))
def test_ranges_without_gaps(places: list[int]) -> None:
    found = side_by_side(list(places))
    assert [pos for first, last in found for pos in range(first, last + 1)] == sorted(places)
    assert all(b[0] > a[1] + 1 for a, b in pairwise(found)), "two that could have been one"


class TestCounters:
    def test_a_change_is_what_packing_anew_would_write(self) -> None:
        before = Envelope("0190b5a2-7c1e-7d30-8a44-0123456789ab", "q", b"body", enqueued=5, expires=6, extras={Extra.RECORD_TTL: b"60"})
        after = unpack(pack(before), "q")
        after.attempt, after.delivery, after.crashes, after.losses, after.parked = 2, 3, 4, 5, 6
        after.flags |= ALONE
        assert stamped(pack(before), after) == pack(after)

    def test_what_a_newer_release_wrote_stays(self) -> None:
        packed = pack(Envelope("id", "q", b"body", flags=0x0800, extras={200: b"unknown"}))
        longer = packed[:1] + bytes((packed[1] + 3,)) + packed[2:41] + b"new" + packed[41:]
        envelope = unpack(longer, "q")
        assert envelope.body == b"body"
        envelope.attempt += 1
        changed = stamped(longer, envelope)
        assert changed[41:] == longer[41:] and changed[:9] == longer[:9]
        assert unpack(changed, "q").attempt == 2

    def test_counters_saturate(self) -> None:
        envelope = Envelope("id", "q", b"", crashes=300, losses=256, attempt=1 << 40, delivery=1 << 33)
        data = stamped(pack(Envelope("id", "q", b"")), envelope)
        assert data == pack(envelope)
