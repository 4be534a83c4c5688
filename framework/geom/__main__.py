"""The entry point of ``python -m geom``."""

from geom.cli import main

main()
