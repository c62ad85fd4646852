"""The pipeline by itself: a real tiny model, real files, and decoders that misbehave on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import numpy.typing as npt
import pytest
import torch

from videomae_cli.errors import DependencyError, ModelMemoryError, NotAVideoError, OptionError, VideoNotFoundError
from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification
from videomae_cli.pipeline import Classifier, auto_batch_size, merge_views, pick_device
from videomae_cli.pipeline.batches import Batches, Halving
from videomae_cli.video import ClipRequest, Decoder, FoundVideo, PreprocessConfig, Preprocessor, SamplingSpec

LABELS = {0: "walking", 1: "running", 2: "sitting"}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> str:
    """90 frames of noise at 25 a second: every clip of it differs."""
    path = tmp_path_factory.mktemp("pipeline") / "film.mp4"
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(90):
            image = random.integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return str(path)


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=32,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        id2label=LABELS,
    )
    model = VideoMAEForVideoClassification(config).eval()
    with torch.no_grad():
        model.classifier.weight.normal_(std=1.0)
    return Classifier(model, Preprocessor(PreprocessConfig.from_dict({}, 32)), name="tiny")


def run(classifier: Classifier, found: Iterable[FoundVideo], clips: int = 1) -> list[object]:
    with Decoder(isolate=False) as decoder:
        return list(classifier(found, sampling=SamplingSpec(clips=clips), decoder=decoder))


def test_results_come_in_order_whatever_fails(classifier: Classifier, film: str, tmp_path: Path) -> None:
    (tmp_path / "letter.mp4").write_text("no film")
    gone = FoundVideo("gone.mp4", VideoNotFoundError("no such file: 'gone.mp4'"))
    found = [gone, FoundVideo(film), FoundVideo(str(tmp_path / "letter.mp4")), gone, FoundVideo(film), gone]
    results = run(classifier, found)
    assert [r.path for r in results] == [video.path for video in found]
    kinds = [r.error.kind if r.error else None for r in results]
    assert kinds == ["not_found", None, NotAVideoError.kind, "not_found", None, "not_found"]
    # Another row of a batch: on some CPUs its sums are rounded in another way.
    first, second = results[1].predictions, results[4].predictions
    assert [p.label for p in first] == [p.label for p in second]
    assert [p.score for p in first] == pytest.approx([p.score for p in second], abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_the_batch_size_changes_no_score(classifier: Classifier, film: str, batch_size: int) -> None:
    (reference,) = run(replace(classifier, batch_size=3), [FoundVideo(film)], clips=5)
    (result,) = run(replace(classifier, batch_size=batch_size), [FoundVideo(film)], clips=5)
    assert len(result.source.frames) == 5
    assert [p.label for p in result.predictions] == [p.label for p in reference.predictions]
    np.testing.assert_allclose(
        [p.score for p in result.predictions], [p.score for p in reference.predictions], atol=1e-6
    )


def test_no_more_than_a_batch_goes_through_the_model_at_once(classifier: Classifier, film: str) -> None:
    sizes: list[int] = []
    classifier.model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    run(replace(classifier, batch_size=2), [FoundVideo(film)], clips=5)
    assert sizes == [2, 2, 1]


def test_top_k_beyond_the_labels_is_all_of_them_best_first(classifier: Classifier, film: str) -> None:
    (result,) = run(replace(classifier, top_k=50), [FoundVideo(film)])
    scores = [p.score for p in result.predictions]
    assert sorted(scores, reverse=True) == scores
    assert {p.label_id: p.label for p in result.predictions} == LABELS
    assert sum(scores) == pytest.approx(1, abs=1e-6)


def test_views_are_merged_as_published() -> None:
    logits = np.array([[4.0, 0.0], [-1.0, 1.0]], np.float32)
    # By hand: softmax of two logits is the sigmoid of their difference.
    first = (1 / (1 + np.exp(-4)) + 1 / (1 + np.exp(2))) / 2
    assert merge_views(logits, problem_type="single_label_classification").tolist() == pytest.approx([first, 1 - first])
    second = (0.5 + 1 / (1 + np.exp(-1))) / 2
    assert float(merge_views(logits, problem_type="multi_label_classification")[1]) == pytest.approx(second)


def test_scores_that_are_no_numbers_are_an_error(classifier: Classifier, film: str) -> None:
    with torch.no_grad():
        classifier.model.classifier.bias.fill_(float("nan"))
    (result,) = run(classifier, [FoundVideo(film)])
    assert result.error.kind == "model_output"
    assert result.predictions == ()


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "memory"),
    ],
)
def test_too_little_memory_is_an_error_of_that_file(
    classifier: Classifier, film: str, raised: RuntimeError, kind: str
) -> None:
    classifier.model.register_forward_pre_hook(_raise_once(raised))
    results = run(replace(classifier, batch_size=1), [FoundVideo(film), FoundVideo(film)])
    assert results[0].error.kind == kind
    assert 'device="cpu"' in results[0].error.message
    assert results[1].error is None


def test_our_own_mistakes_are_not_hidden(classifier: Classifier, film: str) -> None:
    classifier.model.register_forward_pre_hook(_raise_once(RuntimeError("shape mismatch")))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        run(classifier, [FoundVideo(film)])


def test_files_are_decoded_as_results_are_taken(classifier: Classifier, film: str) -> None:
    asked = 0

    class Counting(Decoder):
        def decode_or_idle(self, requests: Iterable[ClipRequest], *, ahead: int = 1) -> Iterator[object]:
            nonlocal asked
            for outcome in super().decode_or_idle(requests, ahead=ahead):
                asked += outcome is not None
                yield outcome

    with Counting(isolate=False) as decoder:
        results = replace(classifier, batch_size=4)([FoundVideo(film)] * 10, sampling=SamplingSpec(), decoder=decoder)
        next(results)
        assert asked == 4
        asked = 0
        results = replace(classifier, batch_size=4)(
            [FoundVideo(film)] * 10, sampling=SamplingSpec(), decoder=decoder, eager=True
        )
        next(results)
        assert asked == 1  # nobody at a terminal waits for a full batch


def test_batches_are_filled_across_files_and_results_stay_in_order(
    classifier: Classifier, film: str, tmp_path: Path
) -> None:
    (tmp_path / "letter.mp4").write_text("no film")
    sizes: list[int] = []
    classifier.model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    found = [FoundVideo(film), FoundVideo(str(tmp_path / "letter.mp4")), FoundVideo(film), FoundVideo(film)]
    results = run(replace(classifier, batch_size=4), found, clips=3)
    assert sizes == [4, 4, 1]
    assert [r.status for r in results] == ["ok", "error", "ok", "ok"]
    assert [r.views for r in results] == [3, 0, 3, 3]
    (alone,) = run(classifier, [FoundVideo(film)], clips=3)
    for result in (results[0], *results[2:]):
        assert [p.label for p in result.predictions] == [p.label for p in alone.predictions]
        np.testing.assert_allclose(
            [p.score for p in result.predictions], [p.score for p in alone.predictions], atol=1e-6
        )


@pytest.mark.parametrize("done", [1, 2, 3, 4, 6])
def test_a_job_that_goes_on_gives_the_same_bits(classifier: Classifier, film: str, done: int) -> None:
    """Batches lie as they would have without the break."""
    seen: list[npt.NDArray[np.float32]] = []

    def outputs(found: list[FoundVideo], starts: list[int | None]) -> list[npt.NDArray[np.float32]]:
        seen.clear()
        sampling = SamplingSpec(clips=2)
        requests = [ClipRequest(v.path, sampling=sampling, transform=transform) for v in found]
        with Decoder(isolate=False) as decoder:
            decoded = [(r.path, outcome) for r, outcome in decoder.decode_all(requests)]
        return [p.outputs for p in Batches(classifier.outputs, size=3, starts=starts)(decoded)]

    transform = classifier.preprocessor.frame_transform(crops=1)
    whole = outputs([FoundVideo(film)] * 7, [])
    rest = outputs([FoundVideo(film)] * (7 - done), [2 * done, *[None] * (6 - done), 0])
    assert all(np.array_equal(a, b) for a, b in zip(whole[done:], rest, strict=True))


@pytest.mark.parametrize("again", [[0], [2, 3], [0, 5], [6], [1, 4, 6]])
def test_files_that_are_done_again_give_the_same_bits(classifier: Classifier, film: str, again: list[int]) -> None:
    """Each has its own place in a batch of the same size, and the last batch is as short as it was."""
    transform = classifier.preprocessor.frame_transform(crops=1)
    request = ClipRequest(film, sampling=SamplingSpec(clips=2), transform=transform)
    with Decoder(isolate=False) as decoder:
        video = decoder.decode(request)
    sizes: list[int] = []

    def logits(views: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        sizes.append(len(views))
        return classifier.outputs(views)

    whole = [p.outputs for p in Batches(logits, size=3)([(film, video)] * 7)]
    assert sizes == [3, 3, 3, 3, 2]
    sizes.clear()
    starts: list[int | None] = [2 * place for place in again]
    rest = [p.outputs for p in Batches(logits, size=3, starts=[*starts, 14])([(film, video)] * len(again))]
    assert sizes == [min(3, 14 - first) for first in sorted({v // 3 * 3 for p in again for v in (2 * p, 2 * p + 1)})]
    assert all(np.array_equal(whole[place], output) for place, output in zip(again, rest, strict=True))


def test_too_large_a_batch_is_halved_until_it_fits(classifier: Classifier, film: str) -> None:
    sizes: list[int] = []

    def hook(_: object, inputs: tuple[torch.Tensor, ...]) -> None:
        sizes.append(len(inputs[0]))
        if len(inputs[0]) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    (expected,) = run(replace(classifier, batch_size=2), [FoundVideo(film)], clips=5)
    classifier.model.register_forward_pre_hook(hook)
    results = run(replace(classifier, batch_size=8), [FoundVideo(film)] * 3, clips=5)
    assert [r.status for r in results] == ["ok"] * 3
    assert results[2].predictions[0].score == pytest.approx(expected.predictions[0].score, abs=1e-6)
    assert sizes.count(8) == 1  # what didn't fit once is not tried again


def test_batch_sizes_follow_the_work_and_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def memory(size: float) -> None:
        about = SimpleNamespace(total_memory=int(size * 2**30))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: about)

    small = VideoMAEConfig(image_size=64, hidden_size=192, num_hidden_layers=4, intermediate_size=768)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert auto_batch_size(VideoMAEConfig(), cpu) == 1
    assert auto_batch_size(small, cpu) == 32
    memory(80)
    assert auto_batch_size(VideoMAEConfig(), cuda) > 32
    memory(2)
    assert 1 < auto_batch_size(VideoMAEConfig(), cuda) < 16
    memory(0.01)
    assert auto_batch_size(VideoMAEConfig(), cuda) == 1


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    for name, said in {"cuda": "not available", "mps": "not available", "tpu": "unknown", "": "unknown"}.items():
        with pytest.raises(OptionError, match=said):
            pick_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("cuda")


def _raise_once(error: Exception) -> Callable[..., None]:
    left = [error]

    def hook(*_: object) -> None:
        if left:
            raise left.pop()

    return hook


@pytest.mark.parametrize("bad", [(0,), (3,), (1, 2)])
def test_a_view_that_fails_by_itself_fails_its_batch_with_its_own_error(bad: tuple[int, ...]) -> None:
    """Of several that fail, the first one's: halves of which only one failed, and halves that both did."""
    errors = {place: ModelMemoryError(f"view {place} is too large") for place in bad}

    def forward(views: npt.NDArray[np.uint8]) -> torch.Tensor:
        for place in views[:, 0, 0, 0, 0].tolist():
            if place in errors:
                raise errors[place]
        return torch.from_numpy(views[:, 0, 0, 0].astype(np.float32))

    views = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1, 1)
    assert Halving(forward, size=4)(views) is errors[bad[0]]


def test_a_machine_that_can_not_run_the_model_fails_no_file() -> None:
    def forward(views: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        raise DependencyError("the model can't be compiled")

    with pytest.raises(DependencyError, match="compiled"):
        Halving(forward, size=4)(np.zeros((4, 1, 1, 1, 1), np.uint8))
