"""The checks of every plugin, whatever its kind."""

from __future__ import annotations

import pickle
from dataclasses import is_dataclass

from geom.plugins.options import as_plain, describe, validate
from geom.plugins.registry import is_name
from geom.testing.asked import Asked


def is_named_as_it_is_typed(asked: Asked) -> None:
    """Check that the name is lower-case letters, digits and hyphens, and the summary one line."""
    name, summary = asked.record.name, asked.record.summary
    assert is_name(name), f"{asked}: call it like my-{asked.kind}"
    assert summary.strip(), f"{asked}: say in its summary what it does"
    assert len(summary.splitlines()) == 1, f"{asked}: its summary is more than one line"


def has_options_that_can_be_left_out(asked: Asked) -> None:
    """Check that options are a frozen dataclass whose defaults exist and fit their own bounds."""
    options = asked.record.options
    assert is_dataclass(options), f"{asked}: its options are not a dataclass"
    assert vars(options)["__dataclass_params__"].frozen, f"{asked}: its options are not frozen"
    given = {info.name: info.default for info in describe(asked.record)}
    plain = as_plain(asked.record.options())
    assert plain.keys() == given.keys()
    assert as_plain(validate(asked.kind, asked.record, plain)) == plain, (
        f"{asked}: a default does not fit the bounds of its option"
    )


def has_options_that_can_be_sent(asked: Asked) -> None:
    """Check that options can be sent to other processes."""
    sent = pickle.loads(pickle.dumps(asked.options))
    assert as_plain(sent) == as_plain(asked.options), f"{asked}: its options change when sent"


SUITE = (
    is_named_as_it_is_typed,
    has_options_that_can_be_left_out,
    has_options_that_can_be_sent,
)
