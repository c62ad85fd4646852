"""Writes an evaluation to files, after checking that they may be written."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videomae_cli import filesystem
from videomae_cli.errors import OutputError, Wording, say
from videomae_cli.made import MadeFiles

if TYPE_CHECKING:
    from videomae_cli.datasets import Example
    from videomae_cli.evaluation import Evaluation
    from videomae_cli.training.evaluating import Measured
    from videomae_cli.training.scoring import ScoredClips


# Files a report may hold; the task of the model decides which pictures it has.
REPORT_FILES = ("report.json", "predictions.jsonl", "report.md", "confusion.png", "reliability.png", "scatter.png")


def check_places(output: Path | None, report: Path | None, overwrite: bool) -> None:
    """Check before hours of work that outputs can be written and nothing is replaced unasked. Raises OutputError."""
    if output is not None:
        if filesystem.is_folder(output):
            raise OutputError(f"{output} is a folder: give a file name to write to")
        if not filesystem.is_folder(output.parent):
            raise OutputError(f"can't write {output}: there is no folder {output.parent}")
        if filesystem.is_file(output) and not overwrite:
            raise OutputError(f"{output} is there already", remedy=Wording("{@overwrite:True} replaces it"))
    if report is None:
        return
    if filesystem.is_there(report) and not filesystem.is_folder(report):
        raise OutputError(f"{report} is a file", remedy=Wording("{@report} needs a folder"))
    _made(report, overwrite).check_free(REPORT_FILES)
    above = next(folder for folder in (report, *report.absolute().parents) if filesystem.is_there(folder))
    if not filesystem.is_folder(above) or not os.access(above, os.W_OK):
        raise OutputError(
            f"can't make the folder {report}: {above} is {'read-only' if filesystem.is_folder(above) else 'a file'}"
        )


def _made(report: Path, overwrite: bool) -> MadeFiles:
    from videomae_cli.pictures.picture_files import is_own_picture

    return MadeFiles(
        report,
        lambda file: file.name in REPORT_FILES and is_own_picture(file),
        say("{report} holds something already: {@overwrite:True} replaces a report in it", report=report),
        overwrite=overwrite,
    )


def write(measured: Measured, output: Path | None, report: Path | None, *, overwrite: bool) -> None:
    """Write the document to `output`, and everything into the folder `report`. Raises OutputError."""
    from videomae_cli.files import whole_file

    evaluation, scored, kept = measured.evaluation, measured.scored, measured.kept
    document = (json.dumps(evaluation.as_dict(), indent=1) + "\n").encode()
    if output is not None:
        with whole_file(output) as sink:
            sink.write(document)
    if report is None:
        return
    from videomae_cli.evaluation import Metrics, RegressionMetrics, markdown
    from videomae_cli.pictures.charts import confusion_chart, reliability_chart, scatter_chart

    files = {"report.json": document, "predictions.jsonl": _predictions(evaluation, scored, kept)}
    m = evaluation.metrics
    if isinstance(m, Metrics):
        there = [n for n, f in enumerate(m.classes) if f.support or f.precision is not None]
        names = [evaluation.labels[n] for n in there]
        files["confusion.png"] = confusion_chart(m.confusion[there][:, there], names)
        files["reliability.png"] = reliability_chart(m.calibration.bins, m.calibration.error)
    if isinstance(m, RegressionMetrics):
        import numpy as np

        truth = np.array([example.values for example in kept])
        files["scatter.png"] = scatter_chart(truth[scored.valid], scored.scores[scored.valid], evaluation.labels)
    pictures = [name for name in files if name.endswith(".png")]
    files["report.md"] = markdown(evaluation, pictures).encode("utf-8", "replace")
    with _made(report, overwrite) as made:
        made.check_free(files)
        made.fill(files)


def _predictions(evaluation: Evaluation, scored: ScoredClips, kept: Sequence[Example]) -> bytes:
    """Return a JSON line per clip: what is true, what was predicted, every score by label id."""
    import numpy as np

    from videomae_cli.evaluation import Metrics, RegressionMetrics
    from videomae_cli.results import as_utf8, path_fields

    lines = []
    for place, example in enumerate(kept):
        line: dict[str, Any] = {**path_fields(example.path), "start": example.start, "end": example.end}
        values = isinstance(evaluation.metrics, RegressionMetrics)
        line["true"] = _by_name(example.values, evaluation.labels) if values else list(example.labels)
        if place in scored.errors:
            error = scored.errors[place]
            line |= {
                "status": "error",
                "error": {"kind": error.kind, "message": as_utf8(str(error))},
                "said": None,
                "scores": None,
            }
        else:
            row = scored.scores[place]
            if values:
                line |= {"status": "ok", "error": None, "said": _by_name(row, evaluation.labels), "scores": None}
                lines.append(json.dumps(line))
                continue
            places = [int(row.argmax())] if isinstance(evaluation.metrics, Metrics) else np.flatnonzero(row >= 0.5)
            said = [evaluation.labels[place] for place in places]
            line |= {"status": "ok", "error": None, "said": said, "scores": [float(f"{value:.6g}") for value in row]}
        lines.append(json.dumps(line))
    return ("\n".join(lines) + "\n").encode()


def _by_name(values: Sequence[float], names: Sequence[str]) -> float | dict[str, float]:
    """Return a single value as it is, several keyed by their names."""
    rounded = [float(f"{value:z.7g}") for value in values]
    return rounded[0] if len(rounded) == 1 else dict(zip(names, rounded, strict=True))
