"""The command that adds an extra: it gets the extra from where geom itself came."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import geom

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install geom's metadata, without an origin, before any other; return the file of one."""
    info = tmp_path / "site" / "geom_unembed-9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: geom-unembed\nVersion: 9\n")
    monkeypatch.syspath_prepend(info.parent)
    return info / "direct_url.json"


def packages() -> list[str]:
    """Return what the command gives to pip, as a shell splits it."""
    words = shlex.split(geom.install_command("torch"))
    assert words[:4] == ["python", "-m", "pip", "install"]
    return words[4:]


def test_from_an_index_the_extra_is_of_the_distribution(origin: Path) -> None:
    assert geom.install_command("torch") == "python -m pip install 'geom-unembed[torch]'"


@pytest.mark.parametrize("name", ["checkout", "my check out"])
def test_a_checkout_gives_its_own_extra(origin: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    written = {"url": folder.as_uri(), "dir_info": {}}
    origin.write_text(json.dumps(written))
    assert packages() == [f"{folder}[torch]"]
    written["dir_info"] = {"editable": True}
    origin.write_text(json.dumps(written))
    assert packages() == ["-e", f"{folder}[torch]"]
    folder.rmdir()
    assert packages() == ["geom-unembed[torch]"]


def test_a_repository_gives_the_same_commit(origin: Path) -> None:
    where = {"vcs": "git", "commit_id": COMMIT}
    origin.write_text(json.dumps({"url": "https://host/geom.git", "vcs_info": where}))
    assert packages() == [f"geom-unembed[torch] @ git+https://host/geom.git@{COMMIT}"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 1, "dir_info": 2, "vcs_info": []}'])
def test_an_origin_that_cannot_be_read_is_none(origin: Path, text: str) -> None:
    origin.write_text(text)
    assert packages() == ["geom-unembed[torch]"]


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "geom", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("geom ")
