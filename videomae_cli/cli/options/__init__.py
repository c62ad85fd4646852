"""Declares the options that several commands share, each flag once; a single command's options are declared beside it.

An option that is the same everywhere is a type to annotate with: `device: options.Device = "auto"`. A flag whose meaning
differs between commands is declared here with what they have in common, and each command adds its own help:
`output: Annotated[Path, options.OUTPUT(help="The page to write.", metavar="FILE.html")]`.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from videomae_cli.errors import OptionError

DEFAULT_MODEL = "MCG-NJU/videomae-base-finetuned-kinetics"
DEFAULT_AUTOENCODER = "camera-motion-mae"

# Flags whose help text differs between commands.
MODEL = partial(typer.Option, "--model", "-m", metavar="NAME|HUB_ID|DIR")
INIT = partial(typer.Option, "--init", metavar="NAME|HUB_ID|DIR")
OUTPUT = partial(typer.Option, "--output", "-o")
FORMAT = partial(typer.Option, "--format")
WINDOW = partial(typer.Option, "--window", metavar="2s|500ms|16f")
HOP = partial(typer.Option, "--hop", metavar="1s|4f")
REPORT = partial(typer.Option, "--report")
LABELS = partial(typer.Option, "--labels", metavar="FILE")
TOP_K = partial(typer.Option, "--top-k", "-k", min=1)
METHOD = partial(typer.Option, "--method")
TARGET = partial(typer.Option, "--target", metavar="COLUMN")
CLIPS = partial(typer.Option, "--clips")
FRAMES = partial(typer.Option, "--frames")
PROTOCOL = partial(typer.Option, "--protocol")
FPS = partial(typer.Option, "--fps")
FRAME_FOLDERS = partial(
    typer.Option,
    help="Whether a folder of numbered pictures (img_00001.jpg, ...) is a clip: auto if it looks like one, not like a folder "
    "of photos.",
    metavar="auto|never|always",
)
IMAGE_SIZE = partial(typer.Option, "--image-size")
DTYPE = partial(typer.Option, "--dtype")
VIDEOS = partial(typer.Option, "--videos", metavar="PATH")
BATCH_SIZE = partial(typer.Option, "--batch-size", min=1)
TIMEOUT = partial(typer.Option, "--timeout")
MASK_RATIO = partial(typer.Option, "--mask-ratio")
CROP_SCALE = partial(typer.Option, "--crop-scale")
FLIP = partial(typer.Option, "--flip/--no-flip")
PROGRESS = partial(typer.Option, "--progress", metavar="auto|plain|none")

# What `video.lists` reads.
A_LIST = "A list holds one name per line, or names that each end in a zero byte (find -print0), or is a Parquet table."
Paths = Annotated[
    list[str],
    typer.Argument(
        help="Video files, folders to search for them, patterns ('clips/**/*.mp4'), each also in object storage "
        "(s3://bucket/clips/); @LIST for the names in a file, - for names, or one video, on standard input. " + A_LIST,
        metavar="PATH",
    ),
]
OneVideo = Annotated[str, typer.Argument(help="A video file.", metavar="PATH")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")]
Device = Annotated[str, typer.Option(help="Where to run the model.", metavar="auto|cpu|cuda|mps")]
Compile = Annotated[bool, typer.Option("--compile", help="Use torch.compile: slow to start, for long jobs on a GPU.")]
BatchSize = Annotated[
    int | None,
    BATCH_SIZE(
        max=4096, help="How many clips go through the model at once. Default: what suits the model and the device."
    ),
]
Heads = Annotated[
    int | None, typer.Option(min=1, help="Number of attention heads, if the checkpoint doesn't say or is wrong.")
]
Labels = Annotated[
    Path | None,
    LABELS(help="Label names for a checkpoint that has only LABEL_0, LABEL_1, ...: one per line, JSON, or CSV."),
]

# Sampling and decoding options.
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
Fps = Annotated[
    float | None,
    FPS(
        help="Sample by time, as if the file had this frame rate. Without it strides count the file's own frames. For a "
        "folder of frames it is the frames' rate, 30 by default."
    ),
]
Start = Annotated[str | None, typer.Option(help="Skip everything before this time.", metavar="SECONDS|HH:MM:SS")]
End = Annotated[str | None, typer.Option(help="Skip everything after this time.", metavar="SECONDS|HH:MM:SS")]
FrameFolders = Annotated[str, FRAME_FOLDERS("--frame-folders", "--frames")]
Pixels = Annotated[
    str | None,
    typer.Option(
        help="display: stretch frames whose file says that its pixels aren't square; stored: leave them as they are, as every "
        "published number does. Default: as the model was trained, if it says so; else stored in training and with "
        "the paper's protocol, display elsewhere.",
        metavar="display|stored",
    ),
]
Resize = Annotated[
    str | None,
    typer.Option(
        help="antialias: as the reference processor; opencv: as the official code. Default: antialias; opencv with "
        "the paper's protocol.",
        metavar="antialias|opencv",
    ),
]
DecoderMemory = Annotated[
    str | None,
    typer.Option(
        "--decoder-memory",
        help="Memory that decoding one file may take, such as 2GB or 500MB; a file that needs more fails. Default: "
        "what this machine can spare.",
        metavar="SIZE",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of processes that decode ahead of the model. Default: one per core, at most 16 outside a cluster.",
    ),
]

# Output options.
Output = Annotated[Path | None, OUTPUT(help="Write to this file instead of standard output.", metavar="FILE")]
RunFolder = Annotated[str, OUTPUT(help="The folder to write the checkpoint and its training record to.", metavar="DIR")]
Report = Annotated[
    Path | None,
    REPORT(
        help="Also write one HTML page with every file's frames, labels and failures; opens offline.",
        metavar="FILE.html",
    ),
]
Picture = Annotated[
    Path | None, OUTPUT(help="Write a film (.gif, .mp4, .webm) or a contact sheet of frames (.png).", metavar="FILE")
]
Hop = Annotated[str | None, HOP(help="Time, or frames, from one window to the next. Default: half a window.")]
PrintFormat = Annotated[str, FORMAT(help="What is printed.", metavar="table|json")]
Wide = Annotated[
    bool, typer.Option("--wide", help="All columns in CSV, instead of the few that a person wants to read.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an output that an earlier run did not complete.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing output, or the partial one of an earlier run.")
]
OkOnErrors = Annotated[bool, typer.Option("--ok-on-errors", help="Exit with 0 even if files failed.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Only show what would be done and about how long it would take; write nothing."),
]

# Options shared by training and reconstruction.
Mask = Annotated[
    str,
    typer.Option(
        help="What to hide: the same patches in all frames, patches anywhere, whole frames, or the last frames.",
        metavar="tube|random|frame|causal",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Random seed: the same seed gives the same result.")]
Repeats = Annotated[int | None, typer.Option(min=1, help="How many clips to draw from each file per epoch. Default 1.")]


def memory_bytes(size: str | None) -> int | None:
    """Parse a size such as "2GB", "500 MB" or "1.5GiB" to bytes. Raises OptionError."""
    if size is None:
        return None
    match = _SIZE.fullmatch(size.strip())
    count = float(match[1]) * _UNITS[match[2].upper()] if match else 0.0
    if not 2**28 <= count <= 2**50:
        raise OptionError.about(
            "decoder_memory", "--decoder-memory is a size such as 2GB or 500MB, from 256MiB on, not {size!r}", size=size
        )
    return int(count)


_UNITS = {"MB": 10**6, "GB": 10**9, "MIB": 2**20, "GIB": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(MB|GB|MIB|GIB)", re.IGNORECASE | re.ASCII)
