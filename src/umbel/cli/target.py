"""What a command is about: which app, which broker. And the options that say so, before or after the command's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from ..broker import Broker
from ..config import Config, Source
from ..errors import AppNotFound, ConfigError
from ..loading import find_app, import_tasks, load_app
from ..project import masked
from .exits import Unanswered
from .terminal import note

if TYPE_CHECKING:
    from ..app import Umbel
    from ..settings import Settings
    from .summary import Discretion

C = TypeVar("C", bound=Callable[..., Any])
_NAMELESS = ("sqlite", "memory")
"""Stores that hold one app each: its name need not be known to find its messages."""


class Target(msgspec.Struct):
    """What the command line said, and what follows from it."""

    app: str | None = None
    broker: str | None = None
    app_name: str | None = None
    as_json: bool = False
    config: Any = None
    """The settings with their origins, once they are known."""

    def spec(self) -> str:
        """Where the app is; nothing is imported. ``ConfigError`` when nobody says so and it is not found."""
        if self.app:
            return self.app
        try:
            return find_app()
        except AppNotFound as exc:
            raise ConfigError(str(exc)) from exc

    def command_line(self) -> dict[str, str]:
        """The settings that were given as options."""
        given = {"broker": self.broker, "name": self.app_name}
        return {key: value for key, value in given.items() if value is not None}

    def load(self, discover: bool = False) -> Umbel:
        """Import the user's app, with the command line's settings on top; with ``discover``, also all modules of its tasks.
        User code runs."""
        app = load_app(self.spec())
        app.conf.override(**self.command_line())
        if discover:
            import_tasks(app)
        return app

    def settings(self) -> Settings:
        """The settings; the app is imported only where they cannot be had without it."""
        if self.config is None:
            self.config = self._configured()
        settings: Settings = self.config.settings
        return settings

    def discretion(self) -> Discretion:
        """What is not to be shown, and by which parameters it is known. The app is imported if it is found: its code may be
        what names secrets."""
        from ..redaction import EVERY, Redaction
        from .summary import Discretion

        names = set(self.settings().redact)
        said_outside = self.config.origin("redact") != "default"
        app, why = self._discreet_app()
        if why and not said_outside:
            names.add(EVERY)
            note(f"arguments are not shown: the app, which may name secrets, cannot be read: {why}")
        if app and not said_outside:
            names.update(app.settings.redact)
        tasks = {known: task for task in app.tasks.values() for known in (task.name, *task.options.aliases)} if app and names else {}
        return Discretion(Redaction(names), lambda name: tasks[name].signature.shape if name in tasks else None)

    def _discreet_app(self) -> tuple[Umbel | None, str]:
        """The app, None where there is none; and why one that is there cannot be read."""
        try:
            self.app = self.app or find_app()
        except AppNotFound:
            return None, ""
        try:
            return self.load(discover=True), ""
        except AppNotFound as exc:
            return None, str(exc).splitlines()[0]

    def _configured(self) -> Config:
        config = Config()
        config.override(**self.command_line())
        sources = {row.key: row.source for row in config.shown()}
        nameless = config.settings.broker.partition(":")[0].partition("+")[0].lower() in _NAMELESS
        if sources["broker"] != Source.DEFAULT and (nameless or sources["name"] != Source.DEFAULT) and not self.app:
            return config
        return self._of_app(config, sources["broker"] != Source.DEFAULT)

    def _of_app(self, config: Config, has_broker: bool) -> Config:
        try:
            spec = self.app or find_app()
        except AppNotFound:
            return config  # no app to ask: the default database, or the default name
        self.app = spec
        try:
            return self.load().conf
        except AppNotFound as exc:
            if not has_broker:
                raise
            raise AppNotFound(f"{exc}\n(The app was asked for its name; --app-name NAME --broker URL does without it.)") from exc

    @contextmanager
    def opened(self) -> Iterator[Broker]:
        """The broker, open; closed at the end."""
        from ..app import broker_settings
        from ..brokers import make_broker  # 50 ms of package metadata that --help need not pay

        settings = self.settings()
        self.tell_default(self.config)
        check_file(settings.broker)
        broker = make_broker(settings.broker, broker_settings(settings))
        broker.open()
        try:
            yield broker
        finally:
            broker.close()

    def tell_default(self, config: Config) -> None:
        """Name the database where nobody chose one: it depends on the folder that one stands in."""
        if config.origin("broker") == "default" and not self.as_json:
            note(f"database {config.settings.broker.partition(':///')[2]}")


def check_file(address: str) -> None:
    """Never make an empty database by looking at it."""
    scheme, _, rest = address.partition(":///")
    file = Path(rest.partition("?")[0])
    if scheme.lower() == "sqlite" and not file.exists():
        raise Unanswered(f"there is no database {file}: nothing was ever sent there, or this is not the project (-A, --broker)")


def storable(given: str) -> str:
    """The type of arguments that name something in a store: bytes that are no UTF-8 are refused by ``ValueError``."""
    given.encode()
    return given


def where(settings: Settings) -> str:
    """The broker's address as it may be shown."""
    return masked(settings.broker)


def _put(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Note an option in the target; what stands later on the line wins."""
    target = context.ensure_object(Target)
    if value is not None and value is not False and parameter.name is not None:
        setattr(target, parameter.name, value)


def target_options(command: C) -> C:
    """Give a command ``-A``, ``--broker``, ``--app-name`` and ``--json``."""
    options = (
        click.option("--json", "as_json", is_flag=True, help="Answer in JSON.", expose_value=False, callback=_put),
        click.option(
            "--app-name",
            metavar="NAME",
            help="The app's name in a shared store.  [default: the setting name]",
            expose_value=False,
            callback=_put,
        ),
        click.option(
            "-b",
            "--broker",
            metavar="URL",
            help="The broker's address: redis://host:6379/0, sqlite:///file.db.  [default: the setting]",
            expose_value=False,
            callback=_put,
        ),
        click.option("-A", "--app", metavar="MODULE[:APP]", help="Where the app is.  [default: found]", expose_value=False, callback=_put),
    )
    for option in options:
        command = option(command)
    return command
