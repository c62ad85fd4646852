"""Names that are a model elsewhere: one line that says what to give here. No hub is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from videomae_cli.cli.options.flags import FLAGS
from videomae_cli.errors import ModelNotFoundError, speaking
from videomae_cli.hub import hub_source, resolve


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("https://huggingface.co/MCG-NJU/videomae-base", "give MCG-NJU/videomae-base"),
        ("https://huggingface.co/MCG-NJU/videomae-base/tree/main", "give MCG-NJU/videomae-base"),
        (
            "https://huggingface.co/MCG-NJU/videomae-base/tree/v1.0/sub",
            "give MCG-NJU/videomae-base and --revision v1.0",
        ),
        ("huggingface.co/MCG-NJU/videomae-base/blob/main/config.json", "give MCG-NJU/videomae-base"),
        ("hf.co/MCG-NJU/videomae-base", "give MCG-NJU/videomae-base"),
        ("hf://MCG-NJU/videomae-base@abc123", "give MCG-NJU/videomae-base and --revision abc123"),
        ("MCG-NJU/videomae-base@abc123", "give MCG-NJU/videomae-base and --revision abc123"),
        ("MCG-NJU/videomae-base@main", "give MCG-NJU/videomae-base"),
        ("models--MCG-NJU--videomae-base", "give MCG-NJU/videomae-base"),
        ("https://example.com/model.zip", "is an address"),
        ("--model", "looks like an option"),
    ],
)
def test_what_is_a_model_elsewhere_gets_the_way_on(name: str, said: str) -> None:
    with speaking(FLAGS), pytest.raises(ModelNotFoundError) as raised:
        hub_source(name)
    with speaking(FLAGS):
        assert said in str(raised.value)


def test_a_folder_of_the_cache_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "models--MCG-NJU--videomae-base"
    (folder / "snapshots").mkdir(parents=True)
    with pytest.raises(ModelNotFoundError, match="give MCG-NJU/videomae-base, or one of the folders"):
        resolve(str(folder), local_files_only=True)


@pytest.mark.parametrize("name", ["a/b" * 200, "a\0b", "", "~nobody/x"])
def test_impossible_names_are_told(name: str) -> None:
    with pytest.raises(ModelNotFoundError):
        resolve(name, local_files_only=True)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_what_is_here_and_can_be_no_model_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, said in (("pipe", "a pipe or a device"), ("loop", "Too many levels"), ("a" * 300, "too long")):
        with pytest.raises(ModelNotFoundError, match=said):
            resolve(str(tmp_path / name))
