"""Searches the files of a job for the places of one label, for `videomae timeline --find`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from videomae_cli.api.places import PlaceFinder
from videomae_cli.assembly import settings_for
from videomae_cli.cli.outputs.found_places import PlacesTarget, Search
from videomae_cli.cli.run.batch import Batch, Watch
from videomae_cli.labels import match_label
from videomae_cli.video import Decoder, FoundVideo

if TYPE_CHECKING:
    from videomae_cli.pipeline import TimelineMaker


def show_found(
    search: Search,
    maker: TimelineMaker,
    found: Sequence[FoundVideo],
    decoder: Decoder,
    watch: Watch,
    *,
    progress: str,
    ok_on_errors: bool,
) -> None:
    """Search all files and output the places. Raises OptionError for a label that the model doesn't have."""
    finder = PlaceFinder(match_label(search.label, maker.classifier.model.config.label_names))
    maker = replace(maker, classifier=watch.over(maker.classifier))
    target = PlacesTarget(search, finder, decoder, found)
    with target.opened():
        batch = Batch(found, target, "gone through", None, progress, ok_on_errors, watch=watch)
        batch.run(
            settings_for("timeline", {"model": maker.classifier.name}),
            lambda left, _: maker(left, decoder=decoder, moved=watch.moved),
            engine=maker.classifier.engine,
        )
