"""A vector for every window of a film: the frames, the places and the vectors are those of the windows taken one by one."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from films import write_film
from samples import make_checkpoint, quick_decoding, write_video
from typer.testing import CliRunner

import videomae_cli as videomae
from videomae_cli.cli.app import app
from videomae_cli.errors import OptionError, VideoError
from videomae_cli.pipeline.window_clips import WindowPass
from videomae_cli.video import Decoder, PassRequest, WindowSpec, parse_window

__all__ = ["quick_decoding"]  # used by every test here

FRAMES = 58  # at 25 frames a second


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def embedder(checkpoint: Path) -> videomae.VideoEmbedder:
    return videomae.load_embedder(checkpoint, device="cpu", batch_size=3)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", count=FRAMES)


@pytest.fixture(scope="module")
def folder(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film, one shorter than a window, and a file that is none."""
    folder = tmp_path_factory.mktemp("films")
    (folder / "a.mp4").write_bytes(film.read_bytes())
    write_video(folder / "b.mp4", count=7)
    (folder / "c.mp4").write_text("a letter")
    return folder


def run(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [*map(str, words), "--device", "cpu"])
    assert done.exit_code == code, done.output
    return done.stderr


def numbers(path: Path, spec: WindowSpec) -> list[list[int]]:
    """The numbers of the frames that each window shows."""
    with Decoder(isolate=False) as decoder:
        return [list(clip.numbers) for _, clips in WindowPass(PassRequest(path, spec), decoder) for clip in clips]


@pytest.mark.parametrize("rate", [25, Fraction(30000, 1001), 24, 50])
@pytest.mark.parametrize("container", ["mp4", "mkv"])  # mkv rounds times to milliseconds
@pytest.mark.parametrize("hop", [1, 4, 16])
def test_windows_in_frames_are_those_that_follow_each_other(
    tmp_path: Path, rate: Fraction, container: str, hop: int
) -> None:
    """As extractors have them: range(0, n - 15, hop), and here a last one that ends with the film."""
    path = write_film(tmp_path / f"film.{container}", count=90, rate=rate)
    begins = list(range(0, 90 - 15, hop))
    if begins[-1] != 74:
        begins.append(74)
    spec = WindowSpec(window=parse_window("16f", "window"), hop=parse_window(f"{hop}f", "hop"))
    assert numbers(path, spec) == [list(range(begin, begin + 16)) for begin in begins]


def test_vectors_are_those_of_each_window_alone(embedder: videomae.VideoEmbedder, film: Path) -> None:
    result = embedder.embed_windows(film, window="16f", hop="4f")
    with videomae.open_video(str(film)) as reader:
        frames = reader.read(range(FRAMES))
    begins = [*range(0, FRAMES - 15, 4), FRAMES - 16]
    alone = [embedder.embed(frames[begin : begin + 16], clips=1, stride=1).vectors for begin in begins]
    assert result.vectors is not None
    np.testing.assert_allclose(result.vectors, np.concatenate(alone), rtol=1e-5, atol=1e-6)  # type: ignore[arg-type]
    assert len({row.tobytes() for row in result.vectors}) > len(begins) / 2, "the square moves"
    assert [place.clip for place in result.places] == list(range(len(begins)))
    spans = [(place.start, place.end) for place in result.places]
    np.testing.assert_allclose(spans, [(begin / 25, (begin + 16) / 25) for begin in begins], atol=1e-6)
    assert result.views == len(begins)
    assert result.source is not None
    assert result.source.sampling == "12 windows of 0.64 s every 0.16 s, 16 frames each"


def test_seconds_a_part_and_a_film_shorter_than_a_window(
    embedder: videomae.VideoEmbedder, film: Path, folder: Path
) -> None:
    part = embedder.embed_windows(film, window=0.5, hop="250ms", start="1", end=2.0)
    assert [(p.start, p.end) for p in part.places] == [(1.0, 1.5), (1.25, 1.75), (1.5, 2.0)]
    short = embedder.embed_windows(folder / "b.mp4", window="16f")
    assert [(p.start, p.end) for p in short.places] == [(0.0, pytest.approx(7 / 25))]
    by_default = embedder.embed_windows(film)  # a clip at the checkpoint's stride of 4 is longer than the film
    assert len(by_default.places) == 1


def test_stored_as_asked(checkpoint: Path, film: Path) -> None:
    loaded = videomae.load_embedder(checkpoint, device="cpu", normalize=True, storage="float16")
    vectors = loaded.embed_windows(film, window="16f").vectors
    assert vectors is not None
    assert vectors.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), 1, atol=2e-3)


def test_a_file_that_fails_costs_no_other(embedder: videomae.VideoEmbedder, folder: Path) -> None:
    results = list(embedder.embed_windows_all(folder, window="16f", hop="8f"))
    assert [result.error.kind if result.error else None for result in results] == [None, None, "not_a_video"]
    with pytest.raises(VideoError, match=r"c\.mp4"):
        embedder.embed_windows(folder / "c.mp4")
    with pytest.raises(VideoError, match=r"after the last frame"):
        embedder.embed_windows(folder / "a.mp4", start=60)


