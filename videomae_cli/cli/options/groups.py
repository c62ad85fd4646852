"""Options that go together, each group a dataclass, and the decorator by which a command takes groups as parameters."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints

from videomae_cli.cli import options
from videomae_cli.cli.terminal import console
from videomae_cli.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model a command uses."""

    model: options.Model = options.DEFAULT_MODEL
    revision: options.Revision = None


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What runs the model, and how many clips at once."""

    device: options.Device = "auto"
    engine: options.Engine = "torch"
    dtype: options.Dtype = "auto"
    compiled: options.Compile = False
    batch_size: options.BatchSize = None

    def check(self) -> None:
        """Raise OptionError for an engine or a number format that is none, and for what goes together nowhere."""
        from videomae_cli.engines import check_engine

        check_engine(self.engine, self.dtype, self.compiled)


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """What becomes of an output that is there already, whole or begun."""

    resume: options.Resume = False
    retry_errors: options.RetryErrors = None
    overwrite: options.Overwrite = False


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """Which files of the folders given are taken."""

    recursive: options.Recursive = True
    include: options.Include = None
    exclude: options.Exclude = None
    shard: options.ShardOf = None


@dataclass(frozen=True, kw_only=True)
class ClipOptions:
    """Which clips and frames of a file the model sees."""

    sampling: options.Sampling = "auto"
    stride: options.Stride = None
    clips: options.Clips = None
    crops: options.Crops = None
    protocol: options.Protocol = "auto"
    fps: options.Fps = None
    start: options.Start = None
    end: options.End = None
    pixels: options.Pixels = None


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """What decoding one file may cost."""

    timeout: options.Timeout = 120.0
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
    """Which cluster does the work, and how. kind: "ray", or None for this machine alone."""

    kind: options.ClusterKind = None
    address: options.Address = None
    num_workers: options.NumWorkers = None
    gpus_per_worker: options.GpusPerWorker = None
    shard_files: options.ShardFiles = None


@dataclass(frozen=True, kw_only=True)
class ConsoleOptions:
    """What a command says on standard error while it works."""

    progress: options.ProgressMode = "auto"
    debug: options.Debug = False
    quiet: options.Quiet = False

    def configure(self) -> None:
        """Make the console as loud as asked for. Raises OptionError for a progress that is none."""
        console.configure(debug=self.debug, quiet=self.quiet)
        if self.progress not in ("auto", "plain", "none"):
            raise OptionError(f"unknown progress {self.progress!r}: choose auto, plain or none")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How files get through the model: the frames it sees, what decoding may cost, and what runs it."""

    sampling: ClipOptions
    resize: options.Resize = None
    decoding: DecodingOptions
    engine: EngineOptions
    workers: options.Workers = None
    heads: options.Heads = None


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """Where a batch is done, whether at all, and what is said of it."""

    cluster: ClusterOptions
    ok_on_errors: options.OkOnErrors = False
    dry_run: options.DryRun = False
    terminal: ConsoleOptions


def takes_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` a signature with the options of its groups in their places, as Typer is to see it.

    A parameter annotated with a dataclass becomes the fields of it, which carry `Annotated[..., typer.Option(...)]` or are
    groups themselves; the command gets the dataclass, built. An instance as the parameter's default gives the fields other
    defaults, for this command alone. Raises TypeError where two options have one name.
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

    # Keyword-only, which lets one without a default come after others: Typer passes all by name.
    keyword = inspect.Parameter.KEYWORD_ONLY
    grouped.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(leaf.name, keyword, default=leaf.default, annotation=leaf.hint) for leaf in leaves]
    )
    grouped.__annotations__ = {leaf.name: leaf.hint for leaf in leaves}
    return grouped


@dataclass(frozen=True)
class _Node:
    """An option, or a group of them. hint: its annotation; default: of a group an instance or none."""

    name: str
    hint: Any
    default: Any

    @property
    def members(self) -> list[_Node]:
        """What a group holds, in declared order; nothing for an option."""
        if not (isinstance(self.hint, type) and is_dataclass(self.hint)):
            return []
        hints = get_type_hints(self.hint, include_extras=True)
        return [_Node(member.name, hints[member.name], self._default_of(member)) for member in fields(self.hint)]

    def _default_of(self, member: Field[Any]) -> Any:
        if self.default is not inspect.Parameter.empty:
            return getattr(self.default, member.name)
        return inspect.Parameter.empty if member.default is MISSING else member.default

    def leaves(self) -> Iterator[_Node]:
        """The options, in the order of the help."""
        if not self.members:
            yield self
        for member in self.members:
            yield from member.leaves()

    def built(self, values: Mapping[str, Any]) -> Any:
        """The value of an option, or the group with the values of its options."""
        if not self.members:
            return values[self.name]
        return self.hint(**{member.name: member.built(values) for member in self.members})
