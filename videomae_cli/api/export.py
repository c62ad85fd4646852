"""Exports a model to ONNX, OpenVINO or PyTorch's format and checks what was written; the function behind `videomae export`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videomae_cli import __version__, filesystem
from videomae_cli.api.footage import demo_clip, find_videos
from videomae_cli.api.loaded import label_names, model_name
from videomae_cli.arguments import at_least, checked
from videomae_cli.assembly import DecoderOptions, find_hints, find_model, preprocessor_for, sample_views
from videomae_cli.errors import (
    ModelOutputError,
    OptionError,
    OutputError,
    VideoMAEError,
    Wording,
    check_choice,
    not_written,
)
from videomae_cli.files import check_new, is_special, whole_files
from videomae_cli.hub import DownloadListener, ResolvedSource
from videomae_cli.video import FoundVideo, Preprocessor, SamplingHints, SamplingSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from videomae_cli.engines import Features, Logits
    from videomae_cli.engines.exports.graphs import ExportedGraph, Runner

# The ending of each format's files, and the number formats it can be written in.
ENDINGS = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
_DTYPES = {
    "onnx": ("float32", "float16", "int8"),
    "openvino": ("float32", "float16", "int8"),
    "torch": ("float32", "float16", "bfloat16"),
}
# The largest difference from PyTorch's float32 that is accepted, as a part of the largest output.
LIMITS = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.05, "int8": 0.25}
CHECKED_CLIPS = 4


@dataclass(frozen=True, kw_only=True)
class ExportedModel:
    """A model that was written. input_shape, output_shape: None stands for any number of clips.

    difference: the largest one between the file's outputs and PyTorch's in float32, over `clips` clips; largest: the largest of
    these outputs; agree: the fraction of clips with the same best label, None for embeddings; notes: what its readers should
    know; failures: a line for each of the videos that could not be read, and so had no part in it.
    """

    path: str
    files: tuple[str, ...]
    model: str
    format: str
    dtype: str
    opset: int | None
    input: str
    input_shape: tuple[int | None, ...]
    output: str
    output_shape: tuple[int | None, ...]
    difference: float
    largest: float
    clips: int
    agree: float | None
    notes: tuple[str, ...]
    failures: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return what `videomae export --json` prints."""
        return {"schema_version": 1, **asdict(self)}


