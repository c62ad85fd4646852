"""`videomae classify` as a user runs it."""

from __future__ import annotations

import base64
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import Run, make_checkpoint, write_video

from videomae_cli.model import VideoMAEForVideoClassification, VideoMAEModel
from videomae_cli.video import PreprocessConfig, Preprocessor, open_video

RECORD = [
    "schema_version",
    "index",
    "path",
    "status",
    "model",
    "revision",
    "engine",
    "fingerprint",
    "version",
    "shard",
    "predictions",
    "value",
    "values",
    "frames",
    "timestamps",
    "sampling",
    "decoder",
    "num_frames",
    "fps",
    "duration",
    "width",
    "height",
    "pixels",
    "crops",
    "warnings",
    "error",
]


def test_jsonl_is_the_documented_record_and_the_scores_are_the_models(
    videomae: Run, video: Path, checkpoint: Path
) -> None:
    done = videomae("classify", video, "--model", checkpoint, "--format", "jsonl", "--top-k", "3")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    record = json.loads(line)
    assert list(record) == RECORD
    assert record["schema_version"] == 1
    assert (record["status"], record["error"], record["decoder"]) == ("ok", None, "opencv")
    # 30 frames hold one clip at stride 1, in the middle.
    assert record["frames"] == [list(range(7, 23))]
    # The same by hand: reader -> preprocessor -> model -> softmax.
    model = VideoMAEForVideoClassification.from_pretrained(checkpoint)
    preprocessor = Preprocessor(PreprocessConfig.from_directory(checkpoint, 32))
    with open_video(video) as reader:
        frames = reader.read(record["frames"][0], preprocessor.frame_transform())
    pixel_values = preprocessor.to_pixel_values(frames[:, 0][None])
    with torch.inference_mode():
        scores = model(pixel_values).logits.softmax(-1)[0]
    order = scores.argsort(descending=True)[:3]
    assert [p["label_id"] for p in record["predictions"]] == order.tolist()
    assert [p["label"] for p in record["predictions"]] == [model.config.id2label[i] for i in order.tolist()]
    np.testing.assert_allclose([p["score"] for p in record["predictions"]], scores[order], atol=2e-6)


def test_bad_files_cost_themselves_only(videomae: Run, video: Path, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is a letter, not a film\n")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:700])
    (tmp_path / "no videos").mkdir()
    good = tmp_path / "good.mp4"
    good.write_bytes(video.read_bytes())
    sources = [tmp_path / "text.mp4", tmp_path / "gone.mp4", good, tmp_path / "empty.mp4", tmp_path / "cut.mp4"]
    done = videomae("classify", *sources, tmp_path / "no videos", "--model", checkpoint, "--format", "jsonl")
    assert done.returncode == 1
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(r["path"]).name for r in records] == [*(s.name for s in sources), "no videos"]
    assert [r["status"] for r in records] == ["error", "error", "ok", "error", "error", "error"]
    assert [r["error"]["kind"] for r in records if r["error"]] == [
        "not_a_video",
        "not_found",
        "not_a_video",
        "not_a_video",
        "not_found",
    ]
    lines = done.stderr.splitlines()
    assert len(lines) == 6  # one for each failure, one to sum up
    assert lines[-1] == "videomae: 1 of 6 files classified, 5 failed: 3 not_a_video, 2 not_found"
    assert "Traceback" not in done.stderr


def test_audio_only_is_said_so(videomae: Run, checkpoint: Path, tmp_path: Path) -> None:
    import av

    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    done = videomae("classify", path, "--model", checkpoint)
    assert done.returncode == 1
    assert "failed: " in done.stdout
    (line,) = done.stderr.splitlines()
    assert "song.mp4" in line
    assert "audio" in line


