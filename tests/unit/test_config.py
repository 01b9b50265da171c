from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from umbel.config import Config, Source
from umbel.errors import ConfigError
from umbel.project import anchored, masked, project_root
from umbel.settings import ACCEPTS, Settings, zone

pytestmark = pytest.mark.usefixtures("clean")


def test_every_setting_has_a_check_and_its_default_passes_it() -> None:
    defaults = Settings()
    assert set(ACCEPTS) == set(Settings.__struct_fields__)
    for name, check in ACCEPTS.items():
        assert check(getattr(defaults, name)) == getattr(defaults, name)


def test_the_defaults_that_promises_rest_on() -> None:
    s = Config().settings
    assert (s.soft_time_limit, s.time_limit, s.lease_ttl, s.heartbeat, s.crash_limit, s.worker_loss_limit) == (300, 330, 20, 5, 3, 10)
    assert (s.shutdown_timeout, s.deploy_grace, s.max_payload, s.warn_payload, s.max_result) == (25, 86400, 262144, 16384, 262144)
    assert (s.record_ttl, s.dead_letter_bytes, s.dead_letter_ttl) == (86400, 256 * 1024**2, 30 * 86400)
    assert (s.default_queue, s.timezone, s.redact) == ("default", "UTC", ())


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("auto", "auto"),
        (None, None),
        ("none", None),
        ("", None),
        (200_000, 200_000),
        ("200000", 200_000),
        ("200MB", 195_312),
        ("1.5 GiB", 1_572_864),
    ]
    + [("512KiB", 512)],
)
def test_memory_of_a_child(given: object, value: object) -> None:
    config = Config(max_memory_per_child=given)
    assert config.max_memory_per_child == value
    config.update(worker_max_memory_per_child=config.max_memory_per_child)  # what was read may be given again
    assert config.max_memory_per_child == value


@pytest.mark.parametrize("given", [0, "0", "0MB", "lots", "12 parsecs", -5, 1.5, True, "-1GB"])
def test_nonsense_for_memory_is_refused(given: object) -> None:
    with pytest.raises(ConfigError, match=r"'200MB' or '1\.5GiB', or KiB"):
        Config(max_memory_per_child=given)


