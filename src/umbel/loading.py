"""From what a person writes behind ``-A``, or from nothing, to the app.

Every failure is an :class:`~umbel.errors.AppNotFound` that says which of three it is: the module is not there, it is there
and does not import, or it imports and holds no app; and what to do.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING

from .errors import AppNotFound, UmbelError
from .project import pyproject_table

if TYPE_CHECKING:
    from .app import Umbel

PREFERRED = ("app", "umbel", "celery")
"""Names of the app in its module, the most usual first: they decide where a module holds several."""
FILES = ("tasks", "app", "umbel_app", "celery", "celery_app")
"""Modules in which an app is looked for where nobody says which."""
_MAKES_APP = re.compile(rb"\bUmbel\(")
_FRAMES_SHOWN = 3
_PACKAGES_MAX = 200
"""Folders looked into: a home directory by mistake must not take seconds."""


def load_app(spec: str) -> Umbel:
    """The app that ``spec`` names: ``"module:attribute"``, ``"module"``, ``"module.attribute"``, or a file ``"proj/tasks.py"``.

    The working directory is put first on ``sys.path``, and the module is imported: user code runs. Raises
    :class:`~umbel.errors.AppNotFound`.
    """
    _extend_path()
    module_name, colon, attribute = _dotted(spec.strip()).partition(":")
    if not re.fullmatch(r"\w+(\.\w+)*", module_name) or (colon and not attribute):
        raise AppNotFound(f"{spec!r} names no app: write -A module or -A module:attribute, such as -A proj.tasks:app")
    if not colon and "." in module_name and not _exists(module_name):
        parent, _, last = module_name.rpartition(".")
        if _exists(parent):
            module_name, attribute = parent, last  # Celery also takes "module.attribute"
    module = _import(module_name)
    return _named(module, attribute) if attribute else _only(module)


def import_tasks(app: Umbel) -> None:
    """Import what the app asked for by ``include`` and ``autodiscover_tasks``. Raises :class:`~umbel.errors.AppNotFound`."""
    try:
        app.finalize()
    except UmbelError:
        raise
    except (Exception, SystemExit) as exc:
        raise _does_not_import("a module of tasks", exc) from exc


def find_app() -> str:
    """Where the app is, when nobody says so, as text for :func:`load_app`. Imports nothing of the user's.

    In this order: ``UMBEL_APP``, ``app`` of ``[tool.umbel]``, then a file of the working directory (``tasks.py``, ``app.py``,
    ``umbel_app.py``, ``celery.py``) or of one package in it. Raises :class:`~umbel.errors.AppNotFound`.
    """
    told = os.environ.get("UMBEL_APP", "").strip() or pyproject_table()[1].get("app")
    if told:
        return str(told)
    here = Path.cwd()
    found = _modules_in(here, "")
    if not found:
        packages = [folder for folder in sorted(here.iterdir()) if (folder / "__init__.py").is_file()][:_PACKAGES_MAX]
        found = [first for folder in packages for first in _modules_in(folder, folder.name + ".")[:1]]
        if len(found) > 1:
            raise AppNotFound(f"there are several apps below {here}: {', '.join(found)}; say which, such as -A {found[0]}")
    if not found:
        files = ", ".join(f"{name}.py" for name in FILES)
        raise AppNotFound(
            f"no app found in {here} (looked for UMBEL_APP, [tool.umbel] app, and Umbel(...) in {files}); "
            "say where it is: -A module:attribute"
        )
    return found[0]


def _extend_path() -> None:
    """The working directory first, as ``python -m`` has it; and, last, the folder of the ``pyproject.toml`` that names the app,
    so that the same name works from a folder below it."""
    here = os.getcwd()
    if sys.path[:1] not in ([here], [""]):
        sys.path.insert(0, here)
    file, table = pyproject_table()
    if file is not None and "app" in table and str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))


def _dotted(spec: str) -> str:
    """``proj/tasks.py`` or ``proj/tasks.py:app`` as a module's name; other texts as they are."""
    path, colon, attribute = spec.partition(":")
    if not path.endswith(".py") and os.sep not in path:
        return spec
    file = Path(os.path.abspath(path))
    if not file.exists():
        raise AppNotFound(f"there is no file {file}; -A takes a module (proj.tasks) or a file below {os.getcwd()}")
    try:
        parts = file.relative_to(os.getcwd()).with_suffix("").parts
    except ValueError:
        raise AppNotFound(f"{file} is not below {os.getcwd()}; go to {file.parent} and say -A {file.stem}") from None
    name = ".".join(parts[:-1] if parts[-1:] == ("__init__",) else parts)
    if not all(part.isidentifier() for part in parts):
        raise AppNotFound(f"{path} cannot be imported: {name!r} is no module name; go to {file.parent} and say -A {file.stem}")
    return name + colon + attribute


