"""Lists of tokens: which tokens are on them, and that the tools they are for read them so."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import geom
from geom import Readout, Run, TokenKind
from support.command import Command

# 3 wins along the own direction of 2, 4 lies within the others, 5 and 6 are rows of no token
W = [[2.0, 0.0], [0.0, 2.0], [-0.2, -0.2], [-2.0, 0.1], [0.0, 0.0], [0.1, 0.1], [2.5, 2.0]]
KINDS: list[TokenKind] = ["normal", "special", "normal", "byte", "added", "padding", "padding"]


def small() -> Run:
    return geom.run(Readout.fold(W, kinds=KINDS), tokens="all")


def listed(run: Run, format: str, **options: Any) -> str:
    file = io.BytesIO()
    geom.export(run, format, file, {f"reporter.{format}.{key}": v for key, v in options.items()})
    return file.getvalue().decode()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"which": "unusable"}, [4, 5, 6]),
        ({"which": "padding"}, [5, 6]),
        ({"which": "notable"}, [2, 4, 5]),
        ({"which": "all"}, [0, 1, 2, 3, 4, 5, 6]),
        ({"verdict": "unspeakable"}, [4, 5]),
        ({"verdict": "hard"}, [2]),
        ({"verdict": "speakable"}, [0, 1, 2, 3, 6]),
        ({"verdict": "undecided"}, []),
        ({"verdict": "speakable", "which": "padding"}, [6]),
        ({"verdict": "unspeakable", "which": "padding"}, [5]),
    ],
)
def test_lists_hold_the_tokens_that_are_asked_for(
    asked: dict[str, str], expected: list[int]
) -> None:
    with small() as run:
        assert [int(line) for line in listed(run, "tokens", **asked).split()] == expected
        found = json.loads(listed(run, "logit-bias", **asked, bias=-12.5))
        assert found == {str(token): -12.5 for token in expected}
        assert json.loads(listed(run, "suppress-tokens", **asked)) == expected
        words = json.loads(listed(run, "bad-words-ids", **asked))
        assert words == ([[token] for token in expected] or None)
        arguments = listed(run, "llama-cpp", **asked).split()
        assert arguments == [word for t in expected for word in ("--logit-bias", f"{t}-inf")]


FORMATS = ("tokens", "logit-bias", "bad-words-ids", "suppress-tokens", "llama-cpp")


@pytest.mark.parametrize("format", FORMATS)
def test_no_token_of_a_text_that_can_be_said_is_forbidden_by_default(format: str) -> None:
    """A model says its digits and its end although they do not win along their own direction."""
    with small() as run:
        text = listed(run, format)
        assert text == listed(run, format, which="unusable")
        assert text != listed(run, format, which="notable")


def test_the_command_takes_which(command: Command) -> None:
    with geom.run(Readout.fold(W, kinds=KINDS), tokens="all", out="run.db"):
        pass
    done = command("export", "run.db", "--format", "tokens", "--which", "padding")
    assert (done.code, done.out, done.err) == (0, "5\n6\n", "")
    assert command("export", "run.db", "--format", "tokens").out == "4\n5\n6\n"
    refused = command("export", "run.db", "--format", "csv", "--which", "padding")
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
    wrong = command("export", "run.db", "--format", "tokens", "--which", "dead")
    assert wrong.code == 2
    assert "give unusable|padding|notable|all" in wrong.err
    usage = " ".join(command("export", "--help").out.split())
    assert "unusable (the unspeakable and the padding rows), padding, notable" in usage


@pytest.mark.parametrize("verdict", ["speakable", "unspeakable", "undecided", "hard"])
def test_a_verdict_is_asked_for_in_one_way(verdict: str, command: Command) -> None:
    with geom.run(Readout.fold(W, kinds=KINDS), tokens="all", out="run.db") as run:
        expected = [f"{row.token_id}\n" for row in run.rows(verdict)]
    done = command("export", "run.db", "--format", "tokens", "--verdict", verdict)
    assert (done.code, done.out, done.err) == (0, "".join(expected), "")
    old = command("export", "run.db", "--format", "tokens", "--which", verdict)
    assert (old.code, old.out) == (2, "")
    assert f"give --verdict {verdict}" in old.err


def test_a_bias_is_as_the_apis_want_it() -> None:
    with geom.run("demo", tokens="100,2262") as run:
        assert listed(run, "logit-bias", which="all") == '{"100": -100, "2262": -100}\n'


# transformers, by its own generate


@pytest.fixture(scope="module")
def toy() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=40, num_attention_heads=2, **sizes, **ids))


@pytest.fixture(scope="module")
def audit(toy: LlamaForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Audit the toy's head, in which five rows lie within the others."""
    with torch.no_grad():
        toy.lm_head.weight[5:10] = toy.lm_head.weight.mean(dim=0)
    path = tmp_path_factory.mktemp("toy") / "run.db"
    head, gamma = (toy.lm_head.weight, toy.model.norm.weight)
    readout = Readout.fold(head.detach().numpy(), gamma=gamma.detach().numpy(), norm="rmsnorm")
    geom.run(readout, tokens="all", out=path).close()
    return path


