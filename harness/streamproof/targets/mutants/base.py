"""What a wrong implementation is, and how it is put in place of a right one.

A mutant is data: the rules that it breaks, what is wrong in one sentence, and a function that
plants it with a `Patch`. A patch names its seam as `module:function` or `module:Class.method`; a
seam that no longer exists raises `SeamError`, so that a mutant never lives on as a name that
changes nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

Undo = Callable[[], None]


class SeamError(Exception):
    """What a mutant wants to change is not there: the mutant must follow the code."""


class WrongError(Exception):
    """What a mutant raises where the right code would not."""


class Patch:
    """Changes in this process, undone in reverse by `undo`."""

    def __init__(self) -> None:
        """Nothing is changed yet."""
        self._undo: list[Undo] = []

    def undo(self) -> None:
        """Put everything back."""
        while self._undo:
            self._undo.pop()()

    def value(self, seam: str, value: Any) -> None:
        """Bind one name to another value: a constant as its module sees it, or a property."""
        owner, name, _ = _find(seam)
        self._set(owner, name, value)

    def constant(self, seam: str, value: Any) -> None:
        """Change a module's constant, also where it was imported by name: as if it were edited."""
        _, name, before = _find(seam)
        for module in list(sys.modules.values()):
            if (getattr(module, "__dict__", None) or {}).get(name) is before:
                self._set(module, name, value)

    def add(self, seam: str, value: Any) -> None:
        """Give a class or module a name that it must not have yet."""
        module, _, path = seam.partition(":")
        owner, _, name = path.rpartition(".")
        place = _find(f"{module}:{owner}")[2] if owner else importlib.import_module(module)
        if hasattr(place, name):
            raise SeamError(f"{seam} is there already")
        self._undo.append(lambda: delattr(place, name))
        setattr(place, name, value)

    def around(self, seam: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorate what is called in place of a function or method, with it as first argument.

        A function is replaced in every module that has imported it by name.
        """
        owner, name, static = _find(seam)
        original = static.__func__ if isinstance(static, staticmethod) else static
        if not callable(original):
            raise SeamError(f"{seam} is no function")

        def decorate(replacement: Callable[..., Any]) -> Callable[..., Any]:
            wrapper = _like(original, replacement)
            if isinstance(owner, type):
                is_static = isinstance(static, staticmethod)
                self._set(owner, name, staticmethod(wrapper) if is_static else wrapper)
            else:
                for module in list(sys.modules.values()):
                    for alias in _aliases(module, original):
                        self._set(module, alias, wrapper)
            return replacement

        return decorate

    def default(self, seam: str, **values: Any) -> None:
        """Change the defaults of a function's parameters, or of a dataclass's fields."""
        _, _, found = _find(seam)
        function = inspect.getattr_static(found, "__init__") if isinstance(found, type) else found
        before = function.__defaults__, function.__kwdefaults__
        keywords = dict(before[1] or {})
        positional = list(before[0] or ())
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        for name, value in values.items():
            if name in keywords:
                keywords[name] = value
            elif name in names[len(names) - len(positional) :]:
                positional[names.index(name) - len(names)] = value
            else:
                raise SeamError(f"{seam} has no default for {name}")
        self._undo.append(lambda: _set_defaults(function, *before))
        _set_defaults(function, tuple(positional), keywords)

    def _set(self, owner: Any, name: str, value: Any) -> None:
        before = inspect.getattr_static(owner, name)
        self._undo.append(lambda: setattr(owner, name, before))
        setattr(owner, name, value)


@dataclasses.dataclass(frozen=True, slots=True)
class Mutant:
    """One wrong implementation; `plant` changes the code of this process."""

    name: str
    rules: tuple[str, ...]
    sentence: str
    plant: Callable[[Patch], None]


REGISTERED: dict[str, Mutant] = {}


def mutant(*rules: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Register a function as a mutant: named as it is, and its docstring says what is wrong."""

    def register(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        name = plant.__name__.replace("_", "-")
        if name in REGISTERED:
            raise ValueError(f"two mutants are called {name}")
        sentence = " ".join((plant.__doc__ or "").split())
        REGISTERED[name] = Mutant(name, rules, sentence, plant)
        return plant

    return register


async def execute(store: Any, statement: str, *values: Any) -> None:
    """Run a statement in a write of the SQLite store."""
    await store.writer.write(lambda db: db.execute(statement, values).rowcount)


def _find(seam: str) -> tuple[Any, str, Any]:
    """The owner of a seam, its last name, and what is there."""
    module, _, path = seam.partition(":")
    try:
        owner: Any = importlib.import_module(module)
        *outer, name = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        return owner, name, inspect.getattr_static(owner, name)
    except (ImportError, AttributeError) as error:
        raise SeamError(f"{seam} is not there: {error}") from None


def _like(original: Callable[..., Any], replacement: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement, a coroutine function where the original is one."""
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def call(*args: Any, **options: Any) -> Any:
            return await replacement(original, *args, **options)

        return call

    @functools.wraps(original)
    def wrapper(*args: Any, **options: Any) -> Any:
        return replacement(original, *args, **options)

    return wrapper


def _aliases(module: Any, value: Any) -> list[str]:
    names = getattr(module, "__dict__", None) or {}
    return [name for name, held in list(names.items()) if held is value]


def _set_defaults(function: Any, positional: Any, keywords: Any) -> None:
    function.__defaults__ = positional
    function.__kwdefaults__ = keywords
