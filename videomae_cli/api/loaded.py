"""Loads models for the public API, and runs one video or many through a loaded model."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypedDict, TypeVar, Unpack

from videomae_cli import system
from videomae_cli.api.footage import (
    FRAME_RATE,
    FRAMES,
    SamplingOptions,
    decode_each,
    decode_frames,
    find_videos,
    is_named,
    many_videos,
    one_video,
    sampling_spec,
)
from videomae_cli.api.tried_files import FilePlan, try_files
from videomae_cli.arguments import checked
from videomae_cli.assembly import DecoderOptions, ModelRequest, calibration_on, find_model
from videomae_cli.engines.choosing import reason
from videomae_cli.hub import DownloadListener, ResolvedSource
from videomae_cli.labels import read_labels
from videomae_cli.results import Result
from videomae_cli.video import ClipRequest, Decoder, FoundVideo, SamplingSpec

if TYPE_CHECKING:
    from videomae_cli.api.output_jobs import OutputJob
    from videomae_cli.engines import Engine, KnownCheckpoint
    from videomae_cli.jobs.targets import Target
    from videomae_cli.pipeline import PipelineModel

log = logging.getLogger(__name__)

# Held while a model opens its decoder, so that threads that begin together open one.
_opening = system.lock_across_forks()

R = TypeVar("R", bound=Result)
Request = TypeVar("Request", bound=ModelRequest[Any])
Model = TypeVar("Model")


class LoadOptions(TypedDict, total=False):
    """Keyword arguments for loading a model and reading videos; all are optional, and mean the same as the commands' options.

    revision: branch, tag or commit on the hub; device: "auto", "cpu", "cuda" or "mps"; engine: "auto" (the
    fastest that was measured here and is near float32, else "torch"), "torch", "openvino" or
    "onnx", which runs ONNX files of `export` too; dtype: "auto", "float32", "bfloat16", "float16" or "int8"; compile: use torch.compile; resize: "antialias" or
    "opencv"; batch_size: views per batch; heads: attention heads, if the checkpoint doesn't say; calibration: videos to
    calibrate int8 on; timeout: seconds that decoding a file may take (120), None for no limit; memory: bytes that a
    decoding process may take; workers: files decoded at once; listener: told of a download's name, size, licence and
    progress; None for silence.
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
    listener: DownloadListener | None


def load_model(
    request: type[ModelRequest[Model]], model: str | os.PathLike[str], options: Mapping[str, Any], **fields: Any
) -> tuple[Model, DecoderOptions, Callable[[str, str, object], Model] | None]:
    """Load a model, downloading it if it is not on this disk; returns it, the options for decoding, and what loads it with
    another engine if none was named (see `LoadedModel`).

    request: the class of the request for it; options: `LoadOptions`; fields: further fields of the request. An engine that
    this machine lacks raises OptionError before anything is downloaded.
    """
    asked, decoding, calibration, listener = split_options(request, model, options, **fields)
    asked.check()
    engine = None if asked.is_open else asked.pick_engine()
    if engine is not None and engine.slow:
        log.info("%s", engine.slow)
    source = find_model(asked.name, asked.revision, listener)
    if calibration is None:
        other = partial(_with_engine, asked, source) if engine is None else None
        return asked.make(source, engine or partial(_chosen, asked)), decoding, other
    found = find_videos(calibration)
    with decoding.decoder(len(found)) as decoder:
        calibrate = calibration_on(found, SamplingSpec(), decoder)
        other = partial(_with_engine, asked, source) if engine is None else None
        return asked.make(source, engine or partial(_chosen, asked), calibrate), decoding, other


def _chosen(asked: ModelRequest[Any], known: KnownCheckpoint) -> Engine:
    choice = asked.choose(known)
    if choice.measured is not None:
        log.info("running with %s in %s, %s", choice.engine.name, choice.engine.dtype, reason(choice.measured))
    return choice.engine


def _with_engine(asked: ModelRequest[Model], source: ResolvedSource, engine: str, dtype: str, output: object) -> Model:
    asked = asked.as_begun(engine, dtype, output)
    return asked.make(source, asked.pick_engine())


def split_options(
    request: Callable[..., Request], model: str | os.PathLike[str], options: Mapping[str, Any], **fields: Any
) -> tuple[Request, DecoderOptions, Any, DownloadListener | None]:
    """Sort `LoadOptions` into the request for a model, the options for decoding, the videos for calibration, and the listener.

    fields: further fields of the request. Raises OptionError.
    """
    given = {**options, **fields, "name": model_name(model)}
    given["compiled"] = given.pop("compile", False)
    decoding = DecoderOptions(**{name: given.pop(name) for name in ("timeout", "memory", "workers") if name in given})
    calibration, listener = given.pop("calibration", None), given.pop("listener", None)
    return request(**given), decoding, calibration, listener


def label_names(labels: Sequence[str] | os.PathLike[str] | None) -> tuple[str, ...] | None:
    """Return names for the outputs of a model, given as such or as a file of them; None for the checkpoint's own.
    Raises OptionError."""
    names = read_labels(Path(labels)) if isinstance(labels, str | os.PathLike) else labels
    return None if names is None else tuple(names)


def model_name(model: str | os.PathLike[str]) -> str:
    """Return a model's name for looking it up; a `pathlib.Path` is made absolute, so it never means a bundled model."""
    if isinstance(model, str):
        return model
    path = Path(model)
    return os.fspath(path if path.is_absolute() else Path.cwd() / path)


