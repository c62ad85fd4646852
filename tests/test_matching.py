"""Labels of data among those of a checkpoint."""

from __future__ import annotations

import unicodedata

import pytest

from videomae_cli.errors import DatasetError, OptionError
from videomae_cli.labels import match_label, match_labels

LABELS = ("pan left", "pan right", "Roll counter-clockwise", "Straße überqueren", "滑雪")


def test_names_as_they_are() -> None:
    assert match_labels(["滑雪", "pan right", "pan right"], LABELS) == {"滑雪": 4, "pan right": 1}


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        ("PAN LEFT", 0),
        ("Pan_Left", 0),
        ("panleft", 0),
        ("pan-left", 0),
        ("  pan   left ", 0),
        ("roll_counter_clockwise", 2),
        ("STRASSE ÜBERQUEREN", 3),
        (unicodedata.normalize("NFD", "Straße überqueren"), 3),
    ],
)
def test_names_written_loosely(wanted: str, place: int) -> None:
    assert match_labels([wanted], LABELS) == {wanted: place}


def test_an_exact_name_goes_before_a_loose_one() -> None:
    assert match_labels(["A b", "a_b"], ["a_b", "A b"]) == {"A b": 1, "a_b": 0}


def test_numbers_are_ids_where_all_are_numbers() -> None:
    assert match_labels(["4", "0", "02"], LABELS) == {"4": 4, "0": 0, "02": 2}


def test_one_name_among_numbers_makes_them_names() -> None:
    with pytest.raises(DatasetError, match="no label '1'"):
        match_labels(["1", "pan left"], LABELS)


def test_numbers_that_are_names_are_names() -> None:
    assert match_labels(["2", "1"], ["2", "1", "0"]) == {"2": 0, "1": 1}


def test_a_number_that_is_too_large_is_unknown_and_the_others_are_ids() -> None:
    with pytest.raises(DatasetError, match=r"no label '5' \(it has 0 to 4\)"):
        match_labels(["1", "5"], LABELS)
    assert match_labels(["1", "5"], LABELS, ignore_unknown=True) == {"1": 1}


@pytest.mark.parametrize("odd", ["²", "1" * 5000, "-1", "1.5", "٣", ""])
def test_what_only_looks_like_a_number_is_an_unknown_name(odd: str) -> None:
    with pytest.raises(DatasetError, match="the model has no label"):
        match_labels([odd], LABELS)


@pytest.mark.parametrize("ignore_unknown", [False, True])
def test_a_loose_name_that_could_be_two_is_refused(ignore_unknown: bool) -> None:
    with pytest.raises(DatasetError, match="'A-B' could be several of the model's: 0 'a b', 2 'a_b'"):
        match_labels(["A-B"], ["a b", "c", "a_b"], ignore_unknown=ignore_unknown)


def test_a_name_that_the_model_has_twice_is_refused() -> None:
    with pytest.raises(DatasetError, match="could be several of the model's: 0 'run', 1 'run'"):
        match_labels(["run"], ["run", "run"])


def test_names_of_signs_alone_match_nothing_loosely() -> None:
    assert match_labels(["++"], ["--", "++"]) == {"++": 1}
    with pytest.raises(DatasetError, match="no label"):
        match_labels(["**"], ["--", "walking"])


def test_an_unknown_name_is_told_with_what_comes_close() -> None:
    with pytest.raises(DatasetError) as caught:
        match_labels(["pan left", "pan rigth"], LABELS)
    text = str(caught.value)
    assert text.startswith("the model has no label 'pan rigth' (close: pan right")
    assert "ignore_unknown=True" in text
    with pytest.raises(DatasetError, match=r"no label 'xylophone' \(it has pan left, .*滑雪\): ignore_unknown=True"):
        match_labels(["xylophone"], LABELS)


def test_unknown_names_can_be_left_out() -> None:
    assert match_labels(["xylophone", "pan left"], LABELS, ignore_unknown=True) == {"pan left": 0}
    assert match_labels(["xylophone"], LABELS, ignore_unknown=True) == {}
    assert match_labels([], LABELS) == {}


@pytest.mark.parametrize(
    ("wanted", "place"), [("pan_left", 0), ("PAN RIGHT", 1), ("2", 2), ("滑雪", 4), ("strasse überqueren", 3)]
)
def test_a_label_that_is_typed_is_found_in_the_same_way(wanted: str, place: int) -> None:
    assert match_label(wanted, LABELS) == place


@pytest.mark.parametrize(
    ("wanted", "labels", "said"),
    [
        ("pan lft", LABELS, "no label 'pan lft' (close: pan left, pan right): describe_model(MODEL).labels lists them"),
        ("clock", LABELS, "(close: Roll counter-clockwise)"),
        ("7", LABELS, "(it has 0 to 4)"),
        (" RUNNING", ("running", "Running"), "several of the model's: 0 'running', 1 'Running': give its number"),
        ("x", tuple("abcdefghij"), "(it has a, b, c, d, e, f, g, h, ... 10 in all)"),
        ("", LABELS, "no label '' (it has pan left,"),
    ],
)
def test_a_typed_label_that_is_not_there_is_a_line(wanted: str, labels: tuple[str, ...], said: str) -> None:
    with pytest.raises(OptionError) as caught:
        match_label(wanted, labels)
    assert said in str(caught.value)