def test_who_wins(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(default_queue="code", crash_limit=1, lease_ttl=30, record_ttl=1)
    (clean / "pyproject.toml").write_text('[tool.umbel]\ncrash_limit = 2\nlease_ttl = 31\nrecord_ttl = 2\nredact = ["card"]\n')
    monkeypatch.setenv("UMBEL_LEASE_TTL", "32")
    monkeypatch.setenv("UMBEL_RECORD_TTL", "3")
    config.override(record_ttl=4, timezone=None)
    s = config.settings
    assert (s.default_queue, s.crash_limit, s.lease_ttl, s.record_ttl, s.redact) == ("code", 2, 32, 4, ("card",))
    rows = {row.key: row for row in config.shown()}
    assert [rows[key].source for key in ("heartbeat", "default_queue", "crash_limit", "lease_ttl", "record_ttl")] == list(Source)
    assert rows["lease_ttl"].origin == "environment UMBEL_LEASE_TTL"
    assert str(clean / "pyproject.toml") in rows["crash_limit"].origin


def test_nothing_is_read_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config()
    monkeypatch.setenv("UMBEL_DEFAULT_QUEUE", "late")
    assert config.default_queue == "late"
    monkeypatch.setenv("UMBEL_DEFAULT_QUEUE", "later")
    assert config.default_queue == "late"
    config.reread()
    assert config.default_queue == "later"


def test_it_reads_as_attributes_and_items_and_writes_as_both() -> None:
    config = Config()
    before = config.settings
    assert config.settings is before
    config.crash_limit = 5
    config["heartbeat"] = timedelta(seconds=2)
    config.update({"max_payload": "1 MiB"}, default_queue="q")
    assert (config.crash_limit, config["heartbeat"], config.get("max_payload"), config.default_queue) == (5, 2.0, 1024**2, "q")
    assert config.get("nothing", 7) == 7
    assert "broker" in config and "nothing" not in config
    assert config.settings is not before


def test_celerys_names_mean_the_same_in_code() -> None:
    config = Config()
    config.update(broker_url="redis://h/1", task_default_queue="q", task_time_limit=10, result_expires=timedelta(hours=1))
    assert (config.broker, config.default_queue, config.time_limit, config.record_ttl) == ("redis://h/1", "q", 10, 3600)
    assert config.broker_url == "redis://h/1"


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        (lambda c, p, m: c.update(hartbeat=1), "unknown setting 'hartbeat'; did you mean 'heartbeat'?"),
        (lambda c, p, m: setattr(c, "hartbeat", 1), "did you mean 'heartbeat'"),
        (lambda c, p, m: m.setenv("UMBEL_HARTBEAT", "1"), "did you mean 'UMBEL_HEARTBEAT'"),
        (lambda c, p, m: (p / "pyproject.toml").write_text("[tool.umbel]\nhartbeat = 1\n"), "did you mean 'heartbeat'"),
        (lambda c, p, m: (p / "pyproject.toml").write_text("[tool]\numbel = 1\n"), "must be a table"),
        (lambda c, p, m: (p / "pyproject.toml").write_text("umbel = ["), "is not TOML"),
        (lambda c, p, m: c.update(result_backend="x"), "track=True"),
        (lambda c, p, m: c.update(lease_ttl=14.9), "at least three times heartbeat"),
        (lambda c, p, m: c.update(soft_time_limit=30, time_limit=30), "must be less than time_limit"),
        (lambda c, p, m: m.setenv("UMBEL_CRASH_LIMIT", "many"), "crash_limit = 'many' .environment UMBEL_CRASH_LIMIT.: it must be a whole"),
        (lambda c, p, m: c.update(timezone="Mars/Olympus"), "time zone"),
        (lambda c, p, m: c.update(default_queue="a\nb"), "default_queue"),
        (lambda c, p, m: c.update(heartbeat=0), "heartbeat"),
        (lambda c, p, m: c.update(heartbeat=float("nan")), "heartbeat"),
        (lambda c, p, m: c.update(heartbeat=True), "heartbeat"),
        (lambda c, p, m: c.update(redact=[1]), "redact"),
        (lambda c, p, m: c.update(broker="nothing"), "broker address"),
    ],
)
def test_what_cannot_be_is_refused(clean: Path, monkeypatch: pytest.MonkeyPatch, where: object, complaint: str) -> None:
    config = Config()
    with pytest.raises(ConfigError, match=complaint):
        where(config, clean, monkeypatch)  # type: ignore[operator]  # one of the lambdas above
        _ = config.settings


def test_a_bad_broker_address_is_not_repeated_in_the_error() -> None:
    with pytest.raises(ConfigError) as caught:
        Config(broker="redis//:secret@host\n")
    assert "secret" not in str(caught.value)


def test_an_update_is_all_or_nothing() -> None:
    config = Config()
    with pytest.raises(ConfigError):
        config.update(crash_limit=9, nonsense=1)
    assert config.crash_limit == 3


def test_an_unknown_setting_is_an_attribute_error_when_read() -> None:
    config = Config()
    assert not hasattr(config, "nonsense")
    with pytest.raises(KeyError):
        config["nonsense"]


def test_none_turns_a_limit_off_where_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Config(time_limit=None, soft_time_limit=None).settings.time_limit is None
    assert Config(broker=None).settings.time_limit == 330
    monkeypatch.setenv("UMBEL_TIME_LIMIT", "none")
    assert Config().settings.time_limit is None


