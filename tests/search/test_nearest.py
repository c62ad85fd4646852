"""The nearest files: equal to a sort of all cosines, whatever the blocks, the clips and the ties."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import bunches

from videomae_cli.search.embedding_table import Row, VectorBlock, Vectors, unit
from videomae_cli.search.nearest import find_path, nearest, neighbours


def blocks(vectors: Vectors, paths: list[str], size: int) -> list[VectorBlock]:
    return [
        VectorBlock(vectors[start : start + size], [Row(path) for path in paths[start : start + size]])
        for start in range(0, len(paths), size)
    ]


def by_sorting(vectors: Vectors, paths: list[str], queries: Vectors, leave_out: str) -> list[tuple[str, float]]:
    scores = np.clip((vectors.astype(float) @ queries.astype(float).T).max(axis=1), -1, 1).round(6)
    best: dict[str, tuple[float, int]] = {}
    for place, (path, score) in enumerate(zip(paths, scores, strict=True)):
        if path != leave_out and (path not in best or score > best[path][0]):
            best[path] = (float(score), place)
    return [(path, score) for path, (score, place) in sorted(best.items(), key=lambda item: (-item[1][0], item[1][1]))]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 60),
    files=st.integers(1, 60),
    top_k=st.integers(1, 70),
    size=st.integers(1, 70),
    queries=st.integers(1, 3),
)
def test_equal_to_a_sort_of_all(seed: int, count: int, files: int, top_k: int, size: int, queries: int) -> None:
    random = np.random.default_rng(seed)
    # Few small numbers: many vectors are equal, and ties must be told as the table has them.
    vectors = unit(random.integers(-2, 3, (count, 3)))
    asked = unit(random.integers(-2, 3, (queries, 3)))
    paths = [str(number) for number in random.integers(0, files, count)]
    found = nearest(blocks(vectors, paths, size), asked, top_k=top_k, leave_out=("0",))
    expected = by_sorting(vectors, paths, asked, "0")[:top_k]
    assert [(match.row.path, match.score) for match in found] == expected


def test_of_equals_the_one_whose_vector_comes_first_is_kept() -> None:
    """Where the list is full: a file that was seen before, but farther away, ranks by its nearer vector."""
    vectors = unit(np.array([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]]))
    (best,) = nearest(blocks(vectors, ["a", "b", "a"], 3), vectors[1:2], top_k=1)
    assert (best.row.path, best.score) == ("b", 1.0)


def test_a_vector_is_at_one_from_itself_and_never_beyond() -> None:
    vectors = unit(bunches(500, 768))
    paths = [str(number) for number in range(500)]
    for number in range(0, 500, 50):
        best = nearest(blocks(vectors, paths, 64), vectors[number : number + 1], top_k=1)[0]
        assert (best.row.path, best.score) == (str(number), 1.0)


def test_memory_does_not_grow_with_the_table() -> None:
    def table(count: int) -> Iterator[VectorBlock]:
        for start in range(0, count, 1000):
            yield VectorBlock(unit(bunches(1000, 16, seed=start)), [Row(f"{start}/{number}") for number in range(1000)])

    def peak(count: int) -> int:
        tracemalloc.start()
        nearest(table(count), unit(np.ones((1, 16))), top_k=5)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(1_000)  # what is imported by the first search belongs to no table
    assert peak(50_000) < 2 * peak(5_000)


def test_a_file_is_found_by_its_name_or_as_the_same_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = ["a/x.mp4", f"{tmp_path}/a/y.mp4", "b/x.mp4", "a/x.mp4", os.fsdecode(b"caf\xe9.mp4")]
    table = blocks(unit(bunches(5)), paths, 2)
    assert len(find_path(table, "a/x.mp4").vectors) == 2
    assert find_path(table, f"{tmp_path}/b/../a/x.mp4").path == "a/x.mp4"
    assert find_path(table, "./a/y.mp4").path == f"{tmp_path}/a/y.mp4"
    assert find_path(table, os.fsdecode(b"caf\xe9.mp4")).path == paths[4]
    absent = find_path(table, "x.mp4")
    assert (absent.path, absent.vectors, absent.alike) == (None, [], ["a/x.mp4", "b/x.mp4"])
    assert find_path(table, "z.mp4").alike == []


def test_only_files_of_the_very_name_are_alike_and_only_the_very_place_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = ["m/x.mp4", "m/x.mp4", "./m/x.mp4", "m/ax.mp4", "m/zx.mp4"]
    table = blocks(unit(bunches(5, 4)), paths, 2)
    for absent in ("a/x.mp4", "z/x.mp4"):
        found = find_path(table, absent)
        assert (found.path, found.vectors, found.alike) == (None, [], ["m/x.mp4", "./m/x.mp4"])
    assert len(find_path(table, "".join(("m/", "x.mp4"))).vectors) == 2  # as it is spelled, and no other spelling


def test_neighbours_of_all_vectors_are_those_that_each_would_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videomae_cli.search.nearest._ROWS", 7)  # several blocks, the last one short
    vectors = bunches(40, 8)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places, scores = neighbours(vectors, 5)
    assert places.shape == scores.shape == (40, 5)
    products = vectors.astype(float) @ vectors.T.astype(float)
    np.fill_diagonal(products, -2)
    assert np.array_equal(places, np.argsort(-products, axis=1)[:, :5])
    assert scores == pytest.approx(np.sort(products, axis=1)[:, ::-1][:, :5], abs=1e-4)


@pytest.mark.parametrize(("count", "columns"), [(1, 0), (2, 1), (4, 3)])
def test_few_vectors_have_few_neighbours(count: int, columns: int) -> None:
    places, scores = neighbours(np.eye(4, dtype=np.float32)[:count], 12)
    assert places.shape == scores.shape == (count, columns)
    assert all(set(row) == set(range(count)) - {number} for number, row in enumerate(places.tolist()))
