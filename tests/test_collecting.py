"""``geom activations``: the vectors that reach the readout, against what transformers says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import geom
from geom import ActivationSample, InputError, ModelSource, Network, NoOptions, Readout, hookimpl
from geom_plugins.sources import demo
from support.command import Command
from support.plugins import Use, installed_and
from support.toy_models import build, save

TEXT = "".join(f"The {n} vectors are a sample of {n * n}. " for n in range(60))

KINDS = ("gpt2", "llama", "gemma2", "olmo", "opt", "cohere", "mamba", "bert", "gpt_neox")


def byte_tokenizer(**special: str) -> Any:
    """Return a tokenizer of 256 bytes, and of special tokens after them."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    fast: Any = transformers.PreTrainedTokenizerFast
    return fast(tokenizer_object=inner, **special)


@pytest.fixture(scope="module", params=KINDS)
def toy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = save(build(request.param), tmp_path_factory.mktemp(request.param))
    byte_tokenizer().save_pretrained(where)
    return where


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = save(build("llama"), tmp_path_factory.mktemp("one_llama"))
    byte_tokenizer().save_pretrained(where)
    return where


def sampled(model: Any, count: int = 40, **options: Any) -> ActivationSample:
    return geom.activations(model, TEXT, count=count, **{"window": 32} | options)


def test_the_readout_gives_the_models_own_logits_at_the_vectors(toy: Path) -> None:
    """Each window is read on its own; up to a cap and a scale, logits are equal."""
    found = sampled(f"hf:{toy}")
    assert found.points.shape == (40, geom.load(f"hf:{toy}").d)
    assert found.points.dtype == np.float32
    assert (np.diff(found.positions) > 0).all()
    model = transformers.AutoModelForMaskedLM if "bert" in toy.name else None
    kind: Any = model or transformers.AutoModelForCausalLM
    network = kind.from_pretrained(toy).eval()
    ids = byte_tokenizer()(TEXT)["input_ids"]
    ours = geom.load(f"hf:{toy}").logits(found.points)
    for place, row in zip(found.positions.tolist(), ours, strict=True):
        start = place - place % 32
        with torch.no_grad():
            out = network(input_ids=torch.tensor([ids[start : start + 32]])).logits
        theirs = out[0, place - start].double().numpy()
        rank = np.argsort(theirs)
        assert (np.diff(row[rank]) > -1e-4 * np.ptp(row)).all()
        assert row.argmax() == theirs.argmax()


def test_a_vector_times_the_scale_is_the_last_hidden_state(llama: Path) -> None:
    found = sampled(f"hf:{llama}")
    model = transformers.AutoModelForCausalLM.from_pretrained(llama).eval()
    ids = byte_tokenizer()(TEXT)["input_ids"]
    scale = model.model.norm.weight.detach().double().numpy()
    for place, x in zip(found.positions.tolist(), found.points, strict=True):
        start = place - place % 32
        with torch.no_grad():
            last = model.model(input_ids=torch.tensor([ids[start : start + 32]]))
        truth = last.last_hidden_state[0, place - start].double().numpy()
        assert np.allclose(x * scale, truth, atol=1e-5)
        assert np.linalg.norm(x) == pytest.approx(x.size**0.5, rel=1e-2)


def test_the_same_seed_gives_the_same_sample_and_another_another(llama: Path) -> None:
    one, two, other = (sampled(f"hf:{llama}", seed=seed) for seed in (1, 1, 2))
    assert (one.points == two.points).all()
    assert one.header == two.header
    assert (one.positions != other.positions).any()


