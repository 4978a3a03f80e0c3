"""From the checked tables of a file to the gateway's description: what a file can get wrong.

Everything that a start would stumble over later is looked for here: names, folders, programs.
Streams have no key yet: a mapping needs a source, which a description in Python can give.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from streamproof.config import Hosted
from streamproof.errors import UsageError
from streamproof.gateway import Api, Credentials, Description, Function, Limits, Schedule
from streamproof.hosting.tables import spell
from streamproof.terminal import note

ENTRY = "describe"  # what a description in Python defines
PROBE_S = 20.0
RUNTIME = "awslambdaric"
SYSTEM_ROUTES = frozenset({"$connect", "$disconnect", "$default"})

_AS_THEY_ARE = (
    "timeout_s",
    "memory_mb",
    "environments_max",
    "warm",
    "retries_async",
    "event_age_max_s",
    "on_failure",
)

Fail = Callable[[str, str, str], UsageError]
"""Makes the error of a key: the key, what is wrong with it, the next step."""


def system(source: Hosted | Path, credentials: Credentials) -> Description:
    """What the tables of a file, or a Python file, describe; raises `UsageError`."""
    if isinstance(source, Hosted):
        return from_file(source, credentials)
    return from_python(source, credentials)


def from_file(hosted: Hosted, credentials: Credentials) -> Description:
    """What the file describes; raises `UsageError` with the file, the key and the next step."""
    tables = hosted.tables

    def fail(key: str, fault: str, hint: str) -> UsageError:
        return UsageError(f"{hosted.path.name}: {key} {fault}", hint)

    _check_names(tables, fail)
    folder = hosted.path.resolve().parent
    functions = tuple(
        _function(name, table, folder, fail) for name, table in tables["functions"].items()
    )
    api = dict(tables["api"])
    authorizer = api.pop("authorizer") or {"function": None, "identity_sources": []}
    description = Description(
        api=Api(
            **api | {"two_way": frozenset(api["two_way"])},
            authorizer=authorizer["function"],
            identity_sources=tuple(authorizer["identity_sources"]),
            authorizer_ttl_s=authorizer.get("result_ttl_s", 0.0),
        ),
        functions=functions,
        credentials=credentials,
        schedules=tuple(Schedule(**schedule) for schedule in tables["schedules"]),
        limits=Limits(**tables["limits"]),
    )
    return _checked(description, hosted.path)


def from_python(path: Path, credentials: Credentials) -> Description:
    """What the `describe(credentials)` of a Python file returns; raises `UsageError`."""
    if not path.is_file():
        raise UsageError(f"there is no file {path}", "--functions takes a .toml or a .py")
    spec = importlib.util.spec_from_file_location(f"streamproof_hosted_{path.stem}", path)
    assert spec is not None  # noqa: S101 - the name ends in .py
    assert spec.loader is not None  # noqa: S101 - as above
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # it is theirs, and may raise anything
        raise UsageError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    entry = getattr(module, ENTRY, None)
    hint = f"define `def {ENTRY}(credentials: Credentials) -> Description`: docs/hosting.md"
    if not callable(entry):
        raise UsageError(f"{path} has no {ENTRY}", hint)
    description = entry(credentials)
    if not isinstance(description, Description):
        raise UsageError(f"{path}: {ENTRY} returned {type(description).__name__}", hint)
    return _checked(description, path)


def variables(description: Description) -> dict[str, str]:
    """What functions in this process need, as those in processes have it: keys and region."""
    keys, region = description.credentials, description.api.region
    if all(function.command is not None for function in description.functions):
        return {}
    return {
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
    }


def _checked(description: Description, path: Path) -> Description:
    try:
        description.check()
    except UsageError as error:
        raise UsageError(f"{path.name}: {error.message}", error.hint) from error
    _check_routes(description.api, path)
    return description


def _check_routes(api: Api, path: Path) -> None:
    """Refuse routes that no message can select; name the keys that a `$` is missing from."""
    expression, own = api.route_selection_expression, set(api.routes) - SYSTEM_ROUTES
    if own and expression not in own and not re.search(r"\$\{?request\.body\.", expression):
        raise UsageError(
            f"{path.name}: api.route_selection_expression is {expression!r}, the same for each "
            f"message: it never selects {', '.join(sorted(own))}",
            f"did you mean `${expression}`?"
            if expression.startswith("request.body.")
            else "$request.body.action selects by the member `action`",
        )
    for key in sorted(own):
        if f"${key}" in SYSTEM_ROUTES - set(api.routes):
            note(f"{path.name}: route {key!r} is for the action {key}; did you mean `${key}`?")


def _check_names(tables: Mapping[str, Any], fail: Fail) -> None:
    """Every function that is used is described, and every two-way route is a route."""
    api, known = tables["api"], tables["functions"]
    used = [(spell("api.routes", key), name) for key, name in api["routes"].items()]
    if api["authorizer"]:
        used.append(("api.authorizer.function", api["authorizer"]["function"]))
    used += [(f"schedules[{i}].function", s["function"]) for i, s in enumerate(tables["schedules"])]
    used += [
        (spell(spell("functions", name), "on_failure"), function["on_failure"])
        for name, function in known.items()
        if function["on_failure"]
    ]
    for key, name in used:
        if name not in known:
            described = ", ".join(known)
            raise fail(key, f"names {name}, which is not described", f"described are: {described}")
    for key in api["two_way"]:
        if key not in api["routes"]:
            routes = ", ".join(api["routes"])
            raise fail("api.two_way", f"names {key}, which is no route", f"routes are: {routes}")


def _function(name: str, table: Mapping[str, Any], folder: Path, fail: Fail) -> Function:
    key = spell("functions", name)
    directory = (folder / table["directory"]).resolve()
    if not directory.is_dir():
        raise fail(f"{key}.directory", f"is no folder: {directory}", "it starts at the file's own")
    handler, command, python = table["handler"], table["command"], table["python"]
    if (python is not None) + (command is not None or handler is not None) != 1:
        raise fail(key, "needs handler, command or python", "say how it is called: docs/hosting.md")
    if table["warm"] > table["environments_max"]:
        raise fail(f"{key}.warm", f"is above environments_max, {table['environments_max']}", "")
    function = Function(
        name,
        directory=directory,
        environment=table["environment"] | ({"_HANDLER": handler} if handler else {}),
        **{field: table[field] for field in _AS_THEY_ARE},
    )
    if python is not None:
        if table["environment"] or table["interpreter"]:
            raise fail(key, "has python beside environment or interpreter", "use handler for both")
        called = _called(python, directory, f"{key}.python", fail)
        if inspect.iscoroutinefunction(called):
            return dataclasses.replace(function, run=called)
        return dataclasses.replace(function, handler=called)
    if command is not None:
        if table["interpreter"]:
            raise fail(f"{key}.interpreter", "goes with handler alone", "put it into command")
        program = _program(command[0], directory, f"{key}.command", fail)
        return dataclasses.replace(function, command=(program, *command[1:]))
    interpreter = sys.executable
    if table["interpreter"]:
        interpreter = _program(table["interpreter"], folder, f"{key}.interpreter", fail)
    version = _check_runtime(interpreter, f"{key}.handler", fail)
    _check_handler(handler, directory, interpreter, f"{key}.handler", fail)
    return dataclasses.replace(
        function,
        command=(interpreter, "-m", RUNTIME, handler),
        environment={"AWS_EXECUTION_ENV": f"AWS_Lambda_python{version}", **function.environment},
    )


def _program(word: str, directory: Path, key: str, fail: Fail) -> str:
    """The program's path: below the function's folder when it has a slash, else on PATH."""
    if "/" not in word:
        found = shutil.which(word)
        if found is None:
            raise fail(key, f"names {word}, which is not on PATH", "install it, or write ./PROGRAM")
        return found
    path = directory / word  # not resolved: a virtual environment's python is a link
    if not path.is_file():
        raise fail(key, f"names a file that is not there: {path}", "it starts at the directory")
    if not os.access(path, os.X_OK):
        raise fail(key, f"names a file that cannot be run: {path}", f"chmod +x {path}")
    return str(path)


def _check_runtime(interpreter: str, key: str, fail: Fail) -> str:
    """Lambda's runtime client must be there: without it each start would fail with a traceback.

    The interpreter's version, such as 3.12.
    """
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if interpreter == sys.executable:
        there = importlib.util.find_spec(RUNTIME) is not None
    else:
        told = f"import sys, {RUNTIME}; print('%d.%d' % sys.version_info[:2])"
        words = (interpreter, "-c", told)
        try:
            done = subprocess.run(words, capture_output=True, timeout=PROBE_S, check=False)  # noqa: S603 - the user's own interpreter
            there = done.returncode == 0
            version = done.stdout.decode("ascii", "replace").strip()
        except (OSError, subprocess.TimeoutExpired):
            there = False
    if not there:
        raise fail(
            key,
            f"needs {RUNTIME}, which {interpreter} has not",
            f"{interpreter} -m pip install {RUNTIME}",
        )
    return version


def _check_handler(handler: str, directory: Path, interpreter: str, key: str, fail: Fail) -> None:
    """FILE.FUNCTION, as on Lambda: the file is there, or it is a module that is installed."""
    module, dot, function = handler.rpartition(".")
    if not dot or not module or not function.isidentifier():
        raise fail(key, f"is {handler}, which is not FILE.FUNCTION", "app.handler for app.py")
    path = directory.joinpath(*module.replace(".", "/").split("/"))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            if interpreter == sys.executable:  # another one may know another syntax
                _check_syntax(file, key, fail)
            return
    top = module.replace("/", ".").partition(".")[0]
    is_ours = interpreter == sys.executable and not (directory / top).exists()
    if is_ours and importlib.util.find_spec(top) is not None:
        return
    raise fail(
        key,
        f"is in a file that is not there: {path}.py",
        "`directory` says where the code is, from this file's folder",
    )


def _check_syntax(file: Path, key: str, fail: Fail) -> None:
    """The file compiles: else its first event would be the first to say so."""
    try:
        compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
    except SyntaxError as error:
        at = f"{file}:{error.lineno or 1}"
        raise fail(key, f"is in a file that does not compile: {at}: {error.msg}", "") from error
    except ValueError as error:  # a null byte
        raise fail(key, f"is in a file that does not compile: {file}: {error}", "") from error


def _called(python: str, directory: Path, key: str, fail: Fail) -> Callable[..., Any]:
    """The function that MODULE:FUNCTION names, imported from `directory`."""
    name, _, attribute = python.partition(":")
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    try:
        module: ModuleType = importlib.import_module(name)
    except Exception as error:  # it is theirs, and may raise anything
        fault = f"cannot be imported: {type(error).__name__}: {error}"
        raise fail(key, fault, f"it is looked for in {directory}") from error
    _check_modules(name, directory, key, fail)
    called = getattr(module, attribute, None)
    if not callable(called):
        raise fail(key, f"names {attribute}, which {module.__file__} has not", "check its name")
    function: Callable[..., Any] = called
    return function


def _check_modules(name: str, directory: Path, key: str, fail: Fail) -> None:
    """A process has one module of a name: what is loaded must be what lies in `directory`."""
    beside = {path.stem for path in directory.iterdir()} - {"__main__"}  # which is our own
    for module in (name, *sorted(beside)):
        path = directory.joinpath(*module.split("."))
        own = [file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()]
        loaded = getattr(sys.modules.get(module), "__file__", None)
        if own and loaded and not any(file.samefile(loaded) for file in own):
            raise fail(
                key,
                f"needs {own[0]}, but {module} is {loaded} already: one process has one of a name",
                "give it another name, or use handler: each function then has its own process",
            )
