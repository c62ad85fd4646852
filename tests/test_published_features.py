"""`--protocol thumos14` and `fineaction`: the pixels, windows and features of VideoMAE V2's published extraction."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from films import write_film
from samples import make_checkpoint, quick_decoding, write_video
from typer.testing import CliRunner

import videomae_cli as videomae
from videomae_cli.api.embedder import dense_films
from videomae_cli.assembly import dense_embedder
from videomae_cli.cli.app import app
from videomae_cli.errors import OptionError
from videomae_cli.pipeline.window_clips import CountedAssembler, CountedPass
from videomae_cli.video import CountedWindows, Decoder, FrameBlock, PassRequest, preprocess
from videomae_cli.video.preprocess import FeatureTransform

__all__ = ["quick_decoding"]  # used by every test here

FRAMES = 58
Frames = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("model") / "tiny", use_mean_pooling=True)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", count=FRAMES)


@pytest.fixture(scope="module")
def embedder(checkpoint: Path) -> videomae.VideoEmbedder:
    return videomae.load_embedder(checkpoint, device="cpu", batch_size=3)


def run(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [*map(str, words), "--device", "cpu"])
    assert done.exit_code == code, done.output
    return done.stderr


def expected_pixels(frames: Frames, size: tuple[int, int]) -> torch.Tensor:
    """(3, T, h, w): whole frames from 0 to 1, colours first, and PyTorch's own bilinear interpolation of all at once."""
    clip = torch.from_numpy(frames).permute(3, 0, 1, 2).to(torch.float32) / 255
    return torch.nn.functional.interpolate(clip, size=size, mode="bilinear", align_corners=False)


def by_hand(frame: Frames, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """(h, w, 3): each pixel from its four neighbours, in float64."""
    picture = frame / 255.0
    for axis, new in enumerate(size):
        old = frame.shape[axis]
        centre = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, None)
        low = np.minimum(np.floor(centre).astype(int), old - 1)
        share = np.expand_dims(centre - low, tuple({0, 1, 2} - {axis}))
        picture = picture.take(low, axis) * (1 - share) + picture.take(np.minimum(low + 1, old - 1), axis) * share
    return picture


@pytest.mark.parametrize("size", [(240, 320), (566, 320), (90, 100), (224, 224), (1, 3)])
@pytest.mark.parametrize("threads", [1, 2])
def test_pixels_are_the_published_ones(size: tuple[int, int], threads: int) -> None:
    """Bit for bit, though each frame is resized alone; on one thread PyTorch has another way for pictures of three colours."""
    frames = np.random.default_rng(0).integers(0, 256, (4, *size, 3), np.uint8)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ours = np.concatenate([FeatureTransform((224, 224))(frame) for frame in frames])
        expected = expected_pixels(frames, (224, 224)).permute(1, 2, 3, 0).numpy()
    finally:
        torch.set_num_threads(before)
    assert ours.dtype == np.float32
    assert (ours == expected).all()
    np.testing.assert_allclose(ours[0], by_hand(frames[0], (224, 224)), atol=1e-4)


def numbers(path: Path, protocol: str, **part: float) -> list[list[int]]:
    windows = CountedWindows(protocol, 16, {"thumos14": 4, "fineaction": 16}[protocol], **part)
    with Decoder(isolate=False) as decoder:
        film = CountedPass(PassRequest(path), windows, decoder)
        return [list(clip.numbers) for _, clips in film for clip in clips]


