"""The colours of labels."""

from videomae_cli.pictures.hues import GREY, label_colour


def test_labels_have_colours_of_their_own() -> None:
    colours = [label_colour(number) for number in range(200)]
    assert len(set(colours)) == 200
    assert GREY not in colours
    assert label_colour(None) == GREY
