"""The pytest plugin, in projects of their own and processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.testing.project import Project

APP = """
from umbel import Umbel, shared_task

app = Umbel("shop", broker="sqlite:///must-not-be-made.db")
sent = []


@app.task(track=True)
def send_email(user: int) -> int:
    sent.append(user)
    return user


@shared_task
def refresh(account: int) -> str:
    return f"account {account}"


@app.task(track=True)
async def quote(symbol: str) -> str:
    return f"{symbol} 42"
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project")
    project.write(tasks=APP, ini="[pytest]\nfilterwarnings = error\n")
    yield project
    assert not list(project.folder.glob("must-not-be-made*"))


def test_every_fixture(project: Project) -> None:
    project.write(
        test_all="""
        import tasks
        from umbel import current_app
        from umbel.testing import assert_enqueued

        def test_stepping(umbel_worker, umbel_clock):
            result = tasks.send_email.apply_async((7,), countdown=3600)
            assert_enqueued(tasks.send_email, 7, countdown=3600)
            umbel_clock.advance(3600)
            umbel_worker.run_until_idle()
            assert result.get() == 7

        def test_eager(umbel_eager):
            assert tasks.send_email.delay(8).get() == 8
            assert tasks.quote.delay("A").get() == "A 42"
            assert umbel_eager.enqueued_calls(tasks.quote)[0].args == ("A",)

        def test_shared(umbel_sandbox, umbel_app):
            tasks.refresh.delay(1)
            assert umbel_app is tasks.app and current_app == tasks.app
            assert umbel_sandbox.worker.run_one().value == "account 1"
        """
    )
    assert project.passes() == {"passed": 3}


def test_tests_are_isolated_also_side_by_side(project: Project) -> None:
    """Each sees its own call only: before, between and after the others', in one process or several, in any order."""
    project.write(
        test_many="""
        import pytest
        import tasks
        from umbel.testing import enqueued_calls

        @pytest.mark.parametrize("n", range(40))
        def test_one(n, umbel_worker):
            assert enqueued_calls() == []
            result = tasks.send_email.apply_async((n,), task_id="the same in each")
            assert result.duplicate_of is None
            assert [call.args for call in enqueued_calls()] == [(n,)]
            if n % 3:
                assert [run.value for run in umbel_worker.run_until_idle()] == [n]
        """
    )
    assert project.passes() == {"passed": 40}
    assert project.passes("-n", "2") == {"passed": 40}


def test_async_tests(project: Project) -> None:
    project.without = []
    project.write(
        ini="[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n",
        test_async="""
        import asyncio
        import tasks

        async def test_awaited(umbel_worker):
            result = await tasks.quote.adelay("A")
            await umbel_worker.arun_until_idle()
            assert await result == "A 42"

        async def test_eager(umbel_eager):
            assert await (await tasks.quote.adelay("B")) == "B 42"
            assert tasks.quote.delay("C").get() == "C 42"

        async def test_plain(umbel_worker):
            tasks.quote.delay("D")
            assert umbel_worker.run_one().value == "D 42"
        """,
    )
    assert project.passes() == {"passed": 3}


class TestWhichApp:
    TEST = """
        def test_it(umbel_app, umbel_worker):
            assert umbel_app.name == "shop"
            umbel_app.send_task("tasks.send_email", (1,))
            assert umbel_worker.run_one().value == 1
        """

    def test_it_is_found_as_the_command_line_finds_it(self, project: Project) -> None:
        project.write(test_it=self.TEST)
        assert project.passes() == {"passed": 1}

    def test_pytests_settings_say_it(self, project: Project) -> None:
        project.write(
            ini="[pytest]\numbel_app = tasks:app\n",
            conftest="from umbel import Umbel\nother = Umbel('other')",
            test_it=self.TEST,
        )
        assert project.passes() == {"passed": 1}

    def test_the_environment_says_it(self, project: Project) -> None:
        project.write(conftest="from umbel import Umbel\nother = Umbel('other')", test_it=self.TEST)
        assert project.passes(UMBEL_APP="tasks:app") == {"passed": 1}

    def test_the_current_one(self, project: Project) -> None:
        (project.folder / "tasks.py").rename(project.folder / "elsewhere.py")
        text = (project.folder / "elsewhere.py").read_text()
        (project.folder / "elsewhere.py").write_text(text.replace("@app.task(track=True)\ndef", "@app.task(name='tasks.send_email')\ndef"))
        project.write(test_it="import elsewhere\n" + self.TEST.replace("\n        ", "\n"))
        assert project.passes() == {"passed": 1}

    def test_a_fixture_says_it(self, project: Project) -> None:
        project.write(
            conftest="""
            import pytest
            from umbel import Umbel

            @pytest.fixture
            def umbel_app():
                app = Umbel("shop")
                app.task(name="tasks.send_email")(lambda n: n)
                return app
            """,
            test_it=self.TEST,
        )
        assert project.passes() == {"passed": 1}

    def test_there_is_none(self, project: Project) -> None:
        (project.folder / "tasks.py").unlink()
        project.write(test_it=self.TEST)
        printed = project.fails()
        assert 'say umbel_app = "module:attribute" in pytest\'s settings, or write a fixture umbel_app' in printed
        assert "Traceback" not in printed

    def test_it_does_not_import(self, project: Project) -> None:
        project.write(tasks="import no_such_module", ini="[pytest]\numbel_app = tasks:app\n", test_it=self.TEST)
        assert "no_such_module" in project.fails()


def test_a_failed_task_is_a_failed_test_with_its_own_trace(project: Project) -> None:
    project.write(
        tasks="from umbel import Umbel\napp = Umbel('shop')\n\n@app.task\ndef fails():\n    raise LookupError('in line 6')\n",
        test_it="""
        import tasks
        from umbel.testing import assert_enqueued

        def test_error(umbel_worker):
            tasks.fails.delay()
            umbel_worker.run_until_idle()

        def test_assertion(umbel_worker):
            tasks.fails.delay()
            assert_enqueued(tasks.fails, countdown=5)
        """,
    )
    printed = project.fails()
    assert "tasks.py:6: LookupError" in printed
    assert "countdown is None, not 5" in printed


def test_without_a_fixture_nothing_of_umbel_is_imported(project: Project) -> None:
    project.write(
        test_it="""
        import sys

        def test_it():
            assert "umbel.testing.plugin" in sys.modules
            ours = {name for name in sys.modules if name.startswith("umbel")}
            assert ours == {"umbel", "umbel.errors", "umbel.testing", "umbel.testing.plugin"}
        """
    )
    assert project.passes() == {"passed": 1}


def test_without_pytest_it_is_not_imported() -> None:
    code = (
        "import sys\nfrom umbel import Umbel\nfrom umbel.testing import *\n"
        "app = Umbel('a', broker='memory://')\njob = app.task(name='job')(lambda: 1)\n"
        "with Sandbox(app) as box:\n    job.delay(); assert box.worker.run_one().value == 1; assert_enqueued(job)\n"
        "assert not {'pytest', '_pytest', 'hypothesis'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_names_are_these() -> None:
    import umbel.testing

    assert umbel.testing.__all__ == [
        "Enqueued",
        "FrozenClock",
        "ManualClock",
        "Run",
        "Sandbox",
        "SandboxError",
        "SteppedWorker",
        "assert_enqueued",
        "assert_not_enqueued",
        "enqueued_calls",
    ]
    assert set(umbel.testing.__all__) <= set(dir(umbel.testing))
    assert all(getattr(umbel.testing, name).__doc__ for name in umbel.testing.__all__)
