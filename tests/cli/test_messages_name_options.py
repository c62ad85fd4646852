"""Messages of the model core name what a caller can override; the command line puts it in its own options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from videomae_cli.cli.commands import stand_ins
from videomae_cli.cli.options.flags import OVERRIDES
from videomae_cli.cli.terminal import console
from videomae_cli.errors import VideoError, say, speaking
from videomae_cli.results import Failure


@pytest.mark.parametrize("stand_in", stand_ins(), ids=lambda stand_in: str(stand_in.name))
def test_a_message_names_only_what_the_command_takes(stand_in: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.loudness, "options", frozenset())
    command = stand_in.load()  # type: ignore[attr-defined]
    taken = {flag for parameter in command.params for flag in parameter.opts}
    with speaking({}):
        stand_in.make_context(command.name, [], resilient_parsing=True)  # type: ignore[attr-defined]
        for keyword in OVERRIDES:
            text = say(f"it isn't known; {{@{keyword}:7}} settles it")
            (flag,) = re.findall(r"--[a-z-]+", text)
            assert f"{keyword}=" not in text
            assert flag in taken or "`videomae convert`" in text
        if command.name == "classify":
            assert say("{@num_attention_heads:6}") == "--heads 6"
            assert say("{@labels:FILE}") == "--labels FILE"
            assert say("{@decoder_num_attention_heads:N}") == "`videomae convert` with --decoder-heads N"
        if command.name == "finetune":
            assert "convert" in say("{@labels:FILE}")  # its --labels are those of the data
    assert say("{@labels:FILE} or {@num_attention_heads:N}") == "labels=FILE or num_attention_heads=N"


@pytest.mark.parametrize("name", ["other.mp4", "other.dat", "other.mkv", "other.wav"])
def test_a_video_as_a_model_is_called_one(name: str, video: Path, tmp_path: Path) -> None:
    from videomae_cli.cli.terminal.transfers import bring
    from videomae_cli.errors import ModelNotFoundError

    heads = {".mkv": b"\x1aE\xdf\xa3", ".wav": b"RIFF\0\0\0\0WAVEfmt "}
    file = tmp_path / name
    file.write_bytes(heads.get(file.suffix) or video.read_bytes())
    with pytest.raises(ModelNotFoundError, match=r"is (a video|sound) \(.*\), not a model: give a checkpoint"):
        bring(str(file), None)


def test_weights_that_begin_like_a_video_are_weights(tmp_path: Path) -> None:
    """1823 bytes of header are the beginning of a DV film."""
    from videomae_cli.cli.terminal.transfers import bring

    file = tmp_path / "model.safetensors"
    file.write_bytes((0x71F).to_bytes(8, "little") + b"{" + b" " * 0x71E)
    assert bring(str(file), None).path == file


@pytest.mark.parametrize("path", ["a.mp4", "a\x1b[31m.mp4", "it's\n.mp4", "a\udcff.mp4"])
def test_a_message_names_its_file_once(path: str) -> None:
    for template in ("no such file: {subject!r}", "no such file: {subject}", "no such file: {subject!q}"):
        error = VideoError.about(path, template)
        assert error.naming(path) == str(error) == Failure.of(error).naming(path)
        assert error.naming("b.mp4") == f"b.mp4: {error}"
    for error in (
        VideoError("it is damaged"),
        VideoError.about(path, "it is damaged"),
        VideoError(f"{path} is damaged"),
    ):
        assert error.naming(path) == f"{path}: {error}"
