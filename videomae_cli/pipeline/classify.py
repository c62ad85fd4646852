"""Classifies files: the views of one file are merged into one ranking of labels."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import OptionError, Wording, scores_not_numbers
from videomae_cli.pipeline.batches import Outputs, Passed
from videomae_cli.pipeline.pipeline_model import PipelineModel
from videomae_cli.results import Classification, Prediction

if TYPE_CHECKING:
    from videomae_cli.engines import Logits
    from videomae_cli.model import VideoMAEForVideoClassification

# Named alone, so that torch is not imported.
_Model: TypeAlias = "VideoMAEForVideoClassification"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Classifier(PipelineModel[_Model, Classification]):
    """A classifier or regression model, with everything needed to use it on files.

    top_k: labels per file, best first.
    """

    top_k: int = 5
    result = Classification

    def _part(self) -> Logits:
        from videomae_cli.engines import Logits

        return Logits(self.loaded_model)

    def _result(self, passed: Passed) -> Classification:
        if passed.outputs is None:
            return self._failed(passed, passed.error)
        if not np.isfinite(passed.outputs).all():
            # JSON has no way to write NaN or infinity.
            return self._failed(passed, scores_not_numbers(self.name))
        scores = merge_views(passed.outputs, problem_type=self.problem_type)
        best = () if self.regression else self.best(scores)
        values = self.values(scores) if self.regression else None
        return self._made(passed, predictions=best, values=values, thumbnails=passed.thumbnails)

    @property
    def multi_label(self) -> bool:
        """Return whether labels are independent of each other: sigmoid scores instead of softmax."""
        return self.problem_type == "multi_label_classification"

    @property
    def regression(self) -> bool:
        """Return whether the outputs are values, not scores of labels."""
        return self.problem_type == "regression"

    @property
    def problem_type(self) -> str:
        """Return the configuration's problem type.

        If it has none, a single output means regression and several mean classes.
        """
        return self.config.resolved_problem_type

    def check_labels(self, use: str) -> None:
        """Raise OptionError for a regression model. use: what labels are needed for, to name in the message."""
        if self.regression:
            raise OptionError.about(
                self.name,
                "{subject} is a regression model, whose outputs are values",
                remedy=Wording(
                    "{use} needs labels. `videomae classify` gives the values, with {@start} and {@end} those of a stretch",
                    use=use,
                ),
            )

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return everything about this classifier that affects results, as plain values for `jobs.Settings`."""
        return {
            "weights": self.digest,
            "top_k": self.top_k,
            "resize": self.preprocessor.resize,
            "heads": self.config.num_attention_heads,
            **self._network.identity,
            "labels": list(self.config.label_names),
        }

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return the names of a regression model's outputs; outputs of the same name get their number appended."""
        names = self.config.label_names
        often = Counter(names)
        return tuple(name if often[name] == 1 else f"{name} {number}" for number, name in enumerate(names))

    def values(self, outputs: Outputs) -> dict[str, float]:
        """Map the names of a regression model's outputs to their values (outputs,)."""
        return dict(zip(self.output_names, outputs.tolist(), strict=True))

    def best(self, scores: npt.NDArray[np.floating]) -> tuple[Prediction, ...]:
        """Return the `top_k` labels of scores (labels,), best first."""
        labels = self.config.id2label
        ids = np.argsort(-scores, kind="stable")[: self.top_k].tolist()  # of equal scores, the lower number first
        return tuple(Prediction(labels[label_id], label_id, float(scores[label_id])) for label_id in ids)


def view_scores(logits: Outputs, *, problem_type: str) -> Outputs:
    """Turn logits (V, labels) into scores: softmax for classes, sigmoid for independent labels; values stay unchanged."""
    if problem_type == "regression":
        return logits
    if problem_type == "multi_label_classification":
        # both exponents are of negative numbers, so that neither overflows
        small = np.exp(-np.abs(logits))
        return np.asarray(np.where(logits >= 0, 1 / (1 + small), small / (1 + small)))
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def merge_views(logits: Outputs, *, problem_type: str) -> Outputs:
    """Merge logits (V, labels) into scores (labels,): the mean of the views' scores, as in the papers."""
    return np.asarray(view_scores(logits, problem_type=problem_type).mean(axis=0))
