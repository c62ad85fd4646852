"""Options that several commands share, each written once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from videomae_cli.errors import OptionError

DEFAULT_MODEL = "MCG-NJU/videomae-base-finetuned-kinetics"

# What `video.lists` reads.
A_LIST = (
    "A list holds a name a line, in UTF-8, UTF-16, UTF-32 or the bytes of the names; quotes and blanks around a name, "
    "file://, ~ and lines that begin with # are understood where no file is called so. Or names that each end in a zero byte "
    "(find -print0), or a Parquet table."
)
Paths = Annotated[
    list[str],
    typer.Argument(
        help="Video files, folders to search for them, patterns ('clips/**/*.mp4'), each also in object storage "
        "(s3://bucket/clips/); @LIST for the names in a file, - for names, or one video, on standard input. " + A_LIST,
        metavar="PATH",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        envvar="VIDEOMAE_MODEL",
        help="A bundled name (camera-motion), a known short name, a hub id, or a directory.",
        metavar="NAME|HUB_ID|DIR",
    ),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")]
Device = Annotated[str, typer.Option(help="Where to run the model.", metavar="auto|cpu|cuda|mps")]
Engine = Annotated[
    str,
    typer.Option(
        help="What runs the model. openvino: on the CPU, with the number formats that it has units for (pip install "
        "'videomae-cli[openvino]'); videomae bench says which is faster here.",
        metavar="torch|openvino",
    ),
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile with torch.compile: slow to start, for long jobs on a GPU.")
]
Dtype = Annotated[
    str,
    typer.Option(
        help="Number format. auto: float32 on the CPU, half precision on CUDA, with OpenVINO bfloat16 where the CPU has units "
        "for it; int8: OpenVINO, calibrated on clips of the job.",
        metavar="auto|float32|bfloat16|float16|int8",
    ),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write to this file instead of standard output.", metavar="FILE")
]
OutputOrFolder = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        help="Write to this file instead of standard output; with --cluster also a folder of shards (DIR/, s3://...).",
        metavar="FILE|DIR/",
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report",
        help="Write one HTML page too, to look at: frames, labels and failures of every file; opens offline.",
        metavar="FILE.html",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Tracebacks, decoder messages and a log of what is done.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes: errors only.")]

# How to sample.
Sampling = Annotated[
    str,
    typer.Option(
        help="How frames are chosen: every STRIDE-th (dense), spread over equal parts (uniform), or one of each "
        "segment (segments). auto: as the checkpoint's training data was.",
        metavar="auto|dense|uniform|segments",
    ),
]
Stride = Annotated[
    int | None,
    typer.Option(
        help="Frames from one sampled frame to the next, in the file's frames (with --fps, in that rate's). Default 4."
    ),
]
Clips = Annotated[
    int | None, typer.Option(help="Clips a file. Default: one for each 10 seconds, at least 1, at most 10.")
]
Crops = Annotated[int | None, typer.Option(help="Crops a clip along its long side: 1 or 3. Default 1.")]
Protocol = Annotated[
    str,
    typer.Option(
        help="paper: the published test protocol of the checkpoint's data, with the official code's pixels.",
        metavar="auto|paper",
    ),
]
Fps = Annotated[
    float | None,
    typer.Option(
        help="Sample by time, as if the file had this frame rate. Without it strides count the file's own frames."
    ),
]
Start = Annotated[str | None, typer.Option(help="Leave out what comes before this time.", metavar="SECONDS|HH:MM:SS")]
End = Annotated[str | None, typer.Option(help="Leave out what comes after this time.", metavar="SECONDS|HH:MM:SS")]
Timeout = Annotated[float, typer.Option(help="Seconds that decoding one file may take; 0 for no limit.")]
DecoderMemory = Annotated[
    str | None,
    typer.Option(
        help="Memory that the process decoding one file may take, as 2GB or 500MB; a file that needs more fails. Default: "
        "what this machine can spare.",
        metavar="SIZE",
    ),
]
Resize = Annotated[
    str | None,
    typer.Option(
        help="antialias: as the reference processor; opencv: as the official code. Default: antialias; of the paper's "
        "protocol opencv.",
        metavar="antialias|opencv",
    ),
]
Pixels = Annotated[
    str | None,
    typer.Option(
        help="display: stretched to squares where a file says that its pixels are none; stored: as they are, which every "
        "published number was made with. Default: as the model was trained, where it says so; else stored in training and with "
        "the paper's protocol, display elsewhere.",
        metavar="display|stored",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, max=4096, help="Clips through the model at once. Default: as model and device have it best."),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        help="Label names, where the checkpoint has only LABEL_0, LABEL_1, ...: one a line, JSON, or CSV.",
        metavar="FILE",
    ),
]
Heads = Annotated[
    int | None, typer.Option(min=1, help="Attention heads, where the checkpoint can't tell or tells wrong.")
]

# Which files, and what becomes of a long job.
Recursive = Annotated[bool, typer.Option(help="Whether folders are searched to the bottom.")]
Include = Annotated[
    list[str] | None,
    typer.Option(
        help="Only files whose name or path matches; in folders instead of the known video suffixes. May be repeated.",
        metavar="PATTERN",
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(help="No files or folders whose name or path matches. May be repeated.", metavar="PATTERN"),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Processes that decode ahead of the model. Default: one a core, at most 16; on a cluster one a core.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an output that an earlier run did not complete.")]
RetryErrors = Annotated[
    str | None,
    typer.Option(
        "--retry-errors",
        help="With --resume: do files again that failed in this way, also of a complete output; all: every failure.",
        metavar="KIND,...|all",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an output, or what an earlier run kept of one, by a new one.")
]
ShardOf = Annotated[
    str | None,
    typer.Option(
        "--shard", help="Only part I (from 1) of N of the files, for N machines; join with merge.", metavar="I/N"
    ),
]
OkOnErrors = Annotated[bool, typer.Option("--ok-on-errors", help="Exit with 0 although files failed.")]
ClusterKind = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        help="Run on a cluster of machines, by Ray Data (pip install 'videomae-cli[ray]'); the output is then a folder of "
        "Parquet shards (DIR/, s3://...), or one file made of them.",
        metavar="ray",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Of the cluster. auto, the default: the one that this machine belongs to; local: the cores of this machine.",
        metavar="auto|local|HOST:PORT",
    ),
]
NumWorkers = Annotated[
    int | None,
    typer.Option(help="Of the cluster: workers that hold a model. Default: one a GPU, without GPUs one a machine."),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        help="Of the cluster: GPUs for each worker, such as 1 or 0.5; 0 for CPUs. Default: 1 where there are."
    ),
]
ShardFiles = Annotated[
    int | None,
    typer.Option(
        min=1, help="Of the cluster: videos in an output shard, at most. Default: 16384, less of large vectors."
    ),
]
ProgressMode = Annotated[
    str,
    typer.Option(
        "--progress",
        help="auto: a bar on a terminal, else nothing; plain: a line now and then, for a log.",
        metavar="auto|plain|none",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only say what would be done, and how long it may take; writes nothing.")
]

ReplaceFile = Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it is there.")]

# What `reconstruct` and `attend` draw.
Picture = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Write a film (.gif, .mp4, .webm) or a contact sheet of frames (.png).",
        metavar="FILE",
    ),
]
ReplaceFiles = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there already.")]
FramesDir = Annotated[
    Path | None, typer.Option("--frames-dir", help="Write every panel's frames as single PNGs.", metavar="DIR")
]
Scale = Annotated[
    int | None,
    typer.Option(help="Times that panels are enlarged. Default: until they are 224 pixels wide.", metavar="N"),
]
OneVideo = Annotated[str, typer.Argument(help="A video file.", metavar="PATH")]
FewClips = Annotated[int, typer.Option(min=1, help="Clips of the file, shown one after the other.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a line.")]

# Training.
RunFolder = Annotated[
    str,
    typer.Option("--output", "-o", help="The folder to write: the checkpoint, and how it came about.", metavar="DIR"),
]
ValFraction = Annotated[
    float, typer.Option("--val", help="Part of the files that is held out, where the data doesn't say; 0 for none.")
]
CheckData = Annotated[bool, typer.Option(help="Whether every file is tried before training begins.")]
Epochs = Annotated[
    int | None, typer.Option(min=1, help="Times through the data. Default: as published for a model of this size.")
]
TrainBatch = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Clips at once, of each process. Default: at most 16.")
]
Accumulate = Annotated[
    int | None, typer.Option(min=1, help="Batches to a step: larger steps where memory is small. Default 1.")
]
Recipe = Annotated[
    str,
    typer.Option(
        help="Numbers where nothing else is said. paper: all as published, for the data that the clips are sampled as; "
        "paper-NAME: as for kinetics, ssv2 or ucf101. docs/training.md has them all.",
        metavar="default|paper|paper-NAME",
    ),
]
LearningRate = Annotated[
    float | None, typer.Option(help="Peak learning rate. Default: the published one, scaled to the batch.")
]
FloorRate = Annotated[
    float | None,
    typer.Option(
        "--min-lr",
        help="Learning rate at the end. Default: as published, for every 256 clips of a step 1e-6 (pretrain 1e-5).",
    ),
]
Betas = Annotated[
    tuple[float, float] | None,
    typer.Option(help="AdamW's two. Default 0.9 0.999; pretrain 0.9 0.95.", metavar="BETA1 BETA2"),
]
ClipGrad = Annotated[
    float | None, typer.Option(min=0, help="The most that the norm of the gradient may be. Default 0: no bound.")
]
WeightDecay = Annotated[float | None, typer.Option(min=0, help="Default 0.05.")]
Repeats = Annotated[
    int | None, typer.Option(min=1, help="Times that a file is drawn in an epoch, each time anew. Default 1.")
]
Patience = Annotated[
    int | None, typer.Option(min=1, help="Stop after so many epochs without a better score on held-out clips.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of everything that is drawn at random.")]
TrainDtype = Annotated[
    str,
    typer.Option(
        help="Of the products; the weights stay float32. auto: bfloat16 on CUDA that has it, else float32.",
        metavar="auto|float32|bfloat16",
    ),
]
GradientCheckpointing = Annotated[
    bool, typer.Option("--gradient-checkpointing", help="Much less memory for a third more time.")
]
SetValues = Annotated[
    list[str] | None,
    typer.Option("--set", help="For a task of your own. May be repeated.", metavar="NAME=VALUE"),
]
ResumeRun = Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder, if there is one.")]
OverwriteRun = Annotated[bool, typer.Option("--overwrite", help="Replace the run in the folder by a new one.")]


def memory_bytes(size: str | None) -> int | None:
    """The bytes that a size such as "2GB", "500 MB" or "1.5GiB" stands for. Raises OptionError."""
    if size is None:
        return None
    match = _SIZE.fullmatch(size.strip())
    count = float(match[1]) * _UNITS[match[2].upper()] if match else 0.0
    if not 2**28 <= count <= 2**50:
        raise OptionError(f"--decoder-memory is a size such as 2GB or 500MB, from 256MiB on, not {size!r}")
    return int(count)


_UNITS = {"MB": 10**6, "GB": 10**9, "MIB": 2**20, "GIB": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(MB|GB|MIB|GIB)", re.IGNORECASE | re.ASCII)
