"""VideoMAE on a GPU: clips a second of ours and of transformers, and the share of what the device's matrix units can do.

    python benchmarks/gpu.py [--models base large] [--batch 32] [--repeats 20] [--device cuda]

First the matrix peak: the fastest of some large square products in bfloat16, in operations a second. Then, for each model
(random weights: time does not depend on them) and setting, clips of 16x224x224 a second:

* ours: uint8 clips in the computer's memory -> pinned transfer, normalisation on the device, logits back; with and without
  --compile;
* transformers: the same clips, already normalised and on the device, which is more than its pipeline does; eager attention,
  SDPA, SDPA compiled.

share: two operations a multiply-add of the encoder (norms, softmax and the like not counted) over the measured peak. On a
CPU (--device cpu --models tiny) it only shows that the script works.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
import transformers

from videomae_cli.engines import Logits, make_network, pick_engine
from videomae_cli.errors import OptionError
from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification, clip_gflops
from videomae_cli.video import PreprocessConfig, Preprocessor

SIZES = {
    "tiny": {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "image_size": 64,
    },
    "base": {},
    "large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
}


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def matrix_peak(device: torch.device) -> float:
    """Operations a second of the best bfloat16 product."""
    best = 0.0
    for size in (2048, 4096, 8192, 16384) if device.type != "cpu" else (1024,):
        one, two = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
        times = []
        for _ in range(12):
            synchronize(device)
            started = time.perf_counter()
            one @ two
            synchronize(device)
            times.append(time.perf_counter() - started)
        best = max(best, 2 * size**3 / statistics.median(times[2:]))
    return best


def build(name: str) -> VideoMAEForVideoClassification:
    torch.manual_seed(0)
    config = VideoMAEConfig(id2label={i: str(i) for i in range(400)}, use_mean_pooling=True, **SIZES[name])
    return VideoMAEForVideoClassification(config).eval()


def ours(name: str, device: torch.device, views: np.ndarray, compiled: bool) -> Callable[[], object]:
    net = build(name)
    engine = pick_engine("torch", "auto" if device.type != "cpu" else "bfloat16", device, compiled)
    network = make_network(Logits(net), engine, digest="", size=len(views))
    preprocessor = Preprocessor(PreprocessConfig())
    return lambda: network(preprocessor.to_pixel_values(views, device))


def theirs(name: str, device: torch.device, views: np.ndarray, attention: str, compiled: bool) -> Callable[[], object]:
    with tempfile.TemporaryDirectory() as folder:
        build(name).save_pretrained(folder)
        net = transformers.VideoMAEForVideoClassification.from_pretrained(
            folder, attn_implementation=attention, dtype=torch.bfloat16
        )
        net = net.eval().to(device)
    pixels = Preprocessor(PreprocessConfig()).to_pixel_values(views, device).to(torch.bfloat16)
    run = torch.compile(net, dynamic=False) if compiled else net

    def forward() -> object:
        with torch.inference_mode():
            return run(pixels).logits.float().cpu()

    return forward


def settings(
    name: str, device: torch.device, views: np.ndarray
) -> Iterator[tuple[str, Callable[[], Callable[[], object]]]]:
    yield "videomae", lambda: ours(name, device, views, compiled=False)
    yield "videomae --compile", lambda: ours(name, device, views, compiled=True)
    yield "transformers eager", lambda: theirs(name, device, views, "eager", compiled=False)
    yield "transformers sdpa", lambda: theirs(name, device, views, "sdpa", compiled=False)
    yield "transformers sdpa compiled", lambda: theirs(name, device, views, "sdpa", compiled=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=list(SIZES), default=["base", "large"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here")
    device = torch.device(arguments.device)
    title = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    peak = matrix_peak(device)
    print(f"{title}: bfloat16 matrix peak {peak / 1e12:.1f} TFLOP/s, torch {torch.__version__}", flush=True)
    for name in arguments.models:
        config = build(name).config
        size = (config.num_frames, *config.image_hw, 3)
        views = np.random.default_rng(0).integers(0, 256, (arguments.batch, *size), dtype=np.uint8)
        runs = {}
        for setting, make in settings(name, device, views):
            try:
                run = make()
                run()
            except (OptionError, torch.OutOfMemoryError, RuntimeError) as error:
                print(f"  {setting}: {str(error).splitlines()[0]}")
                continue
            runs[setting] = run
        times: dict[str, list[float]] = {setting: [] for setting in runs}
        for repeat in range(arguments.repeats + 2):
            for setting, run in runs.items():
                synchronize(device)
                started = time.perf_counter()
                run()
                synchronize(device)
                if repeat > 1:
                    times[setting].append(time.perf_counter() - started)
        rates = {setting: arguments.batch / statistics.median(measured) for setting, measured in times.items()}
        best = max((rate for setting, rate in rates.items() if setting.startswith("transformers")), default=None)
        print(f"{name + f', {arguments.batch} at once':<30}{'clips/s':>10}{'of peak':>9}{'of best peer':>14}")
        for setting, rate in rates.items():
            share = rate * 2e9 * clip_gflops(config) / peak
            beside = f"{rate / best:>13.2f}x" if best else ""
            print(f"  {setting:<28}{rate:>10.2f}{share:>9.0%}{beside}", flush=True)


if __name__ == "__main__":
    main()
