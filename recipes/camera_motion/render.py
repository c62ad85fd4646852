"""Renders labelled clips on the fly: a virtual camera over pictures, footage and textures, with things moving in front.

One clip is a pure function of (sources, seed, index, difficulty), so a run can stop and go on anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from recipes.camera_motion.motion import FRAMES, LABELS, SIZE, CameraPath, camera_path, shake
from recipes.camera_motion.sources import Picture, procedural

Clip = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float64]

PATCH, TUBELET = 16, 2
EASY_LABELS = ("static", "pan left", "pan right", "tilt up", "tilt down")


@dataclass(frozen=True)
class Sample:
    """clip (T, H, W, 3) uint8 RGB, label index, and for each token (in the model's order, t h w) what moves, (N, 6):
    the flow (x, y) at its centre in view pixels a step, then the camera's own step (`CameraPath.steps`)."""

    clip: Clip
    label: int
    motion: npt.NDArray[np.float32]


def token_points() -> Float:
    """Centres of the patches of a view, in centred pixels: (P, 2) as x, y, row by row."""
    at = (np.arange(SIZE // PATCH) + 0.5) * PATCH - SIZE / 2
    x, y = np.meshgrid(at, at)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _extent(path: CameraPath) -> tuple[Float, Float]:
    corners = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]]) * (SIZE / 2 + 1)
    seen = np.concatenate([corners @ path.affine(i)[:, :2].T + path.affine(i)[:, 2] for i in range(FRAMES)])
    return seen.min(axis=0), seen.max(axis=0)


def _view(path: CameraPath, frame: int, zoom: float, origin: Float) -> Float:
    """warpAffine's (2, 3) inverse map: destination pixel -> source pixel, for `zoom` source pixels a view pixel."""
    matrix = path.affine(frame)
    linear = zoom * matrix[:, :2]
    offset = zoom * matrix[:, 2] + origin - linear @ np.full(2, (SIZE - 1) / 2)
    return np.concatenate([linear, offset[:, None]], axis=1)


def _warp(image: Clip, matrix: Float) -> Clip:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=flags, borderMode=cv2.BORDER_REFLECT_101))


def _placement(rng: np.random.Generator, path: CameraPath, shape: tuple[int, int]) -> tuple[float, Float] | None:
    """Source pixels a view pixel (1 to about 1.9) and an origin so that the whole path stays inside a picture."""
    low, high = _extent(path)
    room = np.array([shape[1] - 3, shape[0] - 3]) / (high - low)
    if room.min() < 0.75:
        return None
    zoom = float(rng.uniform(0.75, min(1.9, room.min()))) if room.min() > 0.8 else float(room.min())
    slack = np.array([shape[1] - 3, shape[0] - 3]) - zoom * (high - low)
    return zoom, 1 + rng.uniform(0, 1, 2) * np.maximum(slack, 0) - zoom * low


def over_picture(rng: np.random.Generator, picture: Picture, path: CameraPath) -> Clip | None:
    """The view of a moving camera over a still picture (T, H, W, 3), or None where the path fits at no scale."""
    for level in rng.permutation(len(picture.levels)):
        image = picture.levels[level]
        placed = _placement(rng, path, image.shape[:2])
        if placed is not None:
            return np.stack([_warp(image, _view(path, i, *placed)) for i in range(FRAMES)])
    return None


