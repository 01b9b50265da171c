"""The Lua files: headed, loadable, and of one mind with the Python that reads the same bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.servers import RedisServer
from umbel.brokers.redis import scripts
from umbel.brokers.redis.connection import Address, Line
from umbel.envelope import Envelope, Flag, pack, unpack
from umbel.errors import WireError

LUA = files("umbel.brokers.redis") / "lua"
OPERATIONS = sorted(path.name.removesuffix(".lua") for path in LUA.iterdir() if path.name.endswith(".lua"))


@pytest.fixture
def line(redis_server: RedisServer) -> Iterator[Line]:
    line = Line(Address(redis_server.url, "scripts"))
    yield line
    line.drop()


def test_every_file_is_an_operation_that_is_known() -> None:
    assert {script.name for script in scripts.ALL} == set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_header_says_keys_arguments_answer_and_cost(name: str) -> None:
    head = re.match(r"(?:--.*\n)+", (LUA / f"{name}.lua").read_text("utf-8"))
    assert head is not None
    for said in ("-- KEYS  1 root", "Returns ", "Cost: "):
        assert said.removesuffix("1 root") in head[0], f"{name}.lua does not say {said!r}"
    uses_arguments = "ARGV" in (LUA / f"{name}.lua").read_text("utf-8")[head.end() :]
    assert uses_arguments == ("-- ARGV  " in head[0])


@pytest.mark.parametrize("script", scripts.ALL)
@pytest.mark.parametrize("major", [6, 7])
def test_server_takes_it(line: Line, script: scripts.Script, major: int) -> None:
    if line.version[0] < major:
        pytest.skip("a server before 7 knows no `#!lua` line")
    assert line.call("SCRIPT", "LOAD", script.text(major)) == script.sha(major)


def test_only_what_frees_or_holds_may_go_over_the_limit() -> None:
    first_lines = {(s.name, s.text(7).split(b"\n")[0]) for s in scripts.ALL}
    assert ("enqueue", b"#!lua") in first_lines
    assert ("exchange", b"#!lua") in first_lines and ("exchange", b"#!lua flags=allow-oom") in first_lines
    assert not any(s.text(6).startswith(b"#!") for s in scripts.ALL)


SAMPLE = pack(Envelope("a message", "q", b"body", extras={1: b"lane", 99: b""}))
RAW = pack(Envelope("0198c5d2-6c5f-7000-8000-000000000001", "q", b"body"))


@st.composite
def mutilated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from([SAMPLE, RAW, pack(Envelope("ü€𝄞", "q", b""))])))
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


def _reads(data: bytes) -> bool:
    try:
        unpack(data, "q")
    except WireError:
        return False
    return True


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(mutilated() | st.binary(max_size=80), min_size=1, max_size=50))
def test_lua_and_python_agree_on_what_can_be_read(line: Line, candidates: list[bytes]) -> None:
    route = (LUA / "parts" / "route.lua").read_bytes()
    ask = route + b"\nlocal said = {}\nfor i, m in ipairs(ARGV) do said[i] = readable(m) and 1 or 0 end\nreturn said"
    assert line.call("EVAL", ask, 0, *candidates) == [int(_reads(data)) for data in candidates]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(min_size=1, max_size=6), min_size=1, max_size=50))
def test_lua_and_python_agree_on_what_is_text(line: Line, names: list[bytes]) -> None:
    def is_text(name: bytes) -> bool:
        try:
            name.decode()
        except UnicodeDecodeError:
            return False
        return True

    route = (LUA / "parts" / "route.lua").read_bytes()
    ask = route + b"\nlocal said = {}\nfor i, s in ipairs(ARGV) do said[i] = is_text(s) and 1 or 0 end\nreturn said"
    assert line.call("EVAL", ask, 0, *names) == [int(is_text(name)) for name in names]


def test_lua_knows_the_flags_by_their_values() -> None:
    text = (LUA / "parts" / "route.lua").read_text("utf-8")
    names, values = re.search(r"local (LOST_DEAD.*) = (.*)", text).groups()  # type: ignore[union-attr] # the line is what is tested
    assert [int(Flag[name]) for name in names.split(", ")] == [int(value, 16) for value in values.split(", ")]
