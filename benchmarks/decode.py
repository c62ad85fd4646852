"""Decoding speed, side by side in one run: videomae's reader, PyAV, decord2 and torchcodec, as far as installed.

    python benchmarks/decode.py [--files FOLDER] [--repeats 5]

Three tasks on files made here, whose frames carry their number, so that wrong frames are seen:

    middle   16 frames at stride 4 from the middle of 10 s of 340x256
    spread   16 frames over 10 minutes of 1080p, a keyframe every 250
    windows  every window of 16 frames at stride 4 of 2 minutes of 720p

Every contender opens the file anew, gets as many threads as it likes, and delivers whole RGB frames. The contenders take
turns, so that a busy machine slows them alike; the ratios of the medians to videomae's are what counts, and on a very
busy machine rather those of the processor time, all threads together. Memory: the peak over what the process holds after
the imports, for 16 frames through videomae's 224-pixel transform, from files of growing length and at 4K.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from videomae_cli.video import FrameTransform, open_video

BITS = 16
HLG = 18
ENCODING = {
    "libx264": {"preset": "veryfast", "sc_threshold": "0", "x264-params": "open-gop=0"},
    "libx265": {"preset": "ultrafast", "x265-params": "scenecut=0:open-gop=0:log-level=none"},
}
Read = Callable[[str, Sequence[Sequence[int]]], Iterator[np.ndarray]]


def make_film(
    path: Path,
    *,
    size: tuple[int, int],
    count: int,
    rate: int,
    gop: int,
    copies: int = 1,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
) -> None:
    """`count` frames of a drifting texture, each with its number as a row of blocks, `copies` times over."""
    width, height = size
    chance = np.random.default_rng(0)
    texture = chance.integers(0, 256, (height // 8 + 64, width // 8 + 64, 3), dtype=np.uint8)
    texture = texture.repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, options={**ENCODING[codec], "g": str(gop)})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        if pix_fmt == "yuv420p10le":
            stream.codec_context.color_trc = HLG
        packets = []
        for number in range(count):
            image = texture[number % 256 : number % 256 + height, number % 512 : number % 512 + width].copy()
            draw_number(image, number)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, rate)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for _ in range(copies):
            for packet in packets:
                output.mux(packet)
            # Muxing has set the packets to the stream's clock; the next copy continues where this one ends.
            ticks = round(count / rate / packets[0].time_base)
            for packet in packets:
                packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks


def draw_number(image: np.ndarray, number: int) -> None:
    """The number in binary along the top."""
    height, width = image.shape[:2]
    for bit in range(BITS):
        value = 255 * (number >> bit & 1)
        image[: height // 8, bit * width // BITS : (bit + 1) * width // BITS] = value


def read_number(image: np.ndarray) -> int:
    """What `draw_number` drew."""
    height, width = image.shape[:2]
    centres = [image[height // 16, int((bit + 0.5) * width / BITS)].mean() > 127 for bit in range(BITS)]
    return sum(1 << bit for bit, on in enumerate(centres) if on)


def read_videomae(path: str, windows: Sequence[Sequence[int]]) -> Iterator[np.ndarray]:
    with open_video(path) as reader:
        for window in windows:
            yield reader.read(window)


def read_pyav(path: str, windows: Sequence[Sequence[int]]) -> Iterator[np.ndarray]:
    """The careful idiom: seek to the keyframe before the frame when that skips something, walk by time stamps."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        per_frame = 1 / (stream.average_rate * stream.time_base)
        position, frames = -1, container.decode(stream)
        for window in windows:
            found = []
            for index in window:
                if index > position + 48:
                    container.seek(int(index * per_frame), stream=stream, backward=True)
                    frames = container.decode(stream)
                while position != index:
                    frame = next(frames)
                    position = round(frame.pts / per_frame)
                found.append(frame.to_ndarray(format="rgb24"))
            yield np.stack(found)


def read_decord(path: str, windows: Sequence[Sequence[int]]) -> Iterator[np.ndarray]:
    import decord

    reader = decord.VideoReader(path)
    for window in windows:
        yield reader.get_batch(list(window)).asnumpy()


def read_torchcodec(path: str, windows: Sequence[Sequence[int]]) -> Iterator[np.ndarray]:
    from torchcodec.decoders import VideoDecoder

    reader = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=0)
    for window in windows:
        yield reader.get_frames_at(list(window)).data.numpy()


def contenders() -> dict[str, Read]:
    """The decoders that can be imported here."""
    found: dict[str, Read] = {"videomae": read_videomae, "pyav": read_pyav}
    if importlib.util.find_spec("decord"):
        found["decord2"] = read_decord
    if importlib.util.find_spec("torchcodec"):
        try:
            import torchcodec.decoders  # noqa: F401
        except (ImportError, RuntimeError, OSError) as error:
            print(f"torchcodec can't be imported: {str(error).splitlines()[0]}", file=sys.stderr)
        else:
            found["torchcodec"] = read_torchcodec
    return found


