"""TransformerLens's models against transformers' own logits, and the post's listing in torch."""

from __future__ import annotations

import gc
import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from torch.nn import functional

import geom
from geom import InputError, Readout
from geom_plugins.sources import demo
from support.command import Command, separately
from support.toy_models import V, build, forward, save
from support.truth import dot, fractions

FORMS = ("processed=no", "processed=yes")
SHRUNK = (5, 17, 40, 41, 90)
"""The tokens whose rows are moved so near the mean row that they are inside the hull."""

# TransformerLens trusts this setting, which some architectures lack: the number of heads
toy = partial(build, num_key_value_heads=4)


def lens(where: Path, form: str = "processed=yes") -> Readout:
    return geom.load(f"transformer-lens:{where}?{form}")


def boot(where: Path, **options: Any) -> Any:
    """Load the model as TransformerLens's users do; toys lack a tokenizer and get the demo's."""
    from transformer_lens.model_bridge import TransformerBridge  # takes ten seconds

    tokenizer = transformers.AutoTokenizer.from_pretrained(demo.CHECKPOINT)
    return TransformerBridge.boot_transformers(
        str(where), device="cpu", tokenizer=tokenizer, **options
    )


def shrunk(kind: str, **changes: Any) -> transformers.PreTrainedModel:
    """Build a toy model with some rows of the unembedding next to the mean row."""
    model = toy(kind, **changes)
    with torch.no_grad():
        W = model.get_output_embeddings().weight
        W[list(SHRUNK)] = W.mean(0) + 0.05 * (W[list(SHRUNK)] - W.mean(0))
    return model


