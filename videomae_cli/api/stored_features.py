"""Vectors of windows that `videomae embed` wrote, checked and read for a classifier whose encoder made them."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from videomae_cli.errors import EmbeddingsError, VideoMAEError, Wording
from videomae_cli.hub import resolve
from videomae_cli.pipeline.feature_timeline import FilmFeatures
from videomae_cli.results import Failure, Source, path_of
from videomae_cli.search.embedding_table import EmbeddingTable
from videomae_cli.video import CountedWindows, FoundVideo, SamplingSpec
from videomae_cli.video.windows import WindowGrid, stored_windows
from videomae_cli.writers import place_of
from videomae_cli.writers.columns import READ, to_error

if TYPE_CHECKING:
    from torch import Tensor

    from videomae_cli.pipeline import Classifier

Record = dict[str, Any]
_MAKES = "videomae embed --window makes what is wanted, as .parquet, .npz or a folder"


class StoredFeatures:
    """The vectors of films' windows in an output of `embed`.

    settings: those that it was made with; windows: how they lie; sampling: how frames were read; videos: the films, in the order of the output. Raises
    EmbeddingsError if it holds something else, or doesn't say how it was made; StorageError.
    """

    def __init__(self, file: str | os.PathLike[str]) -> None:
        self._table = EmbeddingTable(place_of(file))
        self.settings = self._table.settings
        if not self.settings:
            raise self._refused("{subject} does not say how its vectors were made", _MAKES)
        if "windows" not in self.settings:
            raise self._refused("{subject} holds vectors of clips, not of all windows of films", _MAKES)
        try:
            windows = stored_windows(self.settings["windows"])
            self.sampling = SamplingSpec(**self.settings["sampling"])
        except (KeyError, TypeError, VideoMAEError) as error:
            raise self._refused("another version of videomae made {subject} ({error})", error=error) from None
        if isinstance(windows, CountedWindows):
            reason = "{subject} holds published features ({protocol}), whose pixels are those of no classifier"
            raise self._refused(reason, protocol=windows.protocol)
        self.windows = windows
        names = (path_of(record) for record, _ in self._table.records(vectors=False))
        self.videos = [FoundVideo(name) for name in dict.fromkeys(names)]

    @property
    def fingerprint(self) -> str | None:
        """A hash of everything that affected the vectors."""
        return self._table.fingerprint

    def check(self, classifier: Classifier) -> None:
        """Raise EmbeddingsError unless these are the vectors that this classifier's last layer takes, or OptionError for a
        classifier that takes none."""
        given, config, model = self.settings, classifier.config, classifier.name
        if not config.use_mean_pooling:
            raise self._refused("{model} reads its first token, and {subject} holds means of all", model=model)
        for name, usual in {"layer": None, "normalize": False}.items():
            if given.get(name) != usual:
                what = "normalised vectors" if name == "normalize" else "vectors of another layer"
                raise self._refused("{subject} holds {what}, which {model} does not take", what=what, model=model)
        pixels = json.loads(json.dumps(asdict(classifier.preprocessor.config)))
        same = given.get("preprocessing") == pixels and given.get("heads") == config.num_attention_heads
        if not (same and given.get("dimensions") == config.hidden_size and self._is_from(classifier)):
            reason = "{subject} holds vectors of {maker}, whose encoder or pixels are not those of {model}"
            again = Wording("videomae embed --window with {@model:{model}} makes its own", model=model)
            raise self._refused(reason, again, maker=given.get("model"), model=model)

    def films(self, wanted: Collection[str]) -> Iterator[FilmFeatures]:
        """Yield the wanted films in the order of the output. Raises EmbeddingsError if it is damaged."""
        left = set(wanted)
        for path, group in groupby(self._table.records(), key=lambda pair: path_of(pair[0])):
            if path in left:
                left.remove(path)
                yield self._film(path, list(group))

    def _film(self, path: str, pairs: list[tuple[Record, Any]]) -> FilmFeatures:
        first = pairs[0][0]
        vectors = [vector for _, vector in pairs if vector is not None]
        if not vectors:
            error = first.get("error") or (to_error(first) if "error_kind" in first else None) or {}
            message = str(error.get("message") or "it has no vectors")
            return FilmFeatures(path, error=Failure(error.get("kind") or "embeddings", message))
        spans = tuple((float(record["start"]), float(record["end"])) for record, _ in pairs)
        stacked = np.stack(vectors).astype(np.float32)
        return FilmFeatures(path, stacked, spans, self._grid(first, spans), _source(first))

    def _grid(self, record: Record, spans: tuple[tuple[float, float], ...]) -> WindowGrid:
        """Return how the windows of a film lie: as it was embedded, or, without its frame rate, as their times say."""
        windows, fps = self.windows, record.get("fps")
        if fps:
            return windows.grid(fps=fps, end=record.get("duration") or spans[-1][1])
        (start, end), second = spans[0], spans[min(1, len(spans) - 1)][0]
        window = windows.window if isinstance(windows.window, float) else end - start
        return WindowGrid(windows.frames, window, second - start or window / 2, start, spans[-1][1])

    def _is_from(self, classifier: Classifier) -> bool:
        """Return whether this classifier's encoder, with its norm, made the vectors: all weights are the same, or those of the
        model that made them are, apart from its own last layer."""
        from videomae_cli.model import load_encoder, weights_digest

        given = self.settings
        if given.get("weights") == classifier.digest:
            return True
        try:
            source = resolve(str(given["model"]), revision=given.get("revision"))
            maker = load_encoder(source.path, num_attention_heads=given["heads"])
        except VideoMAEError as error:
            reason = "can't compare the encoder of {model} with that of {maker}, which made {subject}: {error}"
            raise self._refused(reason, model=classifier.name, maker=given["model"], error=error) from None
        if weights_digest(maker) != given.get("weights"):
            return False
        return _same_encoder(maker.state_dict(), classifier.loaded_model.state_dict())

    def _refused(self, reason: str, remedy: str | Wording = "", **values: object) -> EmbeddingsError:
        return EmbeddingsError.about(self._table.file, reason, remedy=remedy, joined="; ", **values)


def _same_encoder(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Return whether the weights of two classifiers are the same bits, apart from their last layers."""
    import torch

    names, others = ({name for name in each if not name.startswith("classifier.")} for each in (one, other))
    return names == others and all(torch.equal(one[name], other[name]) for name in names)


def _source(record: Record) -> Source | None:
    """Return what a row says about how its film was read; None if it doesn't."""
    if record.get("fps") is None:
        return None
    read: dict[str, Any] = {name: record.get(name) for name in READ}
    return Source(**read, frames=(), timestamps=())
