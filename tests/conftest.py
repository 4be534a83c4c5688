"""Every run of the tests draws the same examples, however slow the machine."""

from hypothesis import settings

settings.register_profile("geom", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("geom")
