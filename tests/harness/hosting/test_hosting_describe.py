"""From a description file to what the gateway hosts: what is looked for before anything starts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from streamproof import config
from streamproof.errors import UsageError
from streamproof.gateway import Api, Credentials, Description, Function, Limits, Schedule
from streamproof.hosting import describe
from streamproof.hosting.describe import from_file, from_python, system, variables

KEYS = Credentials("AKIDEXAMPLE", "secret")
ROUTES = '[api.routes]\n"$default" = "f"\n'


@pytest.fixture
def described(tmp_path):
    """Make a file with this text, and the description that it gives."""
    (tmp_path / "app.py").write_text("def handler(event, context):\n    return event\n")
    bootstrap = tmp_path / "bootstrap"
    bootstrap.write_text("#!/bin/sh\n")
    bootstrap.chmod(0o755)

    def make(text: str) -> Description:
        path = tmp_path / "streamproof.toml"
        path.write_text(text)
        hosted = config.load(path).hosted
        assert hosted is not None
        return system(hosted, KEYS)

    return make


def test_every_table_reaches_the_gateway(described, tmp_path):
    """API, authorizer, functions, schedules and limits, under the gateway's own names."""
    found = described(
        """
        [api]
        stage = "live"
        route_selection_expression = "$request.body.kind"
        two_way = ["ask"]
        [api.routes]
        "$connect" = "f"
        ask = "f"
        [api.authorizer]
        function = "guard"
        identity_sources = ["route.request.header.Authorization"]
        result_ttl_s = 300
        [functions.guard]
        handler = "app.handler"
        [functions.f]
        command = ["./bootstrap", "-v"]
        handler = "own.words"
        environment = { TABLE = "t" }
        timeout_s = 9
        memory_mb = 256
        environments_max = 4
        warm = 2
        retries_async = 1
        on_failure = "guard"
        [[schedules]]
        function = "f"
        every_s = 60
        [limits]
        idle_s = 5
        connects_per_s = 500
        """
    )
    assert found.api == Api(
        routes={"$connect": "f", "ask": "f"},
        stage="live",
        route_selection_expression="$request.body.kind",
        two_way=frozenset({"ask"}),
        authorizer="guard",
        identity_sources=("route.request.header.Authorization",),
        authorizer_ttl_s=300,
    )
    guard, f = found.functions
    assert guard.command == (sys.executable, "-m", "awslambdaric", "app.handler")
    assert f == Function(
        "f",
        command=(str(tmp_path / "bootstrap"), "-v"),
        environment={"TABLE": "t", "_HANDLER": "own.words"},
        directory=tmp_path,
        timeout_s=9,
        memory_mb=256,
        environments_max=4,
        warm=2,
        retries_async=1,
        on_failure="guard",
    )
    assert found.schedules == (Schedule("f", 60),)
    assert found.limits == Limits(idle_s=5, connects_per_s=500)
    assert found.credentials == KEYS
    assert variables(found) == {}, "nothing runs in this process"


