"""An evaluation as JSON and as a page: every figure in its place, and names that stay names."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from videomae_cli.evaluation import (
    Evaluation,
    confused_pairs,
    headline,
    markdown,
    measure,
    measure_labels,
    measure_values,
    worst_classes,
)

HOSTILE = (
    "a|b",
    "[x](http://evil) ![y](z)",
    "<script>alert(1)</script>",
    "**_`~$^$`_**",
    "line\nbreak\x1b[2J\u202e",
    "end\\",
)
FIELDS = (
    "schema_version model revision version fingerprint data split protocol views clips failed ignored trained_on metrics classes "
    "labels confusion reliability failures settings"
)


def guesses(pairs: list[tuple[int, int]], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(true, said) of each clip as scores and truth."""
    scores = np.full((len(pairs), classes), 0.1 / (classes - 1))
    scores[np.arange(len(pairs)), [said for _, said in pairs]] = 0.9
    return scores, np.array([true for true, _ in pairs])


def evaluation(
    pairs: list[tuple[int, int]], labels: tuple[str, ...], *, failures: int = 0, ignored: int = 0
) -> Evaluation:
    return Evaluation(
        model="tiny",
        revision=None,
        version="1.2.3",
        settings={"engine": "torch"},
        fingerprint="abc",
        data="clips/",
        split="test",
        protocol="dense: 1 clip x 1 crop",
        views=len(pairs),
        labels=labels,
        metrics=measure(*guesses(pairs, len(labels))),
        failures=tuple({"path": f"{n}.mp4", "kind": "decode", "message": "broken"} for n in range(failures)),
        ignored=ignored,
    )


def several_labels() -> Evaluation:
    one = evaluation([(0, 0)], ("a", "b", "c"))
    scores, truth = np.array([[0.9, 0.8, 0.1], [0.2, 0.6, 0.1]]), np.array([[1, 1, 0], [1, 0, 0]])
    return replace(one, metrics=measure_labels(scores, truth.astype(np.float32)))


# 0: always right; 1: half right, else taken for 0; 2: never right, taken for 3 twice; 3 is never true.
PAIRS = [(0, 0), (0, 0), (1, 1), (1, 0), (2, 3), (2, 3), (2, 0)]
NAMES = ("zero", "one", "two", "three", "four")


def test_the_document_is_plain_json_with_every_field() -> None:
    whole = evaluation(PAIRS, NAMES, failures=1, ignored=3).as_dict()
    assert json.loads(json.dumps(whole, allow_nan=False)) == whole
    assert list(whole) == FIELDS.split()
    assert (whole["schema_version"], whole["clips"], whole["failed"], whole["ignored"]) == (1, 8, 1, 3)
    assert whole["metrics"]["count"] == 7
    assert whole["confusion"][2] == [1, 0, 0, 2, 0]
    assert sum(bin["clips"] for bin in whole["reliability"]) == 7
    assert whole["failures"] == [{"path": "0.mp4", "kind": "decode", "message": "broken"}]
    assert [row["label"] for row in whole["classes"]] == ["zero", "one", "two", "three"], (
        "four was neither true nor said"
    )
    assert whole["classes"][1] == {
        "label": "one",
        "label_id": 1,
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "support": 2,
    }
    assert whole["classes"][3]["recall"] is None


def test_the_document_of_several_labels_has_average_precision_and_no_confusion() -> None:
    whole = several_labels().as_dict()
    assert json.loads(json.dumps(whole, allow_nan=False)) == whole
    assert set(FIELDS.split()) - set(whole) == {"labels", "confusion", "reliability"}
    assert "top1_of_all" not in whole["metrics"]
    assert {row["label"]: row["average_precision"] for row in whole["classes"]} == {"a": 1.0, "b": 1.0}


def test_failed_clips_count_as_wrong_in_top_1_of_all() -> None:
    assert evaluation(PAIRS, NAMES).top1_of_all == pytest.approx(3 / 7)
    failing = evaluation(PAIRS, NAMES, failures=3)
    assert failing.top1_of_all == pytest.approx(3 / 10)
    assert failing.as_dict()["metrics"]["top1_of_all"] == pytest.approx(3 / 10)
    assert failing.as_dict()["metrics"]["top1"] == pytest.approx(3 / 7)
    assert several_labels().top1_of_all is None