@checked
def export(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    format: str | None = None,
    dtype: str = "float32",
    features: bool = False,
    uint8: bool = False,
    videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    revision: str | None = None,
    heads: int | None = None,
    timeout: float | None = 120.0,
    overwrite: bool = False,
    listener: DownloadListener | None = None,
) -> ExportedModel:
    """Write a model so that it runs without this package, and compare it with the original; what `videomae export` does.

    A classifier gives logits (B, labels). An encoder, and with `features` a classifier too, gives embeddings (B, D), the vectors
    of `embed`. The batch may have any size. Labels, sampling and preprocessing are in the file's metadata as JSON.

    output: the file; format: "onnx", "openvino" or "torch", by default what the file's ending means (.onnx, .xml, .pt2);
    dtype: "float32", "float16", "int8" (ONNX and OpenVINO) or "bfloat16" (PyTorch); uint8: the input is RGB frames
    (B, T, H, W, 3) uint8 of the model's size, rescaled and normalised inside; videos: what the file is tried on, by default the
    film that ships with the package, and what int8 for OpenVINO is calibrated on; labels: names, or a file of them; timeout:
    seconds that decoding a video may take; listener: told of a download.

    The written file is run by its own runtime on real clips. Raises ModelOutputError if its outputs are too far from PyTorch's
    in float32, and leaves no file then; OptionError, OutputError, DependencyError, and what loading a model raises.
    """
    target = Path(output)
    kind = _format(target, format)
    check_choice("dtype", dtype, _DTYPES[kind])
    at_least(1, heads=heads)
    calibrated = dtype == "int8" and kind == "openvino"
    given = find_videos(videos)
    if calibrated and not given:
        raise OptionError.about("videos", "{@dtype:int8} is calibrated on clips for OpenVINO: name some with {@videos}")
    module = import_module(f"videomae_cli.engines.exports.{kind}_files")
    module.prepare(dtype)
    files = module.files(target)
    for file in reversed(files):  # first the one that was named
        check_new(file, overwrite=overwrite)
    source = find_model(model_name(model), revision, listener)
    original = _Original.load(source, heads, label_names(labels), features=features)
    failures: list[str] = []
    views = original.views(given or [FoundVideo(str(demo_clip()))], timeout, failures, calibrated=calibrated)
    expected = original.outputs(views[:CHECKED_CLIPS])
    graph = original.graph("float32" if kind == "openvino" or dtype == "int8" else dtype, uint8=uint8)
    inputs = views if uint8 else original.preprocessor.to_pixel_values(views).numpy()
    about = original.about(graph, dtype)
    try:
        with whole_files(*files) as folder:
            place = folder / target.name
            module.write(
                graph,
                place,
                dtype=dtype,
                about=json.dumps(about, ensure_ascii=False),
                calibration=inputs if calibrated else (),
            )
            outputs = _run(module.runner(place), inputs[:CHECKED_CLIPS])
            difference, agree = _compare(target, outputs, expected, dtype)
            notes = tuple(module.notes(place))
    except OSError as error:
        raise not_written(target, error) from None
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        template = (
            "can't write {subject}: {reason} (OpenVINO says so of a full disk, too)"
            if kind == "openvino"
            else "can't write {subject}: {reason}"
        )
        raise OutputError.about(target, template, reason=reason) from error
    return ExportedModel(
        path=str(target),
        files=tuple(str(file) for file in files if filesystem.is_there(file)),
        model=source.name,
        format=kind,
        dtype=dtype,
        opset=module.OPSET,
        input=graph.input_name,
        input_shape=(None, *graph.clip_shape),
        output=graph.output_name,
        output_shape=(None, *expected.shape[1:]),
        difference=difference,
        largest=float(abs(expected).max()),
        clips=len(expected),
        agree=agree if about["labels"] and about["problem_type"] != "regression" else None,
        notes=notes,
        failures=tuple(failures),
    )


def _format(target: Path, given: str | None) -> str:
    """Return the format of a file. Raises OptionError, or OutputError for what is no file."""
    by_ending = {ending: name for name, ending in ENDINGS.items()}
    endings = "{onnx} (ONNX), {openvino} (OpenVINO) or {torch} (PyTorch)".format(**ENDINGS)
    if is_special(target):
        raise OutputError.about(
            target, "{subject} is no place for a model: give a file name ending in {endings}", endings=endings
        )
    if given is not None:
        check_choice("format", given, tuple(ENDINGS), last=" or ")
    by_name = by_ending.get(target.suffix.lower())
    kind = given or by_name
    if kind is None:
        reason = "{subject} doesn't say the format: end it in {endings}, or give {@format}"
        raise OutputError.about(target, reason, endings=endings)
    if by_name in (None, kind) and (kind != "openvino" or target.suffix == ".xml"):  # OpenVINO refuses .XML
        return kind
    reason = "{@format:{name}} writes files that end in {ending}"
    raise OptionError.about("format", reason, name=kind, ending=ENDINGS[kind])