def before_the_norm(
    model: transformers.PreTrainedModel, kind: str, norm: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the input of the final norm in a forward pass, (n, d), and the final logits."""
    seen = []
    hook = model.get_submodule(norm).register_forward_hook(lambda _, given, __: seen.append(given))
    logits = forward(model, kind)
    hook.remove()
    return seen[-1][0][0].double(), logits.double()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("kind", "norm"),
    [
        ("gpt2", "transformer.ln_f"),
        ("gpt_neox", "gpt_neox.final_layer_norm"),
        ("opt", "model.decoder.final_layer_norm"),
        ("phi", "model.final_layernorm"),
        ("cohere", "model.norm"),
        ("nemotron", "model.norm"),
        ("bert", "cls.predictions.transform.LayerNorm"),
        ("llama", "model.norm"),
        ("gemma", "model.norm"),
        ("gemma2", "model.norm"),
        ("t5", "decoder.final_layer_norm"),
    ],
)
def test_logits_are_those_of_the_model(kind: str, norm: str, form: str, tmp_path: Path) -> None:
    model = toy(kind)
    readout = lens(save(model, tmp_path / kind), form)
    h, logits = before_the_norm(model, kind, norm)
    module = model.get_submodule(norm)
    eps = getattr(module, "eps", getattr(module, "variance_epsilon", None))
    normalise: Callable[..., torch.Tensor] = (
        functional.layer_norm if readout.norm == "layernorm" else functional.rms_norm
    )
    found = readout.logits(normalise(h, (readout.d,), eps=eps).numpy())
    cap = getattr(model.config, "final_logit_softcapping", None)
    wanted = (cap * torch.atanh(logits / cap) if cap else logits).numpy()
    if form == "processed=yes":  # centred over the vocabulary, which moves all logits equally
        found, wanted = (z - z.mean(axis=1, keepdims=True) for z in (found, wanted))
    scale = (found * wanted).sum() / (found * found).sum()
    assert scale > 0
    assert np.abs(scale * found - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize(("kind", "norm"), [("gpt2", "layernorm"), ("llama", "rmsnorm")])
def test_both_forms_have_the_same_verdicts(kind: str, norm: str, tmp_path: Path) -> None:
    where = save(shrunk(kind), tmp_path / kind)
    verdicts = []
    for form in FORMS:
        readout = lens(where, form)
        assert readout.norm == norm
        with geom.run(readout, tokens="all") as run:
            verdicts.append({row.token_id: row.verdict for row in run.rows()})
    raw, processed = verdicts
    assert raw == processed
    assert {token for token in raw if raw[token] == "unspeakable"} == set(SHRUNK)
    assert set(raw.values()) == {"speakable", "unspeakable"}


def test_the_raw_form_has_the_numbers_of_the_checkpoint() -> None:
    assert lens(demo.CHECKPOINT, "processed=no").digest == geom.load("demo").digest


def test_the_processed_form_is_folded_and_centred_twice() -> None:
    raw, processed = geom.load("demo"), lens(demo.CHECKPOINT)
    W = raw.W - raw.W.mean(axis=1, keepdims=True)
    assert np.abs(W - W.mean(axis=0) - processed.W).max() <= 2.0**-22 * np.abs(W).max()
    assert np.abs(raw.b - raw.b.mean() - processed.b).max() <= 2.0**-20 * np.abs(raw.b).max()
    assert "centred over d, centred over the vocabulary" in processed.notes[0]
    assert processed.domain.name == "layernorm"


def test_verdicts_on_the_demo_differ_only_where_processing_rounds_a_token_off_its_face() -> None:
    """A token exactly on a face of the hull is unspeakable by a margin of zero.

    Centring does not change the question, but rounds each row to float32: by ``error``, which
    changes no margin by more than ``reach``. Tokens with a twin keep it, because both are rounded
    alike.
    """
    raw, processed = geom.load("demo"), lens(demo.CHECKPOINT)
    W, b = raw.W - raw.W.mean(axis=1, keepdims=True), raw.b - raw.b.mean()
    error = np.linalg.norm(W - W.mean(axis=0) - processed.W, axis=1).max()
    reach = 2.0 * (error * np.sqrt(raw.d) + np.abs(b - processed.b).max())
    assert reach < 1e-5
    never = np.flatnonzero(np.load(demo.CHECKPOINT / "training_counts.npy") == 0)[::2]
    with geom.run(raw, tokens=never) as run:
        before = {row.token_id: row for row in run.rows()}
    doubtful = {t for t, row in before.items() if row.verdict == "unspeakable"}
    faces = {t for t in doubtful if not raw.twins(t)}
    chosen = sorted(doubtful | set(list(before)[::3]))
    largest = {"certifier.maxent.largest": True, "certifier.highs.largest": True}
    with geom.run(processed, tokens=chosen, options=largest) as run:
        after = {row.token_id: row for row in run.rows()}
    differ = {t for t in chosen if before[t].verdict != after[t].verdict}
    assert len(chosen) > len(doubtful) + 10
    assert differ <= faces
    assert len(faces) > 5
    assert all(before[t].proof == "rational" for t in faces)
    assert all(before[t].margin_upper == 0.0 for t in faces)
    assert all(0.0 < (after[t].margin_upper or 0.0) <= reach for t in differ)


# the post's first listing


def listing(model: Any) -> NDArray[np.int64]:
    """Return the winner along each token's own direction, by the post's code."""
    with torch.no_grad():
        dots = model.W_U.T @ model.W_U
        winners: NDArray[np.int64] = dots.argmax(dim=-1).numpy()
    return winners


@pytest.mark.parametrize("centre", ["true", "false"])
def test_the_posts_first_listing_is_reproduced(command: Command, centre: str) -> None:
    """Where float32 and geom differ, the two scores must be closer than float32 can tell.

    A product of d terms in float32 is off by at most ``d u |w||w'|`` in either score, to first
    order; this covers ties. ``centre`` subtracts a mean that is zero but for rounding, and then the
    rows are off by that mean too.
    """
    model = boot(demo.CHECKPOINT)
    model.enable_compatibility_mode()
    winners = listing(model)
    flagged = set(np.flatnonzero(winners != np.arange(winners.size)).tolist())
    done = command(
        *("run", "--model", f"transformer-lens:{demo.CHECKPOINT}", "--format", "jsonl"),
        *("--detector", "self-argmax", "-o", f"detector.self-argmax.centre={centre}"),
        *("--certifier", "none"),
    )
    rows = {row["token_id"]: row["argmax_id"] for row in done.rows}
    assert done.code == 0
    assert len(flagged) > 300
    assert len(flagged ^ rows.keys()) <= 0.01 * len(flagged)
    W = model.W_U.detach().numpy().T
    lengths = np.linalg.norm(W, axis=1)
    mean = np.linalg.norm(W.mean(axis=0)) if centre == "true" else 0.0
    for token in flagged ^ rows.keys():
        rival = int(winners[token]) if token in flagged else rows[token]
        own, other = (dot(fractions(W[j]), fractions(W[token])) for j in (token, rival))
        reach = lengths[token] + lengths[rival]
        doubt = 1.1 * W.shape[1] * 2.0**-24 * lengths[token] * reach + 2.0 * mean * reach
        assert abs(own - other) <= doubt


def test_a_tie_is_no_win_for_geom_and_goes_to_the_lower_id_in_torch(tmp_path: Path) -> None:
    model = toy("gpt2")
    with torch.no_grad():
        model.transformer.wte.weight[30] = model.transformer.wte.weight[20]
        model.transformer.wte.weight[[20, 30]] *= 3
    where = save(model, tmp_path / "twins")
    bridge = boot(where)
    bridge.enable_compatibility_mode()
    winners = geom.own_winners(geom.load(bridge), centre=False)
    assert listing(bridge)[[20, 30]].tolist() == [20, 20]
    assert winners[[20, 30]].tolist() == [30, 20]


# what else a model brings


def test_a_checkpoint_without_a_tokenizer_has_no_texts(tmp_path: Path) -> None:
    assert lens(save(toy("gpt2"), tmp_path / "gpt2")).tokens is None


def test_texts_are_read_from_the_tokenizer() -> None:
    assert lens(demo.CHECKPOINT).tokens == geom.load("demo").tokens


def test_a_bridge_in_memory_is_read_as_by_its_name() -> None:
    bridge = boot(demo.CHECKPOINT)
    raw = geom.load(bridge)
    bridge.enable_compatibility_mode()
    processed = geom.load(bridge)
    assert raw.digest == lens(demo.CHECKPOINT, "processed=no").digest
    assert processed.digest == lens(demo.CHECKPOINT).digest
    named = geom.load("demo")
    assert raw.tokens == processed.tokens == named.tokens
    assert raw.kinds == processed.kinds == named.kinds


def test_bfloat16_is_processed_in_float32_and_a_bridge_in_bfloat16_says_so(tmp_path: Path) -> None:
    model = toy("llama").bfloat16()
    where = save(model, tmp_path / "llama")
    W, gamma = (
        p.detach().double().numpy() for p in (model.lm_head.weight, model.model.norm.weight)
    )
    raw = lens(where, "processed=no")
    assert (W * gamma == raw.W).all()
    bridge = boot(where, dtype=torch.bfloat16)
    bridge.enable_compatibility_mode()
    rough, fine = geom.load(bridge), lens(where)
    assert rough.notes[0].startswith("W_U of a TransformerBridge in bfloat16")
    assert 2.0**-12 < np.abs(rough.W - fine.W).max() <= 2.0**-8 * np.abs(fine.W).max()


def test_the_model_is_let_go_after_reading() -> None:
    lens(demo.CHECKPOINT)
    assert "transformer_lens.model_bridge" in sys.modules
    assert not any(type(thing).__name__ == "TransformerBridge" for thing in gc.get_objects())


def test_nothing_but_the_answer_is_on_standard_output(tmp_path: Path) -> None:
    model = f"transformer-lens:{demo.CHECKPOINT}"
    done = separately(
        *("run", "--model", model, "--certifier", "none", "--format", "jsonl", "--tokens", "5"),
        *("--out", str(tmp_path / "run.db")),
    )
    assert done.code == 0
    assert [row["token_id"] for row in done.rows] == [5]
    stages = {line.removeprefix("geom: ").split(":")[0] for line in done.err.splitlines()}
    assert stages <= {"read", "self-argmax", "certify"}


def test_progress_bars_and_logging_are_left_as_they_were() -> None:
    import logging

    before = (list(logging.root.handlers), logging.root.manager.disable)
    shown = transformers.logging.is_progress_bar_enabled()
    lens(demo.CHECKPOINT)
    assert (list(logging.root.handlers), logging.root.manager.disable) == before
    assert transformers.logging.is_progress_bar_enabled() == shown


# models that cannot be read


def refused(command: Command, location: str) -> str:
    """Return the single line on standard error with which a model is refused."""
    done = command("run", "--model", f"transformer-lens:{location}", "--certifier", "none")
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    return line


def test_no_location_is_refused(command: Command) -> None:
    assert "names no model; write transformer-lens:DIRECTORY" in refused(command, "")


def test_a_path_that_does_not_exist_is_refused(command: Command) -> None:
    assert "./nowhere does not exist" in refused(command, "./nowhere")


def test_a_directory_without_a_configuration_is_refused(command: Command, tmp_path: Path) -> None:
    assert "has no config.json" in refused(command, str(tmp_path))


def test_a_file_is_refused(command: Command) -> None:
    assert "is a file" in refused(command, str(demo.CHECKPOINT / "model.safetensors"))


def test_an_architecture_that_it_does_not_know_is_refused(command: Command, tmp_path: Path) -> None:
    where = save(toy("biogpt"), tmp_path / "biogpt")
    line = refused(command, str(where))
    assert "Could not determine supported architecture" in line
    assert line.endswith(f"hf:{where} reads the checkpoint without it")


def test_what_it_cannot_process_is_refused_and_can_be_read_raw(
    command: Command, tmp_path: Path
) -> None:
    where = save(toy("gpt2", n_layer=1), tmp_path / "gpt2")
    config = json.loads((where / "config.json").read_text())
    (where / "config.json").write_text(json.dumps(config | {"num_key_value_heads": 2}))
    assert refused(command, str(where)).endswith("give ?processed=no")
    assert lens(where, "processed=no").V == V


def test_a_checkpoint_cut_short_is_refused(command: Command, tmp_path: Path) -> None:
    where = tmp_path / "cut"
    shutil.copytree(demo.CHECKPOINT, where)
    weights = where / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    assert "TransformerLens cannot load" in refused(command, str(where))


def test_models_for_which_it_would_install_packages_are_refused(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llava", "vision_config": {}}')
    assert "takes images or sound" in refused(command, str(tmp_path))


def test_another_form_is_refused(command: Command) -> None:
    assert "give yes|no" in refused(command, f"{demo.CHECKPOINT}?processed=maybe")


def test_without_the_extra_it_says_how_to_install_it(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformer_lens.model_bridge", None)
    line = refused(command, str(demo.CHECKPOINT))
    assert geom.install_command("transformer-lens") in line


def test_a_name_that_cannot_be_found_offline_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    done = separately("run", "--model", "transformer-lens:gpt2-small", "--certifier", "none")
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert "gpt2" in line
    assert "raised" not in line


def test_load_refuses_in_python_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no config\.json"):
        lens(tmp_path)
