"""The gate of ``geom run``: it counts what it says, and says on standard error why it failed."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

import geom
from support.command import Command, Done
from support.gated_models import ADDED, INNER, OUTER, SPECIAL, WORD, save_model

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def model(own_folder: Path) -> str:
    return save_model("toy")


def said(done: Done) -> list[str]:
    """Return what the gate said, without the rest of standard error."""
    return [line[len("geom: ") :] for line in done.err.splitlines() if "--fail-on" in line]


def test_the_model_is_what_the_tests_take_it_for(model: str) -> None:
    with geom.run(model, tokens="all") as run:
        dead = {row.token_id: row.token_kind for row in run.rows("unspeakable")}
        assert dead == {WORD: "normal", SPECIAL: "special", ADDED: "added", INNER: "padding"}
        assert [row.token_id for row in run if row.undecodable] == [OUTER]


@pytest.mark.parametrize("tokens", ["all", "candidates"])
@pytest.mark.parametrize(
    ("words", "code", "lines"),
    [
        (
            ["--fail-on", "unspeakable"],
            1,
            [
                'unspeakable failed: 4 tokens are unspeakable: 4 "e", 5 "<s>" special, '
                '6 "<tool>" added, 8 - padding'
            ],
        ),
        (
            ["--fail-on", "unspeakable", "--ignore", "special,added", "--ignore", "padding"],
            1,
            [
                'unspeakable failed: 1 token is unspeakable: 4 "e" (1 added ignored, 1 padding '
                "ignored, 1 special ignored)"
            ],
        ),
        (
            ["--fail-on", "undecided,speakable-padding", "--ignore", "padding"],
            1,
            [
                "undecided passed: no token of N examined is undecided",
                "speakable-padding failed: 1 token is speakable padding: 7 - padding",
            ],
        ),
        (["--fail-on", "undecided"], 0, ["undecided passed: no token of N examined is undecided"]),
    ],
)
def test_a_gate_counts_what_it_says(
    words: list[str], code: int, lines: list[str], tokens: str, model: str, command: Command
) -> None:
    done = command("run", "--model", model, "--tokens", tokens, "--format", "jsonl", *words)
    assert done.code == code
    found = [re.sub("of [0-9]+ examined", "of N examined", line) for line in said(done)]
    assert found == [f"--fail-on {line}" for line in lines]
    assert {row["token_id"] for row in done.rows} >= {WORD, SPECIAL, ADDED, OUTER, INNER}


def test_what_is_ignored_may_be_all_that_was_found(model: str, command: Command) -> None:
    words = ("--tokens", "0-3,5", "--fail-on", "unspeakable", "--ignore", "special")
    done = command("run", "--model", model, *words)
    assert done.code == 0
    assert said(done) == [
        "--fail-on unspeakable passed: no other token of 5 examined is unspeakable (1 special "
        "ignored)"
    ]


def test_kinds_that_are_not_known_are_said_not_to_be_ignored(
    own_folder: Path, command: Command
) -> None:
    save_model("toy")
    Path("toy/tokenizer.json").unlink()
    words = ("--tokens", "5", "--fail-on", "unspeakable", "--ignore", "special")
    done = command("run", "--model", "hf:toy?unembed=W&norm=none", *words)
    assert done.code == 1
    assert said(done)[0].endswith(
        "1 token is unspeakable: 5 (no kinds of tokens are known, so none is ignored)"
    )


# A run that certified nothing


@pytest.mark.parametrize("finding", ["unspeakable", "speakable-padding", "undecided"])
def test_a_run_without_a_certifier_cannot_pass(finding: str, model: str, command: Command) -> None:
    done = command("run", "--model", model, "--certifier", "none", "--fail-on", finding)
    assert done.code == 1
    assert said(done)[0] == "--fail-on failed: nothing was proven: it has no certifier"


def test_a_run_whose_tokens_are_all_undecided_cannot_pass(model: str, command: Command) -> None:
    """The certifier mpmath only checks what others find."""
    chain = ("--certifier", "mpmath", "--opening", "no", "--tokens", "0-4")
    done = command("run", "--model", model, *chain, "--fail-on", "unspeakable")
    assert done.code == 1
    assert said(done)[0] == "--fail-on failed: nothing was proven: 5 tokens are undecided"


def test_a_model_all_of_whose_tokens_win_their_own_direction_passes(
    own_folder: Path, command: Command
) -> None:
    """No token is left to certify: the detector has decided them all."""
    np.savez("square.npz", W=np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]))
    done = command("run", "--model", "npz:square.npz", "--fail-on", "unspeakable")
    assert (done.code, len(said(done))) == (0, 1)


# The baseline


@pytest.fixture
def earlier(model: str, command: Command) -> str:
    """Write an earlier run, in which all tokens within were within too, except the added one."""
    before = save_model("before", {ADDED: [-1.5, 0.0]})
    assert command("run", "--model", before, "--tokens", "all", "--out", "before.db").code == 0
    return "before.db"


def test_only_what_is_new_fails(model: str, earlier: str, command: Command) -> None:
    gate = ("--fail-on", "unspeakable,speakable-padding", "--baseline", earlier)
    done = command("run", "--model", model, "--tokens", "all", *gate)
    assert done.code == 1
    assert said(done) == [
        '--fail-on unspeakable failed: 1 token is unspeakable: 6 "<tool>" added (3 in the '
        "baseline)",
        "--fail-on speakable-padding passed: no other token of 9 examined is speakable padding "
        "(1 in the baseline)",
    ]
    both = command("run", "--model", model, "--tokens", "all", *gate, "--ignore", "added")
    assert both.code == 0
    assert "(1 added ignored, 3 in the baseline)" in said(both)[0]


def test_a_run_that_goes_on_is_judged_whole(model: str, earlier: str, command: Command) -> None:
    words = ("run", "--model", model, "--tokens", "all", "--out", "run.db")
    assert command(*words).code == 0
    done = command(*words, "--fail-on", "unspeakable", "--baseline", earlier)
    assert done.code == 1
    assert '6 "<tool>" added (3 in the baseline)' in said(done)[0]


def test_a_token_that_the_baseline_did_not_examine_is_new(model: str, command: Command) -> None:
    assert command("run", "--model", model, "--tokens", "0-4", "--out", "few.db").code == 0
    gate = ("--fail-on", "unspeakable", "--baseline", "few.db")
    done = command("run", "--model", model, "--tokens", "4-5", *gate)
    assert done.code == 1
    assert '1 token is unspeakable: 5 "<s>" special (1 in the baseline)' in said(done)[0]


def test_a_padding_row_that_has_become_a_token_is_new(model: str, command: Command) -> None:
    assert command("run", "--model", model, "--out", "before.db").code == 0
    grown = save_model("grown")
    path = Path("grown/tokenizer.json")
    tokenizer = json.loads(path.read_text())
    more = [dict(tokenizer["added_tokens"][1], id=i, content=f"<{i}>") for i in (OUTER, INNER)]
    tokenizer["added_tokens"] += more
    path.write_text(json.dumps(tokenizer))
    gate = ("--fail-on", "unspeakable", "--baseline", "before.db")
    done = command("run", "--model", grown, *gate)
    assert done.code == 1
    assert '1 token is unspeakable: 8 "<8>" added (3 in the baseline)' in said(done)[0]


def test_a_model_may_have_grown_since(model: str, command: Command) -> None:
    assert command("run", "--model", model, "--out", "before.db").code == 0
    grown = save_model("grown", {9: [0.1, 0.0]})
    gate = ("--fail-on", "unspeakable", "--baseline", "before.db")
    done = command("run", "--model", grown, *gate)
    assert done.code == 1
    assert "1 token is unspeakable: 9 - padding (4 in the baseline)" in said(done)[0]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--out", "before.db"], "the baseline before.db is the run itself; give an earlier run"),
        (["--domain", "rmsnorm"], "is on the domain unbounded, and this run on rmsnorm; give a"),
        (["--model", "hf:other?unembed=W&norm=none"], 'token 4 is "e" in the baseline before.db'),
    ],
)
def test_a_baseline_that_cannot_serve_is_refused_before_the_run(
    words: list[str], why: str, model: str, command: Command
) -> None:
    save_model("other", words="abcdx")
    assert command("run", "--model", model, "--tokens", "0-4", "--out", "before.db").code == 0
    if "--model" not in words:
        words = ["--model", model, "--tokens", "0-4", *words]
    done = command("run", *words, "--fail-on", "unspeakable", "--baseline", "before.db")
    assert (done.code, done.out) == (2, "")
    assert why in done.err.splitlines()[-1]
    assert [path.name for path in Path().glob("*.db")] == ["before.db"]


# Several models, files of settings


def test_each_of_several_models_is_judged_with_its_own_baseline(
    model: str, command: Command
) -> None:
    other = save_model("other", {ADDED: [-1.5, 0.0]})
    both = ("--model", model, "--model", other)
    assert command("run", *both, "--out", "earlier").code == 0
    save_model("other")
    gate = ("--fail-on", "unspeakable", "--baseline", "earlier", "--format", "jsonl")
    done = command("run", *both, "--out", "now", *gate)
    assert done.code == 1
    first, second = said(done)
    assert first.startswith("--fail-on unspeakable passed: no other token of ")
    assert '1 token is unspeakable: 6 "<tool>" added (3 in the baseline)' in second
    assert done.err.index(f"{other} (2 of 2)") < done.err.index(second)
    assert {row["model"] for row in done.rows} == {model, other}


def test_a_folder_without_a_run_of_the_model_is_said_to_have_none(
    model: str, command: Command
) -> None:
    Path("empty").mkdir()
    gate = ("--fail-on", "unspeakable", "--baseline", "empty")
    done = command("run", "--model", model, "--tokens", "4", *gate)
    assert done.code == 1
    assert said(done)[0].endswith(f'4 "e"; empty has no run of {model}')


def test_a_file_of_settings_holds_the_gate(model: str, command: Command) -> None:
    Path("audit.toml").write_text(
        f'model = "{model}"\ntokens = "4-5"\nfail_on = ["unspeakable"]\nignore = ["special"]\n'
    )
    done = command("run", "--config", "audit.toml")
    assert done.code == 1
    assert said(done)[0].endswith('4 "e" (1 special ignored)')
    done = command("run", "--config", "audit.toml", "--fail-on", "undecided")
    assert done.code == 0
    Path("audit.toml").write_text(f'model = "{model}"\nignore = ["special"]\n')
    assert "--ignore is for --fail-on" in command("run", "--config", "audit.toml").err


# The hook for pre-commit


def test_the_hook_runs_a_gate_on_the_files_that_matter(model: str, command: Command) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    program, *words = shlex.split(hook["entry"])
    assert (hook["id"], program, hook["language"], hook["pass_filenames"]) == (
        *("geom", "geom", "python"),
        False,
    )
    assert command(*words, "--model", model, "--ignore", "padding").code == 1
    for name in ("model.safetensors", "checkpoint/tokenizer.json", "a/b/model-00001-of-2.gguf"):
        assert re.search(hook["files"], name)
    for name in ("README.md", "package.json", "my_config.json.txt"):
        assert not re.search(hook["files"], name)