def test_json_is_one_document(videomae: Run, video: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.json"
    done = videomae("classify", video, tmp_path / "gone.mp4", "--model", checkpoint, "-o", out)
    assert done.returncode == 1
    assert done.stdout == ""
    records = json.loads(out.read_text(encoding="utf-8"))
    assert [r["status"] for r in records] == ["ok", "error"]
    assert list(tmp_path.iterdir()) == [out]  # no temporary file is left


def test_plain_text_to_a_pipe(videomae: Run, video: Path, checkpoint: Path) -> None:
    done = videomae("classify", video, "--model", checkpoint, "-k", "4")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == str(video)
    assert [line.split()[0] for line in lines[1:5]] == ["1", "2", "3", "4"]
    assert "[bold]running[/bold]" in done.stdout  # a label is text, never markup
    assert "滑雪" in done.stdout
    assert "1 clip of 16 frames" in lines[5]
    assert "\x1b" not in done.stdout


def test_labels_survive_an_ascii_locale(videomae: Run, video: Path, checkpoint: Path) -> None:
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    done = videomae("classify", video, "--model", checkpoint, environment=environment, text=False)
    assert done.returncode == 0, done.stderr
    assert "滑雪".encode() in done.stdout  # type: ignore[operator]


def test_views_are_merged_after_the_softmax(videomae: Run, checkpoint: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "wide.mp4", count=90, size=(160, 64))
    done = videomae("classify", path, "--model", checkpoint, "--protocol", "paper", "--format", "jsonl", "-k", "4")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert len(record["frames"]) == 5
    assert sum(p["score"] for p in record["predictions"]) == pytest.approx(1.0, abs=1e-4)
    model = VideoMAEForVideoClassification.from_pretrained(checkpoint)
    preprocessor = Preprocessor(PreprocessConfig.from_directory(checkpoint, 32), resize="opencv")
    views = []
    with open_video(path) as reader:
        for clip in record["frames"]:
            crops = reader.read(clip, preprocessor.frame_transform(crops=3))
            views += [crops[:, crop] for crop in range(3)]
    with torch.inference_mode():
        scores = model(preprocessor.to_pixel_values(np.stack(views))).logits.softmax(-1).mean(0)
    for p in record["predictions"]:
        assert p["score"] == pytest.approx(float(scores[p["label_id"]]), abs=2e-6)


def test_multi_label_checkpoints_give_sigmoid_scores(videomae: Run, video: Path, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "multi", problem_type="multi_label_classification")
    done = videomae("classify", video, "--model", folder, "--format", "jsonl", "-k", "4")
    scores = {p["label_id"]: p["score"] for p in json.loads(done.stdout)["predictions"]}
    assert sum(scores.values()) != pytest.approx(1.0, abs=1e-2)
    model = VideoMAEForVideoClassification.from_pretrained(folder)
    preprocessor = Preprocessor(PreprocessConfig.from_directory(folder, 32))
    with open_video(video) as reader:
        frames = reader.read(list(range(7, 23)), preprocessor.frame_transform())[:, 0]
    with torch.inference_mode():
        expected = model(preprocessor.to_pixel_values(frames[None])).logits.sigmoid()[0]
    for label_id, score in scores.items():
        assert score == pytest.approx(float(expected[label_id]), abs=2e-6)


@pytest.mark.parametrize("name", ["with space.mp4", "50%d.mp4", "a:b.mp4", "-dash.mp4", "new\nline.mp4", "[red]x.mp4"])
def test_odd_names_are_just_files(videomae: Run, video: Path, checkpoint: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(video.read_bytes())
    done = videomae("classify", "--model", checkpoint, "--format", "jsonl", "--", name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["path"] == name


def test_a_name_that_is_not_utf8_is_told_without_loss(
    videomae: Run, video: Path, checkpoint: Path, tmp_path: Path
) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.mp4"
    Path(os.fsdecode(raw)).write_bytes(video.read_bytes())
    done = videomae("classify", os.fsdecode(raw), "--model", checkpoint, "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert base64.b64decode(record["path_bytes"]) == raw
    assert record["path"].endswith("caf\ufffd.mp4")


def test_wrong_options_exit_2_with_a_line(videomae: Run, video: Path, checkpoint: Path, tmp_path: Path) -> None:
    for arguments in (
        ["--format", "xml"],
        ["--sampling", "random"],
        ["--device", "tpu"],
        ["--crops", "2"],
        ["--start", "later"],
        ["--protocol", "paper", "--clips", "3"],
        ["-o", tmp_path / "labels.doc"],
    ):
        done = videomae("classify", video, "--model", checkpoint, *arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert done.stdout == ""


def test_a_model_that_is_not_there_says_what_to_do(videomae: Run, video: Path, tmp_path: Path) -> None:
    environment = {"HF_HOME": str(tmp_path)}
    done = videomae("classify", video, environment=environment)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "videomae download MCG-NJU/videomae-base-finetuned-kinetics" in line
    assert "--model camera-motion" in line
    done = videomae("classify", video, "--model", "camera-motoin", environment=environment)
    assert "did you mean camera-motion or camera-motion-mae?" in done.stderr


def test_the_model_can_come_from_the_environment(videomae: Run, video: Path, checkpoint: Path) -> None:
    done = videomae("classify", video, environment={"VIDEOMAE_MODEL": str(checkpoint)})
    assert done.returncode == 0, done.stderr


def test_labels_come_from_a_file_where_given(videomae: Run, video: Path, checkpoint: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("one\ntwo\nthree\nfour\n")
    arguments = ("classify", video, "--model", checkpoint, "--format", "jsonl", "--labels", labels)
    done = videomae(*arguments)
    assert done.returncode == 0, done.stderr
    predictions = json.loads(done.stdout)["predictions"]
    assert [p["label"] for p in predictions] == [["one", "two", "three", "four"][p["label_id"]] for p in predictions]
    labels.write_text("one\ntwo\n")
    done = videomae(*arguments)
    assert done.returncode == 1
    assert "2 labels" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_checkpoint_of_features_is_refused(videomae: Run, video: Path, checkpoint: Path, tmp_path: Path) -> None:
    encoder = VideoMAEModel(VideoMAEForVideoClassification.from_pretrained(checkpoint).config)
    encoder.save_pretrained(tmp_path / "encoder")
    done = videomae("classify", video, "--model", tmp_path / "encoder")
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def test_an_output_that_is_a_folder_or_nowhere_is_refused(
    videomae: Run, video: Path, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "out.json").mkdir()
    for out, word in ((tmp_path / "out.json", "folder"), (tmp_path / "no" / "where.json", "can't write")):
        done = videomae("classify", video, "--model", checkpoint, "-o", out)
        assert done.returncode == 1
        assert word in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_full_disk_leaves_the_old_file_and_no_traceback(
    videomae: Run, quick_python: str, video: Path, checkpoint: Path
) -> None:
    done = videomae("classify", video, "--model", checkpoint, "--format", "jsonl", stdin=subprocess.DEVNULL)
    assert done.returncode == 0
    with Path("/dev/full").open("w") as full:
        command = [quick_python, "-m", "videomae_cli", "classify", str(video), "--model", str(checkpoint)]
        broken = subprocess.run([*command, "--format", "jsonl"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert broken.returncode == 1
    assert "No space left" in broken.stderr
    assert "Traceback" not in broken.stderr


def test_debug_shows_the_traceback_and_the_decoder(videomae: Run, video: Path, checkpoint: Path) -> None:
    done = videomae("classify", video, "--model", checkpoint, "--debug")
    assert "decoded by opencv" in done.stderr
    done = videomae("classify", video, "--model", "no/such-model", "--debug")
    assert "Traceback" in done.stderr


def test_a_terminal_gets_a_table_with_bars(quick_python: str, video: Path, checkpoint: Path) -> None:
    shown = _in_terminal(
        quick_python, "classify", str(video), str(video.parent / "gone.mp4"), "--model", str(checkpoint)
    )
    assert "━" in shown
    assert "[bold]running[/bold]" in shown
    assert "%" in shown
    assert "no such file" in shown


def test_no_data_is_written_into_the_bar(quick_python: str, video: Path, checkpoint: Path) -> None:
    other = write_video(video.parent / "other.mp4")
    for options in ([], ["--format", "jsonl"]):
        shown = _in_terminal(quick_python, "classify", str(video), str(other), "--model", str(checkpoint), *options)
        assert shown.count("滑雪") == 2
        # The bar ("0/2 files") is erased before data are written.
        for part in shown.split("\x1b[2K"):
            before, data, _ = part.partition("滑雪")
            assert not (data and "files" in before), part


def test_ctrl_c_ends_with_130_and_a_line(checkpoint: Path, tmp_path: Path) -> None:
    film = write_video(tmp_path / "0.mp4", count=16).read_bytes()
    for number in range(1, 60):
        (tmp_path / f"{number}.mp4").write_bytes(film)
    command = [sys.executable, "-m", "videomae_cli", "classify", str(tmp_path), "--model", str(checkpoint)]
    process = subprocess.Popen(
        [*command, "--format", "jsonl"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()  # it is at work
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    assert process.wait(timeout=300) == 130
    assert "Traceback" not in process.stderr.read()


def test_a_closed_pipe_is_no_error(quick_python: str, video: Path, checkpoint: Path, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.mp4").write_bytes(video.read_bytes())
    command = f"{quick_python} -m videomae_cli classify {tmp_path} --model {checkpoint} --format jsonl | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def _in_terminal(python: str, *arguments: str) -> str:
    """What the command writes to a terminal of 80 columns, all of it."""
    child, terminal = pty.fork()
    if child == 0:
        environment = {**os.environ, "COLUMNS": "80", "LINES": "40", "TERM": "xterm-256color", "OMP_NUM_THREADS": "1"}
        os.execve(python, [python, "-m", "videomae_cli", *arguments], environment)
    shown, deadline = b"", time.monotonic() + 300
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 1)
        try:
            part = os.read(terminal, 65536) if ready else b" "
        except OSError:  # the terminal closes with its last process
            break
        if not part:
            break
        shown += part if ready else b""
    os.waitpid(child, 0)
    return shown.decode()
