"""The virtual camera: what each label means as a path of similarity transforms.

A pixel u (counted from the centre of the view, x right, y down) of frame i shows the scene point
``centre[i] + scale[i] * R(angle[i]) @ u``. Labels name what the *camera* does: panning right moves the centre to the
right, so the scene moves left in the picture; rolling clockwise turns the camera clockwise, so the scene turns
counter-clockwise in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LABELS = (
    "static",
    "pan left",
    "pan right",
    "tilt up",
    "tilt down",
    "zoom in",
    "zoom out",
    "roll clockwise",
    "roll counter-clockwise",
)
FRAMES = 16
SIZE = 64  # pixels of the square view

# Smallest motion that still gets a label, and the largest rendered, a step between two sampled frames.
PAN_SPEED = (0.25, 7.0)  # view pixels a step
ZOOM_SPEED = (0.006, 0.075)  # natural log of scale a step
ROLL_SPEED = (0.008, 0.105)  # radians a step


@dataclass(frozen=True)
class CameraPath:
    """A camera path of T frames. centre (T, 2) in view pixels of the scene, scale (T,), angle (T,) in radians."""

    centre: Array
    scale: Array
    angle: Array

    @cached_property
    def _affines(self) -> Array:
        cos, sin = self.scale * np.cos(self.angle), self.scale * np.sin(self.angle)
        return np.stack([np.stack([cos, -sin, self.centre[:, 0]], 1), np.stack([sin, cos, self.centre[:, 1]], 1)], 1)

    def affine(self, frame: int) -> Array:
        """The (2, 3) matrix that takes a centred view pixel of `frame` to the scene."""
        return np.asarray(self._affines[frame])

    def flow(self, points: Array) -> Array:
        """How far scene points seen at `points` (P, 2) in each frame move until the next one: (T-1, P, 2) pixels."""
        flows = []
        for i in range(len(self.scale) - 1):
            here, there = self.affine(i), self.affine(i + 1)
            scene = points @ here[:, :2].T + here[:, 2]
            flows.append((scene - there[:, 2]) @ np.linalg.inv(there[:, :2]).T - points)
        return np.stack(flows)

    def steps(self) -> Array:
        """The camera's own motion from each frame to the next, as it moves the picture: (T-1, 4) as the flow (x, y) at
        the centre in pixels, and the flow that zoom and roll make 24 pixels from the centre."""
        centre = self.flow(np.zeros((1, 2)))[:, 0]
        zoom, roll = -np.diff(np.log(self.scale)), -np.diff(self.angle)
        return np.concatenate([centre, 24 * zoom[:, None], 24 * roll[:, None]], axis=1)


def progress(rng: np.random.Generator, *, plain: bool, frames: int = FRAMES) -> Array:
    """How far along its motion the camera is at each frame, in steps of its average speed: (T,), from 0 up."""
    steps = np.ones(frames - 1)
    if not plain:
        kind = rng.random()
        time = (np.arange(frames - 1) + 0.5) / (frames - 1)
        if kind < 0.15:  # eases in and out
            steps = np.sin(np.pi * time) * np.pi / 2
        elif kind < 0.3:  # speeds up or slows down
            steps = 1 + rng.uniform(-0.9, 0.9) * (2 * time - 1)
        elif kind < 0.38:  # starts late or stops early
            moving = int(rng.integers(6, frames - 1))
            steps = np.zeros(frames - 1)
            steps[:moving] = 1.0
            if rng.random() < 0.5:
                steps = steps[::-1].copy()
        elif kind < 0.48:  # frames picked at uneven distances, as a spread over few frames gives
            steps = rng.integers(1, 3, frames - 1) / 1.5
        elif kind < 0.53:  # every other frame twice, as converted frame rates give
            steps = np.tile([0.0, 2.0], frames)[int(rng.integers(0, 2)) :][: frames - 1]
    return np.concatenate([[0.0], np.cumsum(steps)])


def shake(rng: np.random.Generator, amplitude: float, frames: int = FRAMES) -> Array:
    """A hand's trembling: smoothed noise without a drift from the first to the last frame, (T,), about +-amplitude."""
    smooth = int(rng.integers(1, 5))
    noise = np.convolve(rng.standard_normal(frames + smooth - 1), np.ones(smooth) / np.sqrt(smooth), "valid")
    line = np.polynomial.polynomial.polyfit(np.arange(frames), noise, 1)
    drift = line[1] * (np.arange(frames) - (frames - 1) / 2)
    return amplitude * (noise - drift)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def camera_path(rng: np.random.Generator, label: str, *, difficulty: float) -> CameraPath:
    """A random path that deserves `label`. difficulty 0 (large plain motion) to 1 (small, shaky, impure motion)."""
    plain = rng.random() > difficulty
    hard = 0.0 if plain else 1.0
    ease = 1 - difficulty

    def speed(limits: tuple[float, float]) -> float:
        low = float(np.exp(np.log(limits[0]) + 0.6 * ease * np.log(limits[1] / limits[0])))
        return _log_uniform(rng, low, limits[1] * (1 - 0.3 * ease))

    along = progress(rng, plain=plain)
    centre, log_scale, angle = np.zeros((FRAMES, 2)), np.zeros(FRAMES), np.zeros(FRAMES)
    if label.startswith(("pan", "tilt")):
        axis = 0 if label.startswith("pan") else 1
        sign = 1.0 if label in ("pan right", "tilt down") else -1.0
        velocity = np.zeros(2)
        velocity[axis] = sign * speed(PAN_SPEED)
        velocity[1 - axis] = hard * rng.uniform(-0.35, 0.35) * velocity[axis]
        centre += along[:, None] * velocity
    elif label.startswith("zoom"):
        log_scale += along * speed(ZOOM_SPEED) * (-1.0 if label == "zoom in" else 1.0)
    elif label.startswith("roll"):
        angle += along * speed(ROLL_SPEED) * (1.0 if label == "roll clockwise" else -1.0)
    if not label.startswith(("pan", "tilt")) and hard:
        # The camera turns or zooms about a point that is not quite the centre of its picture.
        anchor = rng.normal(0, 5, 2)
        cos, sin = np.cos(angle), np.sin(angle)
        turned = np.stack([cos * anchor[0] - sin * anchor[1], sin * anchor[0] + cos * anchor[1]], axis=1)
        centre += anchor - np.exp(log_scale)[:, None] * turned
    if hard and label != "static" and not label.startswith("zoom"):
        log_scale += along * rng.normal(0, 0.0008)
    if hard and rng.random() < 0.6:
        strength = rng.uniform(0, 0.5)
        centre += np.stack([shake(rng, strength), shake(rng, strength)], axis=1)
        angle += shake(rng, strength * 0.005)
        log_scale += shake(rng, strength * 0.003)
    return CameraPath(centre, np.exp(log_scale - log_scale[0]), angle + (rng.normal(0, 0.04) if hard else 0.0))
