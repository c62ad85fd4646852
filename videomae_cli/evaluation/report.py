"""Formats an evaluation as JSON and as a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from videomae_cli.evaluation.metrics import ClassFigures, Metrics, MultiLabelMetrics
from videomae_cli.evaluation.regression import RegressionMetrics
from videomae_cli.visible import counted, in_markdown, visible

SCHEMA_VERSION = 1
_WORST, _PAIRS = 5, 5


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """An evaluation with everything that identifies it.

    labels: the checkpoint's, in the order of their ids; protocol: a description of the views per clip; failures: path,
    kind and message of clips that could not be scored; ignored: number of clips left out because the checkpoint lacks
    their label; trained_on: number of scored clips that the model was trained on, None if its checkpoint doesn't say.
    """

    model: str
    revision: str | None
    version: str
    settings: Mapping[str, Any]
    fingerprint: str
    data: str
    split: str
    protocol: str
    views: int
    labels: tuple[str, ...]
    metrics: Metrics | MultiLabelMetrics | RegressionMetrics
    failures: tuple[Mapping[str, str], ...] = ()
    ignored: int = 0
    trained_on: int | None = None

    @property
    def doubt(self) -> str:
        """Say that the model was trained on clips that it was measured on; empty if it wasn't, or if that isn't known."""
        if not self.trained_on:
            return ""
        clips = counted(self.metrics.count, "clip")
        which = f"{self.trained_on:,} of the {clips}" if self.trained_on < self.metrics.count else f"all {clips}"
        which = f"the {clips.removeprefix('1 ')}" if self.metrics.count == 1 else which
        return f"{visible(self.model)} was trained on {which}: on new clips it may be less good than this"

    @property
    def classes(self) -> tuple[ClassFigures, ...]:
        """Metrics of every class, in the order of the labels; empty for a regression model."""
        return () if isinstance(self.metrics, RegressionMetrics) else self.metrics.classes

    @property
    def top1_of_all(self) -> float | None:
        """Top-1 accuracy with every failed clip counted as wrong."""
        if not isinstance(self.metrics, Metrics):
            return None
        return self.metrics.top1 * self.metrics.count / (self.metrics.count + len(self.failures))

    def as_dict(self) -> dict[str, Any]:
        """Return the whole evaluation as plain values for JSON."""
        m = self.metrics
        rows = [
            {"label": self.labels[number], "label_id": number, **asdict(figures)}
            for number, figures in enumerate(self.classes)
            if figures.support or figures.precision is not None
        ]
        if isinstance(m, MultiLabelMetrics):
            rows = [row | {"average_precision": m.average_precision[row["label_id"]]} for row in rows]
        whole: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "model": self.model,
            "revision": self.revision,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "data": self.data,
            "split": self.split,
            "protocol": self.protocol,
            "views": self.views,
            "clips": m.count + len(self.failures),
            "failed": len(self.failures),
            "ignored": self.ignored,
            "trained_on": self.trained_on,
            "metrics": {**m.as_dict(), **({} if self.top1_of_all is None else {"top1_of_all": self.top1_of_all})},
            "classes": rows,
        }
        if isinstance(m, RegressionMetrics):
            whole["labels"] = list(self.labels)
            whole["outputs"] = [{"output": name, **one.as_dict()} for name, one in outputs(self)]
        if isinstance(m, Metrics):
            whole["labels"] = list(self.labels)
            whole["confusion"] = m.confusion.tolist()
            bins = [{"confidence": c, "accuracy": a, "clips": n} for c, a, n in m.calibration.bins]
            whole["reliability"] = bins
        return {**whole, "failures": [dict(failure) for failure in self.failures], "settings": dict(self.settings)}


def headline(e: Evaluation) -> list[tuple[str, str]]:
    """Return the main metrics as (name, formatted number), as in a paper's table."""
    m = e.metrics
    if isinstance(m, Metrics):
        low, high = m.interval
        lines = [
            ("top-1", f"{m.top1:.1%}  (95% interval {low:.1%} to {high:.1%})"),
            *([("top-5", f"{m.top5:.1%}")] if len(e.labels) > 5 else []),
            ("mean class accuracy", f"{m.mean_class:.1%}"),
            ("calibration error", f"{m.calibration.error:.1%}"),
            ("negative log-likelihood", f"{m.nll:.3f}"),
        ]
        if e.failures and e.top1_of_all is not None:
            lines.insert(1, ("top-1, failed as wrong", f"{e.top1_of_all:.1%}"))
        return lines
    if isinstance(m, RegressionMetrics):
        if not m.outputs:
            return _of_values(m)
        # A mean of errors in different units would be meaningless.
        share = "-" if m.r2 is None else f"{m.r2:z.3f}"
        each = [(name, ", ".join(f"{what} {value}" for what, value in _of_values(one))) for name, one in outputs(e)]
        return [("R², mean of all values", share), *((visible(name), figures) for name, figures in each)]
    return [
        ("mAP", f"{m.mean_ap:.3f}"),
        ("F1, micro", f"{m.micro_f1:.3f}"),
        ("F1, macro", f"{m.macro_f1:.3f}"),
        ("all labels right", f"{m.exact:.1%}"),
    ]


