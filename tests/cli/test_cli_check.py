"""``geom check``: its answers, its exit codes, its rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import geom
from geom import Agreement, InputError, ModelSource, NoOptions, PluginError, Readout, hookimpl
from geom_plugins.agreement.toy_model import build, save
from support.command import Command
from support.plugins import Use, installed_and


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(build({"model_type": "llama"}, seed=5), tmp_path_factory.mktemp("llama"))


def test_the_demo_agrees_with_itself_and_its_toy(command: Command) -> None:
    done = command("check", "demo", "--format", "jsonl")
    assert done.code == 0
    toy, model = done.rows
    assert toy["compared"] == "a toy GPT2LMHeadModel"
    assert model["compared"] == "the model itself, GPT2LMHeadModel in float32"
    for row in (toy, model):
        assert (row["agrees"], row["note"]) == (True, None)
        assert 0 < row["difference"] < 1e-5
    assert command("check", "demo").out.count(" yes ") == 2


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("norm=layernorm&gamma=model.norm.weight", "the norm is RMSNorm"),
        ("norm=rmsnorm", "the norm's scale or shift is another"),
        ("norm=rmsnorm&gamma=model.norm.weight&gamma_plus_one=yes", "1 + weight"),
    ],
)
def test_a_wrong_reading_by_hand_is_named_and_exits_with_1(
    query: str, fault: str, llama: Path, command: Command
) -> None:
    done = command("check", f"hf:{llama}?unembed=lm_head.weight&{query}")
    assert done.code == 1
    assert done.out.count(" NO ") == 2
    assert done.out.count(fault) == 2
    right = f"hf:{llama}?unembed=lm_head.weight&norm=rmsnorm&gamma=model.norm.weight"
    assert command("check", right).code == 0


def test_the_embedding_in_place_of_the_head_is_not_the_models(
    llama: Path, command: Command
) -> None:
    query = "unembed=model.embed_tokens.weight&norm=rmsnorm&gamma=model.norm.weight"
    done = command("check", f"hf:{llama}?{query}")
    assert done.code == 1
    assert "W is another matrix" in done.out


def test_a_model_in_half_precision_agrees(tmp_path: Path, command: Command) -> None:
    save(build({"model_type": "gemma2"}).to(torch.bfloat16), tmp_path)
    assert [row["agrees"] for row in command("check", f"hf:{tmp_path}", "--format=jsonl").rows] == [
        True,
        True,
    ]


def test_a_source_of_bare_numbers_has_no_check(tmp_path: Path, command: Command) -> None:
    np.save(tmp_path / "W.npy", np.eye(3))
    done = command("check", f"npz:{tmp_path / 'W.npy'}")
    assert done.code == 2
    assert "source npz has no check" in done.err
    assert "demo, gguf, hf" in done.err


def test_without_transformers_nothing_is_compared(
    llama: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geom_plugins.agreement.requirements.can_build", lambda: False)
    done = command("check", f"hf:{llama}")
    assert done.code == 2
    assert done.out.count(geom.install_command("replay")) == 2
    assert "nothing could be compared" in done.err


@pytest.mark.parametrize("edit", ["bias=no", "cast=q8_0", "new=2"])
def test_a_changed_head_is_refused(edit: str, command: Command) -> None:
    done = command("check", f"demo?{edit}")
    assert done.code == 2
    assert f"{edit} changes the readout" in done.err


def test_a_model_that_does_not_fit_is_not_loaded(
    llama: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geom.machine.memory.usable", lambda: 150_000)
    done = command("check", f"hf:{llama}")
    assert done.code == 0
    assert "LlamaForCausalLM in bfloat16 takes" in done.out
    assert "not compared" in done.out


def test_weights_that_transformers_would_make_up_are_not_compared(
    tmp_path: Path, command: Command
) -> None:
    from safetensors.torch import load_file, save_file

    where = save(build({"model_type": "llama"}), tmp_path)
    tensors = load_file(where / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, where / "model.safetensors", {"format": "pt"})
    done = command("check", f"hf:{where}")
    assert done.code == 0
    assert "fills 1 of LlamaForCausalLM's tensors with random numbers" in done.out


def test_pickled_weights_are_not_loaded(tmp_path: Path, command: Command) -> None:
    model = build({"model_type": "llama"})
    where = save(model, tmp_path)
    (where / "model.safetensors").unlink()
    torch.save(model.state_dict(), where / "pytorch_model.bin")
    done = command("check", f"hf:{where}")
    assert done.code == 0
    assert "they may run code" in done.out


class Checking:
    """A source whose check yields what it is given."""

    def __init__(self, *rows: object) -> None:
        self.rows = rows

    @hookimpl
    def geom_sources(self) -> Iterator[ModelSource[NoOptions]]:
        def check(location: str, options: NoOptions) -> Iterator[Agreement]:
            for row in self.rows:
                if isinstance(row, Exception):
                    raise row
                yield row  # type: ignore[misc] # some are no rows, on purpose

        def load(location: str, options: NoOptions) -> Readout:
            return Readout.fold(np.eye(3))

        yield ModelSource("checking", "it has a check", load, NoOptions, check=check)


def test_the_answer_is_that_of_all_rows_that_could_be_compared(use: Use) -> None:
    yes, no, none = (Agreement(f"{a}", agrees=a) for a in (True, False, None))
    for rows, answer in [
        ((yes, none), True),
        ((yes, no, none), False),
        ((none, none), None),
        ((), None),
    ]:
        use(installed_and(Checking(*rows)))
        assert geom.check("checking:x").agrees is answer


def test_a_plugins_rows_are_made_harmless_and_shown(use: Use, command: Command) -> None:
    note = "it\x1b[2J says <b>\nso"
    use(installed_and(Checking(Agreement("a \x1b[2J model", agrees=False, note=note))))
    done = command("check", "checking:x")
    assert done.code == 1
    assert "\x1b[2J" not in done.out
    html = geom.check("checking:x")._repr_html_()
    assert "&lt;b&gt;" in html
    assert "\x1b" not in html


def test_what_a_plugins_check_raises_or_yields_wrongly_is_one_line(use: Use) -> None:
    use(installed_and(Checking(Agreement("it", agrees=True), ValueError("odd"))))
    with pytest.raises(PluginError, match="source checking raised ValueError: odd"):
        geom.check("checking:x")
    use(installed_and(Checking(InputError("give another"))))
    with pytest.raises(InputError, match="give another"):
        geom.check("checking:x")
    use(installed_and(Checking("yes")))
    with pytest.raises(PluginError, match="yielded str, not an Agreement"):
        geom.check("checking:x")
