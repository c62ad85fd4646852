"""Videos that are alike, from Python: what the command finds, for a name, a video and vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from samples import write_video
from typer.testing import CliRunner

import videomae_cli as videomae
from videomae_cli.cli.app import app
from videomae_cli.errors import EmbeddingsError, OptionError, OutputError, VideoMAEError


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five films, of which two are the same, embedded by the command."""
    place = tmp_path_factory.mktemp("films")
    for number, count in enumerate((20, 20, 40, 60, 80)):
        write_video(place / f"{number}.mp4", count=count)
    done = CliRunner().invoke(app, ["embed", str(place), "-m", "camera-motion", "-o", str(place / "v.parquet"), "-q"])
    assert done.exit_code == 0
    return place / "v.parquet"


@pytest.mark.parametrize("inside", [True, False])
def test_matches_are_those_of_the_command(inside: bool, table: Path, tmp_path: Path) -> None:
    query = table.parent / "2.mp4" if inside else write_video(tmp_path / "new.mp4", count=50)
    found = videomae.similar(query, table, top_k=3)
    done = CliRunner().invoke(app, ["similar", str(query), str(table), "-k", "3", "--format", "jsonl"])
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(match.row.path, match.score) for match in found] == [(one["path"], one["score"]) for one in told]
    assert len(found) == 3


def test_vectors_find_what_their_file_finds(table: Path) -> None:
    with videomae.load_embedder("camera-motion") as embedder:
        vectors = embedder.embed(table.parent / "0.mp4").vectors
    for query in (vectors, vectors[0]):
        first, second = videomae.similar(query, table, top_k=2)
        assert {Path(first.row.path).name, Path(second.row.path).name} == {"0.mp4", "1.mp4"}
        assert first.score == pytest.approx(1, abs=1e-5)


def test_near_duplicates_are_grouped(table: Path) -> None:
    found = videomae.find_duplicates(table, 0.999999)
    assert found.exact
    assert ["0.mp4", "1.mp4"] in [[Path(one.row.path).name for one in group] for group in found.groups]


def test_what_can_not_be_compared_is_refused(table: Path) -> None:
    with pytest.raises(EmbeddingsError, match="is neither a file nor a name in"):
        videomae.similar("nowhere.mp4", table)
    with pytest.raises(EmbeddingsError, match="holds vectors of"):
        videomae.similar(np.ones(3), table)
    with pytest.raises(EmbeddingsError, match="zero or not finite"):
        videomae.similar(np.zeros(192), table)
    for threshold in (0, 1.5, float("nan")):
        with pytest.raises(OptionError, match="cosine above 0"):
            videomae.find_duplicates(table, threshold)
    with pytest.raises(OptionError, match="top_k must be at least 1"):
        videomae.similar("0.mp4", table, top_k=0)


def test_a_map_is_the_page_of_the_command(table: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tried: list[tuple[str, VideoMAEError | None]] = []
    found = videomae.map_embeddings(table, method="pca", thumbnails=2, on_progress=lambda *one: tried.append(one))
    found.save(tmp_path / "a.html")
    assert capfd.readouterr() == ("", "")
    assert [(Path(path).name, error) for path, error in tried] == [("0.mp4", None), ("2.mp4", None)]
    assert (found.points.shape, found.groups, found.number) == ((5, 2), [table.parent.name] * 5, "5 videos")
    more = ["--method", "pca", "--thumbnails", "2"]
    done = CliRunner().invoke(app, ["map", str(table), "-o", str(tmp_path / "b.html"), *more])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    with pytest.raises(OutputError, match="is there already: overwrite=True replaces it"):
        found.save(tmp_path / "a.html")
    with pytest.raises(OutputError, match="is what is read: give another name with output"):
        found.save(table, overwrite=True)


def test_a_map_that_can_not_be_is_refused(table: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="unknown method 'tsne': choose auto, pca, umap"):
        videomae.map_embeddings(table, method="tsne")
    with pytest.raises(OptionError, match='colour="label" needs labels: the output'):
        videomae.map_embeddings(table, colour="label")
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"path": "other.mp4", "index": 0, "predictions": [{"label": "a"}]}\n')
    with pytest.raises(EmbeddingsError, match="has no label for any file of"):
        videomae.map_embeddings(table, labels=labels)
