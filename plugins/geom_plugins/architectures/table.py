"""The table of architectures, by the ``model_type`` of ``config.json``.

Each entry follows the model's own code. It is tested against the logits of the model that
transformers builds, and where transformers has none, against the head as its code defines it. The
documentation shows this table.
"""

from __future__ import annotations

from geom_plugins.architectures.encoder_decoders import ENCODER_DECODERS
from geom_plugins.architectures.encoders import ENCODERS
from geom_plugins.architectures.layernorm_decoders import LAYERNORM_DECODERS
from geom_plugins.architectures.plus_one_decoders import PLUS_ONE_DECODERS
from geom_plugins.architectures.record import Architecture
from geom_plugins.architectures.recurrent import RECURRENT
from geom_plugins.architectures.remote_code import REMOTE_CODE
from geom_plugins.architectures.rmsnorm_decoders import RMSNORM_DECODERS
from geom_plugins.architectures.speech import SPEECH

ARCHITECTURES: dict[str, Architecture] = {
    **LAYERNORM_DECODERS,
    **RMSNORM_DECODERS,
    **PLUS_ONE_DECODERS,
    **RECURRENT,
    **REMOTE_CODE,
    **ENCODERS,
    **ENCODER_DECODERS,
    **SPEECH,
}
"""The architectures by ``model_type``."""
