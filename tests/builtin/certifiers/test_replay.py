"""``replay`` against the model's own head, applied by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

import geom
from geom import InputError
from support.command import Command
from support.gguf_files import write
from support.toy_models import build, save

TOKENS = range(12)


def replayed(model: str, dtype: str = "checkpoint", **options: Any) -> geom.Run:
    """Run some tokens and replay them through the real model."""
    asked = {"certifiers": ["highs", "replay"], "tokens": TOKENS} | options
    return geom.run(model, options={"certifier.replay.dtype": dtype}, **asked)


@pytest.mark.parametrize(
    "kind",
    [
        "gpt2",
        "gptj",
        "opt",
        "olmo",
        "gemma2",
        "cohere",
        "nemotron",
        "mamba",
        "bert",
        "t5",
        "marian",
    ],
)
def test_what_is_proven_speakable_the_model_says(kind: str, tmp_path: Path) -> None:
    with replayed(f"hf:{save(build(kind), tmp_path)}") as run:
        rows = list(run.rows(verdict="speakable"))
        assert len(rows) > len(TOKENS) / 2
        for row in rows:
            assert row.note is not None
            said = re.search(r"the model, in float32, emits it by (\S+) logits", row.note)
            assert said is not None
            assert float(said[1]) > 0


@pytest.mark.parametrize("name", ["hull", "ellipsoid"])
@pytest.mark.parametrize("kind", ["gpt2", "opt"])
def test_of_a_domain_made_of_vectors_the_vector_of_the_point_is_replayed(
    kind: str, name: str, tmp_path: Path
) -> None:
    where = f"hf:{save(build(kind), tmp_path)}"
    readout = geom.load(where)
    rng = np.random.default_rng(0)
    states = readout.domain.fit_all(readout.domain.sample(rng, 40))
    asked = geom.hull(states) if name == "hull" else geom.ellipsoid(states[0], states[1:9] / 3)
    with replayed(where, domain=asked, tokens="all") as run:
        rows = list(run.rows(verdict="speakable"))
        assert rows
        for row in rows:
            assert row.note is not None
            said = re.search(r"the model, in float32, emits it by (\S+) logits", row.note)
            assert said is not None
            y = run.certificate(row.token_id).x
            frame = asked.frame
            assert frame is not None
            x = y @ frame.axes + (0.0 if frame.centre is None else frame.centre)
            logits = readout.W @ x + readout.b
            margin = logits[row.token_id] - np.delete(logits, row.token_id).max()
            assert float(said[1]) == pytest.approx(margin, rel=0.06)  # two digits are shown


def test_opt_350ms_norm_inside_its_last_layer_is_replayed(tmp_path: Path) -> None:
    model = build("opt", do_layer_norm_before=False, word_embed_proj_dim=12)
    with replayed(f"hf:{save(model, tmp_path)}") as run:
        said = [row.note for row in run.rows(verdict="speakable")]
    assert said
    assert all("emits it" in note for note in said if note)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_note_is_what_the_models_head_computes_in_that_dtype(
    dtype: str, tmp_path: Path
) -> None:
    """Rows of W differ by less than bfloat16 resolves, so that bfloat16 gives ties or errors."""
    model = build("gpt2")
    W, norm = model.transformer.wte.weight, model.transformer.ln_f
    with torch.no_grad():
        for token in TOKENS[1::2]:
            W[token] = W[token - 1] + 2e-3 * W[token + 20]
    where = save(model, tmp_path)
    kind = getattr(torch, dtype)
    heard = []
    with replayed(f"hf:{where}", dtype, opening=False) as run:
        for row in run.rows(verdict="speakable"):
            x = torch.from_numpy(np.array(run.certificate(row.token_id).x))
            scale, shift = (part.detach().to(kind).double() for part in (norm.weight, norm.bias))
            y = (x * scale + shift).to(kind)
            logits = (W.detach().to(kind) @ y).double()
            margin = logits[row.token_id] - logits[torch.arange(len(W)) != row.token_id].max()
            assert row.note is not None
            heard.append("ties" if margin == 0 else "emits it" if margin > 0 else "emits token")
            assert f"in {dtype}, {heard[-1]}" in row.note, (row.note, float(margin))
    assert (set(heard) == {"emits it"}) == (dtype != "bfloat16")


def test_an_unspeakable_token_is_replayed_at_the_best_point_found(tmp_path: Path) -> None:
    model = build("gpt2")
    with torch.no_grad():
        model.transformer.wte.weight[3] = model.transformer.wte.weight.mean(0)
    with replayed(f"hf:{save(model, tmp_path)}", opening=False) as run:
        (row,) = run.rows(verdict="unspeakable")
        assert row.token_id == 3
        assert row.note is not None
        assert re.search(r"emits token \d+ by", row.note)


def test_a_token_without_a_point_gets_no_note(tmp_path: Path) -> None:
    where = save(build("gpt2"), tmp_path)
    with geom.run(f"hf:{where}", certifiers=["replay"], tokens=[1], opening=False) as run:
        (row,) = run.rows()
        assert (row.verdict, row.note) == (
            "undecided",
            "no certifier found a direction or weights",
        )


@pytest.mark.parametrize("opening", [True, False])
def test_it_changes_no_verdict(opening: bool, tmp_path: Path) -> None:
    where = save(build("gpt2"), tmp_path)
    with (
        replayed(f"hf:{where}", "float16", opening=opening, hardest=0) as with_it,
        geom.run(
            f"hf:{where}", certifiers=["highs"], tokens=TOKENS, opening=opening, hardest=0
        ) as without,
    ):
        for one, other in zip(with_it.rows(), without.rows(), strict=True):
            assert (one.verdict, one.proof, one.margin_lower) == (
                other.verdict,
                other.proof,
                other.margin_lower,
            )


def test_witnesses_share_a_run_of_the_body(tmp_path: Path) -> None:
    """Through the head as one text, and each with a text of its own: the same logits."""
    from geom_plugins.networks.transformers_networks import model_stage

    points = np.random.default_rng(0).standard_normal((5, 64))
    for kind in ("gpt2", "gemma2", "bert", "t5", "mamba", "cohere"):
        model = build(kind)
        stage = model_stage(model, model.config.to_dict(), kind)
        points = np.random.default_rng(0).standard_normal((5, model.config.hidden_size))
        bodies = []
        stage.run = counting(stage.run, bodies)
        together = stage.replayed(points)
        assert bodies[-1] == 1
        apart = np.concatenate([stage.replayed(x[None]) for x in points])
        assert np.allclose(together, apart, atol=1e-5)


def counting(run: Callable[[Any], Any], bodies: list[int]) -> Callable[[Any], Any]:
    """Note of how many texts each run of the body is."""

    def noted(ids: Any) -> Any:
        bodies.append(len(ids))
        return run(ids)

    return noted


def test_a_head_that_takes_one_text_each_gets_them() -> None:
    from geom_plugins.networks.transformers_networks import model_stage

    model = build("gpt2")
    stage = model_stage(model, model.config.to_dict(), "gpt2")
    run, bodies = stage.run, list[int]()

    def refusing(ids: Any) -> Any:
        bodies.append(len(ids))
        out = run(ids)
        if out.numel() != len(ids) * out.shape[-1]:
            raise RuntimeError("one vector a text")
        return out

    stage.run = refusing
    points = np.random.default_rng(0).standard_normal((5, model.config.hidden_size))
    stage.replayed(points)
    assert bodies[-1] == 5


@pytest.mark.parametrize("processed", ["yes", "no"])
def test_a_run_of_a_bridge_is_replayed_by_a_bridge(processed: str, tmp_path: Path) -> None:
    where = save(build("gpt2"), tmp_path)
    said = {}
    for model in (f"transformer-lens:{where}?processed={processed}", f"hf:{where}"):
        with replayed(model, hardest=0) as run:
            said[model] = [row.note for row in run.rows(verdict="speakable")]
    for notes in said.values():
        assert len(notes) > len(TOKENS) / 2
        assert all("in float32, emits it by" in note for note in notes if note)


def test_a_gguf_file_is_replayed_as_transformers_dequantises_it(tmp_path: Path) -> None:
    path = gguf_llama(tmp_path)
    with replayed(f"gguf:{path}", hardest=0) as run:
        notes = [row.note for row in run.rows(verdict="speakable")]
    assert notes
    assert all("in float32, emits it by" in note for note in notes if note)


def gguf_llama(folder: Path) -> Path:
    """Write a toy Llama as a GGUF file; its queries and keys are those of another toy."""
    model = build("llama")
    config, names = model.config, gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    mapped = {
        names.get_name(own, try_suffixes=(".weight", ".bias")): tensor.numpy()
        for own, tensor in model.state_dict().items()
    }
    settings = {
        "llama.block_count": config.num_hidden_layers,
        "llama.context_length": 64,
        "llama.embedding_length": config.hidden_size,
        "llama.feed_forward_length": config.intermediate_size,
        "llama.attention.head_count": config.num_attention_heads,
        "llama.attention.head_count_kv": config.num_key_value_heads,
        "llama.vocab_size": config.vocab_size,
    }
    path = folder / "toy.gguf"
    write(
        path,
        {name: tensor for name, tensor in mapped.items() if name is not None},
        {**settings, "llama.attention.layer_norm_rms_epsilon": 1e-5},
        "llama",
    )
    return path


def test_on_torch_the_answers_are_the_same(tmp_path: Path) -> None:
    where = save(build("gpt2"), tmp_path)
    notes = []
    for device in ("cpu", "torch"):
        with replayed(f"hf:{where}", device=device, opening=False) as run:
            notes.append([row.note for row in run.rows(verdict="speakable")])
    assert [note and note[:40] for note in notes[0]] == [note and note[:40] for note in notes[1]]


def test_a_readout_alone_is_refused_before_the_run(command: Command, tmp_path: Path) -> None:
    np.save(tmp_path / "W.npy", np.eye(3))
    out = tmp_path / "run.db"
    done = command(
        *("run", "--model", f"npz:{tmp_path}/W.npy", "--tokens", "all"),
        *("--certifier", "replay", "--out", str(out)),
    )
    assert done.code == 2
    assert "replay needs the whole model, and npz:" in done.err
    assert "-o certifier.replay.model=DIR_OR_HUB_ID" in done.err
    assert not out.exists()


def test_a_readout_from_elsewhere_can_name_its_model(tmp_path: Path) -> None:
    model = build("gpt2")
    where = save(model, tmp_path)
    readout = geom.Readout.fold(
        model.transformer.wte.weight.detach().numpy(),
        norm="layernorm",
        gamma=model.transformer.ln_f.weight.detach().numpy(),
        beta=model.transformer.ln_f.bias.detach().numpy(),
    )
    with geom.run(
        readout,
        certifiers=["highs", "replay"],
        tokens=[4],
        options={"certifier.replay.model": str(where)},
    ) as run:
        (row,) = run.rows()
        assert row.note is not None
        assert "emits it" in row.note


def test_another_models_vocabulary_is_refused(tmp_path: Path) -> None:
    where = save(build("gpt2", vocab_size=50), tmp_path)
    with pytest.raises(InputError, match="the model has 50 tokens, the readout 331"):
        geom.run(
            geom.Readout.fold(np.zeros((331, 64))),
            certifiers=["replay"],
            tokens=[1],
            options={"certifier.replay.model": str(where)},
        )


def test_a_checkpoint_that_transformers_refuses_is_one_line(tmp_path: Path) -> None:
    where = save(build("gpt2"), tmp_path)
    source = geom.load(f"hf:{where}")
    (where / "model.safetensors").write_bytes(b"?" * 99)
    with pytest.raises(InputError, match="transformers cannot load") as caught:
        geom.run(source, certifiers=["replay"], tokens=[1])
    assert "\n" not in str(caught.value)
