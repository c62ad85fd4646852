"""Groups of near-duplicates: equal to a search over all pairs, exactly; by an index, equal on vectors in bunches."""

from __future__ import annotations

import builtins
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import bunches, write_table

from videomae_cli.search import duplicates
from videomae_cli.search.duplicates import Groups, find_duplicates
from videomae_cli.search.embedding_table import EmbeddingTable, Vectors, unit
from videomae_cli.writers import vector_reading


def brute_force(vectors: Vectors, paths: list[str], threshold: float) -> dict[frozenset[str], dict[str, float]]:
    """The groups, and of each file the best cosine to another one."""
    scores = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    group = {path: {path} for path in paths}
    best = dict.fromkeys(paths, -2.0)
    for first, one in enumerate(paths):
        for second, other in enumerate(paths):
            if one == other:
                continue
            if scores[first, second] >= threshold:
                best[one] = max(best[one], scores[first, second])
                if group[one] is not group[other]:
                    group[one] |= group[other]
                    for path in group[other]:
                        group[path] = group[one]
    return {frozenset(g): {path: best[path] for path in g} for g in group.values() if len(g) > 1}


def as_sets(found: Groups) -> dict[frozenset[str], dict[str, float]]:
    return {
        frozenset(duplicate.row.path for duplicate in group): {d.row.path: d.score for d in group}
        for group in found.groups
    }


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1), count=st.integers(2, 40), files=st.integers(2, 40), threshold=st.floats(0.5, 0.999)
)
def test_equal_to_all_pairs(
    seed: int, count: int, files: int, threshold: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    random = np.random.default_rng(seed)
    vectors = bunches(count, 4, spread=0.4, seed=seed)
    paths = sorted(f"{number:02}" for number in random.integers(0, files, count))
    scores = unit(vectors).astype(np.float64) @ unit(vectors).T
    if np.abs(scores - threshold).min() < 1e-5:
        return  # on the border one sum says yes, another no
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_reading, "BLOCK", 7)
        patch.setattr(duplicates, "_CHUNK", 3)
        file = write_table(tmp_path_factory.mktemp("t") / "v.jsonl", vectors, paths, clips=True)
        found = find_duplicates(EmbeddingTable(file), threshold)
    expected = brute_force(unit(vectors), paths, threshold)
    assert (found.exact, found.vectors, found.files) == (True, count, len(set(paths)))
    assert as_sets(found).keys() == expected.keys()
    for group, members in as_sets(found).items():
        assert members == pytest.approx(expected[group], abs=2e-6)
    assert [len(group) for group in found.groups] == sorted(map(len, expected), reverse=True)


def test_a_member_names_the_file_it_is_nearest_to(tmp_path: Path) -> None:
    # A chain: b is near to a and to c, and these are further apart than the threshold.
    angles = np.radians([0, 10, 18, 90, 90])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = find_duplicates(EmbeddingTable(write_table(tmp_path / "v.npz", vectors, list("abcde"))), 0.98)
    first, second = [[(d.row.path, d.nearest.path, d.score) for d in group] for group in found.groups]
    near, far = np.cos(np.radians([8, 10])).round(6)
    assert first == [("a", "b", far), ("b", "c", near), ("c", "b", near)]
    assert second == [("d", "e", 1.0), ("e", "d", 1.0)]


def test_copies_are_found_at_one_and_nothing_is_a_copy_of_zero(tmp_path: Path) -> None:
    vectors = bunches(50, 768, spread=1.0)
    vectors = np.concatenate([vectors, vectors[:5] * 7, np.zeros((3, 768))])
    found = find_duplicates(EmbeddingTable(write_table(tmp_path / "v.parquet", vectors, storage="float32")), 1.0)
    assert [[d.row.index for d in group] for group in found.groups] == [[n, 50 + n] for n in range(5)]


def test_clips_of_one_file_are_no_duplicates(tmp_path: Path) -> None:
    vectors = [[1.0, 0], [1, 0], [0, 1], [0, 1.01]]
    table = EmbeddingTable(write_table(tmp_path / "v.npz", vectors, ["a", "a", "a", "b"], clips=True))
    (group,) = find_duplicates(table, 0.99).groups
    assert [(d.row.path, d.row.clip) for d in group] == [("a", 2), ("b", 0)]


def test_the_index_finds_the_groups_of_bunches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    vectors = bunches(3000, 32, centres=60, spread=0.7)
    vectors[-200:] = vectors[:200] + 0.02 * random.standard_normal((200, 32))
    table = EmbeddingTable(write_table(tmp_path / "v.parquet", vectors))
    exact = find_duplicates(table, 0.99)
    indexed = find_duplicates(table, 0.99, exact_limit=1000)
    assert (exact.exact, indexed.exact) == (True, False)
    assert len(exact.groups) >= 200
    assert as_sets(indexed).keys() == as_sets(exact).keys()
    for group, members in as_sets(indexed).items():
        assert members == pytest.approx(as_sets(exact)[group], abs=2e-6)
    again = find_duplicates(table, 0.99, exact_limit=1000)
    assert again == indexed


def test_the_index_needs_no_more_vectors_than_there_are(tmp_path: Path) -> None:
    table = EmbeddingTable(write_table(tmp_path / "v.npz", [[1.0, 0], [1, 0.001], [0, 1]]))
    found = find_duplicates(table, 0.99, exact_limit=0)
    assert [[d.row.index for d in group] for group in found.groups] == [[0, 1]]


def test_without_an_index_large_tables_are_compared_exactly_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = builtins.__import__

    def without_faiss(name: str, *rest: Any, **more: Any) -> Any:
        if name == "faiss":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_faiss)
    monkeypatch.setattr(logging.getLogger("videomae_cli"), "propagate", True)
    table = EmbeddingTable(write_table(tmp_path / "v.npz", np.eye(30)))
    with caplog.at_level(logging.WARNING):
        found = find_duplicates(table, 0.9, exact_limit=20)
    assert (found.exact, found.groups) == (True, [])
    assert "pip install 'videomae-cli[search]'" in caplog.text
    assert "each of 30 vectors" in caplog.text
