"""Adapters against peft itself: the head of the model that it loads, and that it merges."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

import geom
from geom import InputError

V, D = 29, 8
Floats = NDArray[np.float64]

pytestmark = pytest.mark.filterwarnings("ignore")  # peft warns about tied weights and new rows

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def lora(*targets: str, r: int = 4, **settings: Any) -> peft.LoraConfig:
    return peft.LoraConfig(r=r, lora_alpha=8, target_modules=[*targets], **settings)


def toy(tied: bool, dtype: torch.dtype = torch.float32) -> Any:
    config = transformers.LlamaConfig(
        vocab_size=V,
        hidden_size=D,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=8,
        tie_word_embeddings=tied,
    )
    torch.manual_seed(1)
    model = transformers.LlamaForCausalLM(config)
    model.model.norm.weight.data.uniform_(0.5, 2)
    return model.to(dtype)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bases")
    for tied in (False, True):
        toy(tied).save_pretrained(folder / name(tied))
    return folder


def name(tied: bool) -> str:
    return "tied" if tied else "untied"


def trained(base: Any, config: peft.PeftConfig) -> Any:
    """Put an adapter on a model, with numbers drawn at random wherever it is trained."""
    model = peft.get_peft_model(base, config).eval()
    generator = torch.Generator().manual_seed(2)
    for path, parameter in model.named_parameters():
        if parameter.requires_grad:
            around = 1.0 if "norm" in path or "magnitude" in path else 0.0
            parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=generator) + around)
    return model


def head(model: Any) -> tuple[Floats, Floats]:
    """Return the matrix and the bias of a model's head, with the final norm's scale folded in."""
    inner = model.get_base_model() if isinstance(model, peft.PeftModel) else model
    norm = inner.model.norm
    norm = getattr(norm, "modules_to_save", getattr(norm, "ln_tuning_layers", {"default": norm}))
    gamma = norm["default"].weight.detach().double().numpy()
    points = torch.cat([torch.zeros(1, D), torch.eye(D)]).to(inner.dtype)
    with torch.no_grad():
        logits = inner.get_output_embeddings()(points).double().numpy()
    return (logits[1:] - logits[0]).T * gamma, logits[0]


def agrees(readout: geom.Readout, model: Any) -> bool:
    W, b = head(model)
    np.testing.assert_allclose(readout.W, W, rtol=0, atol=2e-6)
    np.testing.assert_allclose(readout.b, b, rtol=0, atol=2e-6)
    return True


CASES: dict[str, Callable[[], peft.PeftConfig]] = {
    "layers alone": lambda: lora("q_proj"),
    "head": lambda: lora("lm_head"),
    "head and embedding": lambda: lora("lm_head", "embed_tokens"),
    "embedding": lambda: lora("embed_tokens"),
    "rank-stabilised": lambda: lora("lm_head", r=3, use_rslora=True),
    "patterns": lambda: lora(
        "lm_head", "q_proj", rank_pattern={"lm_head": 2}, alpha_pattern={"^lm_head": 5}
    ),
    "pattern of another module": lambda: lora("lm_head", rank_pattern={"model.head": 2}),
    "fan_in_fan_out": lambda: lora("lm_head", fan_in_fan_out=True),
    "bias of B": lambda: lora("lm_head", lora_bias=True),
    "DoRA": lambda: lora("lm_head", use_dora=True),
    "DoRA of the embedding": lambda: lora("embed_tokens", use_dora=True),
    "saved head": lambda: lora("q_proj", modules_to_save=["lm_head"]),
    "saved embedding": lambda: lora("q_proj", modules_to_save=["embed_tokens"]),
    "saved head, embedding and norms": lambda: lora(
        "q_proj", modules_to_save=["lm_head", "embed_tokens", "norm"]
    ),
    "tokens": lambda: lora("q_proj", trainable_token_indices=[3, 5]),
    "tokens by module": lambda: lora(
        "q_proj", trainable_token_indices={"embed_tokens": [3, 5], "lm_head": [7, 3]}
    ),
    "tokens alone": lambda: peft.TrainableTokensConfig(token_indices=[3, 5]),
    "norm": lambda: peft.LNTuningConfig(target_modules=["norm"]),
    "IA3 in the layers": lambda: peft.IA3Config(target_modules=["k_proj"], feedforward_modules=[]),
    "prompt": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
}


@pytest.mark.parametrize("tied", [False, True], ids=name)
@pytest.mark.parametrize("case", CASES)
def test_the_head_is_that_of_the_model_that_peft_loads(
    case: str, tied: bool, bases: Path, tmp_path: Path
) -> None:
    trained(toy(tied), CASES[case]()).save_pretrained(tmp_path)
    base = transformers.AutoModelForCausalLM.from_pretrained(bases / name(tied))
    loaded = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    readout = geom.load(f"hf:{tmp_path}?base={bases / name(tied)}")
    assert agrees(readout, loaded)
    assert any(str(tmp_path) in note for note in readout.notes)


@pytest.mark.parametrize(
    "case", ["head", "head and embedding", "embedding", "DoRA", "saved embedding", "tokens"]
)
def test_merged_the_tied_head_is_that_of_the_model_that_peft_merges(
    case: str, bases: Path, tmp_path: Path
) -> None:
    trained(toy(True), CASES[case]()).save_pretrained(tmp_path)
    base = transformers.AutoModelForCausalLM.from_pretrained(bases / "tied")
    merged = peft.PeftModel.from_pretrained(base, tmp_path).merge_and_unload()
    assert agrees(geom.load(f"hf:{tmp_path}?base={bases / 'tied'}&adapter=merged"), merged)


@pytest.mark.parametrize("targets", [["q_proj"], ["lm_head", "embed_tokens"]])
@pytest.mark.parametrize("tied", [False, True], ids=name)
def test_a_resized_vocabulary_is_the_adapters(
    targets: list[str], tied: bool, bases: Path, tmp_path: Path
) -> None:
    model = toy(tied)
    model.config._name_or_path = str(bases / name(tied))
    model.resize_token_embeddings(V + 3)
    adapted = trained(model, lora(*targets))
    adapted.save_pretrained(tmp_path, save_embedding_layers=True)
    readout = geom.load(f"hf:{tmp_path}?base={bases / name(tied)}")
    assert readout.V == V + 3
    assert agrees(readout, adapted)
    assert any(f"with {V + 3} rows for {V}" in note for note in readout.notes)


def test_the_sum_is_exact_and_rounded_after_it(bases: Path, tmp_path: Path) -> None:
    trained(toy(False), lora("lm_head", r=3)).save_pretrained(tmp_path)
    got = geom.load(f"hf:{tmp_path}?base={bases / 'untied'}&gamma=model.norm.weight&norm=none").W
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    W, A, B = (
        tensors[f"base_model.model.lm_head.{leaf}.weight"].double().tolist()
        for leaf in ("base_layer", "lora_A", "lora_B")
    )
    gamma = load_file(bases / "untied" / "model.safetensors")["model.norm.weight"].double()
    for i in range(V):
        for j in range(D):
            total = sum(Fraction(B[i][k]) * Fraction(A[k][j]) for k in range(3))
            assert got[i, j] == (W[i][j] + 8 / 3 * float(total)) * float(gamma[j])


# Which weights are under it


def test_beside_weights_the_adapter_is_on_them_as_transformers_puts_it(tmp_path: Path) -> None:
    trained(toy(False), lora("lm_head")).save_pretrained(tmp_path)
    edited(tmp_path, base_model_name_or_path="/somewhere/else")
    toy(False).save_pretrained(tmp_path)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    readout = geom.load(f"hf:{tmp_path}")
    assert agrees(readout, loaded)
    assert any("transformers puts the adapter on them" in note for note in readout.notes)
    alone = geom.load(f"hf:{tmp_path}?adapter=no")
    assert agrees(alone, toy(False))
    assert alone.digest != readout.digest


@pytest.mark.parametrize("named", ["base", "./base/"])
def test_a_base_inside_the_adapters_folder_is_found(named: str, tmp_path: Path) -> None:
    adapted = trained(toy(False), lora("lm_head"))
    adapted.save_pretrained(tmp_path)
    toy(False).save_pretrained(tmp_path / "base")
    edited(tmp_path, base_model_name_or_path=named)
    assert agrees(geom.load(f"hf:{tmp_path}"), adapted)


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        (
            "/etc",
            r"'/etc', a place on the machine .* made on; give it by hand, as \?base=",
        ),
        ("../untied", "a place on the machine that it was made on"),
        ("a/b/c", "a place on the machine that it was made on"),
        ("https://127.0.0.1/m", "a place on the machine that it was made on"),
        ("C:\\models\\base", "a place on the machine that it was made on"),
        ("untied", "which is a directory here and may be an id of the Hub"),
        (None, "does not name its base; give it by hand"),
        ("owner/name", "owner/name is not in the cache, and HF_HUB_OFFLINE is set"),
    ],
)
def test_an_adapter_leads_to_no_other_place_on_this_machine(
    named: str | None, reason: str, bases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bases)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    trained(toy(False), lora("q_proj")).save_pretrained(tmp_path)
    edited(tmp_path, base_model_name_or_path=named)
    with pytest.raises(InputError, match=reason):
        geom.load(f"hf:{tmp_path}")


def test_a_link_to_a_base_elsewhere_is_not_followed(bases: Path, tmp_path: Path) -> None:
    trained(toy(False), lora("q_proj")).save_pretrained(tmp_path)
    (tmp_path / "base").symlink_to(bases / "untied")
    edited(tmp_path, base_model_name_or_path="base")
    with pytest.raises(InputError, match="base is not in the cache"):
        geom.load(f"hf:{tmp_path}")


def test_the_base_of_an_adapter_is_no_adapter(bases: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        trained(toy(False), lora("q_proj")).save_pretrained(tmp_path / folder)
    with pytest.raises(InputError, match="is an adapter itself; merge it first"):
        geom.load(f"hf:{tmp_path / 'one'}?base={tmp_path / 'two'}")
    with pytest.raises(InputError, match=r"is not read as an adapter: leave out \?base="):
        geom.load(f"hf:{bases / 'untied'}?base={bases / 'tied'}")


# Adapters that are not read


def edited(folder: Path, **values: Any) -> None:
    """Change an adapter's configuration."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | values))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            peft.IA3Config(target_modules=["lm_head"], feedforward_modules=[]),
            "of the kind IA3 that changes the readout by base_model.model.lm_head.ia3_l",
        ),
        (peft.LoHaConfig(target_modules=["lm_head"]), "of the kind LOHA that changes the readout"),
        (peft.VeraConfig(target_modules=["lm_head"]), "of the kind VERA that changes the readout"),
        (
            peft.AdaLoraConfig(target_modules=["lm_head"], total_step=9),
            "of the kind ADALORA that changes the readout",
        ),
    ],
    ids=lambda value: value.peft_type.value if isinstance(value, peft.PeftConfig) else "",
)
def test_other_adapters_of_the_head_are_refused_by_name(
    config: peft.PeftConfig, reason: str, bases: Path, tmp_path: Path
) -> None:
    trained(toy(False), config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=f"{reason}.* geom does not read; merge the adapter"):
        geom.load(f"hf:{tmp_path}?base={bases / 'untied'}")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"init_lora_weights": "pissa"}, "begun as 'pissa', which changes the base's weights too"),
        ({"alora_invocation_tokens": [1]}, "LoRA with alora_invocation_tokens"),
        ({"r": 5}, r"has rank 4, and adapter_config.json says 5"),
        ({"lora_alpha": "a lot"}, "lora_alpha of lm_head is 'a lot'"),
        ({"alpha_pattern": {"(a+)+b": 2}}, r"has the expression '\(a\+\)\+b'"),
        ({"use_dora": True}, "use_dora of adapter_config.json does not go with its tensors"),
        ({"peft_type": "XLORA"}, "an adapter of the kind 'XLORA', which geom does not read"),
        ({"peft_type": None}, "which geom does not read"),
        ({"task_type": "SEQ_CLS"}, "for the task SEQ_CLS, whose model has no head over the vocab"),
    ],
)
def test_what_is_not_plainly_a_product_is_refused(
    values: dict[str, Any], reason: str, bases: Path, tmp_path: Path
) -> None:
    trained(toy(False), lora("lm_head")).save_pretrained(tmp_path)
    edited(tmp_path, **values)
    with pytest.raises(InputError, match=reason):
        geom.load(f"hf:{tmp_path}?base={bases / 'untied'}")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.pop("base_model.model.lm_head.lora_B.weight"), "lora_A.weight alone"),
        (
            lambda t: t.update({"base_model.model.lm_head.lora_B.weight": torch.ones(V + 1, 4)}),
            "the adapter was made for another base",
        ),
        (
            lambda t: t["base_model.model.lm_head.lora_A.weight"].fill_(torch.inf),
            "has a number that is not finite",
        ),
        (
            lambda t: t["base_model.model.lm_head.lora_B.weight"].fill_(torch.nan),
            "has a number that is not finite",
        ),
        (
            lambda t: t.update({"base_model.model.model.norm.lora_A.weight": torch.ones(1, D)}),
            "adapts the final norm by",
        ),
        (
            lambda t: t.update({"base_model.model.lm_head.new_thing": torch.ones(1)}),
            "changes the readout by base_model.model.lm_head.new_thing",
        ),
    ],
)
def test_a_damaged_adapter_is_refused(
    change: Callable[[dict[str, Any]], Any], reason: str, bases: Path, tmp_path: Path
) -> None:
    trained(toy(False), lora("lm_head")).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    tensors = {key: value.clone() for key, value in tensors.items()}
    change(tensors)
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(InputError, match=reason):
        geom.load(f"hf:{tmp_path}?base={bases / 'untied'}")


