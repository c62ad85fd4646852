"""Groups of related options as dataclasses, and the decorator that expands them into a command's parameters."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from videomae_cli.cli import options
from videomae_cli.cli.terminal import console
from videomae_cli.errors import check_choice

if TYPE_CHECKING:
    from videomae_cli.jobs.retry import Retry


@dataclass(frozen=True, kw_only=True)
class LoudnessOptions:
    """Options for what a command prints on standard error."""

    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks, decoder messages and a log of what is done.")
    ] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show errors only: no progress, no notes.")] = False

    def configure(self) -> None:
        """Set the verbosity of the console."""
        console.configure(debug=self.debug, quiet=self.quiet)


@dataclass(frozen=True, kw_only=True)
class ConsoleOptions:
    """Options for what a command prints on standard error while it works."""

    progress: Annotated[
        str,
        options.PROGRESS(
            help="auto: a bar on a terminal (lines now and then if a pipe reads the results), else nothing; plain: such lines, "
            "for a log."
        ),
    ] = "auto"
    loudness: LoudnessOptions

    @property
    def debug(self) -> bool:
        """Whether tracebacks, decoder messages and a log are shown."""
        return self.loudness.debug

    def configure(self) -> None:
        """Set the verbosity of the console. Raises OptionError for an unknown kind of progress."""
        self.loudness.configure()
        check_choice("progress", self.progress, ("auto", "plain", "none"), last=" or ")


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Options that choose the model."""

    model: Annotated[
        str,
        options.MODEL(
            envvar="VIDEOMAE_MODEL",
            help="A bundled name (camera-motion), a known short name, a hub id, a directory, or an .onnx file of videomae export.",
        ),
    ] = options.DEFAULT_MODEL
    revision: options.Revision = None


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Options for the device, engine and batch size of the model."""

    device: options.Device = "auto"
    engine: Annotated[
        str,
        typer.Option(
            help="What runs the model. auto: the fastest that videomae bench or a long job measured here, if it is within 2 % "
            "of torch in float32; else torch, which evaluate, --dtype, --shard, --cluster and --protocol paper mean too. "
            "openvino, onnx: on the CPU, with the number formats that it has units for, or with ONNX Runtime (pip install "
            "'videomae-cli[openvino]', 'videomae-cli[onnx]').",
            metavar="auto|torch|openvino|onnx",
        ),
    ] = "auto"
    dtype: Annotated[
        str,
        options.DTYPE(
            help="Number format. auto: float32 on the CPU, half precision on CUDA, with OpenVINO bfloat16 where the CPU has "
            "units for it; int8: OpenVINO, calibrated on clips of the job, or ONNX Runtime.",
            metavar="auto|float32|bfloat16|float16|int8",
        ),
    ] = "auto"
    compiled: options.Compile = False
    batch_size: options.BatchSize = None

    def check(self) -> None:
        """Raise OptionError for an unknown engine or number format, and for combinations that no device supports."""
        from videomae_cli.engines import check_engine

        check_engine(self.engine, self.dtype, self.compiled)


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """Options for an output that already exists, complete or partial."""

    resume: options.Resume = False
    retry_errors: Annotated[
        str | None,
        typer.Option(
            help="With --resume: retry files that failed in this way, even if the output is complete; all: every failure.",
            metavar="KIND,...|all",
        ),
    ] = None
    overwrite: options.Overwrite = False

    @cached_property
    def retry(self) -> Retry:
        """Which failures of an earlier run are retried. Raises OptionError."""
        from videomae_cli.jobs.retry import Retry

        return Retry(self.retry_errors, resume=self.resume)


@dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """Options that select files in folders."""

    recursive: Annotated[bool, typer.Option(help="Search folders at every depth, or only their first level.")] = True
    include: Annotated[
        list[str] | None,
        typer.Option(
            help="Take only files whose name or path matches; in folders, instead of the known video suffixes. May be repeated.",
            metavar="PATTERN",
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Leave out files and folders whose name or path matches. May be repeated.", metavar="PATTERN"
        ),
    ] = None
    frame_folders: options.FrameFolders = "auto"


@dataclass(frozen=True, kw_only=True)
class FileOptions(FolderOptions):
    """Options that select the files of a job."""

    shard: Annotated[
        str | None,
        typer.Option(
            help="Do only part I of N (from 1), to split files between N machines; `videomae merge` joins the outputs.",
            metavar="I/N",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ClipOptions:
    """Options that choose the clips and frames that the model sees."""

    sampling: options.Sampling = "auto"
    stride: options.Stride = None
    clips: Annotated[
        int | None,
        options.CLIPS(help="How many clips to take from each file. Default: one every 10 seconds, between 1 and 10."),
    ] = None
    crops: Annotated[
        int | None, typer.Option(help="How many crops to take from each clip, along its long side: 1 or 3. Default 1.")
    ] = None
    protocol: Annotated[
        str,
        options.PROTOCOL(
            help="paper: the published test protocol of the checkpoint's data, with the official code's pixels.",
            metavar="auto|paper",
        ),
    ] = "auto"
    fps: options.Fps = None
    start: options.Start = None
    end: options.End = None
    pixels: options.Pixels = None


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """Limits on decoding one file."""

    timeout: Annotated[float, options.TIMEOUT(help="How many seconds decoding one file may take; 0 for no limit.")] = (
        120.0
    )
    decoder_memory: options.DecoderMemory = None

    @property
    def seconds(self) -> float | None:
        """Seconds that decoding a file may take, None for no limit."""
        return self.timeout or None

    @property
    def memory(self) -> int | None:
        """Bytes that the process decoding a file may take. Raises OptionError."""
        return options.memory_bytes(self.decoder_memory)


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Options that choose the cluster and its workers. kind: "ray", or None for this machine alone."""

    kind: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            help="Run on a cluster of machines, by Ray Data (pip install 'videomae-cli[ray]'); the output is then a folder of "
            "Parquet shards (DIR/, s3://...), or one file made of them.",
            metavar="ray",
        ),
    ] = None
    address: Annotated[
        str | None,
        typer.Option(
            help="Which cluster. auto (the default): the one this machine belongs to; local: the cores of this machine.",
            metavar="auto|local|HOST:PORT",
        ),
    ] = None
    num_workers: Annotated[
        int | None,
        typer.Option(
            help="How many workers of the cluster hold a model. Default: one per GPU, or one per machine without GPUs."
        ),
    ] = None
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(help="How many GPUs each worker gets, such as 1 or 0.5; 0 for CPUs. Default: 1 if there are any."),
    ] = None
    shard_files: Annotated[
        int | None,
        typer.Option(
            min=1, help="Maximum number of videos in an output shard. Default: 16384, fewer for large vectors."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options for sampling, decoding limits, and running the model."""

    sampling: ClipOptions
    resize: options.Resize = None
    decoding: DecodingOptions
    engine: EngineOptions
    workers: options.Workers = None
    heads: options.Heads = None


@dataclass(frozen=True, kw_only=True)
class EmbedClipOptions(ClipOptions):
    """Options that choose the clips and frames of `embed`, which also knows the protocols of published features."""

    protocol: Annotated[
        str,
        options.PROTOCOL(
            help="paper: the published test protocol of the checkpoint's data, with the official code's pixels. thumos14, "
            "fineaction: VideoMAE V2's published features, a vector for each 16 frames, one every 4 or 16 frames.",
            metavar="auto|paper|thumos14|fineaction",
        ),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class EmbedRunOptions(RunOptions):
    """Options for sampling, decoding limits, and running the encoder of `embed`."""

    sampling: EmbedClipOptions


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """Options for where a batch runs, dry runs, and terminal output."""

    cluster: ClusterOptions
    ok_on_errors: options.OkOnErrors = False
    dry_run: options.DryRun = False
    terminal: ConsoleOptions


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """Options for pictures of one video's clips, and their output."""

    scale: Annotated[
        int | None,
        typer.Option(help="Enlarge the panels by this factor. Default: to at least 224 pixels.", metavar="N"),
    ] = None
    frames_dir: Annotated[
        Path | None, typer.Option(help="Write every panel's frames as single PNGs.", metavar="DIR")
    ] = None
    overwrite: options.Overwrite = False
    as_json: options.Json = False


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """Options for sampling and decoding one video, and the model's device."""

    clips: Annotated[int, options.CLIPS(min=1, help="How many clips of the file to show, one after the other.")] = 1
    sampling: options.Sampling = "auto"
    stride: options.Stride = None
    fps: options.Fps = None
    start: options.Start = None
    end: options.End = None
    pixels: options.Pixels = None
    resize: options.Resize = None
    decoding: DecodingOptions
    device: options.Device = "auto"
    heads: options.Heads = None


def takes_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Expand a command's option groups into single parameters, for Typer to read from its signature.

    A parameter annotated with a dataclass becomes its fields, which carry `Annotated[..., typer.Option(...)]` or are groups
    themselves; the command receives an instance. An instance as the parameter's default overrides the fields' defaults
    for this command alone. Raises TypeError if two options have one name.
    """
    hints = get_type_hints(command, include_extras=True)
    tops = [_Node(p.name, hints[p.name], p.default) for p in inspect.signature(command).parameters.values()]
    leaves = [leaf for top in tops for leaf in top.leaves()]
    counts = Counter(leaf.name for leaf in leaves)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise TypeError(f"{command.__name__} has two options named {', '.join(twice)}")

    @wraps(command)
    def grouped(**values: Any) -> None:
        command(**{top.name: top.built(values) for top in tops})

    # Keyword-only, so that options without a default may follow others; Typer passes all by name.
    keyword = inspect.Parameter.KEYWORD_ONLY
    grouped.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(leaf.name, keyword, default=leaf.default, annotation=leaf.hint) for leaf in leaves]
    )
    grouped.__annotations__ = {leaf.name: leaf.hint for leaf in leaves}
    return grouped


@dataclass(frozen=True)
class _Node:
    """An option, or a group of options.

    hint: its annotation; default: its default value (for a group, an instance), if it has one.
    """

    name: str
    hint: Any
    default: Any

    @cached_property
    def members(self) -> list[_Node]:
        """The members of a group, in declared order; none for an option."""
        if not (isinstance(self.hint, type) and is_dataclass(self.hint)):
            return []
        hints = get_type_hints(self.hint, include_extras=True)
        return [_Node(member.name, hints[member.name], self._default_of(member)) for member in fields(self.hint)]

    def _default_of(self, member: Field[Any]) -> Any:
        if self.default is not inspect.Parameter.empty:
            return getattr(self.default, member.name)
        return inspect.Parameter.empty if member.default is MISSING else member.default

    def leaves(self) -> Iterator[_Node]:
        """Yield the options below this node, in the order of the help."""
        if not self.members:
            yield self
        for member in self.members:
            yield from member.leaves()

    def built(self, values: Mapping[str, Any]) -> Any:
        """Return the value of an option, or the group built from the values of its options."""
        if not self.members:
            return values[self.name]
        return self.hint(**{member.name: member.built(values) for member in self.members})
