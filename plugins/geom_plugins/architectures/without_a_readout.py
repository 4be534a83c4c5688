"""Models whose logits are not one linear map of one normalised vector, each with the reason."""

from __future__ import annotations

_UNBOUNDED = (
    "there is a network between its last norm and its head, so nothing bounds what the head sees"
)

WITHOUT_A_READOUT: dict[str, str] = {
    "chameleon": "its model replaces the logits of image tokens by the lowest number, so their "
    "rows do not tell what it says",
    "idefics": "its head is two matrices, one for the vocabulary and one for tokens added to it",
    "diffusion_gemma": "its class caps its logits at a number that config.json does not hold",
    "dia": "it has a head for each of several codebooks",
    "musicgen": "it has a head for each of several codebooks",
    "musicgen_melody": "it has a head for each of several codebooks",
    "reformer": "its head reads two streams side by side, each rescaled by one norm",
    "transfo-xl": "its softmax is adaptive: rare tokens share clusters",
    "ibert": "its checkpoints hold integers beside the embedding, and a setting says which of the "
    "two it uses",
    "t5gemma2": "its embedding keeps the row of one image token apart",
    "ultrabert": _UNBOUNDED,
    "ultravbert": _UNBOUNDED,
    "blt": "it holds a second language model, with a head of its own",
    "mobilebert": "its head is two matrices side by side, the embedding and one more",
    "neomme": "there is a matrix between its final norm and its head",
    "perceiver": "the vectors that its head sees pass no norm",
}
"""``model_type`` -> the reason."""