def test_a_function_in_this_process_is_plain_or_asynchronous(described, tmp_path):
    """A plain one is called with event and context, a coroutine function with the event."""
    (tmp_path / "hosted_here.py").write_text(
        "def plain(event, context): ...\nasync def soon(event): ...\n"
    )
    text = '[functions.f]\npython = "hosted_here:plain"\n[functions.g]\npython = "hosted_here:soon"'
    found = described(ROUTES + text)
    f, g = found.functions
    assert f.handler is not None
    assert f.handler.__name__ == "plain"
    assert g.run is not None
    assert g.run.__name__ == "soon"
    assert variables(found)["AWS_ACCESS_KEY_ID"] == "AKIDEXAMPLE"


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ("same_app:run", "same_app:run", "same_app"),
        ("inner.same_app:run", "inner.same_app:run", "inner/same_app"),
        ("one_app:run", "two_app:run", "same_sibling"),
    ],
)
def test_one_process_has_one_module_of_a_name(
    described, tmp_path, monkeypatch, first, second, named
):
    """Two folders with a module of the same name would both run the first one's."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for loaded in ("same_app", "inner", "inner.same_app", "one_app", "two_app", "same_sibling"):
        sys.modules.pop(loaded, None)
    for folder, python in (("one", first), ("two", second)):
        path = tmp_path / folder / Path(*python.partition(":")[0].split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True)
        (tmp_path / folder / "__main__.py").write_text("")
        (tmp_path / folder / "same_sibling.py").write_text("")
        path.write_text("import same_sibling\ndef run(event, context): ...\n")
    text = f'[functions.f]\npython = "{first}"\ndirectory = "one"\n'
    found = described(ROUTES + text)
    assert found.functions[0].handler.__code__.co_filename.startswith(str(tmp_path / "one"))
    with pytest.raises(UsageError, match="one process has one of a name") as caught:
        described(ROUTES + text + f'[functions.g]\npython = "{second}"\ndirectory = "two"\n')
    assert "functions.g.python needs " in caught.value.message
    assert f"{tmp_path}/two/{named}.py" in caught.value.message
    assert "use handler" in caught.value.hint


def test_a_handler_may_be_a_package_or_installed(described, tmp_path):
    """As on Lambda: a folder with __init__.py, a path with slashes, or what a layer brings."""
    (tmp_path / "src" / "inner").mkdir(parents=True)
    (tmp_path / "src" / "inner" / "__init__.py").write_text("")
    for handler in ("src.inner.run", "src/inner.run", "json.tool.main"):
        found = described(ROUTES + f'[functions.f]\nhandler = "{handler}"')
        assert found.functions[0].command[-1] == handler


def test_another_interpreter_is_asked_for_the_runtime_client(described, tmp_path):
    """A virtual environment's own Python, named from the file's folder."""
    own = tmp_path / "python"
    own.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    own.chmod(0o755)
    found = described(ROUTES + '[functions.f]\nhandler = "app.handler"\ninterpreter = "./python"')
    assert found.functions[0].command[0] == str(own)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert found.functions[0].environment["AWS_EXECUTION_ENV"] == f"AWS_Lambda_python{version}"


def test_the_execution_environment_is_told_to_python_alone(described, tmp_path):
    """As on Lambda, where it names a managed runtime; what a user says comes first."""
    (tmp_path / "python").write_text('#!/bin/sh\nif [ "$1" = -c ]; then echo 3.99; fi\n')
    (tmp_path / "python").chmod(0o755)
    found = described(
        ROUTES
        + '[functions.f]\nhandler = "app.handler"\n'
        + '[functions.g]\nhandler = "app.handler"\nenvironment = { AWS_EXECUTION_ENV = "own" }\n'
        + '[functions.h]\nhandler = "app.handler"\ninterpreter = "./python"\n'
        + '[functions.i]\ncommand = ["./bootstrap"]\nhandler = "index.handler"\n'
    )
    own = f"AWS_Lambda_python{sys.version_info[0]}.{sys.version_info[1]}"
    told = [function.environment.get("AWS_EXECUTION_ENV") for function in found.functions]
    assert told == [own, "own", "AWS_Lambda_python3.99", None]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[functions.g]\npython = 'os:getcwd'", 'api.routes."$default" names f, which', "are: g"),
        ("[functions.f]", "functions.f needs handler, command or python", "say how"),
        (
            "[functions.f]\npython = 'os:getcwd'\nhandler = 'a.b'",
            "functions.f needs handler, command or python",
            "say how",
        ),
        ("[functions.f]\nhandler = 'app'", "is app, which is not FILE.FUNCTION", "app.handler"),
        ("[functions.f]\nhandler = 'gone.handler'", "file that is not there: ", "`directory`"),
        ("[functions.f]\nhandler = 'a.b'\ndirectory = 'none'", "functions.f.directory is no", ""),
        ("[functions.f]\ncommand = ['./none']", "functions.f.command names a file that is", ""),
        ("[functions.f]\ncommand = ['./app.py']", "that cannot be run: ", "chmod +x"),
        ("[functions.f]\ncommand = ['no-such-program']", "which is not on PATH", "./PROGRAM"),
        ("[functions.f]\npython = 'none_such:f'", "python cannot be imported: ModuleNot", "looked"),
        ("[functions.f]\npython = 'json:none'", "functions.f.python names none, which", "name"),
        (
            "[functions.f]\npython = 'os:getcwd'\nenvironment = { A = 'b' }",
            "functions.f has python beside environment",
            "handler",
        ),
        (
            "[functions.f]\ncommand = ['./bootstrap']\ninterpreter = 'python3'",
            "functions.f.interpreter goes with handler alone",
            "command",
        ),
        (
            "[functions.f]\nhandler = 'app.handler'\ninterpreter = './bootstrap'",
            "needs awslambdaric, which ",
            "-m pip install awslambdaric",
        ),
        ("[functions.f]\ncommand = ['./bootstrap']\nwarm = 11", "functions.f.warm is above", ""),
        (
            "[functions.f]\ncommand = ['./bootstrap']\non_failure = 'g'",
            "functions.f.on_failure names g",
            "",
        ),
        (
            "[functions.f]\ncommand = ['./bootstrap']\n[api]\ntwo_way = ['x']",
            "api.two_way names x, which is no route",
            "routes are: $default",
        ),
        (
            "[functions.f]\ncommand = ['./bootstrap']\n[[schedules]]\nfunction = 'g'\nevery_s = 1",
            "schedules[0].function names g",
            "",
        ),
        (
            "[functions.f]\ncommand = ['./bootstrap']\n[api]\nauthorizer = { function = 'g' }",
            "api.authorizer.function names g",
            "",
        ),
        (
            "[functions.f]\ncommand = ['./bootstrap']\n[api]\nstage = 'a/b'",
            "stage 'a/b' is no name",
            "letters",
        ),
    ],
)
def test_what_a_start_would_stumble_over_is_named_before(described, text, message, hint, tmp_path):
    """Names, folders, files and programs; each with its key and the next step."""
    if message.startswith("needs awslambdaric"):
        (tmp_path / "bootstrap").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(UsageError) as caught:
        described(text + "\n" + ROUTES)
    assert caught.value.message.startswith("streamproof.toml: ")
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_the_runtime_client_may_be_missing_here(described, monkeypatch):
    """awslambdaric has wheels for Linux only."""
    monkeypatch.setattr(describe, "RUNTIME", "none_such")
    with pytest.raises(UsageError, match="needs none_such") as caught:
        described(ROUTES + '[functions.f]\nhandler = "app.handler"')
    assert caught.value.hint == f"{sys.executable} -m pip install none_such"


def test_an_interpreter_that_does_not_start_has_no_runtime_client(described, tmp_path):
    """A file that can be run by its mode, and is no program."""
    broken = tmp_path / "broken"
    broken.write_bytes(b"\0\0\0\0")
    broken.chmod(0o755)
    text = '[functions.f]\nhandler = "app.handler"\ninterpreter = "./broken"'
    with pytest.raises(UsageError, match="needs awslambdaric"):
        described(ROUTES + text)


PYTHON = """
from streamproof.gateway import Api, Description, Function

