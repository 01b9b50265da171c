from __future__ import annotations

import os
import uuid

import msgspec
import pytest

from umbel.errors import ArgumentError, WireError
from umbel.message import NAME_MAX, Message, check_name, decode_body, encode_body, new_id, new_ids

NOW = 1_790_000_000_123


@pytest.mark.parametrize("ids", [[new_id(NOW) for _ in range(200)], new_ids(NOW, 200)])
def test_ids_are_canonical_uuids_of_version_7_with_the_time_in_front(ids: list[str]) -> None:
    assert len(set(ids)) == 200
    for id in ids:
        parsed = uuid.UUID(id)
        assert str(parsed) == id
        assert parsed.version == 7
        assert parsed.variant == uuid.RFC_4122
        assert parsed.int >> 80 == NOW


def test_later_ids_sort_later() -> None:
    assert new_id(NOW) < new_id(NOW + 1) < new_ids(NOW + 2, 1)[0]


def test_a_fork_does_not_repeat_ids() -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, "".join(new_ids(NOW, 50)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    child = os.read(read, 36 * 50).decode()
    os.close(read)
    os.close(write)
    mine = new_ids(NOW, 50)
    assert len(child) == 36 * 50
    assert not {child[i : i + 36] for i in range(0, len(child), 36)} & set(mine)


@pytest.mark.parametrize("name", ["emails", "proj.tasks.send", "a b", "{braces}", "../up", "é", "x" * NAME_MAX, "<script>"])
def test_names_that_are_inert_are_taken(name: str) -> None:
    assert check_name("queue", name) == name


@pytest.mark.parametrize("name", ["", "a\nb", "\x00", "tab\t", "\x1b[31m", "\ud800", "x" * (NAME_MAX + 1), "é" * 101, 7, None, b"bytes"])
def test_names_that_are_not_are_refused_with_the_kind(name: object) -> None:
    with pytest.raises(ArgumentError, match="queue name") as caught:
        check_name("queue", name)
    assert str(caught.value).isprintable()


def test_body_leaves_out_what_is_empty_and_reads_back() -> None:
    assert encode_body("t", None, None) == b'{"t":"t"}'
    data = encode_body('a"b', b"[1]", b'{"x":2}', {"h": [1]})
    body = decode_body(data)
    assert (body.t, bytes(body.a), bytes(body.k), body.h) == ('a"b', b"[1]", b'{"x":2}', {"h": [1]})
    plain = decode_body(b'{"t":"t"}')
    assert not plain.a and not plain.k and plain.h is None


def test_body_of_a_newer_release_is_read() -> None:
    assert decode_body(b'{"t":"t","new":{"deep":[1]},"a":[1]}').t == "t"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"a":[1]}', b'{"t":3}', b"\xff\xfe", b'{"t":"t","h":[]}', b"[" * 100_000])
def test_what_is_no_body_is_a_wire_error(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_body(data)


def test_message_is_frozen_and_makes_changed_copies() -> None:
    message = Message(id="1", task="t", args=(1,), kwargs={}, queue="q", priority=5)
    with pytest.raises(AttributeError):
        message.queue = "other"  # type: ignore[misc]  # that it cannot be set is what is tested
    assert message.replace(queue="other").queue == "other"
    assert message.queue == "q"
    assert msgspec.structs.asdict(message)["headers"] == {}
