"""`videomae reconstruct` on real small videos: its pictures are decoded again, its figures and its errors read."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from samples import Run, run_here, write_video

from videomae_cli.model import VideoMAEConfig, VideoMAEForPreTraining
from videomae_cli.pictures import film as pictures_film

Film = npt.NDArray[np.uint8]
GREY = (124, 124, 128)
SIDE = 4 * 64  # of a panel: 64 pixels, enlarged until comfortable


def make_pretrainer(folder: Path, **changes: object) -> Path:
    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=64,
        patch_size=16,
        num_frames=16,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        decoder_hidden_size=32,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=64,
        id2label={},
        use_mean_pooling=False,
    ).replace(**changes)
    VideoMAEForPreTraining(config).save_pretrained(folder)
    return folder


@pytest.fixture
def videomae() -> Run:
    """The command inside this process, where torch is loaded once; tests/test_bundled_mae.py runs it in one of its own."""
    return run_here


@pytest.fixture(scope="module")
def pretrainer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pretrainer(tmp_path_factory.mktemp("model") / "mae")


def decoded(path: Path) -> tuple[Film, list[float]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return np.stack([f.to_ndarray(format="rgb24") for f in frames]), [float(f.pts * f.time_base) for f in frames]


def panels_of(film: Film, count: int) -> list[Film]:
    """The panels of a film, found by the layout's own arithmetic: equal margins and gaps of 8 pixels, titles above."""
    tops = [
        t for t in range(film.shape[1] - SIDE) if (film[:, t - 1, 8:-8] > 230).all() and (film[:, t, 8:-8] < 230).any()
    ]
    top = next(t for t in tops if (film[0, t + SIDE, 8 : 8 + SIDE] > 225).all())
    return [film[:, top : top + SIDE, 8 + n * (SIDE + 8) : 8 + n * (SIDE + 8) + SIDE] for n in range(count)]


@pytest.mark.parametrize("size", [(96, 64), (64, 96)], ids=["landscape", "portrait"])
def test_a_film_shows_original_given_and_reconstruction_at_the_clips_speed(
    size: tuple[int, int], pretrainer: Path, videomae: Run, tmp_path: Path
) -> None:
    clip = write_video(tmp_path / "clip.mp4", count=61, size=size)
    done = videomae("reconstruct", clip, "-m", pretrainer, "-o", tmp_path / "a.mp4", "--mask-ratio", "0.75")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"videomae: wrote {tmp_path / 'a.mp4'}: 16 frames of ")
    film, times = decoded(tmp_path / "a.mp4")
    assert len(film) == 16
    assert film.shape[1] % 2 == film.shape[2] % 2 == 0
    np.testing.assert_allclose(times, np.arange(16) * 0.16, atol=2e-3)  # every 4th frame of 25 a second
    original, given, made = panels_of(film, 3)
    hidden = (np.abs(given.astype(int) - GREY) <= 6).all(axis=-1)
    assert hidden.mean() == pytest.approx(0.75, abs=0.02)
    assert (hidden == hidden[0]).mean() > 0.99, "a tube hides the same places in all frames"
    inner = (
        ~hidden & ~np.roll(hidden, 3, 1) & ~np.roll(hidden, -3, 1) & ~np.roll(hidden, 3, 2) & ~np.roll(hidden, -3, 2)
    )
    assert np.abs(given.astype(int) - original)[inner].mean() < 3
    assert np.abs(made.astype(int) - original)[inner].mean() < 3
    assert np.abs(made.astype(int) - original)[hidden].mean() > 6, "what the model doesn't see it doesn't know"


def test_gif_and_webm_have_all_frames(pretrainer: Path, video: Path, videomae: Run, tmp_path: Path) -> None:
    for name in ("a.gif", "a.webm"):
        done = videomae("reconstruct", video, "-m", pretrainer, "-o", tmp_path / name, "--scale", "1")
        assert done.returncode == 0, done.stderr
    assert len(decoded(tmp_path / "a.webm")[0]) == 16
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 16
        assert image.size == decoded(tmp_path / "a.webm")[0].shape[2:0:-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "a.webm"], "nothing else is left there"


