"""geom: which tokens a language model can and cannot say, with proof.

The public names stand in ``__init__.pyi``; plugins import from here, from `geom.proofs` and, for
their tests, from `geom.testing`, and nowhere else. Names are imported when they are first asked
for, so that ``import geom`` costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
