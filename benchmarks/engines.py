"""One clip of 16x224x224 through ViT-B/16: transformers against each of our engines, in turns, in one run.

    python benchmarks/engines.py [--repeats 5] [--only NAME ...] [--model base|camera-motion]

Random weights for ViT-B: time does not depend on them. transformers runs with SDPA in float32, its best exact setting on a CPU.
Prints seconds (median), the ratio to transformers, and how far logits are from ours in float32 (largest difference over the
largest logit, on random weights and noise). Converting and quantising are in none of the times; they are printed apart.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable

import torch
import transformers
from torch import Tensor

from videomae_cli.engines import Engine, Logits, make_network
from videomae_cli.errors import VideoMAEError
from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification, weights_digest

SETTINGS = [
    ("torch", "float32"),
    ("torch", "bfloat16"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
    ("onnx", "float32"),
    ("onnx", "int8"),
]
Run = Callable[[Tensor], Tensor]


def model() -> VideoMAEForVideoClassification:
    """ViT-B with random weights: the same in every call."""
    torch.manual_seed(0)
    config = VideoMAEConfig(id2label={i: str(i) for i in range(400)}, use_mean_pooling=True)
    return VideoMAEForVideoClassification(config).eval()


def peer() -> Run:
    """transformers with the same weights."""
    ours = model()
    with tempfile.TemporaryDirectory() as folder:
        ours.save_pretrained(folder)
        theirs = transformers.VideoMAEForVideoClassification.from_pretrained(
            folder, attn_implementation="sdpa", dtype=torch.float32
        ).eval()

    def run(pixel_values: Tensor) -> Tensor:
        with torch.inference_mode():
            return theirs(pixel_values).logits  # type: ignore[no-any-return]

    return run


def contenders(wanted: list[str] | None) -> dict[str, Run]:
    """All that can run here, transformers first."""
    found = {"transformers sdpa float32": peer()}
    noise = torch.Generator().manual_seed(1)
    clips = [torch.randn(1, 16, 3, 224, 224, generator=noise) for _ in range(4)]
    for name, dtype in SETTINGS:
        title = f"{name} {dtype}"
        if wanted and title not in wanted:
            continue
        started = time.perf_counter()
        net = model()
        try:
            engine = Engine(name, dtype, torch.device("cpu"))
            found[title] = make_network(Logits(net), engine, digest=weights_digest(net), calibration=lambda: clips)
        except VideoMAEError as error:
            print(f"{title}: {error}")
            continue
        print(f"{title}: ready in {time.perf_counter() - started:.1f} s", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", help='such as "openvino int8"')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["VIDEOMAE_CACHE"] = cache
        runs = contenders(arguments.only)
        clip = torch.randn(1, 16, 3, 224, 224, generator=torch.Generator().manual_seed(2))
        with torch.inference_mode():
            truth = model()(clip).logits
        times: dict[str, list[float]] = {name: [] for name in runs}
        off: dict[str, float] = {}
        for repeat in range(arguments.repeats + 1):
            for name, run in runs.items():
                started = time.perf_counter()
                logits = run(clip)
                if repeat:  # the first warms up
                    times[name].append(time.perf_counter() - started)
                off[name] = float((logits - truth).abs().max() / truth.abs().max())
    base = statistics.median(next(iter(times.values())))
    print(f"{'':<28}{'median s':>10}{'ratio':>8}{'logits off by':>16}")
    for name, measured in times.items():
        middle = statistics.median(measured)
        print(f"{name:<28}{middle:>10.3f}{middle / base:>8.2f}{off[name]:>16.1e}")


if __name__ == "__main__":
    main()