async def run(event):
    return {"statusCode": 200}

def describe(credentials):
    return Description(Api({"$default": "f"}), (Function("f", run=run),), credentials)
"""


def test_python_describes_what_no_file_can(tmp_path):
    """Its `describe` gets the key pair and returns the description."""
    path = tmp_path / "hosted.py"
    path.write_text(PYTHON)
    found = system(path, KEYS)
    assert found.credentials == KEYS
    assert found.functions[0].name == "f"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "cannot be loaded: ZeroDivisionError"),
        ("x = 1", "has no describe"),
        ("def describe(credentials): return 1", "describe returned int"),
        (PYTHON.replace('"$default": "f"', '"$default": "g"'), "function 'g' is used but not"),
    ],
)
def test_python_that_describes_nothing_is_named(tmp_path, text, message):
    """One line with the file, and what it should define."""
    path = tmp_path / "hosted.py"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        from_python(path, KEYS)
    assert "hosted.py" in caught.value.message


def test_a_python_file_that_is_not_there_is_named(tmp_path):
    """Before anything is imported."""
    with pytest.raises(UsageError, match="there is no file"):
        from_python(tmp_path / "none.py", KEYS)


@pytest.mark.parametrize("name", ["hosting-python", "hosting-node", "hosting-shell"])
def test_the_examples_are_descriptions(name, tmp_path, monkeypatch):
    """Each file is read as it stands; node need not be there for that."""
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\n")
    node.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    file = Path(__file__).parents[3] / "examples" / name / "streamproof.toml"
    hosted = config.load(file).hosted
    assert hosted is not None
    assert from_file(hosted, KEYS).api.stage == "dev"


@pytest.mark.parametrize(
    ("expression", "hint"),
    [("request.body.action", "did you mean `$request.body.action`?"), ("action", "$request.body")],
)
def test_an_expression_that_selects_by_nothing_is_refused(described, expression, hint):
    """Each message would go to $default, and no route of the file would ever be called."""
    text = f'[api]\nroute_selection_expression = "{expression}"\n{ROUTES}ask = "f"\n'
    with pytest.raises(UsageError, match="never selects ask") as caught:
        described(f'{text}[functions.f]\nhandler = "app.handler"\n')
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", ["default", "connect", "disconnect"])
def test_a_route_that_lacks_its_dollar_is_asked_about(described, name, capsys):
    """It may be an action of that name; with the other beside it, it surely is."""
    functions = '[functions.f]\nhandler = "app.handler"\n'
    described(f'[api.routes]\n{name} = "f"\n{functions}')
    assert f"did you mean `${name}`?" in capsys.readouterr().err
    described(f'[api.routes]\n{name} = "f"\n"${name}" = "f"\n{functions}')
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize("text", ["x = 1\ndef handler(:\n", "x = 1\n\0"])
def test_a_handler_that_does_not_compile_is_refused_with_its_line(described, tmp_path, text):
    """At the start, not at the first event."""
    (tmp_path / "wrong.py").write_text(text)
    with pytest.raises(UsageError, match=r"functions\.f\.handler .* does not compile") as caught:
        described(f'{ROUTES}[functions.f]\nhandler = "wrong.handler"\n')
    assert str(tmp_path / "wrong.py") in caught.value.message
    assert ("wrong.py:2" in caught.value.message) is ("def" in text)