def forbidden(toy: LlamaForCausalLM, **given: Any) -> set[int]:
    """Return the tokens whose score is minus infinity at each of eight steps of sampling."""
    torch.manual_seed(0)
    start = torch.tensor([[3]])
    done = toy.generate(
        start,
        max_new_tokens=8,
        min_new_tokens=8,
        eos_token_id=None,
        do_sample=True,
        top_k=0,
        return_dict_in_generate=True,
        output_scores=True,
        **given,
    )
    steps = [set(np.flatnonzero(np.isneginf(score[0].numpy())).tolist()) for score in done.scores]
    assert len(steps) == 8
    assert all(step == steps[0] for step in steps)
    assert not steps[0] & set(done.sequences[0, 1:].tolist())
    return steps[0]


@pytest.mark.parametrize("verdict", ["unspeakable", "hard", "speakable"])
@pytest.mark.parametrize(
    ("format", "argument"),
    [("bad-words-ids", "bad_words_ids"), ("suppress-tokens", "suppress_tokens")],
)
def test_transformers_forbids_exactly_the_tokens_on_the_list(
    format: str, argument: str, verdict: str, toy: LlamaForCausalLM, audit: Path
) -> None:
    with geom.open_run(audit) as run:
        value = json.loads(listed(run, format, verdict=verdict))
        wanted = {int(token) for token in listed(run, "tokens", verdict=verdict).split()}
    assert wanted
    assert {5, 6, 7, 8, 9} <= wanted or verdict != "unspeakable"
    assert forbidden(toy, **{argument: value}) == wanted


@pytest.mark.parametrize("argument", ["bad_words_ids", "suppress_tokens"])
def test_transformers_takes_a_list_of_no_token(
    argument: str, toy: LlamaForCausalLM, audit: Path
) -> None:
    with geom.open_run(audit) as run:
        value = json.loads(listed(run, argument.replace("_", "-"), verdict="undecided"))
    assert forbidden(toy, **{argument: value}) == set()


# llama.cpp and vLLM, by their documented syntax


def biases_of_llama_cpp(line: str) -> dict[int, float]:
    """Read ``--logit-bias TOKEN_ID(+/-)BIAS`` as its common/arg.cpp does: id, sign, ``stof``."""
    words = iter(shlex.split(line))
    found = {}
    for word in words:
        assert word == "--logit-bias"
        value = next(words)
        digits = value[: len(value) - len(value.lstrip("0123456789"))]
        sign, number = value[len(digits)], value[len(digits) + 1 :]
        found[int(digits)] = float(number) * {"+": 1.0, "-": -1.0}[sign]
    return found


@pytest.mark.parametrize(
    ("bias", "value"), [(None, -np.inf), (-100, -100.0), (0.001, 0.001), (1e-7, 1e-7), (0, 0.0)]
)
def test_llama_cpp_reads_the_biases(bias: float | None, value: float) -> None:
    with small() as run:
        found = biases_of_llama_cpp(listed(run, "llama-cpp", bias=bias))
    assert found == dict.fromkeys([4, 5, 6], value)


def test_vllm_keeps_the_biases_as_they_are() -> None:
    """``SamplingParams.from_optional`` makes ids whole numbers and clamps biases to +-100."""
    with small() as run:
        given = json.loads(listed(run, "logit-bias"))
    kept = {int(token): min(100.0, max(-100.0, bias)) for token, bias in given.items()}
    assert kept == dict.fromkeys((4, 5, 6), -100.0)