def measure(read: Read, path: str, windows: Sequence[Sequence[int]], period: int) -> tuple[float, float, int]:
    """(seconds, seconds of processor time, how many frames are not the ones asked for).

    The film's numbers start again after `period` frames.
    """
    started, working, wrong = time.perf_counter(), time.process_time(), 0
    for window, frames in zip(windows, read(path, windows), strict=True):
        wrong += sum(read_number(frame) != index % period for index, frame in zip(window, frames, strict=True))
    return time.perf_counter() - started, time.process_time() - working, wrong


def film(folder: Path, name: str, **settings: object) -> Path:
    path = folder / name
    if not path.exists():
        print(f"making {name}", file=sys.stderr)
        unfinished = path.with_suffix(".part.mp4")
        make_film(unfinished, **settings)  # type: ignore[arg-type]
        unfinished.rename(path)
    return path


def warm_cache(path: Path) -> None:
    """Have the file in memory, so that no contender waits for the disk."""
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass


def speed(folder: Path, repeats: int, wanted: Sequence[str]) -> None:
    """The table of times."""
    makers = {
        "middle": lambda: (
            film(folder, "middle.mp4", size=(340, 256), count=300, rate=30, gop=250),
            [range(120, 181, 4)],
            300,
        ),
        "spread": lambda: (
            film(folder, "spread.mp4", size=(1920, 1080), count=1500, rate=25, gop=250, copies=10),
            [[int((x + 0.5) * 15000 / 16) for x in range(16)]],
            1500,
        ),
        "windows": lambda: (
            film(folder, "windows.mp4", size=(1280, 720), count=900, rate=30, gop=250, copies=4),
            [range(first, first + 61, 4) for first in range(0, 3600 - 60, 64)],
            900,
        ),
    }
    readers = contenders()
    print(f"{'task':<10}{'reader':<12}{'median s':>10}{'ratio':>7}{'CPU s':>9}{'ratio':>7}{'wrong frames':>14}")
    for task in wanted:
        path, windows, period = makers[task]()
        times: dict[str, list[float]] = {name: [] for name in readers}
        work: dict[str, list[float]] = {name: [] for name in readers}
        wrong = dict.fromkeys(readers, 0)
        warm_cache(path)
        for _ in range(repeats):
            for name, read in readers.items():
                seconds, busy, bad = measure(read, str(path), windows, period)
                wrong[name] += bad
                times[name].append(seconds)
                work[name].append(busy)
        for name in readers:
            median, busy = statistics.median(times[name]), statistics.median(work[name])
            first_median, first_busy = statistics.median(times["videomae"]), statistics.median(work["videomae"])
            print(
                f"{task:<10}{name:<12}{median:>10.3f}{median / first_median:>7.2f}"
                f"{busy:>9.3f}{busy / first_busy:>7.2f}{wrong[name]:>14}",
                flush=True,
            )


def peak_memory(path: str) -> None:
    """Print by how many MB the process grew over its imports, reading 16 frames spread over the file."""
    import torch

    from videomae_cli.video.native import load_av, load_cv2

    load_av()
    load_cv2()
    torch.set_num_threads(1)
    transform = FrameTransform(shortest_edge=224, size=None, crop=(224, 224))
    transform(np.zeros((300, 300, 3), np.uint8))
    before = _peak_kilobytes()
    with open_video(path) as reader:
        reader.read([int(x * (reader.num_frames - 1) / 15) for x in range(16)], transform=transform)
    print(f"{(_peak_kilobytes() - before) / 1024:.0f}")


def _peak_kilobytes() -> int:
    """VmHWM, not getrusage's ru_maxrss: on Linux a new process inherits the latter from the one that started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise SystemExit("memory is measured on Linux only")


def memory(folder: Path) -> None:
    """The table of memory, each file in a process of its own."""
    films = {
        "1 minute 1080p": film(folder, "minute.mp4", size=(1920, 1080), count=1500, rate=25, gop=250),
        "10 minutes 1080p": film(folder, "spread.mp4", size=(1920, 1080), count=1500, rate=25, gop=250, copies=10),
        "4K": film(folder, "4k.mp4", size=(3840, 2160), count=100, rate=25, gop=50),
        "4K HEVC": film(folder, "4k-hevc.mp4", size=(3840, 2160), count=40, rate=25, gop=50, codec="libx265"),
        "4K HEVC, 10 bits, HLG": film(
            folder,
            "4k-hlg.mp4",
            size=(3840, 2160),
            count=40,
            rate=25,
            gop=50,
            codec="libx265",
            pix_fmt="yuv420p10le",
        ),
    }
    print(f"\n{'file':<24}{'MB over the imports':>20}")
    for name, path in films.items():
        command = [sys.executable, __file__, "--peak-memory-of", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"{name:<24}{done.stdout.strip():>20}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, help="keep the films in this folder, and use those that are there")
    parser.add_argument("--repeats", type=int, default=5)
    tasks = ["middle", "spread", "windows", "memory"]
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=tasks)
    parser.add_argument("--peak-memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_memory_of:
        peak_memory(options.peak_memory_of)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.files or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        speed(folder, options.repeats, [task for task in options.tasks if task != "memory"])
        if "memory" in options.tasks:
            memory(folder)


if __name__ == "__main__":
    main()
