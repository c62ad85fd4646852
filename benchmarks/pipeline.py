"""A folder of files against the model alone: how much of the model's own rate is left when files must be decoded.

    python benchmarks/pipeline.py [--files 12] [--repeats 3] [--model vit-b|camera-motion] [--batch-size N]

The model alone gets tensors that are ready (float32, normalised) in the same batches; the folder goes through
`pipeline.Classifier` as `videomae classify` has it: found, decoded in its own processes, resized, cropped, normalised,
classified. Both in turns in one process, so that a busy machine slows them alike. Loading the model and starting the
first decoder are in neither. ViT-B has random weights: its time doesn't depend on them.

    python benchmarks/pipeline.py --soak 2000

One process over that many files with the small model: the memory of the process and of its decoders as it goes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import torch

from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification
from videomae_cli.pipeline import Classifier, auto_batch_size
from videomae_cli.video import Decoder, FoundVideo, PreprocessConfig, Preprocessor, SamplingSpec, auto_workers


def make_film(path: Path, *, seconds: float, size: tuple[int, int] = (340, 256)) -> None:
    """Drifting texture at 25 frames a second, H.264 as x264 has it by default."""
    chance = np.random.default_rng(0)
    texture = chance.integers(0, 256, (80, 120, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(int(seconds * 25)):
            image = texture[number : number + size[1], 2 * number : 2 * number + size[0]]
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        output.mux(stream.encode(None))


def make_classifier(name: str, batch_size: int | None) -> tuple[Classifier, SamplingSpec]:
    """The model and how its clips are sampled: one clip a file."""
    if name == "vit-b":
        torch.manual_seed(0)
        config = VideoMAEConfig(id2label={i: str(i) for i in range(400)}, use_mean_pooling=True)
        model = VideoMAEForVideoClassification(config).eval()
    else:
        model = VideoMAEForVideoClassification.from_pretrained(name).eval()
    size = batch_size or auto_batch_size(model.config, torch.device("cpu"))
    processor = PreprocessConfig.from_dict({}, model.config.image_hw)
    return Classifier(model, Preprocessor(processor), name, batch_size=size), SamplingSpec(clips=1)


def alone(classifier: Classifier, ready: torch.Tensor) -> float:
    """Seconds of the model over tensors that are ready."""
    started = time.perf_counter()
    with torch.inference_mode():
        for first in range(0, len(ready), classifier.batch_size):
            classifier.model(ready[first : first + classifier.batch_size])
    return time.perf_counter() - started


def through_files(classifier: Classifier, spec: SamplingSpec, found: list[FoundVideo], decoder: Decoder) -> float:
    """Seconds of the whole pipeline over as many files."""
    started = time.perf_counter()
    done = sum(result.error is None for result in classifier(found, sampling=spec, decoder=decoder))
    seconds = time.perf_counter() - started
    assert done == len(found), "every file is good"
    return seconds


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    """The ratio of the two rates, in turns."""
    classifier, spec = make_classifier(arguments.model, arguments.batch_size)
    original = folder / "film.mp4"
    make_film(original, seconds=10)
    found = []
    for number in range(arguments.files):
        shutil.copyfile(original, folder / f"{number}.mp4")
        found.append(FoundVideo(str(folder / f"{number}.mp4")))
    height, width = classifier.model.config.image_hw
    views = np.random.default_rng(0).integers(0, 256, (len(found), 16, height, width, 3), dtype=np.uint8)
    ready = classifier.preprocessor.to_pixel_values(views)
    del views
    with Decoder(workers=auto_workers(len(found))) as decoder:
        through_files(classifier, spec, found[: decoder.workers + 1], decoder)  # starts the processes
        pairs = []
        for _ in range(arguments.repeats):
            pairs.append((alone(classifier, ready), through_files(classifier, spec, found, decoder)))
            a, b = pairs[-1]
            print(f"model alone {len(found) / a:.2f} clips/s, folder {len(found) / b:.2f} clips/s, ratio {a / b:.3f}")
    middle = statistics.median(a / b for a, b in pairs)
    print(f"{arguments.model}, {len(found)} files, batches of {classifier.batch_size}: median ratio {middle:.3f}")


def soak(count: int, folder: Path) -> None:
    """Resident memory along a long list; links, so that the disk holds one film."""
    classifier, spec = make_classifier("camera-motion", None)
    original = folder / "film.mp4"
    make_film(original, seconds=2)
    found = []
    for number in range(count):
        (folder / f"{number}.mp4").hardlink_to(original)
        found.append(FoundVideo(str(folder / f"{number}.mp4")))
    started = time.perf_counter()
    with Decoder(workers=auto_workers(count)) as decoder:
        for number, _ in enumerate(classifier(found, sampling=spec, decoder=decoder), 1):
            if number % max(1, count // 8) == 0:
                rate = number / (time.perf_counter() - started)
                children = [resident(pid) for pid in decoder.processes]
                print(f"{number} files: {resident(os.getpid())} MB, decoders {children} MB, {rate:.1f} files/s")


def resident(pid: int) -> int:
    """MB of memory that a process holds (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="vit-b")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--soak", type=int)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.soak:
            soak(arguments.soak, Path(scratch))
        else:
            compare(arguments, Path(scratch))


if __name__ == "__main__":
    main()
