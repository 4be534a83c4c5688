"""Plugins that tests define, added to those of the environment."""

from __future__ import annotations

from collections.abc import Callable

from geom.plugins.registry import Origin, Plugins

Use = Callable[[Plugins], None]
"""The type of the fixture `use`: the given plugins are the installed ones until the test ends."""


def installed_and(plugin: object) -> Plugins:
    """Return the environment's plugins plus this one, from the distribution ``the-tests`` 3.2."""
    plugins = Plugins()
    plugins.discover()
    plugins.register(plugin, "given", Origin("the-tests", "3.2", "tests"))
    assert [skip for skip in plugins.skipped if skip.origin.distribution == "the-tests"] == []
    return plugins
