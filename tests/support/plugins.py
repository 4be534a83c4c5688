"""Plugins of the tests' own, beside those of the environment."""

from __future__ import annotations

from collections.abc import Callable

from geom.plugins.registry import Origin, Plugins

Use = Callable[[Plugins], None]
"""The fixture `use`: these plugins are the installed ones until the test ends."""


def installed_and(plugin: object) -> Plugins:
    """The plugins of the environment and this one, of the distribution ``the-tests`` 3.2."""
    plugins = Plugins()
    plugins.discover()
    plugins.register(plugin, "given", Origin("the-tests", "3.2", "tests"))
    assert [skip for skip in plugins.skipped if skip.origin.distribution == "the-tests"] == []
    return plugins