def outputs(e: Evaluation) -> list[tuple[str, RegressionMetrics]]:
    """Return the metrics of each output of a regression model; empty for a classifier."""
    if not isinstance(e.metrics, RegressionMetrics):
        return []
    return list(zip(e.labels, e.metrics.outputs or (e.metrics,), strict=True))


def _of_values(m: RegressionMetrics) -> list[tuple[str, str]]:
    shares = (("R²", m.r2), ("correlation", m.pearson), ("rank correlation", m.spearman))
    return [
        ("mean absolute error", f"{m.mae:.6g}"),
        ("mean squared error", f"{m.mse:.6g}"),
        *((name, "-" if share is None else f"{share:z.3f}") for name, share in shares),
    ]


def worst_classes(e: Evaluation) -> list[tuple[str, float, int]]:
    """Return (label, recall, clips) of the classes with the lowest recall, except those with a recall of 1."""
    classes = enumerate(e.classes)
    imperfect = [(e.labels[n], f.recall, f.support) for n, f in classes if f.recall is not None and f.recall < 1]
    return sorted(imperfect, key=lambda row: (row[1], row[0]))[:_WORST]


def confused_pairs(e: Evaluation) -> list[tuple[str, str, int]]:
    """Return (true label, predicted label, count) of the most frequent mistakes."""
    if not isinstance(e.metrics, Metrics):
        return []
    wrong: npt.NDArray[np.int64] = e.metrics.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    places = [np.unravel_index(place, wrong.shape) for place in order]
    return [(e.labels[int(t)], e.labels[int(p)], int(wrong[t, p])) for t, p in places if wrong[t, p]]


def markdown(e: Evaluation, pictures: Sequence[str] = ()) -> str:
    """Format the evaluation as a Markdown page: metrics, every class, mistakes, failures."""
    lines = [
        f"# {in_markdown(e.model)} on {in_markdown(e.data)}",
        "",
        f"{counted(e.metrics.count, 'clip')} of split *{e.split}*, {e.protocol}. videomae {e.version}, settings {e.fingerprint}.",
        "",
        "| | |",
        "|---|---|",
        *[f"| {in_markdown(name)} | {value} |" for name, value in headline(e)],
        "",
    ]
    if e.ignored:
        lines += [f"Left out: {counted(e.ignored, 'clip')} with labels that the model does not have.", ""]
    if e.doubt:
        lines += [f"{in_markdown(e.doubt)}.", ""]
    lines += [line for name in pictures for line in (f"![{name.removesuffix('.png')}]({name})", "")]
    m = e.metrics
    extra = ["average precision"] if isinstance(m, MultiLabelMetrics) else []
    names = ["class", "clips", "recall", "precision", "F1", *extra]
    if e.classes:
        lines += ["## Classes", "", f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for number, f in enumerate(e.classes):
        if f.support:
            more = [m.average_precision[number]] if isinstance(m, MultiLabelMetrics) else []
            shares = [f.recall, f.precision, f.f1, *more]
            lines.append(f"| {in_markdown(e.labels[number])} | {f.support} | {' | '.join(map(_share, shares))} |")
    pairs = confused_pairs(e)
    if pairs:
        lines += ["", "## Most frequent mistakes", "", "| true | predicted | clips |", "|---|---|---|"]
        lines += [f"| {in_markdown(true)} | {in_markdown(predicted)} | {count} |" for true, predicted, count in pairs]
    if e.failures:
        lines += ["", "## Failed", "", "| clip | reason |", "|---|---|"]
        lines += [f"| {in_markdown(f['path'])} | {in_markdown(f['message'])} |" for f in e.failures]
    return "\n".join(lines) + "\n"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