@pytest.mark.parametrize("output", ["v.parquet", "v.npz", "v.jsonl", "arrays/"])
def test_files_are_those_of_the_command(
    embedder: videomae.VideoEmbedder, checkpoint: Path, folder: Path, tmp_path: Path, output: str
) -> None:
    ours, theirs = f"{tmp_path}/ours-{output}", f"{tmp_path}/theirs-{output}"
    assert embedder.embed_files(folder, ours, window="16f", hop="4f").failed == {"not_a_video": 1}
    words = ("embed", folder, "-m", checkpoint, "--batch-size", 3, "--window", "16f", "--hop", "4f", "-o")
    said = run(*words, theirs, code=1)
    assert "2 of 3 files embedded, 1 failed (not_a_video)" in said
    files = {p.relative_to(ours) for p in Path(ours).rglob("*") if p.is_file()} or {Path()}
    assert [(Path(ours) / name).read_bytes() == (Path(theirs) / name).read_bytes() for name in files] == [True] * len(
        files
    )
    assert "done already" in run(*words, theirs, "--resume", code=1)
    said = run(*words[:-2], "5f", "-o", theirs, "--resume", code=1)
    assert "was made with other settings" in said, "another hop is another job"


def test_arrays_are_as_detectors_read_them(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    """As ActionFormer has it: `feat_folder`, the video's id and `file_ext`; row i stands for the frames from i * feat_stride
    on, so that a moment in seconds lies at (seconds * fps - num_frames / 2) / feat_stride among the rows."""
    feat_folder, file_ext, feat_stride, num_frames = tmp_path / "f", ".npy", 4, 16
    run("embed", folder, "-m", checkpoint, "--window", "16f", "--hop", "4f", "-o", f"{feat_folder}/", code=1)
    feats = np.load(feat_folder / ("a" + file_ext)).astype(np.float32)
    assert feats.shape == (12, 32)
    assert np.load(feat_folder / ("b" + file_ext)).shape == (1, 32)
    index = [json.loads(line) for line in (feat_folder / "index.jsonl").read_text().splitlines()]
    assert [line["file"] for line in index] == ["a.npy", "b.npy", None]
    film = index[0]
    assert (film["fps"], film["num_frames"]) == (25.0, FRAMES)
    assert film["settings"]["windows"]["window"] == {"frames": 16}
    assert film["settings"]["fingerprint"] == film["fingerprint"]
    assert len(film["rows"]) == len(feats)
    for number, row in enumerate(film["rows"][:-1]):  # the last row is the extra one
        assert row["frames"] == [number * feat_stride, number * feat_stride + num_frames - 1]
        assert row["start"] == pytest.approx(row["frames"][0] / film["fps"])
        middle = (row["start"] + row["end"]) / 2
        assert (middle * film["fps"] - 0.5 * num_frames) / feat_stride == pytest.approx(number)
    assert film["rows"][-1]["frames"] == [FRAMES - 16, FRAMES - 1]


def test_a_folder_says_how_it_was_made(checkpoint: Path, folder: Path, film: Path, tmp_path: Path) -> None:
    """So that a film that is not in it can be compared with those that are."""
    run("embed", folder, "-m", checkpoint, "--window", "16f", "--hop", "4f", "-o", f"{tmp_path}/f/", code=1)
    other = tmp_path / "other.mp4"
    other.write_bytes(film.read_bytes())
    best = videomae.similar(other, tmp_path / "f", moments=True)[0]
    assert (Path(best.row.path).name, best.score) == ("a.mp4", pytest.approx(1.0, abs=1e-5))
    run("embed", folder, "-m", checkpoint, "-o", f"{tmp_path}/clips.npz", code=1)
    done = CliRunner().invoke(app, ["similar", str(other), f"{tmp_path}/clips.npz", "--moments"])
    assert done.exit_code == 1
    assert "has a vector for each file, and moments need one for each window; videomae embed --window" in done.stderr
    assert done.stderr.count("\n") == 1


def test_shards_join_to_the_whole_and_moments_are_found(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    words = ("embed", folder, "-m", checkpoint, "--window", "0.4s", "--hop", "0.2s")
    run(*words, "-o", tmp_path / "whole.parquet", code=1)
    for number in (1, 2):
        done = CliRunner().invoke(
            app, [*map(str, words), "-o", f"{tmp_path}/{number}.parquet", "--shard", f"{number}/2"]
        )
        assert done.exit_code in (0, 1), done.output
    joined = CliRunner().invoke(
        app, ["merge", *(f"{tmp_path}/{n}.parquet" for n in (1, 2)), "-o", f"{tmp_path}/j.parquet"]
    )
    assert joined.exit_code == 0, joined.output
    columns = ["path", "start", "end", "embedding", "sampling"]
    whole, both = (pq.read_table(tmp_path / name, columns=columns) for name in ("whole.parquet", "j.parquet"))
    assert whole.equals(both)
    drawn = videomae.map_embeddings(tmp_path / "whole.parquet", method="pca", thumbnails=0)
    assert drawn.number == f"{len(drawn.rows)} windows"
    assert drawn.page.description.startswith(drawn.number)
    (found,) = videomae.similar(folder / "b.mp4", tmp_path / "whole.parquet")
    assert Path(found.row.path).name == "a.mp4"
    assert found.row.end - found.row.start == pytest.approx(0.4)  # type: ignore[operator]
    # A film that the table lacks is embedded as a clip, by the model that made the table.
    other = write_video(tmp_path / "other.mp4", count=20)
    assert {Path(match.row.path).name for match in videomae.similar(other, tmp_path / "whole.parquet")} == {
        "a.mp4",
        "b.mp4",
    }


@pytest.mark.parametrize("output", ["out/", "out.parquet", "out.npz"])
def test_a_finished_output_says_which_setting_differs(
    checkpoint: Path, film: Path, tmp_path: Path, output: str
) -> None:
    words = ("embed", film, "-m", checkpoint, "--window", "16f", "-o", f"{tmp_path}/{output}")
    run(*words)
    said = run(*words, "--hop", "4f", "--resume", code=1)
    assert re.search(r"made with other settings \(windows hop was not given, now .*4", said), said


@pytest.mark.parametrize(
    "options",
    [("--window", "16f", "--hop", "4f"), ("--protocol", "fineaction"), ("--window", "0.4s", "--start", "1")],
)
def test_a_dry_run_counts_windows(checkpoint: Path, folder: Path, tmp_path: Path, options: Any) -> None:
    out = tmp_path / "v.parquet"
    words = ("embed", folder / "a.mp4", folder / "c.mp4", "-m", checkpoint, *options)
    done = CliRunner().invoke(app, [*map(str, words), "--device", "cpu", "-o", str(out), "--dry-run"])
    assert done.exit_code == 0, done.output
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert not out.exists()
    run(*words, "-o", out, code=1)
    made = pq.read_table(out).num_rows - 1  # a failure has a row
    assert (lines["files"], lines["failed"]) == ("2", "1 of the 2 files tried")
    assert lines["windows"].startswith(f"{made} through")
    assert lines["time"].startswith("about ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--window", "1x"), "--window '1x' is no length of time: write 2s or 500ms, or 16f for frames"),
        (("--window", "0f"), "must be at least 1 frame"),
        (("--hop", "0s"), "must be at least 0.001 seconds"),
        (("--hop", "4f", "--pool", "tokens"), "--pool tokens does not go with --window"),
        (("--hop", "4f", "--per-clip"), "--per-clip does not go with --window: a window becomes one vector"),
        (("--protocol", "thumos14", "--per-clip"), "--per-clip does not go with --protocol thumos14"),
        (("--hop", "4f", "--clips", "2"), "--clips does not go with --window"),
        (("--hop", "4f", "--sampling", "uniform"), "--sampling does not go with --window"),
        (("--hop", "4f", "--protocol", "paper"), "--protocol does not go with --window"),
    ],
)
def test_what_does_not_go_together_is_one_line(folder: Path, tmp_path: Path, options: Any, said: str) -> None:
    """Before a model is looked for: this one is nowhere."""
    errors = run("embed", folder, "-m", "no/model", "-o", f"{tmp_path}/out/", *options, code=2)
    assert said in errors
    assert errors.count("\n") == 1


def test_from_python_too(embedder: videomae.VideoEmbedder, checkpoint: Path, film: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="clips does not go with window"):
        embedder.embed_files(film, tmp_path / "v.npz", window="16f", clips=2)
    tokens = videomae.load_embedder(checkpoint, device="cpu", pool="tokens")
    with pytest.raises(OptionError, match=r'pool="tokens" does not go with window: a window becomes one vector'):
        tokens.embed_windows(film)
    clips = videomae.load_embedder(checkpoint, device="cpu", per_clip=True)
    with pytest.raises(OptionError, match="per_clip=True does not go with window"):
        clips.embed_files(film, tmp_path / "v.npz", window="16f")
    with pytest.raises(OptionError, match="per_clip=True does not go with window"):
        videomae.cluster_job("embed", film, f"{tmp_path}/out/", model=checkpoint, window="16f", per_clip=True)


def test_timelines_take_frames_too(film: Path) -> None:
    model = videomae.load_classifier("camera-motion", device="cpu")
    frames = model.timeline(film, window="32f", hop="16f", windows=True)
    assert frames.windows == model.timeline(film, window=32 / 25, hop=16 / 25, windows=True).windows