def over_footage(rng: np.random.Generator, footage: Clip, path: CameraPath, *, stride: int) -> Clip | None:
    """The same over running footage, whose own subjects move on while the window moves."""
    span = (FRAMES - 1) * stride + 1
    if len(footage) < span:
        return None
    shrink = rng.choice([1.0, 0.7, 0.5])
    placed = _placement(rng, path, (int(footage.shape[1] * shrink), int(footage.shape[2] * shrink)))
    if placed is None:
        return None
    start = int(rng.integers(0, len(footage) - span + 1))
    frames = footage[start : start + span : stride]
    if rng.random() < 0.5:
        frames = frames[::-1]  # the recording's own drift must teach no direction
    if rng.random() < 0.5:
        frames = frames[:, :, ::-1]
    # Reduced by area where the window is to see more of the scene; contiguous, or every warp would copy the frame.
    small = [
        np.ascontiguousarray(f)
        if shrink == 1
        else cv2.resize(f, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        for f in map(np.ascontiguousarray, frames)
    ]
    return np.stack([_warp(np.asarray(f), _view(path, i, *placed)) for i, f in enumerate(small)])


def _blob(rng: np.random.Generator, size: int) -> npt.NDArray[np.float32]:
    """A soft-edged random shape (size, size) in [0, 1]."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = 0.34 + sum(rng.normal(0, 0.05) * np.cos(k * angles + rng.uniform(0, 6.3)) for k in range(1, 5))
    squash = rng.uniform(0.4, 1)
    x, y = np.cos(angles) * radius, np.sin(angles) * radius * squash
    points = (np.stack([x, y], axis=1) + 0.5) * size
    mask = np.zeros((size, size), np.float32)
    cv2.fillPoly(mask, [points.astype(np.int32)], 1.0)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 2)), np.float32)


def _crop(rng: np.random.Generator, picture: Picture, size: int) -> Clip:
    image = picture.levels[int(rng.integers(0, len(picture.levels)))]
    y, x = (int(rng.integers(0, max(1, side - size))) for side in image.shape[:2])
    crop = image[y : y + size, x : x + size]
    return np.asarray(cv2.resize(crop, (size, size)))


def add_object(
    rng: np.random.Generator, clip: Clip, path: CameraPath, picture: Picture, *, small: bool = False
) -> Clip:
    """Something that moves on its own: in the scene (a walker), in front of the lens (a passer-by), or with it.

    small: one of a crowd, always in the scene."""
    side = 96
    texture, mask = _crop(rng, picture, side), _blob(rng, side)
    reach = rng.uniform(5, 18) if small else rng.uniform(10, 40)  # view pixels across
    kind = 0.0 if small else rng.random()
    position = rng.uniform(-0.55, 0.55, 2) * SIZE
    velocity = rng.normal(0, 1, 2) * rng.choice([0.3, 0.7, 1.5] if small else [0.0, 0.5, 2.0])
    spin, growth, sway = rng.normal(0, 0.03), rng.normal(0, 0.01), shake(rng, 1.5 * rng.random())
    anchor = int(rng.integers(0, FRAMES))  # the frame in which the object stands at `position`
    scene = path.affine(anchor)[:, :2] @ position + path.affine(anchor)[:, 2]
    result = clip.copy()
    for i in range(FRAMES):
        here = path.affine(i)
        if kind < 0.6:  # in the scene: the camera's motion applies to it as to everything else
            at = np.linalg.inv(here[:, :2]) @ (scene - here[:, 2]) + velocity * (i - anchor)
            size, angle = reach / path.scale[i], -path.angle[i]
        else:  # tied to the camera: a followed subject, a dashboard, a thumb
            at, size, angle = position + 0.5 * velocity * (i - anchor), reach, 0.0
        at = at + np.array([sway[i], -sway[i]])
        factor, turn = size * np.exp(growth * (i - anchor)) / side, angle + spin * (i - anchor)
        cos, sin = factor * np.cos(turn), factor * np.sin(turn)
        middle = (side - 1) / 2
        offset = at + (SIZE - 1) / 2 - np.array([cos * middle - sin * middle, sin * middle + cos * middle])
        matrix = np.array([[cos, -sin, offset[0]], [sin, cos, offset[1]]])
        alpha = cv2.warpAffine(mask, matrix, (SIZE, SIZE))[..., None]
        if alpha.any():
            front = cv2.warpAffine(texture, matrix, (SIZE, SIZE)).astype(np.float32)
            result[i] = (result[i] + alpha * (front - result[i])).astype(np.uint8)
    return result


def add_parallax(rng: np.random.Generator, clip: Clip, path: CameraPath, picture: Picture) -> Clip:
    """A nearer layer with holes: the same motion, but its translation runs faster, as near things do."""
    nearer = CameraPath(path.centre * rng.uniform(1.1, 1.8), path.scale, path.angle)
    layer = over_picture(rng, picture, nearer)
    if layer is None:
        return clip
    noise = cv2.resize(rng.standard_normal((12, 12)).astype(np.float32), (192, 192), interpolation=cv2.INTER_CUBIC)
    mask = np.clip((noise - rng.uniform(0.1, 0.8)) * 4, 0, 1)
    covers = []
    for i in range(FRAMES):
        matrix = _view(nearer, i, 0.8, np.full(2, 96.0))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        covers.append(cv2.warpAffine(mask, matrix, (SIZE, SIZE), flags=flags, borderMode=cv2.BORDER_WRAP))
    alpha = np.stack(covers)[..., None]
    return (clip + alpha * (layer.astype(np.float32) - clip)).astype(np.uint8)


def degrade(rng: np.random.Generator, clip: Clip, difficulty: float) -> Clip:
    """Light, lens, sensor and codec: brightness, contrast, colour, flicker, blur, noise, compression, black bars."""
    image = clip.astype(np.float32)
    contrast = np.exp(rng.normal(0, 0.25))
    tint = 1 + rng.normal(0, 0.06, 3)
    image = (image - 128) * contrast * tint + 128 + rng.normal(0, 20)
    if rng.random() < 0.12:
        image = np.repeat(image.mean(axis=-1, keepdims=True), 3, axis=-1)
    if rng.random() < 0.15 * difficulty:
        image *= rng.uniform(0.2, 0.6)  # dusk
    if rng.random() < 0.3 * difficulty:  # exposure follows the scene, lamps flicker
        drift = rng.normal(0, 12) * np.linspace(-1, 1, FRAMES) + rng.normal(0, 3, FRAMES) * (rng.random() < 0.4)
        image += drift[:, None, None, None]
    if rng.random() < 0.35 * difficulty:
        sigma = rng.uniform(0.3, 1.2)
        image = np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in image])
    if rng.random() < 0.5 * difficulty:
        strength = rng.uniform(1, 14)
        image += rng.standard_normal(image.shape, dtype=np.float32) * strength
    result = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.25 * difficulty:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 90))]
        result = np.stack([cv2.imdecode(cv2.imencode(".jpg", f, quality)[1], cv2.IMREAD_COLOR) for f in result])
    if rng.random() < 0.05 * difficulty:
        bar = int(rng.integers(2, 10))
        if rng.random() < 0.5:
            result[:, :bar], result[:, SIZE - bar :] = 0, 0
        else:
            result[:, :, :bar], result[:, :, SIZE - bar :] = 0, 0
    return result


def _readable(clip: Clip) -> bool:
    """Whether a quarter of the first and of the last frame's patches hold detail: else no motion could be read off."""
    side = SIZE // PATCH
    ends = clip[[0, -1], ..., 1].astype(np.float32)
    patches = ends.reshape(2, side, PATCH, side, PATCH).transpose(0, 1, 3, 2, 4).reshape(2, side * side, -1)
    return bool(((patches.std(axis=-1) > 5).sum(axis=1) >= side * side // 4).all())


class Renderer:
    """Makes sample `index` of a stream, from the sources it was given."""

    def __init__(self, pictures: list[Picture], footage: list[Clip], *, seed: int, textures: int = 150) -> None:
        rng = np.random.default_rng([seed, 2**31])
        self._pictures, self._footage, self._seed = pictures, footage, seed
        self._textures = [procedural(rng) for _ in range(textures)]

    def _picture(self, rng: np.random.Generator) -> Picture:
        pool = self._textures if (rng.random() < 0.25 and self._textures) or not self._pictures else self._pictures
        return pool[int(rng.integers(0, len(pool)))]

    def _scene(self, rng: np.random.Generator, path: CameraPath, difficulty: float) -> Clip | None:
        if self._footage and rng.random() < 0.3 * difficulty:
            footage = self._footage[int(rng.integers(0, len(self._footage)))]
            return over_footage(rng, footage, path, stride=int(rng.integers(1, 5)))
        return over_picture(rng, self._picture(rng), path)

    def _subjects(self, rng: np.random.Generator, clip: Clip, path: CameraPath, label: str, difficulty: float) -> Clip:
        """Things that move in the scene. More often under a camera that stands: what moves must not be taken for it."""
        often = 0.9 if label == "static" else 0.6
        if rng.random() < often * difficulty:
            crowd = rng.random() < 0.35
            for _ in range(int(rng.integers(3, 8)) if crowd else int(rng.integers(1, 4))):
                clip = add_object(rng, clip, path, self._picture(rng), small=crowd)
        return clip

    def sample(self, index: int, *, difficulty: float, labels: tuple[str, ...] = LABELS) -> Sample:
        """Sample `index`. The same arguments give the same bytes."""
        rng = np.random.default_rng([self._seed, index])
        label = labels[int(rng.integers(0, len(labels)))]
        clip = None
        while clip is None:
            path = camera_path(rng, label, difficulty=difficulty)
            clip = self._scene(rng, path, difficulty)
            if clip is not None and not _readable(clip):
                clip = None
        if rng.random() < 0.25 * difficulty:
            clip = add_parallax(rng, clip, path, self._picture(rng))
        clip = self._subjects(rng, clip, path, label, difficulty)
        clip = degrade(rng, clip, difficulty)
        local = path.flow(token_points())  # (T-1, P, 2)
        whole = np.broadcast_to(path.steps()[:, None], (*local.shape[:2], 4))
        steps = np.concatenate([local, whole], axis=-1)
        steps = np.concatenate([steps, steps[-1:]]).reshape(FRAMES // TUBELET, TUBELET, -1, 6).mean(axis=1)
        motion = steps.reshape(-1, 6).astype(np.float32)  # (T/2, P, 6) -> (N, 6)
        return Sample(np.ascontiguousarray(clip), LABELS.index(label), motion)
