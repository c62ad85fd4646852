"""Label files in every form that people keep them in."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from videomae_cli.errors import ConfigError
from videomae_cli.labels import read_labels


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.txt", "run\n\nwalk\r\nsit\n"),
        ("l.json", '["run", "walk", "sit"]'),
        ("l.json", '{"1": "walk", "0": "run", "2": "sit"}'),
        ("l.json", '{"walk": 1, "run": 0, "sit": 2}'),
        ("l.csv", "id,name\n0,run\n2,sit\n1,walk\n"),
        ("l.csv", "0,run\n1,walk\n2,sit\n"),
        ("l.csv", "run\nwalk\nsit\n"),
        ("l.txt", "\ufeffrun\nwalk\nsit"),
    ],
)
def test_forms(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_labels(tmp_path / name, expected=3) == ("run", "walk", "sit")


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("l.txt", "", "no labels"),
        ("l.txt", "a\nb\n", "2 labels, but the model has 3"),
        ("l.json", "{", "not JSON"),
        ("l.json", '{"0": "a", "2": "b", "3": "c"}', "1 is missing"),
        ("l.json", "[1, 2, 3]", "array of names"),
        ("l.csv", "0,a,b\n", "id,name"),
        ("l.json", "[" * 100_000, "not JSON"),
        ("l.json", '{"a": 1' + "0" * 5000 + "}", "not JSON"),
        ("l.json", '{"a": true, "b": 1}', "array of names"),
        ("l.json", '{"²": "a"}', "array of names"),
        ("l.json", '{"1' + "0" * 5000 + '": "a"}', "array of names"),
        ("l.csv", "²,a\n0,b\n³,c\n", "id,name"),
        ("l.csv", "0,a\n1" + "0" * 5000 + ",b\n", "id,name"),
        ("l.csv", '0,"' + "a" * 200_000 + '"\n', "no table"),
        ("none.txt", None, "can't read"),
        ("none" * 100 + ".txt", None, "can't read"),
        ("no\0ne.txt", None, "can't read"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, text: str | None, word: str) -> None:
    csv.field_size_limit(2**17)  # Python's own: readers of our tables raise it for the whole process
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=word):
        read_labels(tmp_path / name, expected=3)
