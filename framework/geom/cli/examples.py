"""Examples of every command, shown at the end of its help; each is run as it stands by a test."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "run": (
        "geom run --out audit.db",
        "geom run --model path/to/checkpoint --tokens all",
        "geom run --model 'model.npz?cast=float16' --fail-on unspeakable",
    ),
    "show": (
        "geom show audit.db --verdict unspeakable",
        "geom show audit.db --token RABIC",
    ),
    "diff": (
        "geom diff before.db after.db",
        "geom diff before.db after.db --format markdown --fail-on newly-unspeakable",
    ),
    "export": (
        "geom export audit.db --format csv --out audit.csv",
        "geom export audit.db --format logit-bias -o reporter.logit-bias.bias=-50",
        "geom plugins logit-bias  # the options of a format",
    ),
    "verify": ("geom verify audit.db",),
    "activations": ("geom activations path/to/checkpoint --text text.txt --out acts.npy",),
    "check": ("geom check path/to/checkpoint",),
    "compare": ("geom compare audit.db --precision float16 --precision float32",),
    "measure": (
        "geom measure audit.db --tokens 96,116",
        "geom measure audit.db --tokens 96,116 --measure logit-bias",
    ),
    "repair": ("geom repair audit.db --tokens 96 --out rows.safetensors",),
    "report": ("geom report audit.db --out audit.html",),
    "plugins": (
        "geom plugins",
        "geom plugins solid-angle  # its options",
    ),
    "new-plugin": ("geom new-plugin detector my-detector",),
    "doctor": ("geom doctor",),
}
"""The commands in a shell, by the name of geom's command."""


def epilog(command: str) -> str:
    """Return the end of a command's help; the backspace tells typer to keep its lines."""
    lines = "\n".join(f"  {line}" for line in EXAMPLES[command])
    return f"\b\nExamples:\n{lines}"
