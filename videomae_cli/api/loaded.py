"""What every loaded model has: how it was loaded, a decoder once one is needed, and one video or many through it."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypedDict, TypeVar

from videomae_cli.api.footage import (
    FRAME_RATE,
    FRAMES,
    decode_each,
    decode_frames,
    find_videos,
    is_named,
    many_videos,
    one_video,
)
from videomae_cli.assembly import Calibrate, ModelRequest, calibration_on
from videomae_cli.hub import ResolvedSource, resolve
from videomae_cli.results import Result
from videomae_cli.video import ClipRequest, Decoder, SamplingSpec, auto_workers

if TYPE_CHECKING:
    from videomae_cli.engines import Engine
    from videomae_cli.pipeline import PipelineModel

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Result)
Request = TypeVar("Request", bound=ModelRequest)
Model = TypeVar("Model")


class LoadOptions(TypedDict, total=False):
    """How a model is loaded and videos are read. All are optional, and mean what the options of the commands mean.

    revision: branch, tag or commit on the hub; device: "auto", "cpu", "cuda" or "mps"; engine: "torch" or "openvino"; dtype:
    "auto", "float32", "bfloat16", "float16" or "int8"; compile: by torch.compile; resize: "antialias" or "opencv"; batch_size:
    views through the model at once; heads: attention heads, where the checkpoint doesn't say; calibration: videos that int8 is
    calibrated on; timeout: seconds that decoding a file may take (120), None for no limit; memory: bytes that a process that
    decodes may take; workers: files decoded at once.
    """

    revision: str | None
    device: str
    engine: str
    dtype: str
    compile: bool
    resize: str
    batch_size: int | None
    heads: int | None
    calibration: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None
    timeout: float | None
    memory: int | None
    workers: int | None


@dataclass(frozen=True, kw_only=True)
class DecoderOptions:
    """The options of loading that are not the model's: limits of the processes that decode, and how many there are."""

    timeout: float | None = 120.0
    memory: int | None = None
    workers: int | None = None

    def decoder(self, files: int) -> Decoder:
        """Open a decoder for so many files. Raises OptionError."""
        return Decoder(timeout=self.timeout, memory=self.memory, workers=self.workers or auto_workers(files))


def load_model(
    make: Callable[[ResolvedSource, Request, Engine, Calibrate | None], Model],
    request: Callable[..., Request],
    model: str | os.PathLike[str],
    options: Mapping[str, Any],
    **fields: Any,
) -> tuple[Model, DecoderOptions]:
    """Find a model, downloading it where it is not on this disk, and let `make` load it.

    request: the class of what `make` is asked for; options: `LoadOptions`; fields: of the request, beside these. What this
    machine can't run is told before anything is downloaded. Returns the model and how its videos are to be decoded.
    """
    if unknown := sorted(options.keys() - LoadOptions.__annotations__.keys()):
        raise TypeError(f"unexpected keyword argument {unknown[0]!r}")
    given = {**options, **fields, "name": model_name(model)}
    given["compiled"] = given.pop("compile", False)
    decoding = DecoderOptions(**{name: given.pop(name) for name in ("timeout", "memory", "workers") if name in given})
    calibration = given.pop("calibration", None)
    asked = request(**given)
    engine = asked.pick_engine()
    if engine.slow:
        log.info("%s", engine.slow)
    source = resolve(asked.name, revision=asked.revision)
    if calibration is None:
        return make(source, asked, engine, None), decoding
    found = find_videos(calibration)
    with decoding.decoder(len(found)) as decoder:
        return make(source, asked, engine, calibration_on(found, SamplingSpec(), decoder)), decoding


def model_name(model: str | os.PathLike[str]) -> str:
    """Name a model for looking it up: a `pathlib.Path` is a file or a folder, also where it is called like a bundled model."""
    if isinstance(model, str):
        return model
    path = Path(model)
    return os.fspath(path if path.is_absolute() else Path.cwd() / path)


class LoadedModel(Generic[R]):
    """A model in memory, with the decoder of the videos it is asked about, which starts with the first one.

    A context manager: `close`, the end of the block or of the program ends the decoder's process; the model may still be used,
    and opens another. A call for many videos has decoders of its own while it lasts. pipeline: the model as commands use it;
    decoding: how its videos are decoded.
    """

    def __init__(self, model: PipelineModel[Any, R], decoding: DecoderOptions) -> None:
        self.pipeline: PipelineModel[Any, R] = model
        self.decoding = decoding
        self._closing: weakref.finalize[Any, Any] | None = None

    @property
    def name(self) -> str:
        """The model as records call it: a bundled name, a hub id or a path."""
        return self.pipeline.name

    @property
    def revision(self) -> str | None:
        """The commit on the hub that the model was taken from; None of any other model."""
        return self.pipeline.revision

    @property
    def device(self) -> str:
        """Where the model runs: "cpu", "cuda" or "mps"."""
        return str(self.pipeline.engine.device)

    def close(self) -> None:
        """End the process that decodes, if there is one."""
        if self._closing is not None:
            self._closing()
            self._closing = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _decoder(self) -> Decoder:
        """The decoder for single videos, opened when it is first needed."""
        if self._closing is None:
            self._open = self.decoding.decoder(1)
            self._closing = weakref.finalize(self, self._open.close)
        return self._open

    def _one(self, model: PipelineModel[Any, R], video: Any, spec: SamplingSpec, frame_rate: float = FRAME_RATE) -> R:
        """One video through the model. Raises the VideoMAEError that is the reason why there is no result."""
        request = self._request(model, spec)
        if is_named(video):
            path = one_video(video)
            decoded = self._decoder().decode(ClipRequest(path, request.sampling, request.transform))
        else:
            path, decoded = FRAMES, decode_frames(video, request, name=FRAMES, frame_rate=frame_rate)
        (result,) = model.results([(path, decoded)])
        result.raise_for_error()
        return result

    def _each(
        self, model: PipelineModel[Any, R], videos: Any, spec: SamplingSpec, frame_rate: float = FRAME_RATE
    ) -> Iterator[R]:
        """One result a video, in order; what is wrong with a video is in its result. Files are listed at once."""
        request = self._request(model, spec)
        items, files = many_videos(videos)

        def results() -> Iterator[R]:
            with self.decoding.decoder(files) as decoder:
                ahead = 2 * model.batch_size
                yield from model.results(decode_each(items, request, decoder, ahead=ahead, frame_rate=frame_rate))

        return results()

    @staticmethod
    def _request(model: PipelineModel[Any, R], spec: SamplingSpec) -> ClipRequest:
        from videomae_cli.pipeline import clip_request

        return clip_request(model.preprocessor, spec)
