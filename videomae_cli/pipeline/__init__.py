"""Requests -> clips in batches -> results. Receives a model, a preprocessor and a decoder; loads and writes nothing.

    batches     runs views of many files through a model in full batches, and returns them to their files, in order
    pipeline_model  what the next two have in common (`PipelineModel`)
    classify    labels for files (`Classifier`)
    embed       vectors for files (`Embedder`)
    timeline    what happens when, in files of any length (`TimelineMaker`)
    feature_timeline  the same of vectors that are there already (`FeatureTimelineMaker`)
    dense       vectors for every window of such files (`DenseEmbedder`); window_clips  assembles the frames of both
    film_trial  about how long such files take
    devices     where to run, and how many views at once

Decoding runs ahead in its own processes while the model works (`video.Decoder.decode_all`).
"""

from __future__ import annotations

from videomae_cli.pipeline.batches import clip_request
from videomae_cli.pipeline.classify import Classifier, merge_views
from videomae_cli.pipeline.dense import DenseEmbedder
from videomae_cli.pipeline.devices import auto_batch_size, pick_device
from videomae_cli.pipeline.embed import Embedder, Pooling
from videomae_cli.pipeline.feature_timeline import FeatureTimelineMaker
from videomae_cli.pipeline.film_trial import FilmTrial, try_films
from videomae_cli.pipeline.pipeline_model import PipelineModel
from videomae_cli.pipeline.timeline import TimelineMaker

__all__ = [
    "Classifier",
    "DenseEmbedder",
    "Embedder",
    "FeatureTimelineMaker",
    "FilmTrial",
    "PipelineModel",
    "Pooling",
    "TimelineMaker",
    "auto_batch_size",
    "clip_request",
    "merge_views",
    "pick_device",
    "try_films",
]