def test_png_is_a_contact_sheet(pretrainer: Path, video: Path, videomae: Run, tmp_path: Path) -> None:
    done = videomae("reconstruct", video, "-m", pretrainer, "-o", tmp_path / "a.png")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "a.png") as image:
        sheet = np.asarray(image.convert("RGB"))
    assert sheet.shape[1] > 8 * SIDE
    grey = (sheet == GREY).all(axis=-1)
    rows = np.flatnonzero(grey.sum(axis=1) > 500)
    assert SIDE - 64 <= len(rows) <= SIDE, "one row of frames has hidden patches"
    assert grey[rows[0] : rows[0] + SIDE].sum() == 8 * SIDE * SIDE * 14 // 16


def test_json_has_the_figures_of_each_clip(pretrainer: Path, video: Path, videomae: Run) -> None:
    done = videomae("reconstruct", video, "-m", pretrainer, "--json", "--clips", "2", "--stride", "1", "--seed", "4")
    facts = json.loads(done.stdout)
    assert done.stderr == ""
    assert (facts["mask"], facts["seed"], facts["stats"]) == ("tube", 4, "visible")
    assert [result["clip"] for result in facts["results"]] == [0, 1]
    for result in facts["results"]:
        assert result["hidden"] == 14 / 16  # int(0.9 * 16) of the places
        assert 0 < result["loss"] < 10
        assert 0 < result["psnr"] < 60
        assert -1 <= result["ssim"] <= 1
        assert len(result["frames"]) == len(result["timestamps"]) == 16
    assert facts["psnr"] == pytest.approx(np.mean([result["psnr"] for result in facts["results"]]))
    again = videomae("reconstruct", video, "-m", pretrainer, "--json", "--clips", "2", "--stride", "1", "--seed", "4")
    assert json.loads(again.stdout) == facts
    other = videomae("reconstruct", video, "-m", pretrainer, "--json", "--clips", "2", "--stride", "1", "--seed", "5")
    assert json.loads(other.stdout)["psnr"] != facts["psnr"]


def test_statistics_of_hidden_patches_are_better_and_said(pretrainer: Path, video: Path, videomae: Run) -> None:
    honest = videomae("reconstruct", video, "-m", pretrainer, "-q")
    cheating = videomae("reconstruct", video, "-m", pretrainer, "-q", "--stats", "original")
    assert "contrast estimated from visible patches" in honest.stdout
    assert "contrast of hidden patches" in cheating.stdout
    figures = [float(done.stdout.split("PSNR ")[1].split()[0]) for done in (honest, cheating)]
    assert figures[1] > figures[0]


def test_a_sweep_shows_four_ratios(pretrainer: Path, video: Path, videomae: Run, tmp_path: Path) -> None:
    done = videomae("reconstruct", video, "-m", pretrainer, "--sweep", "-o", tmp_path / "s.mp4", "--scale", "2")
    assert done.returncode == 0, done.stderr
    assert [line.split(" hidden")[0].split()[-1] for line in done.stdout.splitlines()] == ["50%", "75%", "88%", "94%"]
    film, _ = decoded(tmp_path / "s.mp4")
    grey = (np.abs(film[0].astype(int) - GREY) <= 6).all(axis=-1)
    shares = grey[:, 8 + 136 :].reshape(len(grey), -1).sum()
    assert shares == pytest.approx((0.5 + 0.75 + 0.875 + 0.9375) * 128 * 128, rel=0.05)


