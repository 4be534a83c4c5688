"""Check the docstrings of the public names against their signatures: ``python docs/docstrings.py``.

These docstrings have numpydoc's sections. Parameters must list every parameter of a function, and
Attributes every field of a dataclass, with a type and a sentence; returned and yielded values need
the same. Private names have one-line docstrings, which are not checked.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from numpydoc.docscrape import get_doc_object
from numpydoc.validate import Validator, validate

MODULES = ("geom", "geom.proofs", "geom.testing", "geom.testing.strategies")
"""The modules whose ``__all__``, or else whose own functions, are the public names."""

HOOKS = "geom.plugins.hookspecs"

UNASKED = {
    "GL01",  # the summary begins on the line of the quotes
    "GL02",  # and a one-line docstring ends there
    "GL03",  # an example has two empty lines between its functions
    "ES01",  # a summary may say everything
    "SA01",
    "EX01",  # the pages have the examples
}


class Docstring(Validator):
    """A docstring; for a dataclass, its fields take the place of parameters."""

    def __init__(self, obj_name: str) -> None:
        written = {"show_class_members": False}  # no sections made from the members
        super().__init__(get_doc_object(self._load_obj(obj_name), config=written))

    @property
    def signature_parameters(self) -> tuple[str, ...]:
        """The names that must be described, in this order."""
        if dataclasses.is_dataclass(self.obj):
            return tuple(field.name for field in dataclasses.fields(self.obj) if field.init)
        return () if inspect.isclass(self.obj) else super().signature_parameters

    @property
    def doc_all_parameters(self) -> dict[str, tuple[str, str]]:
        """The names that are described: name -> type and text."""
        sections = ["Attributes"] if inspect.isclass(self.obj) else ["Parameters"]
        return self._doc_parameters(sections)

    @property
    def parameter_mismatches(self) -> list[tuple[str, str]]:
        """The names that are missing, unknown or out of order; a plain class is not checked."""
        if inspect.isclass(self.obj) and not dataclasses.is_dataclass(self.obj):
            return []
        return super().parameter_mismatches


def public_names() -> Iterator[str]:
    """Yield every public function and class, with its public methods and properties."""
    for module in map(import_module, (*MODULES, HOOKS)):
        names = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if inspect.isfunction(value) and not name.startswith("_")
            if value.__module__ == module.__name__
        ]
        for name in names:
            value = getattr(module, name)
            if inspect.isfunction(value) or inspect.isclass(value):
                yield f"{module.__name__}.{name}"
            if inspect.isclass(value):
                yield from (f"{module.__name__}.{name}.{member}" for member in _members(value))


def _members(value: type[Any]) -> Iterator[str]:
    """Yield the methods and properties that the class itself defines."""
    fields = getattr(value, "__dataclass_fields__", {})
    for name, member in vars(value).items():
        described = callable(member) or hasattr(member, "__get__")
        if described and not name.startswith("_") and name not in fields:
            yield name


def main() -> int:
    """Print one line per fault, and return 1 if there are any."""
    names = list(dict.fromkeys(public_names()))
    faults = 0
    for name in names:
        found = validate(name, validator_cls=Docstring)
        for code, message in found["errors"]:
            if code not in UNASKED:
                faults += 1
                print(f"{found['file']}:{found['file_line']}: {name}: {code} {message}")
    print(f"{len(names)} public names, {faults} faults in their docstrings")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
