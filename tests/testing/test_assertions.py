"""What ``assert_enqueued`` compares, and how it explains itself."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from unittest.mock import ANY

import pytest

from umbel import Umbel
from umbel.envelope import Envelope
from umbel.message import encode_body
from umbel.testing import Sandbox, assert_enqueued, assert_not_enqueued, enqueued_calls


@pytest.fixture
def app():
    return Umbel("assertions", broker="memory://", set_as_current=False, redact=["secret"])


@pytest.fixture
def box(app):
    with Sandbox(app) as box:
        yield box


@pytest.fixture
def send_email(app, box):
    @app.task(name="mail.send_email", queue="emails")
    def send_email(user: int, subject: str = "hello", *, urgent: bool = False, on: date | None = None) -> None: ...

    return send_email


def failure(*args, **kwargs):
    with pytest.raises(AssertionError) as caught:
        assert_enqueued(*args, **kwargs)
    return str(caught.value)


class TestArguments:
    def test_however_they_were_passed(self, send_email):
        send_email.delay(7, "late", urgent=True)
        for call in ((7, "late"), (7,), ()):
            assert_enqueued(send_email, *call)
        assert_enqueued(send_email, user=7, subject="late", urgent=True)
        assert_enqueued("mail.send_email", 7)

    def test_a_default_is_a_value(self, send_email):
        send_email.delay(7)
        assert_enqueued(send_email, 7, "hello", urgent=False)
        assert_not_enqueued(send_email, 7, urgent=True)

    def test_what_is_not_named_is_not_compared(self, send_email):
        send_email.delay(7, "late")
        assert_enqueued(send_email, ANY, "late")
        assert_not_enqueued(send_email, 8)

    def test_as_the_worker_will_get_them(self, app, box):
        @app.task(name="typed")
        def typed(pair: tuple[int, int], free: object, price: Decimal) -> None: ...

        typed.delay((1, 2), {"a": (3, [4])}, Decimal("1.5"))
        call = assert_enqueued(typed, (1, 2), {"a": (3, [4])}, Decimal("1.50"))
        assert (call.args, call.kwargs) == (((1, 2), {"a": [3, [4]]}, Decimal("1.5")), {})
        assert call.arguments == {"pair": (1, 2), "free": {"a": [3, [4]]}, "price": Decimal("1.5")}

    def test_bound_ones_and_many(self, app, box):
        bound = app.task(name="bound", bind=True)(lambda self, n, **more: None)
        assert bound.delay_many([(1,), {"n": 2, "colour": "red"}]) == 2
        assert_enqueued(bound, 2, colour="red", times=1)
        assert_enqueued(bound, times=2)

    def test_a_parameter_goes_before_an_option_of_its_name(self, app, box):
        job = app.task(name="job")(lambda queue: None)
        job.apply_async(("a",), queue="b")
        assert assert_enqueued(job, queue="a").queue == "b"
        assert_not_enqueued(job, queue="b")

    def test_a_task_that_is_declared_elsewhere(self, app, box):
        app.send_task("their.task", (1, [2]), {"x": 3}, queue="theirs")
        assert_enqueued("their.task", 1, [2], x=3, queue="theirs")
        assert_not_enqueued("their.task", 1, [2], x=4)

    def test_what_does_not_fit_the_task_is_a_mistake_of_the_test(self, send_email):
        with pytest.raises(TypeError, match=r"mail.send_email has no such parameter: unknown option 'urgnet'; did you mean 'urgent'\?"):
            assert_not_enqueued(send_email, urgnet=True)
        with pytest.raises(TypeError, match="takes 2 positional arguments, and the assertion names 3"):
            assert_not_enqueued(send_email, 1, 2, 3)


class TestOptions:
    def test_all_of_them(self, box, send_email):
        send_email.apply_async((7,), countdown=60, expires=600, priority=9, task_id="mine", headers={"trace": "abc", "more": 1})
        call = assert_enqueued(
            send_email, 7, queue="emails", countdown=timedelta(minutes=1), expires=600, priority=9, task_id="mine", headers={"trace": "abc"}
        )
        assert call.eta == box.clock.time + timedelta(seconds=60)
        assert_enqueued(send_email, eta=call.eta, expires=box.clock.time + timedelta(seconds=600), countdown=ANY)
        for option in (
            {"queue": "default"},
            {"countdown": 61},
            {"expires": 601},
            {"expires": None},
            {"priority": 5},
            {"task_id": "other"},
            {"headers": {"trace": "x"}},
            {"headers": {"absent": 1}},
            {"eta": call.eta + timedelta(seconds=1)},
        ):
            assert_not_enqueued(send_email, **option)

    def test_none_says_that_there_is_none(self, send_email):
        send_email.delay(7)
        assert_enqueued(send_email, countdown=None, eta=None, expires=None)
        assert_enqueued(send_email, countdown=0)
        assert_not_enqueued(send_email, expires=0)

    def test_an_eta(self, send_email):
        eta = datetime(2030, 1, 1, tzinfo=UTC)
        send_email.apply_async((7,), eta=eta)
        assert_enqueued(send_email, eta=eta, countdown=None)
        assert_enqueued(send_email, eta=datetime.fromisoformat("2030-01-01"))

    def test_times(self, send_email):
        send_email.delay(1)
        send_email.delay(1)
        assert_enqueued(send_email, 1, times=2)
        assert failure(send_email, 1, times=3).startswith("mail.send_email(1) was enqueued twice, not 3 times")
        with pytest.raises(ValueError, match="assert_not_enqueued"):
            assert_enqueued(send_email, 9, times=0)


class TestWhatWasEnqueued:
    def test_also_what_has_run_and_what_a_task_called(self, app, box, send_email):
        outer = app.task(name="outer")(lambda: send_email.delay(7))
        outer.delay()
        box.worker.run_until_idle()
        assert_enqueued(outer)
        assert_enqueued(send_email, 7)
        assert [call.task for call in enqueued_calls()] == ["outer", "mail.send_email"]
        assert [call.kwargs for call in enqueued_calls(send_email)] == [{}]

    def test_forgetting(self, box, send_email):
        send_email.delay(7)
        box.forget_calls()
        assert_not_enqueued(send_email)
        assert len(box.worker.run_until_idle()) == 1


class TestWords:
    def test_the_nearest_first(self, app, box, send_email):
        app.task(name="mail.send_letter")(lambda user: None).delay(7)
        app.task(name="charge")(lambda: None).delay()
        send_email.delay(8, urgent=False)
        send_email.apply_async((7,), {"urgent": True}, countdown=30)
        assert failure(send_email, 7, urgent=True, queue="emails", countdown=60).splitlines() == [
            "mail.send_email(7, urgent=True)  queue='emails' countdown=60 was not enqueued. These calls were made, the nearest first:",
            "  mail.send_email(7, urgent=True)  queue='emails' countdown=30    <- countdown is 30, not 60",
            "  mail.send_email(8, urgent=False)  queue='emails'"
            "    <- user is 8, not 7; urgent is False, not True; countdown is None, not 60",
            "  mail.send_letter(7)  queue='default'",
            "  charge()  queue='default'",
        ]

    def test_nothing_at_all(self, send_email):
        assert failure(send_email) == "mail.send_email(…) was not enqueued: no call was made at all"

    def test_many(self, send_email):
        send_email.delay_many((n,) for n in range(30))
        assert failure(send_email, 99).splitlines()[-1] == "  … and 20 more"

    def test_what_should_not_be_there(self, send_email):
        send_email.delay(7)
        with pytest.raises(AssertionError, match=r"was enqueued once. These calls(.|\n)*mail.send_email\(7\)  queue='emails'$"):
            assert_not_enqueued(send_email)

    def test_secrets_stay_secret(self, app, box):
        job = app.task(name="job")(lambda user, secret: None)
        job.delay(1, "hunter2")
        job.delay(1, secret="hunter2")
        words = failure(job, 1, "swordfish2")
        assert words.count("***") == 2
        assert "secret differs" in words
        assert "hunter2" not in words

    def test_bytes_that_are_no_call(self, app, box, send_email):
        app.producer.enqueue([Envelope("x", "q", b"\xff"), Envelope("y", "q", encode_body("mail.send_email", b'["no number"]', None))])
        words = failure(send_email, 7)
        assert "?()  queue='q'" in words
        assert "user is 'no number', not 7" in words


def test_a_call_is_shown_without_what_redact_names() -> None:
    from umbel.testing import Sandbox

    app = Umbel("discreet", broker="memory://", set_as_current=False, redact=["secret"])

    @app.task
    def keep(secret: str, more: object = None) -> None: ...

    with Sandbox(app) as sandbox:
        keep.delay("tr0ub4dor", more={"deep": [{"Secret": "tr0ub4dor"}]})
        [call] = sandbox.enqueued_calls()
        assert "tr0ub4dor" not in repr(call) and "***" in repr(call)
        with pytest.raises(AssertionError) as failed:
            sandbox.assert_not_enqueued(keep)
        assert "tr0ub4dor" not in str(failed.value)
