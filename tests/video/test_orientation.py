"""Display matrices: every orientation, on both decoders and in every container, by the geometry that the matrix states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import films
import numpy as np
import numpy.typing as npt
import pytest

from videomae_cli.video import open_video
from videomae_cli.video.orientation import Orientation

Frame = npt.NDArray[np.uint8]

# (a, b, c, d) -> (degrees counter-clockwise, mirrored first)
ORIENTATIONS = {
    (1, 0, 0, 1): (0, False),
    (0, -1, 1, 0): (90, False),
    (-1, 0, 0, -1): (180, False),
    (0, 1, -1, 0): (270, False),
    (-1, 0, 0, 1): (0, True),
    (0, 1, 1, 0): (90, True),
    (1, 0, 0, -1): (180, True),
    (0, -1, -1, 0): (270, True),
}
# Matrices that are no orientation -> the one that is taken.
OTHERS = {
    "a few degrees": ((0.999, 0.05, -0.05, 0.999), (1, 0, 0, 1)),
    "nearly a quarter": ((0.02, 1, -1, 0.02), (0, 1, -1, 0)),
    "scaled": ((2, 0, 0, 2), (1, 0, 0, 1)),
    "scaled and mirrored": ((-0.5, 0, 0, 0.5), (-1, 0, 0, 1)),
    "huge": ((0, 32767, -32767, 0), (0, 1, -1, 0)),
    "tiny": ((0, 2**-16, -(2**-16), 0), (0, 1, -1, 0)),
    "sheared": ((1, 0.1, 0, 1), (1, 0, 0, 1)),
    "half-way": ((0.7071, 0.7071, -0.7071, 0.7071), (1, 0, 0, 1)),
    "zero": ((0, 0, 0, 0), (1, 0, 0, 1)),
    "singular": ((0, 1, 0, 0), (1, 0, 0, 1)),
    "both axes on one line": ((0, 1, 0, 1), (1, 0, 0, 1)),
    "smallest number": ((-32768, 0, 0, -32768), (-1, 0, 0, -1)),
}
names = {matrix: "".join(f"{number:+d}" for number in matrix) for matrix in ORIENTATIONS}


def shown(picture: Frame, matrix: Sequence[int]) -> Frame:
    """Each pixel of (H, W, 3) put where the matrix sends it, and the whole moved to begin at the origin."""
    a, b, c, d = matrix
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    right, down = a * x + c * y, b * x + d * y
    right, down = right - right.min(), down - down.min()
    result = np.zeros((down.max() + 1, right.max() + 1, 3), np.uint8)
    result[down, right] = picture
    return result


def assert_shown(path: Path, decoder: str, matrix: Sequence[int]) -> None:
    stored = films.sequential_frames(path, decoder)
    with open_video(path, decoder=decoder) as reader:
        assert reader.info.decoder == decoder
        for number in (0, 11, 3):
            frame = reader.read([number])[0]
            np.testing.assert_array_equal(frame, shown(stored[number], matrix))
            assert (reader.info.width, reader.info.height) == (frame.shape[1], frame.shape[0])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, films.Recipe], Path]:
    folder = tmp_path_factory.mktemp("turned")

    def make(name: str, recipe: films.Recipe) -> Path:
        path = folder / name
        if not path.exists():
            recipe(path)
        return path

    return make


Made = Callable[[str, films.Recipe], Path]


@pytest.mark.parametrize("matrix", ORIENTATIONS, ids=names.values())
@pytest.mark.parametrize("decoder", ["opencv", "pyav"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_all_orientations_in_every_container(made: Made, matrix: tuple[int, ...], decoder: str, suffix: str) -> None:
    recipe = films.turned(*matrix, count=12, options=films.B)
    recipe = films.rewrapped(recipe) if suffix == ".mkv" else recipe
    path = made(names[matrix] + suffix, recipe)
    assert_shown(path, decoder, matrix)
    with open_video(path) as reader:
        assert (reader.info.rotation, reader.info.mirrored) == ORIENTATIONS[matrix]


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("decoder", ["opencv", "pyav"])
def test_a_matrix_that_is_no_orientation(made: Made, name: str, decoder: str) -> None:
    matrix, taken = OTHERS[name]
    path = made(f"{name}.mp4", films.turned(*matrix, count=12))
    assert_shown(path, decoder, taken)


def test_axes_of_different_scale_are_an_aspect_ratio(made: Made) -> None:
    path = made("stretched.mp4", films.turned(2, 0, 0, 1, count=12))
    for decoder in ("opencv", "pyav"):
        with open_video(path, decoder=decoder) as reader:
            assert (reader.info.width, reader.info.height) == (192, 64)


@pytest.mark.parametrize("matrix", ORIENTATIONS, ids=names.values())
@pytest.mark.parametrize("decoder", ["opencv", "pyav"])
def test_an_orientation_and_pixels_that_are_not_square(made: Made, matrix: tuple[int, ...], decoder: str) -> None:
    """Pixels are stretched along the axis that is level in the stored picture, whichever way that is shown."""
    settings = {"setup": lambda stream: setattr(stream.codec_context, "sample_aspect_ratio", Fraction(3, 2))}
    wide = made("wide.mp4", films.turned(1, 0, 0, 1, count=12, **settings))
    path = made(f"wide{names[matrix]}.mp4", films.turned(*matrix, count=12, **settings))
    with open_video(wide, decoder=decoder) as plain, open_video(path, decoder=decoder) as reader:
        square = plain.read([5])[0]
        assert square.shape == (64, 144, 3)
        frame = reader.read([5])[0]
        expected = shown(square, matrix)
        assert (reader.info.width, reader.info.height) == (frame.shape[1], frame.shape[0])
        assert frame.shape == expected.shape
        # Interpolation rounds a little differently from the other side.
        assert np.abs(frame.astype(int) - expected).max() <= 1


def test_mirrored_and_turned_back_is_where_it_was() -> None:
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    for matrix, (rotation, mirrored) in ORIENTATIONS.items():
        a, b, c, d = matrix
        orientation = Orientation.from_matrix([a, b, 0, c, d, 0, 0, 0, 1])
        by_words = np.rot90(picture[:, ::-1] if mirrored else picture, rotation // 90)
        np.testing.assert_array_equal(orientation.apply(picture), by_words)