@dataclass(frozen=True)
class _Original:
    """The model that is exported, in PyTorch."""

    source: ResolvedSource
    part: Logits | Features
    preprocessor: Preprocessor
    hints: SamplingHints

    @classmethod
    def load(
        cls, source: ResolvedSource, heads: int | None, labels: Sequence[str] | None, *, features: bool
    ) -> _Original:
        """Load a classifier, or the encoder of any checkpoint. Raises CheckpointError, ConfigError."""
        from videomae_cli.engines import Features, Logits
        from videomae_cli.model import VideoMAEForVideoClassification, load_encoder

        model = load_encoder(source.path, num_attention_heads=heads, labels=labels)
        classifies = isinstance(model, VideoMAEForVideoClassification) and model.config.num_labels > 0 and not features
        part = Logits(model) if classifies else Features(model)  # type: ignore[arg-type]
        config = model.config
        hints = find_hints(config.num_frames, config.extra, source.name)
        return cls(source, part, preprocessor_for(source.path, config, "antialias"), hints)

    def views(
        self, videos: Sequence[FoundVideo], timeout: float | None, failures: list[str], *, calibrated: bool
    ) -> npt.NDArray[np.uint8]:
        """Decode clips of videos: (N, T, H, W, 3). failures: receives a line for each that gave none. Raises OptionError if all did."""
        import numpy as np

        from videomae_cli.engines import calibration_clips

        count = max(CHECKED_CLIPS, calibration_clips(self.part.config) if calibrated else 0)
        spec = SamplingSpec().for_model(self.hints)
        failures += [video.error.naming(video.path) for video in videos if video.error is not None]

        def on_failure(path: str, error: VideoMAEError) -> None:
            failures.append(error.naming(path))

        with DecoderOptions(timeout=timeout).decoder(len(videos)) as decoder:
            views = list(sample_views(videos, spec, self.preprocessor, decoder, count, on_failure))
        if not views:
            reason = "none of {@videos} gave a clip ({first}): give videos that can be read"
            raise OptionError.about("videos", reason, first=failures[0])
        return np.stack(views)

    def outputs(self, views: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Compute the outputs (N, ...) of clips in float32, which a written file has to give."""
        import numpy as np
        import torch

        with torch.inference_mode():
            whole = self.graph("float32", uint8=False)
            return np.concatenate([whole(self.preprocessor.to_pixel_values(view[None])).numpy() for view in views])

    def graph(self, dtype: str, *, uint8: bool) -> ExportedGraph:
        """Make the graph to write, which converts the model to its number format."""
        import torch

        from videomae_cli.engines.exports.graphs import ExportedGraph, PixelScaling

        config = self.preprocessor.config
        pixels = PixelScaling(config.rescale_factor, config.mean, config.std) if uint8 else None
        return ExportedGraph(self.part, pixels=pixels, dtype=getattr(torch, dtype))

    def about(self, graph: ExportedGraph, dtype: str) -> dict[str, Any]:
        """Return what a file says of itself: how clips are made for it, and what its outputs mean."""
        from videomae_cli.model.description import licence_of

        config = self.part.config
        classifies = graph.output_name == "logits"
        return {
            "schema_version": 2,
            "videomae_cli": __version__,
            "model": self.source.name,
            "revision": self.source.revision,
            "licence": licence_of(self.source, config),
            "dtype": dtype,
            "input": {"name": graph.input_name, "shape": [None, *graph.clip_shape]},
            "output": {"name": graph.output_name},
            "labels": list(config.label_names) if classifies else None,
            "problem_type": config.resolved_problem_type if classifies else None,
            "sampling": asdict(self.hints),
            "preprocessing": asdict(self.preprocessor.config) | {"inside": graph.pixels is not None},
            "config": config.to_dict(),
        }


def _run(run: Runner, inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Run a written file on its first clip alone, and on all as a batch, for the others; the first alone counts if they
    disagree about the shape."""
    import numpy as np

    alone, together = run(inputs[:1]), run(inputs)
    fit = together.shape[1:] == alone.shape[1:] and len(alone) == 1
    return np.concatenate([alone, together[1:]]) if fit else alone


def _compare(
    target: Path, outputs: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], dtype: str
) -> tuple[float, float]:
    """Return the largest difference and the fraction of clips with the same largest output. Raises ModelOutputError."""
    if outputs.shape != expected.shape:
        reason = "{subject} gives outputs of shape {shape} in place of {wanted}, and is not kept"
        raise ModelOutputError.about(target, reason, shape=outputs.shape, wanted=expected.shape)
    difference, largest = float(abs(outputs - expected).max()), float(abs(expected).max())
    if not difference <= LIMITS[dtype] * largest:  # false for NaN, too
        raise ModelOutputError.about(
            target,
            "{subject} computes something else: it is off by {difference:.2g} where outputs go up to {largest:.2g}, and "
            "{limit:.2g} is the most for {dtype}; it is not kept",
            difference=difference,
            largest=largest,
            limit=LIMITS[dtype] * largest,
            dtype=dtype,
            remedy=Wording("{@dtype:float32} is the most exact") if dtype != "float32" else "",
        )
    return difference, float((outputs.argmax(1) == expected.argmax(1)).mean())