def test_places_are_drawn_uniformly_from_the_whole_text(llama: Path) -> None:
    found = sampled(f"hf:{llama}", count=len(TEXT) // 2)
    quarters = np.bincount(found.positions * 4 // len(TEXT), minlength=4)
    assert quarters.sum() == len(found)
    assert (abs(quarters - len(found) / 4) < 4 * (len(found) / 16) ** 0.5).all()


def test_every_place_once_is_the_whole_text(llama: Path) -> None:
    found = sampled(f"hf:{llama}", count=len(TEXT))
    assert found.positions.tolist() == list(range(len(TEXT)))


def test_the_ids_that_a_text_begins_with_are_put_before_each_window(tmp_path: Path) -> None:
    where = save(build("llama"), tmp_path)
    tokenizer = byte_tokenizer(bos_token="<s>")
    tokenizer.backend_tokenizer.post_processor = None
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    tokenizer.save_pretrained(where)
    found = sampled(f"hf:{where}", count=300)
    assert found.header["window"] == 32
    model = transformers.AutoModelForCausalLM.from_pretrained(where).eval()
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    scale = model.model.norm.weight.detach().double().numpy()
    for place, x in [*zip(found.positions.tolist(), found.points, strict=True)][::50]:
        start = place - place % 31
        read = [tokenizer.bos_token_id, *ids[start : start + 31]]
        with torch.no_grad():
            last = model.model(input_ids=torch.tensor([read])).last_hidden_state
        truth = last[0, place - start + 1].double().numpy()
        assert np.allclose(x * scale, truth, atol=1e-5)


def test_a_model_in_memory_is_run_with_its_tokenizer_and_readout(llama: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(llama).eval()
    readout = geom.load(f"hf:{llama}")
    live = sampled(model, readout=readout, tokenizer=byte_tokenizer())
    assert (live.points == sampled(f"hf:{llama}").points).all()
    assert live.header["model"] == "LlamaForCausalLM"
    assert (sampled(model).points == live.points).all()  # by the checkpoint that it names


def test_a_model_in_memory_that_lacks_something_says_what_to_give(
    llama: Path, tmp_path: Path
) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(llama).eval()
    tokenizer = byte_tokenizer()
    with torch.no_grad():
        model.lm_head.weight *= -1.0
    with pytest.raises(InputError, match=r"readout's rise; give readout=\.\.\., the readout of"):
        sampled(model)
    model.config._name_or_path = str(tmp_path / "gone")
    model.name_or_path = model.config._name_or_path
    with pytest.raises(InputError, match=r"finds no tokenizer in .*, or give tokenizer=\.\.\."):
        sampled(model)
    with pytest.raises(InputError, match=r"has no readout: .*, or give readout=geom\.load"):
        sampled(model, tokenizer=tokenizer)
    model.name_or_path = ""
    with pytest.raises(InputError, match="names no checkpoint comes without its tokenizer: give"):
        sampled(model)
    with pytest.raises(InputError, match="names no checkpoint comes without its readout: give"):
        sampled(model, tokenizer=tokenizer)
    model.tokenizer = tokenizer  # as some programs keep it
    with pytest.raises(InputError, match="comes without its readout"):
        sampled(model)


@pytest.mark.parametrize("processed", [True, False])
def test_a_bridge_gives_the_vectors_of_transformers(processed: bool) -> None:
    from transformer_lens.model_bridge import TransformerBridge  # takes ten seconds

    bridge = TransformerBridge.boot_transformers(str(demo.CHECKPOINT), device="cpu")
    if processed:
        bridge.enable_compatibility_mode(disable_warnings=True)
    plain = transformers.AutoTokenizer.from_pretrained(demo.CHECKPOINT)
    theirs, ours = sampled(bridge, tokenizer=plain), sampled("demo")
    assert np.allclose(theirs.points, ours.points, atol=1e-4)
    assert (theirs.positions == ours.positions).all()
    assert theirs.header["layer"] == "ln_final.hook_normalized"
    named = sampled(f"transformer-lens:{demo.CHECKPOINT}?processed={'yes' if processed else 'no'}")
    assert np.allclose(named.points, ours.points, atol=1e-4)


def test_another_models_readout_is_refused(llama: Path) -> None:
    wrong = Readout.fold(geom.load(f"hf:{llama}").W[::-1].copy(), norm="rmsnorm")
    with pytest.raises(InputError, match="does not give the logits of LlamaForCausalLM in float32"):
        sampled(f"hf:{llama}", readout=wrong)


def test_a_readout_without_the_norms_scale_is_refused(llama: Path) -> None:
    with pytest.raises(InputError, match=r"fall by .* of their range"):
        sampled(f"hf:{llama}?unembed=lm_head.weight&norm=rmsnorm")


def test_an_option_that_changes_the_readout_is_refused() -> None:
    with pytest.raises(InputError, match="cast=float16 changes the readout"):
        sampled("demo?cast=float16")


# The command


def test_the_files_say_what_they_hold(command: Command, tmp_path: Path) -> None:
    text, out = tmp_path / "text.txt", tmp_path / "acts.npy"
    text.write_text(TEXT)
    asked = ("--text", str(text), "--out", str(out), "--count", "50", "--seed", "3")
    done = command("activations", "demo", *asked)
    assert done.code == 0
    assert "50 vectors of 64 numbers, from" in done.out
    assert np.load(out).shape == (50, 64)
    header = json.loads((tmp_path / "acts.json").read_text())
    assert header["digest"] == geom.load("demo").digest
    assert header["text_sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    assert (header["count"], header["seed"], header["window"]) == (50, 3, 64)
    assert header["layer"] == "transformer.ln_f"
    assert header["versions"].keys() == {"transformers", "torch"}
    assert len(header["positions"]) == 50
    (tmp_path / "more.npy").unlink(missing_ok=True)
    again = ("--text", str(text), "--out", str(tmp_path / "more.npy"), "--count", "50")
    assert command("activations", "demo", *again, "--format", "jsonl").rows[0]["seed"] == 0


def refused(command: Command, folder: Path, content: bytes, *more: str, model: str = "demo") -> str:
    (folder / "text.txt").write_bytes(content)
    asked = ("--text", str(folder / "text.txt"), "--out", str(folder / "acts.npy"))
    done = command("activations", model, *asked, *more)
    assert done.code == 2
    assert not (folder / "acts.json").exists()
    return done.err.splitlines()[-1]


def test_a_text_that_is_too_short_is_one_line(command: Command, tmp_path: Path) -> None:
    said = refused(command, tmp_path, b"Too short.")
    assert "tokens, and 4096 vectors are asked for: give a longer text, or a count of" in said


def test_a_text_that_is_not_utf8_is_one_line(command: Command, tmp_path: Path) -> None:
    assert "is not UTF-8, at byte 3" in refused(command, tmp_path, b"abc\xff\xfe")


def test_a_file_that_is_there_is_not_overwritten(command: Command, tmp_path: Path) -> None:
    (tmp_path / "acts.npy").write_bytes(b"precious")
    said = refused(command, tmp_path, b"text")
    assert "acts.npy exists, and is not overwritten: give another --out" in said
    assert (tmp_path / "acts.npy").read_bytes() == b"precious"


def test_the_file_must_be_called_npy(command: Command, tmp_path: Path) -> None:
    said = refused(command, tmp_path, b"text", "--out", str(tmp_path / "acts.json"))
    assert "does not end in .npy" in said


def test_a_checkpoint_without_a_tokenizer_is_one_line(command: Command, tmp_path: Path) -> None:
    where = save(build("llama"), tmp_path / "bare")
    said = refused(command, tmp_path, b"text", model=f"hf:{where}")
    assert "cannot be run: transformers finds no tokenizer in" in said


def test_a_source_of_numbers_alone_has_nothing_to_run(command: Command, tmp_path: Path) -> None:
    np.save(tmp_path / "W.npy", np.eye(3))
    said = refused(command, tmp_path, b"text", model=f"npz:{tmp_path / 'W.npy'}")
    assert "reads numbers without a network to run; sources that have one: demo, gguf, hf" in said


def test_a_checkpoint_that_cannot_be_loaded_is_one_line(command: Command, tmp_path: Path) -> None:
    where = save(build("llama"), tmp_path / "broken")
    byte_tokenizer().save_pretrained(where)
    (where / "model.safetensors").write_bytes(b"?" * 99)
    said = refused(command, tmp_path, b"text", model=f"hf:{where}")
    assert "geom: " in said


def test_an_encoder_of_another_input_is_refused(tmp_path: Path) -> None:
    where = save(build("t5"), tmp_path)
    byte_tokenizer().save_pretrained(where)
    with pytest.raises(InputError, match="has an encoder, whose input a text alone does not give"):
        sampled(f"hf:{where}")


def test_without_transformers_it_says_what_to_install(
    no_toys: None, command: Command, tmp_path: Path
) -> None:
    said = refused(command, tmp_path, b"text")
    assert f"it needs transformers: {geom.install_command('replay')}" in said


@pytest.fixture
def no_toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geom_plugins.agreement.requirements.can_build", lambda: False)


def test_an_object_that_is_no_model_is_refused() -> None:
    with pytest.raises(InputError, match=r"^dict cannot be run: give a model's name"):
        sampled({}, readout=Readout.fold(np.eye(3)))


# A stranger's source


class Strange:
    """A source whose network looks ids up in a table."""

    table = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)

    def load(self, location: str, options: NoOptions) -> Readout:
        return Readout.fold(self.table)

    def network(self, location: str, options: NoOptions) -> Network:
        def states(ids: Sequence[int], places: Sequence[int]) -> NDArray[np.float32]:
            return self.table[np.array(ids)[list(places)]]

        def encode(text: str) -> Sequence[int]:
            return [ord(c) % 9 for c in text]

        def logits(ids: Sequence[int]) -> NDArray[np.float64]:
            return self.table[list(ids)].astype(float) @ self.table.T * 3.0

        return Network("Strange", "table", 5, encode, states, logits)

    @hookimpl
    def geom_sources(self) -> Any:
        yield ModelSource(
            "strange", "a table", self.load, NoOptions, reads="nothing", network=self.network
        )


def test_a_strangers_network_is_sampled(use: Use) -> None:
    use(installed_and(Strange()))
    found = sampled("strange:", window=None)
    ids = np.array([ord(c) % 9 for c in TEXT])
    assert (found.points == Strange.table[ids[found.positions]]).all()
    assert found.header["window"] == 5
