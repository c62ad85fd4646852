"""Moments of films: windows that hit one thing are one moment, and what does not stand out is none."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from videomae_cli.api import embedding_map
from videomae_cli.search.embedding_table import Row, VectorBlock
from videomae_cli.search.moments import nearest_moments

QUERY = np.array([[1.0, 0.0]], np.float32)


def blocks(films: dict[str, list[float]], size: int = 4) -> Iterator[VectorBlock]:
    """Windows of 2 s, one a second, with these cosines to the query; a few rows a block."""
    rows = [
        (Row(path, number, clip, float(clip), clip + 2.0), (cosine, (1 - cosine**2) ** 0.5))
        for number, (path, cosines) in enumerate(films.items())
        for clip, cosine in enumerate(cosines)
    ]
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        yield VectorBlock(np.array([vector for _, vector in part], np.float32), [row for row, _ in part])


def found(films: dict[str, list[float]], top_k: int = 10, **more: object) -> list[tuple[str, float, float, float]]:
    matches = nearest_moments(blocks(films), QUERY, top_k=top_k, **more)  # type: ignore[arg-type]
    return [(m.row.path, m.row.start or 0.0, m.row.end or 0.0, round(m.score, 3)) for m in matches]


FILMS = {
    "a": [0.1, 0.1, 0.9, 0.95, 0.9, 0.1, 0.1, 0.1, 0.8, 0.85, 0.1, 0.1],
    "b": [0.0, 0.0, 0.97, 0.0, 0.0],
    "c": [0.5],
}


def test_hits_of_one_moment_are_joined() -> None:
    assert found(FILMS) == [
        ("b", 2.0, 4.0, 0.97),
        ("a", 2.0, 6.0, 0.95),
        ("a", 8.0, 11.0, 0.85),
        ("c", 0.0, 2.0, 0.5),
    ]
    assert found(FILMS, top_k=2) == found(FILMS)[:2]
    assert [path for path, *_ in found(FILMS, leave_out=("a",))] == ["b", "c"]


def test_windows_that_do_not_touch_are_two_moments() -> None:
    apart = [
        VectorBlock(
            np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32),
            [Row("a", 0, clip, clip * 5.0, clip * 5.0 + 2.0) for clip in range(4)],
        )
    ]
    moments = nearest_moments(apart, QUERY, top_k=5)
    assert [(m.row.start, m.row.end) for m in moments] == [(0.0, 2.0), (5.0, 7.0)]


def test_a_film_that_is_alike_everywhere_is_one_moment() -> None:
    assert found({"a": [0.7] * 9}) == [("a", 0.0, 10.0, 0.7)]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7])
def test_every_nth_window_is_drawn_whatever_the_blocks_are(n: int) -> None:
    class Table:
        def blocks(self) -> Iterator[VectorBlock]:
            return blocks(FILMS)

    drawn = [row for block in embedding_map._every(Table(), n) for row in block.rows]  # type: ignore[arg-type]
    assert drawn == [row for block in blocks(FILMS, 99) for row in block.rows][::n]