def _exists(name: str) -> bool:
    """Is there such a module? Its parent packages are imported to find out."""
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as exc:
        if _is_missing(name, exc):
            return False
        raise _does_not_import(name, exc) from exc
    except (Exception, SystemExit) as exc:
        raise _does_not_import(name, exc) from exc


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if _is_missing(name, exc):
            raise AppNotFound(
                f"there is no module {exc.name!r} in {os.getcwd()} nor elsewhere on the path; "
                f"go to the folder that holds it, or say another: -A module:attribute"
            ) from exc
        raise _does_not_import(name, exc) from exc
    except (Exception, SystemExit) as exc:  # SystemExit: a script without an `if __name__ == "__main__"` guard
        raise _does_not_import(name, exc) from exc


def _is_missing(name: str, exc: ModuleNotFoundError) -> bool:
    """Is it ``name`` itself that is missing, and not something that the user's module wanted?"""
    return exc.name is not None and f"{name}.".startswith(f"{exc.name}.") and not _user_frames(exc.__traceback__)


def _user_frames(trace: TracebackType | None) -> list[traceback.FrameSummary]:
    ours = (__file__, importlib.__file__, importlib.util.__file__)
    return [frame for frame in traceback.extract_tb(trace) if frame.filename not in ours and not frame.filename.startswith("<frozen ")]


def _does_not_import(name: str, exc: BaseException) -> AppNotFound:
    what = traceback.format_exception_only(exc)
    frames = traceback.format_list(_user_frames(exc.__traceback__)[-_FRAMES_SHOWN:])
    remedy = "The error is in the code above; UMBEL_DEBUG=1 shows all of the trace."
    if isinstance(exc, ModuleNotFoundError):
        remedy = f"Is {exc.name!r} installed in this environment ({sys.prefix})?"
    elif isinstance(exc, SystemExit):
        remedy = 'It ends the program while it is imported: put that below `if __name__ == "__main__":`.'
    return AppNotFound(f"{name} is there, but does not import:\n{''.join(frames + what).rstrip()}\n{remedy}")


def _named(module: ModuleType, attribute: str) -> Umbel:
    found: object = module
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError:
        held = _apps_of(module)
        near = f"; it holds {', '.join(sorted(held))}" if held else ""
        raise AppNotFound(f"module {module.__name__!r} has no {attribute!r}{near}") from None
    if app := _as_app(found):
        return app
    raise AppNotFound(f"{module.__name__}:{attribute} is a {type(found).__name__}, not an Umbel app")


def _only(module: ModuleType) -> Umbel:
    """The one app of a module; of a package, also the one in its ``celery``, ``tasks`` … module."""
    if app := _best(module):
        return app
    if hasattr(module, "__path__"):
        for name in FILES:
            inner = f"{module.__name__}.{name}"
            if _exists(inner) and (app := _best(_import(inner))):
                return app
    raise AppNotFound(
        f"module {module.__name__!r} imports, but holds no Umbel app; make one there (app = Umbel({module.__name__!r})), "
        "or say where it is: -A module:attribute"
    )


def _best(module: ModuleType) -> Umbel | None:
    held = _apps_of(module)
    for name in PREFERRED:
        if name in held:
            return held[name]
    if len({id(app) for app in held.values()}) > 1:
        names = sorted(held)
        raise AppNotFound(f"module {module.__name__!r} holds several apps ({', '.join(names)}): say -A {module.__name__}:{names[0]}")
    return next(iter(held.values()), None)


def _apps_of(module: ModuleType) -> dict[str, Umbel]:
    return {name: app for name, value in vars(module).items() if (app := _as_app(value)) is not None}


def _as_app(value: object) -> Umbel | None:
    """``value`` if it is an app itself. ``type()``, since a proxy such as ``current_app`` lies about its class."""
    from .app import Umbel

    return value if isinstance(value, Umbel) and issubclass(type(value), Umbel) else None


def _modules_in(folder: Path, prefix: str) -> list[str]:
    return [prefix + name for name in FILES if _makes_app(folder / f"{name}.py")]


def _makes_app(file: Path) -> bool:
    try:
        return file.is_file() and _MAKES_APP.search(file.read_bytes()) is not None
    except OSError:
        return False