@pytest.mark.parametrize(("protocol", "step"), [("thumos14", 4), ("fineaction", 16)])
def test_windows_count_frames_however_long_each_lasts(tmp_path: Path, protocol: str, step: int) -> None:
    pauses = [n * 40 + (n // 10) * 700 for n in range(90)]  # milliseconds
    uneven = write_film(tmp_path / "uneven.mkv", count=90, pts=pauses, time_base=Fraction(1, 1000))
    even = write_film(tmp_path / "even.mp4", count=90)
    expected = [list(range(begin, begin + 16)) for begin in range(0, 90 - 15, step)]
    assert numbers(uneven, protocol) == numbers(even, protocol) == expected
    assert numbers(even, protocol, start=1.0, end=2.0) == [
        list(range(begin, begin + 16)) for begin in range(25, 50 - 15, step)
    ]


def test_a_short_film_gives_one_row_and_what_is_missing_is_repeated(tmp_path: Path) -> None:
    assert numbers(write_video(tmp_path / "short.mp4", count=7), "thumos14") == [[0, 1, 2, 3, 4, 5, *[6] * 10]]
    # Frame 2 could not be converted: those behind it keep their places.
    places = [n for n in range(20) if n != 2]
    pictures = np.arange(20, dtype=np.uint8)[places].reshape(-1, 1, 1, 1).repeat(3, 3)
    info = videomae.open_video(str(tmp_path / "short.mp4")).info
    block = FrameBlock(tuple(places), tuple(n / 25 for n in places), pictures, 0.8, info=info)
    first, second = CountedAssembler(CountedWindows.published("thumos14"), 25).add(block)
    assert first.frames[:, 0, 0, 0].tolist() == [0, 1, 1, *range(3, 16)]
    assert second.frames[:, 0, 0, 0].tolist() == list(range(4, 20))


def test_features_are_those_of_the_reference(checkpoint: Path, embedder: videomae.VideoEmbedder, film: Path) -> None:
    """Transformers' encoder, given these pixels: the mean of all tokens through `fc_norm`, before the head."""
    result = embedder.embed_windows(film, protocol="thumos14")
    with videomae.open_video(str(film)) as reader:
        frames = reader.read(range(FRAMES))
    begins = range(0, FRAMES - 15, 4)
    clips = torch.stack([expected_pixels(frames[begin : begin + 16], (32, 32)) for begin in begins])
    whole = transformers.VideoMAEForVideoClassification.from_pretrained(checkpoint).eval()
    with torch.no_grad():
        tokens = whole.videomae(clips.transpose(1, 2)).last_hidden_state  # (N, T, 3, h, w) -> (N, tokens, D)
        expected = whole.fc_norm(tokens.mean(dim=1)).numpy()
    assert result.vectors is not None
    np.testing.assert_allclose(result.vectors, expected, rtol=1e-4, atol=1e-5)
    cropped = embedder.embed_windows(film, window="16f", hop="4f").vectors
    assert cropped is not None
    assert np.abs(cropped[: len(begins)] - expected).max() > 0.01, "these are other pixels"
    spans = [(place.start, place.end) for place in result.places]
    np.testing.assert_allclose(spans, [(begin / 25, (begin + 16) / 25) for begin in begins], atol=1e-6)
    assert result.source is not None
    assert result.source.sampling == "11 windows, one every 4 frames, 16 frames each (thumos14)"
    assert result.source.pixels == "stored"


def test_each_frame_is_resized_once(
    embedder: videomae.VideoEmbedder, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resized = []
    inner = preprocess.resize_in_float
    monkeypatch.setattr(preprocess, "resize_in_float", lambda *given: (resized.append(1), inner(*given))[1])
    with Decoder(isolate=False) as decoder:
        films = dense_films({"protocol": "thumos14"})
        maker, _ = dense_embedder(embedder.pipeline, films.sampling, films.windows)
        (result,) = maker([videomae.find_videos(film)[0]], decoder=decoder)
    assert len(result.places) == 11
    assert len(resized) == FRAMES


def test_files_are_those_of_the_command(
    embedder: videomae.VideoEmbedder, checkpoint: Path, film: Path, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours.parquet", tmp_path / "theirs.parquet"
    embedder.embed_files(film, ours, protocol="fineaction")
    words = ("embed", film, "-m", checkpoint, "--batch-size", 3, "-o")
    run(*words, theirs, "--protocol", "fineaction")
    assert ours.read_bytes() == theirs.read_bytes()
    assert pq.read_table(ours).num_rows == 3
    assert "was made with other settings" in run(*words, theirs, "--resume", code=1)
    # A film that the table lacks is prepared as those in it.
    other = tmp_path / "other.mp4"
    other.write_bytes(film.read_bytes())
    (found,) = videomae.similar(other, theirs)
    assert found.score == pytest.approx(1.0, abs=1e-5)


def test_openvino_takes_these_pixels_too(
    embedder: videomae.VideoEmbedder, checkpoint: Path, film: Path, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    expected = embedder.embed_windows(film, protocol="fineaction").vectors
    run(
        "embed",
        film,
        "-m",
        checkpoint,
        "--protocol",
        "fineaction",
        "--engine",
        "openvino",
        "--dtype",
        "float32",
        "-o",
        f"{tmp_path}/f/",
    )
    (array,) = (tmp_path / "f").glob("*.npy")
    np.testing.assert_allclose(np.load(array), expected, atol=1e-4)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--window", "16f"), "the thumos14 protocol fixes --window itself: leave out either it or --window"),
        (("--hop", "4f"), "fixes --hop itself"),
        (("--layer", "0"), "fixes --layer itself"),
        (("--resize", "opencv"), "fixes --resize itself"),
        (("--clips", "2", "--sampling", "dense"), "fixes --clips and --sampling itself"),
        (("--pool", "time"), "--pool time does not go with --protocol thumos14: a window becomes one vector"),
        (("--protocol", "thumos"), "unknown protocol 'thumos': choose auto, paper, thumos14, fineaction"),
    ],
)
def test_what_does_not_go_together_is_one_line(film: Path, tmp_path: Path, options: Any, said: str) -> None:
    """Before a model is looked for: this one is nowhere."""
    words = ("embed", film, "-m", "no/model", "--protocol", "thumos14", "-o", f"{tmp_path}/out/", *options)
    errors = run(*words, code=2)
    assert said in errors
    assert errors.count("\n") == 1


def test_models_and_formats_that_do_not_fit(film: Path, tmp_path: Path) -> None:
    short = make_checkpoint(tmp_path / "short", num_frames=8)
    said = run("embed", film, "-m", short, "--protocol", "thumos14", "-o", tmp_path / "v.npz", code=2)
    assert "has windows of 16 frames, and" in said
    assert "reads 8: give --window and --hop" in said
    with pytest.raises(OptionError, match="reads 8: give window and hop"):
        videomae.load_embedder(short, device="cpu").embed_windows(film, protocol="thumos14")
    with pytest.raises(OptionError, match="fixes window itself"):
        videomae.load_embedder(short, device="cpu").embed_windows(film, protocol="thumos14", window="16f")