def test_the_headline() -> None:
    lines = dict(headline(evaluation(PAIRS, NAMES)))
    assert re.fullmatch(r"42\.9%  \(95% interval 15\.8% to 75\.0%\)", lines["top-1"])
    assert lines["mean class accuracy"] == "50.0%"
    assert "top-5" not in lines, "of five classes it is always 100 %"
    assert "top-1, failed as wrong" not in lines
    assert dict(headline(evaluation(PAIRS, (*NAMES, "five"))))["top-5"] == "42.9%", "all that were not said tie"
    failing = headline(evaluation(PAIRS, NAMES, failures=3))
    assert failing[1] == ("top-1, failed as wrong", "30.0%")
    assert dict(headline(several_labels())) == {
        "mAP": "1.000",
        "F1, micro": "0.667",
        "F1, macro": "0.444",
        "all labels right": "50.0%",
    }


def test_the_classes_that_are_found_least_come_first_and_perfect_ones_not_at_all() -> None:
    assert worst_classes(evaluation(PAIRS, NAMES)) == [("two", 0.0, 3), ("one", 0.5, 2)]
    assert worst_classes(evaluation([(0, 0), (1, 1)], NAMES)) == []
    many = evaluation([(n, (n + 1) % 9) for n in range(9)], tuple("ihgfedcba"))
    assert [label for label, _, _ in worst_classes(many)] == list("abcde"), "five of them, by name where they are equal"


def test_the_most_frequent_mistakes() -> None:
    assert confused_pairs(evaluation(PAIRS, NAMES)) == [("two", "three", 2), ("one", "zero", 1), ("two", "zero", 1)]
    assert confused_pairs(evaluation([(0, 0)], NAMES)) == []
    assert confused_pairs(several_labels()) == []


def test_the_page_has_figures_classes_mistakes_pictures_and_failures() -> None:
    page = markdown(evaluation(PAIRS, NAMES, failures=1, ignored=1), ["confusion.png"])
    assert page.startswith("# tiny on clips/\n")
    assert "7 clips of split *test*, dense: 1 clip x 1 crop" in page
    assert "Left out: 1 clip with labels" in page
    assert "![confusion](confusion.png)" in page
    assert "| one | 2 | 50.0% | 100.0% | 66.7% |" in page
    assert "| two | 3 | 0.0% | - | 0.0% |" in page
    assert "| three | 0 |" not in page
    assert "| two | three | 2 |" in page
    assert "| 0.mp4 | broken |" in page
    assert "mistakes" not in markdown(evaluation([(0, 0)], NAMES))


def test_the_page_of_several_labels_has_average_precision() -> None:
    page = markdown(several_labels())
    assert "| class | clips | recall | precision | F1 | average precision |\n|---|---|---|---|---|---|\n" in page
    assert "| a | 2 | 50.0% | 100.0% | 66.7% | 100.0% |" in page


def test_hostile_names_stay_names_in_the_page() -> None:
    count = len(HOSTILE)
    failing = {"path": "x|y\n# z.mp4", "kind": "decode", "message": "<b>no</b> | `frame`"}
    one = evaluation([(n, (n + 1) % count) for n in range(count)], HOSTILE)
    page = markdown(replace(one, data="<img>|\n#", model="[m](u)", failures=(failing,)))
    assert page.splitlines()[0] == r"# \[m\](u) on \<img\>\|\\n\#"
    assert not re.search(r"(?<!\\)[<>`~$]", page), "nothing begins a tag, code or a formula"
    assert not re.search(r"(?<!\\)\]\(", page), "nothing is a link"
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", page)
    rows = [line for line in page.splitlines() if line.startswith("|")]
    widths = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows]
    assert set(widths) == {3, 4, 6}, "no name begins a cell of its own"
    assert len(rows) == 2 + len(headline(one)) + 1 + 2 + count + 2 + min(5, count) + 2 + 1


def test_one_is_one_and_nothing_is_less_than_nothing() -> None:
    one = evaluation([(0, 0)], ("a", "b"), ignored=1)
    assert "1 clip of split" in markdown(one)
    assert "Left out: 1 clip with labels" in markdown(one)
    near = measure_values(np.array([1.0, 1.0, 2.0, 2.0]), np.array([1.0, 2.0, 1.0, 2.0]) + np.array([0, 0, 0, -1e-9]))
    assert near.pearson is not None
    assert -0.0005 < near.pearson < 0
    shown = dict(headline(replace(one, metrics=near)))
    assert shown["correlation"] == "0.000"
    level = measure_values(np.array([1.0, 2.0, 1.0, 2.0]), np.array([2.0, 2.0, 1.0, 1.0]))
    for figures in (near, level, measure(np.array([[1.0, 0.0]]), np.array([0]))):
        assert "-0.0," not in json.dumps(figures.as_dict())
    for text in (markdown(replace(one, metrics=near)), markdown(one)):
        assert not re.search(r"-0(\.0+)?[ %|]|\b(nan|inf)\b", text)
