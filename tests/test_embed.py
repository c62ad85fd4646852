"""Vectors: equal to the reference's on the same pixels, whatever the checkpoint is and whatever is made of its tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import transformers

from videomae_cli.errors import NotAVideoError, OptionError
from videomae_cli.model import (
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    VideoMAEModel,
    load_encoder,
)
from videomae_cli.pipeline import Embedder, Pooling
from videomae_cli.results import Embedding
from videomae_cli.video import Decoder, FoundVideo, PreprocessConfig, Preprocessor, SamplingSpec, open_video

SMALL: dict[str, Any] = {
    "image_size": 32,
    "num_frames": 16,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "decoder_hidden_size": 16,
    "decoder_num_attention_heads": 2,
    "decoder_num_hidden_layers": 1,
    "decoder_intermediate_size": 32,
    "id2label": {0: "a", 1: "b"},
}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> str:
    """90 frames of noise at 25 a second: every clip of it differs."""
    path = tmp_path_factory.mktemp("embed") / "film.mp4"
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 48, "yuv420p"
        for _ in range(90):
            image = random.integers(0, 255, (48, 96, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return str(path)


def checkpoint(folder: Path, kind: type[Any], **changes: Any) -> Path:
    """Every parameter random, so that none can be left out without a difference."""
    torch.manual_seed(3)
    model = kind(VideoMAEConfig(**{**SMALL, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    return folder


def embedder(folder: Path, **options: Any) -> Embedder:
    model = load_encoder(folder)
    return Embedder(model, Preprocessor(PreprocessConfig.from_dict({}, 32)), "tiny", pooling=Pooling(**options))


def run(made: Embedder, *paths: str, clips: int = 1, crops: int = 1) -> list[Embedding]:
    with Decoder(isolate=False) as decoder:
        found = [FoundVideo(path) for path in paths]
        return list(made(found, sampling=SamplingSpec(clips=clips, crops=crops), decoder=decoder))


def pixels(made: Embedder, result: Embedding, path: str) -> torch.Tensor:
    """The same views, read and preprocessed by hand: (C * K, T, 3, H, W)."""
    assert result.source is not None
    transform = made.preprocessor.frame_transform(crops=result.source.crops)
    views = []
    for clip in result.source.frames:
        with open_video(path) as reader:
            frames = reader.read(list(clip), transform)  # (T, K, H, W, 3)
        views += list(frames.transpose(1, 0, 2, 3, 4))
    return made.preprocessor.to_pixel_values(np.stack(views))


@pytest.mark.parametrize("kind", ["fc_norm", "classifier without it", "encoder", "pre-training"])
def test_mean_pooling_equals_the_reference(kind: str, film: str, tmp_path: Path) -> None:
    classes = {
        "fc_norm": (VideoMAEForVideoClassification, {"use_mean_pooling": True}),
        "classifier without it": (VideoMAEForVideoClassification, {"use_mean_pooling": False}),
        "encoder": (VideoMAEModel, {"use_mean_pooling": False}),
        "pre-training": (VideoMAEForPreTraining, {"use_mean_pooling": False}),
    }
    ours, changes = classes[kind]
    folder = checkpoint(tmp_path / "model", ours, **changes)
    made = embedder(folder)
    (result,) = run(made, film, clips=2, crops=3)
    assert result.vectors is not None
    with torch.no_grad():
        values = pixels(made, result, film)
        reference = transformers.VideoMAEModel.from_pretrained(folder).eval()
        expected = reference(values).last_hidden_state.mean(dim=1)
        if kind == "fc_norm":
            whole = transformers.VideoMAEForVideoClassification.from_pretrained(folder).eval()
            expected = whole.fc_norm(whole.videomae(values).last_hidden_state.mean(dim=1))
    assert result.vectors.shape == (1, 32)
    np.testing.assert_allclose(result.vectors[0], expected.mean(dim=0), rtol=1e-5, atol=1e-5)
    (place,) = result.places
    assert (place.start, place.end, place.clip, place.t) == (0.0, pytest.approx(89 / 25, abs=0.2), None, None)


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_a_layer_is_the_reference_s_hidden_state(layer: int, film: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", VideoMAEForVideoClassification, use_mean_pooling=True)
    made = embedder(folder, layer=layer)
    (result,) = run(made, film)
    reference = transformers.VideoMAEModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = reference(pixels(made, result, film), output_hidden_states=True).hidden_states
    np.testing.assert_allclose(result.vectors[0], states[layer].mean(dim=1)[0], rtol=1e-5, atol=1e-5)


def test_tokens_and_slots_say_where_and_when_they_are(film: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", VideoMAEModel, use_mean_pooling=False)
    tokens = embedder(folder, pool="tokens")
    (result,) = run(tokens, film, clips=2)
    reference = transformers.VideoMAEModel.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = reference(pixels(tokens, result, film)).last_hidden_state  # (2, 8 * 2 * 2, D)
    np.testing.assert_allclose(result.vectors, expected.flatten(0, 1), rtol=1e-5, atol=1e-5)
    where = [(p.clip, p.t, p.h, p.w) for p in result.places]
    assert where == [(c, t, h, w) for c in range(2) for t in range(8) for h in range(2) for w in range(2)]
    seconds = result.source.timestamps[1]
    assert (result.places[-1].start, result.places[-1].end) == (seconds[14], seconds[15])
    (slots,) = run(embedder(folder, pool="time"), film, clips=2)
    np.testing.assert_allclose(slots.vectors, expected.reshape(16, 4, -1).mean(dim=1), rtol=1e-5, atol=1e-5)
    assert [(p.clip, p.t, p.h) for p in slots.places] == [(c, t, None) for c in range(2) for t in range(8)]


def test_clips_average_to_the_file(film: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", VideoMAEModel, use_mean_pooling=False)
    (whole,) = run(embedder(folder), film, clips=3, crops=3)
    (clips,) = run(embedder(folder, per_clip=True), film, clips=3, crops=3)
    assert clips.vectors.shape == (3, 32)
    np.testing.assert_allclose(clips.vectors.mean(axis=0), whole.vectors[0], rtol=1e-5, atol=1e-6)
    assert [p.clip for p in clips.places] == [0, 1, 2]
    assert clips.places[0].start < clips.places[1].start < clips.places[2].start
    (unit,) = run(embedder(folder, per_clip=True, normalize=True), film, clips=3, crops=3)
    np.testing.assert_allclose(np.linalg.norm(unit.vectors, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(
        unit.vectors, clips.vectors / np.linalg.norm(clips.vectors, axis=1, keepdims=True), rtol=1e-5, atol=1e-7
    )


def test_half_precision_is_rounding_and_what_does_not_fit_is_an_error(film: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", VideoMAEModel, use_mean_pooling=False)
    (full,) = run(embedder(folder), film)
    (half,) = run(replace(embedder(folder), storage="float16"), film)
    assert half.vectors.dtype == np.float16
    np.testing.assert_array_equal(half.vectors, full.vectors.astype(np.float16))
    large = embedder(folder)
    with torch.no_grad():
        large.model.layernorm.weight.mul_(1e6)
    (result,) = run(replace(large, storage="float16"), film)
    assert (result.error.kind, result.vectors) == ("model_output", None)
    assert 'storage="float32"' in result.error.message


def test_a_bad_file_is_a_result(film: str, tmp_path: Path) -> None:
    (tmp_path / "letter.mp4").write_text("no film")
    folder = checkpoint(tmp_path / "model", VideoMAEModel, use_mean_pooling=False)
    bad, good = run(embedder(folder), str(tmp_path / "letter.mp4"), film)
    assert (bad.error.kind, bad.vectors, bad.places) == (NotAVideoError.kind, None, ())
    assert good.vectors is not None


def test_what_makes_no_sense_is_refused(tmp_path: Path, film: str) -> None:
    folder = checkpoint(tmp_path / "model", VideoMAEModel, use_mean_pooling=False)
    for options in ({"pool": "max"}, {"layer": 4}, {"layer": -1}):
        with pytest.raises(OptionError):
            run(embedder(folder, **options), film)
    with pytest.raises(OptionError, match="crops=1"):
        run(embedder(folder, pool="tokens"), film, crops=3)
    with pytest.raises(OptionError, match="storage"):
        replace(embedder(folder), storage="float8")
