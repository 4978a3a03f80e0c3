"""What is in force: defaults, then one file, then the command line; and where each value came from.

The file is `streamproof.toml`, or `[tool.streamproof]` in `pyproject.toml`, of the current folder.
`config.schema.json` beside this module is the one definition of every key: its type, its default,
its meaning. Keys are named with dots here (`auth.issuer`), as TOML nests them there.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamproof.errors import UsageError
from streamproof.hosting import tables

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from streamproof.targets import TargetOptions

FILE_NAME = "streamproof.toml"
FILE_BYTES_MAX = 256 * 1024  # a configuration beyond this is not one of ours
DEFAULT = "default"
OPTION = "option"
HOSTED_TABLES = ("api", "functions", "schedules", "limits")  # what `serve` hosts; docs/hosting.md
OPEN_TABLE = "thresholds"  # the one table whose keys are the user's own: scenario.figure
SECRET_SHOWN = "(set, not shown)"  # noqa: S105 - what is printed in a secret's place

_TYPES: dict[str, type] = {"string": str, "integer": int, "boolean": bool}


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """One value with its source: `default`, `option`, or the file's name."""

    key: str
    value: Any
    source: str
    secret: bool = False

    @property
    def shown(self) -> str:
        """The value as TOML, a secret hidden."""
        if self.secret and self.value is not None:
            return SECRET_SHOWN
        return "(not set)" if self.value is None else json.dumps(self.value, ensure_ascii=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Hosted:
    """The tables of a file that describes functions: checked, with every default filled in."""

    path: Path
    tables: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    """Every key that is known, in the schema's order, thresholds last, then what is hosted."""

    settings: Mapping[str, Setting]
    hosted: Hosted | None = None

    def __getitem__(self, key: str) -> Any:
        """The value of a known key, None where nothing sets it; `KeyError` for an unknown one."""
        return self.settings[key].value

    @property
    def thresholds(self) -> dict[str, str]:
        """The targets as text, by `scenario.figure`."""
        start = f"{OPEN_TABLE}."
        return {
            key.removeprefix(start): setting.value
            for key, setting in self.settings.items()
            if key.startswith(start)
        }


@functools.cache
def schema() -> dict[str, Any]:
    """The JSON schema that ships with the package."""
    text = resources.files("streamproof").joinpath("config.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _fixed_keys(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dotted key that the schema names, with its own schema."""
    for name, child in node["properties"].items():
        key = f"{prefix}{name}"
        if key in HOSTED_TABLES:
            continue
        if "properties" in child:
            yield from _fixed_keys(child, f"{key}.")
        elif name != OPEN_TABLE:
            yield key, child


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A nested TOML table as dotted keys; an empty table has none."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _fault(value: Any, rule: dict[str, Any]) -> str:
    """What is wrong with `value`, in a few words; nothing when it fits."""
    if "enum" in rule:
        known = ", ".join(rule["enum"])
        return "" if value in rule["enum"] else f"must be one of {known}"
    if type(value) is not _TYPES[rule["type"]]:  # a bool is not a number here
        return f"must be a {rule['type']}"
    if type(value) is int and not rule["minimum"] <= value <= rule["maximum"]:
        return f"must be from {rule['minimum']} to {rule['maximum']}"
    if isinstance(value, str) and len(value) < rule.get("minLength", 0):
        return "must not be empty"
    if "pattern" in rule and not re.match(rule["pattern"], str(value)):
        return 'must read like "p(99) < 10"'
    return ""


def _rule(key: str, source: str, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The schema of `key`; raises `UsageError` with the nearest key for an unknown one."""
    if key in known:
        return known[key]
    parts = key.split(".")
    if parts[0] == OPEN_TABLE and len(parts) == 3:
        rule: dict[str, Any] = schema()["properties"][OPEN_TABLE]
        return dict(rule["additionalProperties"]["additionalProperties"])
    names = {name.split(".")[0] for name in known} | {OPEN_TABLE, *HOSTED_TABLES}
    near = difflib.get_close_matches(key, [*known, *names], n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}, {OPEN_TABLE}.*"
    raise UsageError(f"{source}: unknown key {key}", hint)


def _parse(path: Path, option: str) -> dict[str, Any]:
    """The TOML document at `path`; raises `UsageError` for what cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
        if len(text) > FILE_BYTES_MAX:
            raise UsageError(
                f"{path} is larger than {FILE_BYTES_MAX // 1024} KiB",
                f"{FILE_NAME} holds settings only",
            )
        return tomllib.loads(text.decode("utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", f"name another file with {option}"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}", "save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        hint = "mend the line that it names"
        if found := re.search(r"line (\d+)", str(error)):  # a key that is there twice, mostly
            hint = f"mend this line: {text.decode().splitlines()[int(found[1]) - 1].strip()}"
        raise UsageError(f"{path} is not TOML: {error}", hint) from error


def _own(document: dict[str, Any]) -> dict[str, Any]:
    """The table `[tool.streamproof]` of a `pyproject.toml`; empty when there is none."""
    table = document.get("tool", {}).get("streamproof", {})
    return table if isinstance(table, dict) else {}


def _file_table(path: Path | None, folder: Path, option: str) -> tuple[Path, dict[str, Any]]:
    """A file and its settings; none when the folder holds none."""
    if path is None:
        files = [folder / name for name in (FILE_NAME, "pyproject.toml")]
        path = next(filter(Path.exists, files), None)
    if path is None:
        return folder, {}
    document = _parse(path, option)
    return path, _own(document) if path.name == "pyproject.toml" else document


def _hosted(path: Path, table: dict[str, Any]) -> tuple[Hosted | None, dict[str, Setting]]:
    """What the file has `serve` host, taken out of `table`, and its values one by one."""
    given = {key: table.pop(key) for key in HOSTED_TABLES if key in table}
    if not given:
        return None, {}
    for key in ("functions", "api"):
        if not given.get(key):
            raise UsageError(
                f"{path.name}: [{key}] is missing, and there is [{next(iter(given))}]",
                "functions are hosted by [api] and [functions.NAME] together: docs/hosting.md",
            )
    rules = schema()["properties"]
    checked, settings = {}, {}
    for key in HOSTED_TABLES:
        value = given.get(key, rules[key].get("default", {}))
        checked[key] = tables.check(value, rules[key], key, path.name)
        for leaf in tables.leaves(checked[key], rules[key], key, given.get(key)):
            source = path.name if leaf.given else DEFAULT
            settings[leaf.key] = Setting(leaf.key, leaf.value, source, leaf.secret)
    return Hosted(path, checked), settings


def load(
    path: Path | None = None,
    options: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    option: str = "--config",
) -> Config:
    """Defaults, then the file, then `options` (dotted keys; None means not given).

    `path` names the file, which `option` stands for; without it `folder` (default: the current
    one) is looked into.
    Raises `UsageError` for a file that cannot be read, an unknown key, a value that does not fit.
    """
    known = dict(_fixed_keys(schema()))
    settings = {
        key: Setting(key, rule.get("default"), DEFAULT, bool(rule.get("writeOnly")))
        for key, rule in known.items()
    }
    for key, value in _flatten(schema()["properties"][OPEN_TABLE]["default"], f"{OPEN_TABLE}."):
        settings[key] = Setting(key, value, DEFAULT)

    file, table = _file_table(path, folder or Path.cwd(), option)
    hosted, shown = _hosted(file, table)
    given = {key: value for key, value in (options or {}).items() if value is not None}
    for source, values in ((file.name, _flatten(table)), (OPTION, given.items())):
        for key, value in values:
            rule = _rule(key, source, known)
            if fault := _fault(value, rule):
                raise UsageError(f"{source}: {key} {fault}", rule.get("description", ""))
            settings[key] = Setting(key, value, source, bool(rule.get("writeOnly")))
    return Config(settings | shown, hosted)


# The options that stand for keys, on every command that speaks to a target.
_TARGET_OPTIONS = {
    "target": "--target",
    "auth.token": "--token",
    "auth.token_command": "--token-command",
    "auth.jwt_key": "--jwt-key",
    "auth.issuer": "--issuer",
    "auth.audience": "--audience",
    "safety.environment": "--environment",
}
ACCEPT_OPTION = "--i-accept-load-on"
_METAVARS = {"--jwt-key": "FILE", "--token-command": "COMMAND"}


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--target`, the credentials, `--environment` and `--config` to a command."""
    known = dict(_fixed_keys(schema()))
    group = parser.add_argument_group("target")
    for key, option in _TARGET_OPTIONS.items():
        name = option.removeprefix("--")
        group.add_argument(
            option,
            dest=key,
            metavar=_METAVARS.get(option, name.upper()),
            help=known[key]["description"].replace("%", "%%"),
        )
    group.add_argument(
        ACCEPT_OPTION,
        dest="accept_load_on",
        metavar="HOST",
        help="the production host that may be spoken to, slowly, in the group connection only",
    )
    group.add_argument(
        "--config", metavar="FILE", type=Path, help=f"settings; default: {FILE_NAME}, if there"
    )


def from_arguments(args: argparse.Namespace, **more: Any) -> Config:
    """The settings in force for a command that called `add_target_arguments`.

    `more` are further options by key, with two underscores for the dot: `load__size="smoke"`.
    """
    options = {key: getattr(args, key) for key in _TARGET_OPTIONS}
    options |= {key.replace("__", "."): value for key, value in more.items()}
    return load(args.config, options)


def given_words(args: argparse.Namespace) -> list[str]:
    """The options of `add_target_arguments` that were given, as words for another command."""
    options = dict(_TARGET_OPTIONS) | {"accept_load_on": ACCEPT_OPTION, "config": "--config"}
    return [
        word
        for key, option in options.items()
        if getattr(args, key) is not None
        for word in (option, str(getattr(args, key)))
    ]


def target_options(settings: Config, accept_load_on: str | None = None) -> TargetOptions:
    """What the settings say about a target beside its name."""
    from streamproof.targets import TargetOptions  # noqa: PLC0415 - imports cryptography, slow

    key = settings["auth.jwt_key"]
    return TargetOptions(
        token=settings["auth.token"],
        token_command=settings["auth.token_command"],
        jwt_key=Path(key) if key is not None else None,
        issuer=settings["auth.issuer"],
        audience=settings["auth.audience"],
        environment=settings["safety.environment"],
        accept_load_on=accept_load_on,
    )
