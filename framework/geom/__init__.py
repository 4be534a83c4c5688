"""geom: which tokens a language model can and cannot say, with proof.

The public names are listed in ``__init__.pyi``. Plugins import only from here, from `geom.proofs`
and, for their tests, from `geom.testing`. A name is imported on first use, so ``import geom`` costs
nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