def test_one_limit_moves_the_default_of_the_other() -> None:
    assert Config(time_limit=110).settings.soft_time_limit == pytest.approx(100)
    assert Config(time_limit=1000).settings.soft_time_limit == 300
    assert Config(soft_time_limit=600).settings.time_limit == pytest.approx(660)
    assert Config(soft_time_limit=10).settings.time_limit == 330


class Legacy:
    UMBEL_DEFAULT_QUEUE = "from-class"
    UMBEL_HEARTBEAT = 4
    OTHER_THING = object()
    DEBUG = True


def test_from_an_object_with_a_namespace() -> None:
    config = Config()
    config.from_object(Legacy, namespace="UMBEL")
    assert (config.default_queue, config.heartbeat) == ("from-class", 4)
    config.from_object(SimpleNamespace(CELERY_BROKER_URL="redis://h", CELERY_TASK_DEFAULT_QUEUE="c"), namespace="CELERY")
    assert (config.broker, config.default_queue) == ("redis://h", "c")


def test_from_a_module_a_mapping_and_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("somewhere_conf")
    exec(
        "import os\nfrom datetime import timedelta\ndef helper(): ...\nbroker_url = 'redis://m'\nheartbeat = timedelta(seconds=3)",
        vars(module),
    )
    monkeypatch.setitem(__import__("sys").modules, "somewhere_conf", module)
    for given in (module, "somewhere_conf"):
        config = Config()
        config.from_object(given)
        assert (config.broker, config.heartbeat) == ("redis://m", 3)
    module.holder = SimpleNamespace(crash_limit=8)  # type: ignore[attr-defined]  # a module made here
    for name in ("somewhere_conf:holder", "somewhere_conf.holder"):
        config = Config()
        config.from_object(name)
        assert config.crash_limit == 8
    config = Config()
    config.from_object({"crash_limit": 9})
    assert config.crash_limit == 9


@pytest.mark.parametrize("name", ["not_there_at_all", "umbel:nothing", "umbel.not_there"])
def test_an_object_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match="config_from_object"):
        Config().from_object(name)


def test_an_object_without_namespace_must_hold_settings_only() -> None:
    with pytest.raises(ConfigError, match="did you mean 'heartbeat'"):
        Config().from_object(SimpleNamespace(heartbeet=1))


def test_the_default_database_is_anchored_at_the_project(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Config().broker == f"sqlite:///{clean}/umbel.db"
    below = clean / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert Config().broker == f"sqlite:///{below}/umbel.db"
    (clean / "manage.py").touch()
    assert Config().broker == f"sqlite:///{clean}/umbel.db"
    assert project_root() == clean


def test_addresses_are_anchored_only_where_they_are_relative_files() -> None:
    root = Path("/srv/app")
    assert anchored("sqlite:///x.db?synchronous=FULL", root) == "sqlite:////srv/app/x.db?synchronous=FULL"
    for address in ("sqlite:////var/x.db", "sqlite://", "sqlite:///:memory:", "redis:///0", "memory://x"):
        assert anchored(address, root) == address


def test_secrets_are_masked() -> None:
    assert masked("redis://:s3cret@host:6379/0") == "redis://:***@host:6379/0"
    assert masked("rediss://user:p@ss@host/0?ssl_password=x&a=1") == "rediss://user:***@host/0?ssl_password=***&a=1"
    assert masked("redis://h/0?password_file=/run/pw") == "redis://h/0?password_file=/run/pw"
    config = Config(broker="redis://u:s3cret@h/0")
    assert "s3cret" not in repr(config) + str(config.shown())


def test_zones() -> None:
    assert str(zone(Config(timezone="Europe/Moscow").settings)) == "Europe/Moscow"
    assert str(zone(Config().settings)) == "UTC"


def test_where_a_value_came_from_can_be_the_first_question(monkeypatch):
    """Before anything else was asked: the environment is read for it."""
    monkeypatch.setenv("UMBEL_BROKER", "unix:///run/redis.sock")
    assert Config("x").origin("broker") == "environment UMBEL_BROKER"
