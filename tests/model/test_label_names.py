"""What a classifier's outputs are called, for every config.json people have; transformers is asked beside."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from reference import clips, randomise, relative_error, same, tiny_config

from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification, convert, describe

# The classifier's outputs, what config.json says, the names, a word of the warning (None: there is none to give), and
# whether transformers 5.23 loads it.
CASES: dict[str, tuple[int, dict[str, Any], list[str], str | None, bool]] = {
    "from 1": (2, {"id2label": {"1": "a", "2": "b"}}, ["a", "b"], "numbers its 2 labels 1 to 2", True),
    "from 1, out of order": (3, {"id2label": {"3": "c", "1": "a", "2": "b"}}, ["a", "b", "c"], "in this order", True),
    "int keys beyond": (2, {"id2label": {"0": "a", "5": "b"}}, ["a", "b"], "0 to 5", True),
    "gap": (3, {"id2label": {"0": "a", "2": "c"}, "num_labels": 3}, ["a", "LABEL_1", "c"], "names 2 of 3", True),
    "gap without a number": (3, {"id2label": {"0": "a", "2": "c"}}, ["a", "LABEL_1", "c"], "names 2 of 3", False),
    "num_labels above": (3, {"id2label": {"0": "a", "1": "b"}, "num_labels": 3}, ["LABEL_0", "LABEL_1", "LABEL_2"], "has 3 outputs", True),
    "num_labels wrong": (2, {"id2label": {"0": "a", "1": "b"}, "num_labels": 3}, ["a", "b"], "num_labels is 3", False),
    "num_labels alone, wrong": (2, {"num_labels": 3}, ["LABEL_0", "LABEL_1"], "num_labels is 3", False),
    "num_labels as text": (2, {"num_labels": "2"}, ["LABEL_0", "LABEL_1"], None, False),
    "too many names": (2, {"id2label": {str(n): "x" for n in range(400)}}, ["LABEL_0", "LABEL_1"], "names 400 labels", False),
    "too few names": (5, {"id2label": {"0": "a", "1": "b"}}, [f"LABEL_{n}" for n in range(5)], "names 2 labels", False),
    "no names": (2, {"id2label": {}}, ["LABEL_0", "LABEL_1"], "names 0 labels", False),
    "one name twice": (2, {"id2label": {"0": "a", "1": "a"}}, ["a", "a"], "several outputs are called 'a'", True),
    "names that are no text": (2, {"id2label": {"0": 7, "1": None}}, ["7", "LABEL_1"], None, True),
    "names that are lists": (2, {"id2label": {"0": ["x"], "1": {"a": 1}}}, ["LABEL_0", "LABEL_1"], None, True),
    "a list": (2, {"id2label": ["a", "b"]}, ["a", "b"], None, False),
    "swapped": (2, {"id2label": {"b": 1, "a": 0}}, ["a", "b"], None, False),
    "only label2id": (2, {"label2id": {"b": 1, "a": 0}}, ["a", "b"], None, True),
    "only label2id, as text from 1": (2, {"label2id": {"b": "2", "a": "1"}}, ["a", "b"], "label2id numbers", True),
    "label2id without numbers": (2, {"label2id": {"b": "x", "a": None}}, ["LABEL_0", "LABEL_1"], "label2id holds no", True),
    "id2label without numbers": (2, {"id2label": {"x": "a", "y": "b"}}, ["LABEL_0", "LABEL_1"], "id2label holds no", False),
    "infinite numbers": (2, {"label2id": {"b": float("inf"), "a": 0}}, ["LABEL_0", "LABEL_1"], "label2id holds no", True),
    "negative numbers": (2, {"id2label": {"-1": "a", "0": "b"}}, ["LABEL_0", "LABEL_1"], "id2label holds no", True),
    "text instead": (2, {"id2label": "a,b"}, ["LABEL_0", "LABEL_1"], "id2label holds no", False),
    "nothing": (5, {}, [f"LABEL_{n}" for n in range(5)], None, False),
    "nulls": (2, {"id2label": None, "label2id": None, "num_labels": None}, ["LABEL_0", "LABEL_1"], None, False),
    "unknown problem type": (2, {"problem_type": "guess"}, ["LABEL_0", "LABEL_1"], "problem_type is 'guess'", True),
    "problem type that is a number": (2, {"problem_type": 3}, ["LABEL_0", "LABEL_1"], "problem_type is 3", True),
    "one class of one": (1, {"id2label": {"0": "a"}, "problem_type": "single_label_classification"}, ["a"], "problem_type is", False),
}  # fmt: skip


def write(folder: Path, outputs: int, said: dict[str, Any]) -> VideoMAEForVideoClassification:
    """A model directory whose config.json says of labels what is given, and nothing else."""
    model = VideoMAEForVideoClassification(
        tiny_config(num_hidden_layers=1, id2label={n: str(n) for n in range(outputs)})
    )
    randomise(model)
    model.eval().save_pretrained(folder)
    content = json.loads((folder / "config.json").read_text())
    for key in ("id2label", "label2id", "num_labels", "problem_type"):
        content.pop(key, None)
    (folder / "config.json").write_text(json.dumps({**content, **said}))
    return model


@pytest.mark.parametrize("case", CASES)
def test_labels_are_settled_and_what_was_assumed_is_said(
    tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    outputs, said, names, warning, theirs = CASES[case]
    model = write(tmp_path / "a", outputs, said)
    with caplog.at_level(logging.WARNING, logger="videomae_cli"):
        loaded = VideoMAEForVideoClassification.from_pretrained(tmp_path / "a")
    assert list(loaded.config.id2label.values()) == names
    assert (warning in caplog.text) if warning else not caplog.records
    video = clips(model.config)
    with torch.no_grad():
        expected = model(video).logits
        assert same(loaded(video).logits, expected)
        try:
            reference = transformers.VideoMAEForVideoClassification.from_pretrained(tmp_path / "a").eval()
            assert reference.config.num_labels == outputs  # without names it drops the classifier
        except Exception:
            assert not theirs
        else:
            assert theirs
            assert relative_error(reference(video).logits, expected) <= 1e-5
    # given names settle it without a word, and what is written from it is unambiguous for both
    caplog.clear()
    given = [f"name {n}" for n in range(outputs)]
    with caplog.at_level(logging.WARNING, logger="videomae_cli"):
        settled = VideoMAEForVideoClassification.from_pretrained(tmp_path / "a", labels=given)
    assert list(settled.config.id2label.values()) == given
    assert "settles it" not in caplog.text
    settled.save_pretrained(tmp_path / "b")
    again = transformers.VideoMAEForVideoClassification.from_pretrained(tmp_path / "b")
    assert list(again.config.id2label.values()) == given


def test_describe_and_convert_count_the_weights(tmp_path: Path) -> None:
    write(tmp_path / "a", 2, {"id2label": {"1": "x", "2": "y"}})
    assert describe(tmp_path / "a").labels == ("x", "y")
    assert convert(tmp_path / "a", tmp_path / "b").labels == ("x", "y")
    assert json.loads((tmp_path / "b" / "config.json").read_text())["id2label"] == {"0": "x", "1": "y"}


def test_an_encoder_needs_no_names(caplog: pytest.LogCaptureFixture) -> None:
    assert VideoMAEConfig.from_dict({"id2label": {"1": "a", "2": "b"}}, named=True).num_labels == 2
    assert not caplog.records