class LoadedModel(Generic[R]):
    """A model in memory, with a decoder that is started for the first video.

    A context manager: `close`, or the end of the block or program, ends the decoder's process; the model stays usable and opens
    another when needed. A call for many videos uses decoders of its own. pipeline: the model as commands use it; decoding: the
    options of its decoders; other: loads the model with another engine and number format, if none was named.
    """

    def __init__(
        self,
        model: PipelineModel[Any, R],
        decoding: DecoderOptions,
        other: Callable[[str, str, object], Any] | None = None,
    ) -> None:
        self.pipeline: PipelineModel[Any, R] = model
        self._other, self._others = other, dict[tuple[str, str], Any]()
        self.decoding = decoding
        self._closing: weakref.finalize[Any, Any] | None = None
        self._owner = os.getpid()

    @property
    def name(self) -> str:
        """The model's name in records: a bundled name, a hub id or a path."""
        return self.pipeline.name

    @property
    def revision(self) -> str | None:
        """The hub commit of the model; None if it isn't from the hub."""
        return self.pipeline.revision

    @property
    def device(self) -> str:
        """Where the model runs: "cpu", "cuda" or "mps"."""
        return str(self.pipeline.engine.device)

    def _suited(self, options: Mapping[str, Any]) -> Any:
        """Return the model for these options: for a published protocol the reference, unless an engine was named."""
        return self.pipeline if options.get("protocol", "auto") == "auto" else self.reference

    @property
    def reference(self) -> Any:
        """The model as PyTorch runs it by default if no engine was named, else as it is."""
        return self._with_engine("torch", "auto", self.name)

    def _with_engine(self, engine: str, dtype: str, output: object) -> Any:
        """Return the model with another engine. output: what needs it, to name in an error."""
        now = self.pipeline.engine
        if self._other is None or (now.name == engine and dtype in ("auto", now.dtype)):
            return self.pipeline
        if (engine, dtype) not in self._others:
            self._others[engine, dtype] = self._other(engine, dtype, output)
        return self._others[engine, dtype]

    def _for_job(self, job: OutputJob, target: Target, model: Any) -> Any:
        """Return the model for a job: with the engine with which an earlier run began it, and for a shard with PyTorch's,
        since each may run on another machine; unless an engine was named.

        model: as it would run otherwise. Raises OutputError if this machine lacks
        what the job began with.
        """
        if self._other is None:
            return model
        begun = target.begun()
        if begun is not None and begun.engine is not None:
            return self._with_engine(*begun.engine, target.output)
        return model if job.part is None else self.reference

    def close(self) -> None:
        """End the decoder's process, if there is one."""
        if self._closing is not None:
            self._closing()
            self._closing = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _decoder(self) -> Decoder:
        """The decoder for single videos, opened when it is first needed."""
        with _opening:
            if self._closing is not None and self._owner != os.getpid():
                self._closing.detach()  # this process was forked: the decoder is its parent's
                self._closing = None
            if self._closing is None:
                self._owner = os.getpid()
                self._open = self.decoding.decoder(1)
                self._closing = weakref.finalize(self, self._open.close)
            return self._open

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy has too: the model and the options, not the decoder."""
        options = {"pipeline": self.pipeline, "decoding": self.decoding, "_other": self._other, "_others": {}}
        return {**options, "_closing": None, "_owner": 0}

    def _one(self, model: PipelineModel[Any, R], video: Any, options: SamplingOptions) -> R:
        """Run one video through the model. Raises a VideoMAEError if it fails."""
        request, frame_rate = self._request(model, options)
        if is_named(video):
            path = one_video(video)
            decoded = self._decoder().decode(ClipRequest(path, request.sampling, request.transform))
        else:
            path, decoded = FRAMES, decode_frames(video, request, name=FRAMES, frame_rate=frame_rate)
        (result,) = model.results([(path, decoded)])
        result.raise_for_error()
        return result

    def _each(self, model: PipelineModel[Any, R], videos: Any, options: SamplingOptions) -> Iterator[R]:
        """Yield one result per video, in order; a failure is in the video's result.

        Files are listed immediately, not during iteration.
        """
        request, frame_rate = self._request(model, options)
        items, files = many_videos(videos)

        def results() -> Iterator[R]:
            with self.decoding.decoder(files) as decoder:
                ahead = 2 * model.batch_size
                yield from model.results(decode_each(items, request, decoder, ahead=ahead, frame_rate=frame_rate))

        return results()

    @checked
    def plan_files(
        self,
        videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | FoundVideo],
        **options: Unpack[SamplingOptions],
    ) -> FilePlan:
        """Try a few files, and tell what a job over all of them would do and about how long it would take; writes nothing.

        What `--dry-run` does. The result has `files`, `unusable`, `clips`, `seconds` and more. Raises OptionError, and
        MachineError or DependencyError if this machine can't decode at all.
        """
        found, model = find_videos(videos), self._suited(options)
        spec = model.fit(sampling_spec(**options))
        with self.decoding.decoder(len(found)) as decoder:
            run = partial(model, sampling=spec, decoder=decoder)
            return try_files(found, model.name, model.batch_size, run)

    @staticmethod
    def _request(model: PipelineModel[Any, R], options: SamplingOptions) -> tuple[ClipRequest, float]:
        """Return what to decode of each video, and the frames per second of videos given as frames."""
        from videomae_cli.pipeline import clip_request

        spec = model.fit(sampling_spec(**options))
        return clip_request(model.preprocessor, spec), options.get("frame_rate", FRAME_RATE)
