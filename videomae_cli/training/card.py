"""Writes the description of a trained model beside its weights: charts, metrics and a model card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from videomae_cli.evaluation import Metrics, RegressionMetrics
from videomae_cli.files import write_file
from videomae_cli.jobs import Settings
from videomae_cli.pictures.charts import confusion_chart, penalty_curve, scatter_chart
from videomae_cli.training.classification import Data
from videomae_cli.training.figures import Figures
from videomae_cli.training.run_folder import CURVES, Run
from videomae_cli.visible import counted, in_markdown, visible

_MOST_CLASSES = 50


def finish(run: Run, figures: Figures | None, data: Data, settings: Settings) -> None:
    """Write README.md and a chart of the metrics, and curves.png if only the last layer was trained. Raises OutputError."""
    events = list(run.events())
    if any(event.get("event") == "probe" for event in events):
        _write(run, CURVES, penalty_curve(events))
    if figures is not None and isinstance(figures.metrics, Metrics):
        _write(run, "confusion.png", confusion_chart(figures.metrics.confusion, data.dataset.classes))
    if figures is not None and figures.truth is not None and figures.predicted is not None:
        _write(run, "scatter.png", scatter_chart(figures.truth, figures.predicted, data.dataset.outputs))
    _write(run, "README.md", classifier_card(run.folder.name, figures, data, settings).encode())


def finish_masked(run: Run, settings: Settings) -> None:
    """Write README.md of a pre-training run. Raises OutputError."""
    values = settings.values
    about = [
        f"# {in_markdown(run.folder.name)}",
        "",
        f"A masked autoencoder trained by `videomae pretrain` ({settings.version}) on "
        f"{counted(values['data']['train_clips'], 'clip')}, from {in_markdown(values['init'] or 'random weights')}; masks: {values['recipe']['mask']}, "
        f"{values['recipe']['mask_ratio']:.0%} hidden. All settings: `training.json`.",
        "",
        f"    videomae finetune DATA --init {visible(run.folder.name)} -o my-model/",
        f"    videomae reconstruct clip.mp4 --model {visible(run.folder.name)} -o preview.gif",
        "",
        "![losses](curves.png)",
        "",
    ]
    _write(run, "README.md", "\n".join(about).encode())


def classifier_card(name: str, figures: Figures | None, data: Data, settings: Settings) -> str:
    """Return the model card of a classifier or regression model, with a header that the hub understands."""
    values = settings.values
    names, regression = data.dataset.names, bool(data.dataset.outputs)
    kind = ("value", "values") if regression else ("class", "classes")
    lines = [
        "---",
        "pipeline_tag: video-classification",
        "tags: [videomae]",
        "---",
        "",
        f"# {in_markdown(name)}",
        "",
        f"{counted(len(names), *kind)}{' a clip' if regression else ''}, trained by `videomae finetune` ({settings.version}) from {in_markdown(values['init'])} on "
        f"{counted(values['data']['train_clips'], 'clip')}; {counted(values['data']['val_clips'], 'clip')} held out.",
        "",
        f"    videomae classify clip.mp4 --model {visible(name)}",
        "",
        "Weights made from others inherit their licence: the official VideoMAE checkpoints are CC-BY-NC-4.0.",
        "",
        *_measured(figures, data.dataset.outputs),
        f"## {kind[len(names) != 1].capitalize()}",
        "",
        ", ".join(map(in_markdown, names[:_MOST_CLASSES]))
        + (f" and {len(names) - _MOST_CLASSES} more" if len(names) > _MOST_CLASSES else ""),
        "",
        "All settings: `training.json`; every step: `metrics.jsonl`.",
        "",
        "![how training went](curves.png)",
        "",
    ]
    return "\n".join(lines)


def _measured(figures: Figures | None, outputs: Sequence[str]) -> list[str]:
    if figures is None:
        return ["Nothing was held out, so nothing was measured.", ""]
    about: dict[str, Any] = figures.metrics.as_dict()
    rows: Sequence[str] = [
        f"| {name.replace('_', ' ')} | {value:z.4g} |" for name, value in about.items() if isinstance(value, float)
    ]
    chosen = (
        "One clip a file, on the clips that the best epoch (or penalty) was chosen by: on new footage the figures may "
        "be lower. `videomae evaluate` measures others."
    )
    failed = [f"{counted(figures.failed, 'held-out file')} could not be read.", ""] if figures.failed else []
    picture = ["![what is taken for what](confusion.png)", ""] if isinstance(figures.metrics, Metrics) else []
    if isinstance(figures.metrics, RegressionMetrics):
        picture = [*_outputs(figures.metrics, outputs), "![predicted over true values](scatter.png)", ""]
    head = [f"## Held out: {figures.line}", "", chosen, "", "| | |", "|---|---|"]
    return [*head, *rows, "", *failed, *picture]


def _outputs(metrics: RegressionMetrics, outputs: Sequence[str]) -> list[str]:
    """Return a table of the metrics of each output, if there are several."""
    if not metrics.outputs:
        return []
    rows = [
        f"| {in_markdown(name)} | {one.mae:.4g} | {one.mse:.4g} | {'-' if one.r2 is None else f'{one.r2:.4g}'} |"
        for name, one in zip(outputs, metrics.outputs, strict=True)
    ]
    return ["| value | mean absolute error | mean squared error | R² |", "|---|---|---|---|", *rows, ""]


def _write(run: Run, name: str, content: bytes) -> None:
    if run.adds(name):
        write_file(run.folder / name, content)
