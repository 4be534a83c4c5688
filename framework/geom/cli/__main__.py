"""The entry point of ``python -m geom.cli``."""

from geom.cli import main

main()