def test_single_images_and_chosen_panels(pretrainer: Path, video: Path, videomae: Run, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    options = ("--frames-dir", folder, "--panels", "given,reconstruction", "--scale", "1")
    done = videomae("reconstruct", video, "-m", pretrainer, *options)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(f"clip1-{panel}-{n:02}.png" for panel in ("given", "reconstruction") for n in range(16))
    with Image.open(folder / "clip1-given-00.png") as image:
        assert image.size == (64, 64)
        assert (np.asarray(image) == GREY).all(axis=-1).mean() == 14 / 16
    again = videomae("reconstruct", video, "-m", pretrainer, *options)
    assert again.returncode == 1
    assert "has frames in it already: give another folder, or --overwrite" in again.stderr


def test_all_predicted_changes_visible_patches(video: Path, videomae: Run, tmp_path: Path) -> None:
    pretrainer = make_pretrainer(tmp_path / "plain", norm_pix_loss=False)
    for name, options in (("kept", []), ("all", ["--all-predicted"])):
        videomae("reconstruct", video, "-m", pretrainer, "--frames-dir", tmp_path / name, "--scale", "1", *options)
    original, kept, everywhere = (
        np.asarray(Image.open(tmp_path / name)).astype(int)
        for name in (
            "kept/clip1-original-00.png",
            "kept/clip1-reconstruction-00.png",
            "all/clip1-reconstruction-00.png",
        )
    )
    seen = (np.asarray(Image.open(tmp_path / "kept/clip1-given-00.png")) != GREY).any(axis=-1)
    assert (kept[seen] == original[seen]).all()
    assert np.abs(everywhere[seen] - original[seen]).mean() > 1
    assert (everywhere[~seen] == kept[~seen]).all()


def test_a_classifier_has_no_decoder_and_is_told_what_has(checkpoint: Path, video: Path, videomae: Run) -> None:
    done = videomae("reconstruct", video, "-m", checkpoint)
    assert done.returncode == 1
    assert done.stderr == (
        f"videomae: {checkpoint} gives labels and has no decoder to reconstruct with: choose a pre-training checkpoint, "
        "such as camera-motion-mae (bundled), base, base-short, large\n"
    )


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--mask", "tubes"], 2, "unknown mask 'tubes': choose tube, random, frame, causal"),
        (["--mask-ratio", "1"], 2, "it must be more than 0 and less than 1"),
        (["--mask-ratio", "0.01"], 2, "a mask ratio of 0.01 hides nothing"),
        (["--stats", "mine"], 2, "unknown stats 'mine': choose visible or original"),
        (["--panels", "original,other"], 2, "unknown panel 'other'"),
        (["--sweep", "--clips", "2"], 2, "--sweep shows one clip"),
        (["--scale", "99"], 2, "scale must be 1 to 16"),
        (["-o", "a.avi"], 2, "can't tell the format of 'a.avi'"),
        (["-o", "no/such/folder/a.gif"], 1, "there is no folder"),
    ],
)
def test_wrong_options_are_one_line(
    options: list[str], code: int, words: str, pretrainer: Path, video: Path, videomae: Run
) -> None:
    done = videomae("reconstruct", video, "-m", pretrainer, *options)
    assert done.returncode == code
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_outputs_are_never_overwritten_unasked(pretrainer: Path, video: Path, videomae: Run, tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(b"mine")
    refused = videomae("reconstruct", video, "-m", pretrainer, "-o", tmp_path / "a.gif")
    assert refused.returncode == 1
    assert "is there already" in refused.stderr
    assert (tmp_path / "a.gif").read_bytes() == b"mine"
    done = videomae("reconstruct", video, "-m", pretrainer, "-o", tmp_path / "a.gif", "--overwrite", "--scale", "1")
    assert done.returncode == 0
    assert (tmp_path / "a.gif").read_bytes().startswith(b"GIF89a")


def test_a_folder_or_no_video_is_one_line(pretrainer: Path, videomae: Run, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    for path, words in ((tmp_path, "is a folder: give one video file"), (tmp_path / "a.mp4", "a.mp4")):
        done = videomae("reconstruct", path, "-m", pretrainer)
        assert done.returncode == 1
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_clip_shorter_than_the_model_repeats_its_last_frame(pretrainer: Path, videomae: Run, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "short.mp4", count=3)
    done = videomae("reconstruct", clip, "-m", pretrainer, "-o", tmp_path / "a.mp4")
    assert done.returncode == 0, done.stderr
    film, times = decoded(tmp_path / "a.mp4")
    assert len(film) == 16
    np.testing.assert_allclose(np.diff(times), 0.04, atol=2e-3)


def test_a_gif_that_would_be_giant_is_drawn_smaller_by_a_whole_factor(
    pretrainer: Path, video: Path, videomae: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames are never blurred: those of a model of 64 pixels are twice as large here, not four times."""
    monkeypatch.setattr(pictures_film, "_GIF_BYTES_A_FRAME", 25_000)
    done = videomae("reconstruct", video, "-m", pretrainer, "-o", tmp_path / "a.gif")
    assert done.returncode == 0, done.stderr
    assert "drawn smaller to keep the GIF small" in done.stderr
    with Image.open(tmp_path / "a.gif") as image:
        factors = {factor: 4 * factor * 64 + 5 * max(6, 2 * factor) for factor in (3, 2)}
        assert image.width in factors.values()
    assert (tmp_path / "a.gif").stat().st_size <= 16 * 25_000
