"""`videomae export`: a model as a file that runs without this package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import LoudnessOptions, takes_groups
from videomae_cli.cli.terminal import console, streams

if TYPE_CHECKING:
    from videomae_cli.api.export import ExportedModel


@takes_groups
def export(
    model: Annotated[str, typer.Argument(help="A checkpoint, as --model takes it elsewhere.", metavar="MODEL")],
    output: Annotated[
        Path, typer.Argument(help="The file to write: .onnx, .xml (OpenVINO) or .pt2 (PyTorch).", metavar="FILE")
    ],
    *,
    format: Annotated[
        str | None,
        options.FORMAT(help="What to write, if the file's ending doesn't say.", metavar="onnx|openvino|torch"),
    ] = None,
    dtype: Annotated[
        str,
        options.DTYPE(
            help="What the model computes in. int8: ONNX and OpenVINO only; bfloat16: PyTorch only.",
            metavar="float32|float16|bfloat16|int8",
        ),
    ] = "float32",
    uint8: Annotated[
        bool,
        typer.Option(
            "--uint8", help="Take RGB frames (B, T, H, W, 3) of bytes at the model's size, and normalise them inside."
        ),
    ] = False,
    features: Annotated[
        bool, typer.Option("--features", help="Export a classifier's encoder: embeddings instead of logits.")
    ] = False,
    videos: Annotated[
        list[str] | None,
        options.VIDEOS(
            help="Videos to try the file on, and to calibrate int8 for OpenVINO on. Default: the film of videomae demo."
        ),
    ] = None,
    labels: options.Labels = None,
    revision: options.Revision = None,
    heads: options.Heads = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    loudness: LoudnessOptions,
) -> None:
    """Write a model as a file that ONNX Runtime, OpenVINO or PyTorch runs without this program.

    The file is run on real clips and compared with the original before it gets its name.
    """
    loudness.configure()
    from videomae_cli.api.export import export as export_model
    from videomae_cli.cli.terminal.display import consoles, waiting
    from videomae_cli.cli.terminal.transfers import bring

    bring(model, revision)
    with waiting(f"exporting {model}", consoles()[1]):
        written = export_model(
            model,
            output,
            format=format,
            dtype=dtype,
            features=features,
            uint8=uint8,
            videos=videos or (),
            labels=labels,
            revision=revision,
            heads=heads,
            overwrite=overwrite,
        )
    if as_json:
        streams.put_json(written.as_dict())
    else:
        _say(written)
    beside = [Path(file) for file in written.files if file != written.path]
    parts = f"weights in {', '.join(file.name for file in beside)}" if beside else ""
    console.wrote(output, *_facts(written), parts, beside=beside)
    console.fail_of(written.failures)


def _say(written: ExportedModel) -> None:
    shape = ", ".join("B" if size is None else str(size) for size in written.input_shape)
    result = ", ".join("B" if size is None else str(size) for size in written.output_shape)
    streams.put(f"{written.model}: {written.input} ({shape}) -> {written.output} ({result})")
    same = "" if written.agree is None else f"; same best label: {written.agree:.0%}"
    streams.put(
        f"largest difference from PyTorch in float32 on {written.clips} clips: {written.difference:.1e}, "
        f"where outputs go up to {written.largest:.2g}{same}"
    )
    for note in written.notes:
        streams.remark(note)


def _facts(written: ExportedModel) -> list[str]:
    names = {"onnx": f"ONNX, opset {written.opset}", "openvino": "OpenVINO", "torch": "torch.export"}
    return [names[written.format], written.dtype]