# A whole model with an adapter in it


def whole(folder: Path, model: Any, prefix: str = "") -> None:
    """Save the state dict of a model with an adapter, which no one merged."""
    model.get_base_model().config.save_pretrained(folder)
    tensors = {f"{prefix}{key}": value.contiguous() for key, value in model.state_dict().items()}
    seen: set[int] = set()
    for key in list(tensors):  # safetensors takes no tensor twice
        if tensors[key].data_ptr() in seen:
            del tensors[key]
        else:
            seen.add(tensors[key].data_ptr())
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    "case", ["layers alone", "head", "saved head, embedding and norms", "DoRA"]
)
def test_an_adapter_that_was_not_merged_is_read_where_it_lies(case: str, tmp_path: Path) -> None:
    model = trained(toy(False), CASES[case]())
    model.save_pretrained(tmp_path / "adapter")
    whole(tmp_path, model, prefix="module.")
    if case in ("head", "DoRA"):
        with pytest.raises(InputError, match=r"there is no adapter_config\.json"):
            geom.load(f"hf:{tmp_path}")
        text = (tmp_path / "adapter" / "adapter_config.json").read_text()
        (tmp_path / "adapter_config.json").write_text(text)
    readout = geom.load(f"hf:{tmp_path}")
    assert agrees(readout, model)
    assert any("have an adapter in them that was not merged" in note for note in readout.notes)
    assert agrees(geom.load(f"hf:{tmp_path}?adapter=no"), toy(False))


def test_two_adapters_of_one_head_are_refused(tmp_path: Path) -> None:
    model = trained(toy(False), lora("q_proj", modules_to_save=["lm_head"]))
    model.add_adapter("second", lora("q_proj", modules_to_save=["lm_head"]))
    whole(tmp_path, model)
    with pytest.raises(InputError, match="has several adapters of its readout, default, second"):
        geom.load(f"hf:{tmp_path}")
