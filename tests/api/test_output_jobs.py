"""Jobs that write their records from Python: the bytes of the commands, whatever interrupts them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pictures_of_clips import write_frames
from samples import write_video
from typer.testing import CliRunner

import videomae_cli as videomae
from videomae_cli.cli.app import app
from videomae_cli.errors import OptionError, OutputError, VideoNotFoundError
from videomae_cli.writers import read_records

FAILED = Counter({"not_a_video": 1})


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("films")
    for number, count in enumerate((40, 20, 60)):
        write_video(place / f"{number}.mp4", count=count)
    (place / "1b.mp4").write_text("no video")
    return place


@pytest.fixture(scope="module")
def classifier() -> videomae.VideoClassifier:
    return videomae.load_classifier("camera-motion", device="cpu", batch_size=2)


@pytest.fixture(scope="module")
def embedder() -> videomae.VideoEmbedder:
    return videomae.load_embedder("camera-motion-mae", device="cpu", batch_size=2)


def command(*words: object) -> None:
    done = CliRunner().invoke(app, [*map(str, words), "--device", "cpu", "-q"])
    assert done.exit_code == 1, done.output  # one file fails


def tree(place: Path) -> dict[str, bytes]:
    if place.is_file():
        return {"": place.read_bytes()}
    return {str(file.relative_to(place)): file.read_bytes() for file in place.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("output", "options", "words"),
    [
        ("a.jsonl", {"clips": 2, "top_k": 3}, ("--clips", 2, "-k", 3)),
        ("a.csv", {"wide": True}, ("--wide",)),
        ("a.parquet", {"shard": "2/2"}, ("--shard", "2/2")),
    ],
)
def test_labels_are_those_of_the_command(
    output: str, options: dict[str, Any], words: tuple[object, ...], films: Path, tmp_path: Path, classifier: Any
) -> None:
    seen: list[str] = []
    done = classifier.classify_files(
        films, tmp_path / output, on_result=lambda result: seen.append(result.path), **options
    )
    made = tree(tmp_path / output)
    assert list(tmp_path.iterdir()) == [tmp_path / output]
    assert (done.files, done.failed, done.output) == (len(seen), FAILED, str(tmp_path / output))
    (tmp_path / output).unlink()
    command("classify", films, "-m", "camera-motion", "--batch-size", 2, "-o", tmp_path / output, *words)
    assert tree(tmp_path / output) == made


@pytest.mark.parametrize("output", ["v.npz", "v.jsonl", "arrays/"])
def test_vectors_are_those_of_the_command(output: str, films: Path, tmp_path: Path, embedder: Any) -> None:
    assert embedder.embed_files(films, f"{tmp_path}/ours-{output}").failed == FAILED
    command("embed", films, "-m", "camera-motion-mae", "--batch-size", 2, "-o", f"{tmp_path}/theirs-{output}")
    assert tree(tmp_path / f"ours-{output}") == tree(tmp_path / f"theirs-{output}")


@pytest.mark.parametrize(
    ("output", "options", "words"),
    [
        ("t.csv", {"hop": "1s"}, ("--hop", "1s")),
        ("srt/", {"format": "srt", "threshold": 0.2}, ("--format", "srt", "--threshold", 0.2)),
    ],
)
def test_timelines_are_those_of_the_command(
    output: str, options: dict[str, Any], words: tuple[object, ...], films: Path, tmp_path: Path, classifier: Any
) -> None:
    assert classifier.timeline_files(films, f"{tmp_path}/ours-{output}", **options).failed == FAILED
    command("timeline", films, "-m", "camera-motion", "--batch-size", 2, "-o", f"{tmp_path}/theirs-{output}", *words)
    assert tree(tmp_path / f"ours-{output}") == tree(tmp_path / f"theirs-{output}")


def test_folders_of_frames_are_taken_as_the_job_says(tmp_path: Path, classifier: Any, embedder: Any) -> None:
    for name in ("clip", "photos"):
        write_frames(tmp_path / "in" / name, range(1, 10), pattern={"clip": "%04d.jpg", "photos": "IMG_%04d.JPG"}[name])
    shutil.copy(videomae.demo_clip(), tmp_path / "in" / "film.mp4")
    expected = {"never": {"film.mp4"}, "auto": {"film.mp4", "clip"}, "always": {"film.mp4", "clip", "photos"}}
    for mode, names in expected.items():
        seen: list[str] = []
        classifier.classify_files(
            tmp_path / "in",
            tmp_path / f"{mode}.csv",
            frame_folders=mode,
            on_result=lambda one, seen=seen: seen.append(one.path),
        )
        assert {Path(path).name for path in seen} == names
        job = videomae.cluster_job(
            "classify", tmp_path / "in", tmp_path / "o.csv", model="camera-motion", frame_folders=mode
        )
        assert {Path(video.path).name for video in job.found} == names
    assert embedder.embed_files(tmp_path / "in", tmp_path / "v.npz", frame_folders="never").files == 1
    assert classifier.timeline_files(tmp_path / "in", tmp_path / "t.csv", frame_folders="never", fps=6).files == 1
    with pytest.raises(OptionError, match="auto, never or always"):
        classifier.classify_files(tmp_path / "in", tmp_path / "x.csv", frame_folders="maybe")


@pytest.mark.parametrize("kind", ["classify", "timeline"])
def test_a_report_is_that_of_the_command(kind: str, films: Path, tmp_path: Path, classifier: Any) -> None:
    output, page = tmp_path / "a.jsonl", tmp_path / "page.html"
    getattr(classifier, f"{kind}_files")(films, output, report=page)
    ours = page.read_bytes()
    assert sorted(tmp_path.iterdir()) == [output, page]
    command(kind, films, "-m", "camera-motion", "--batch-size", 2, "-o", output, "--report", page, "--overwrite")
    assert page.read_bytes() == ours
    with pytest.raises(OutputError, match=r"page\.html is there already: overwrite=True replaces it"):
        classifier.classify_files(films, tmp_path / "b.jsonl", report=page)
    with pytest.raises(OptionError, match="can't be the report and the output: give another name with report"):
        classifier.classify_files(films, tmp_path / "b.jsonl", report=tmp_path / "b.jsonl")


def test_a_chart_is_of_one_film(films: Path, tmp_path: Path, classifier: Any) -> None:
    assert classifier.timeline_files(films / "2.mp4", tmp_path / "t.png").files == 1
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OptionError, match='png holds one video: for several give a folder, such as output="png/"'):
        classifier.timeline_files(films, tmp_path / "u.png")
    with pytest.raises(OptionError, match='a folder takes one document per video: say which with format="srt, vtt'):
        classifier.timeline_files(films, f"{tmp_path}/")


@pytest.mark.parametrize("by_command", [True, False])
def test_what_breaks_off_is_gone_on_with_by_either(
    by_command: bool, films: Path, tmp_path: Path, classifier: Any
) -> None:
    whole, output = tmp_path / "whole.jsonl", tmp_path / "a.jsonl"
    classifier.classify_files(films, whole)

    def interrupt(result: videomae.Classification) -> None:
        if result.error is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        classifier.classify_files(films, output, on_result=interrupt)
    assert not output.exists()
    with pytest.raises(OutputError, match="resume=True continues from there"):
        classifier.classify_files(films, output)
    seen: list[str] = []
    if by_command:
        command("classify", films, "-m", "camera-motion", "--batch-size", 2, "-o", output, "--resume")
    else:
        done = classifier.classify_files(
            films, output, resume=True, on_result=lambda one, seen=seen: seen.append(one.path)
        )
        assert (done.files, done.failed, len(seen)) == (4, FAILED, 1)
    assert output.read_bytes() == whole.read_bytes()


def test_shards_are_joined_and_failures_done_again(films: Path, tmp_path: Path, classifier: Any) -> None:
    names = [films / f"{number}.mp4" for number in range(3)] + [tmp_path / "late.mp4"]
    for number in (1, 2):
        classifier.classify_files(names, tmp_path / f"{number}.jsonl", shard=f"{number}/2")
    write_video(tmp_path / "late.mp4", count=20)
    for number in (1, 2):
        again = {"resume": True, "retry_errors": ["not_found"]}
        classifier.classify_files(names, tmp_path / f"{number}.jsonl", shard=f"{number}/2", **again)
    joined = videomae.merge([tmp_path / "1.jsonl", tmp_path / "2.jsonl"], tmp_path / "all.jsonl")
    assert (joined.files, joined.failed) == (4, 0)
    assert [record["path"] for record in read_records(tmp_path / "all.jsonl")] == [str(name) for name in names]


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"resume": True, "overwrite": True}, OptionError, "resume=True and overwrite=True say opposite things"),
        ({"retry_errors": "all"}, OptionError, "retry_errors is about an output that is there: give resume=True too"),
        ({"shard": "3/2"}, OptionError, "shard 3/2 makes no sense"),
        ({"format": "xml"}, OptionError, "unknown format 'xml'"),
        ({"overwrite": "no"}, OptionError, "overwrite must be True or False"),
        ({"hop": "1s"}, TypeError, "unexpected keyword argument 'hop'"),
    ],
)
def test_wrong_options_are_refused_before_work(
    options: dict[str, Any], kind: type[Exception], words: str, films: Path, tmp_path: Path, classifier: Any
) -> None:
    with pytest.raises(kind, match=words):
        classifier.classify_files(films, tmp_path / "a.jsonl", **options)
    assert list(tmp_path.iterdir()) == []


def test_no_file_and_no_place(tmp_path: Path, films: Path, classifier: Any, embedder: Any) -> None:
    with pytest.raises(VideoNotFoundError, match="no files"):
        classifier.classify_files([], tmp_path / "a.jsonl")
    with pytest.raises(OptionError, match="/dev/null is no file: results that are kept need a file or a folder"):
        classifier.classify_files(films, "/dev/null")
    with pytest.raises(OutputError, match="can't"):
        embedder.embed_files(films, tmp_path / "missing" / "\0.npz")


def test_a_plan_is_what_the_dry_run_says(films: Path, classifier: Any, embedder: Any) -> None:
    plan = classifier.plan_files(films, clips=2)
    assert (plan.files, plan.unusable, plan.tried, plan.failed, plan.clips) == (4, Counter(), 4, 1, 6)
    assert plan.seconds > 0
    words = ["classify", str(films), "-m", "camera-motion", "--clips", "2", "--dry-run", "--batch-size", "2"]
    said = CliRunner().invoke(app, words).stdout
    assert "clips   6 through camera-motion, 2 at once" in said
    assert "failed  1 of the 4 files tried" in said
    nothing = embedder.plan_files([films / "missing.mp4"])
    assert (nothing.files, nothing.unusable, nothing.tried, nothing.seconds) == (1, Counter({"not_found": 1}), 0, 0.0)


@pytest.mark.parametrize("kind", ["classify", "timeline", "embed"])
def test_a_film_is_never_replaced_by_its_results(kind: str, tmp_path: Path, classifier: Any, embedder: Any) -> None:
    film = write_video(tmp_path / "a.mp4", count=20)
    (tmp_path / "also.mp4").hardlink_to(film)
    before = film.read_bytes()
    work = getattr(embedder if kind == "embed" else classifier, f"{kind}_files")
    for output in ("a.mp4", "also.mp4"):
        with pytest.raises(OutputError, match="is what is read: give another name with output"):
            work(film, tmp_path / output, format="jsonl", overwrite=True)
        model = "camera-motion-mae" if kind == "embed" else "camera-motion"
        words = [kind, str(film), "-m", model, "-o", str(tmp_path / output), "--format", "jsonl", "--overwrite"]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 1
        assert done.stderr.endswith("is what is read: give another name with --output\n")
    assert film.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "also.mp4"]


def test_a_folder_whose_results_have_names_of_films_leaves_them(tmp_path: Path, classifier: Any) -> None:
    film = write_video(tmp_path / "a.mp4", count=20)
    film.rename(tmp_path / "a.srt")
    before = (tmp_path / "a.srt").read_bytes()
    with pytest.raises(OutputError, match="is what is read"):
        classifier.timeline_files(tmp_path / "a.srt", f"{tmp_path}/", format="srt", overwrite=True)
    assert (tmp_path / "a.srt").read_bytes() == before


def test_the_root_is_a_folder_and_a_document_of_nothing_is_none(films: Path, tmp_path: Path, classifier: Any) -> None:
    for work in (classifier.classify_files, classifier.timeline_files):
        with pytest.raises((OptionError, OutputError), match=r"/ is a folder|not the folder /"):
            work(films, "/", format="jsonl")
    done = classifier.timeline_files(films / "1b.mp4", tmp_path / "a.srt")
    assert (done.failed, done.output, list(tmp_path.iterdir())) == (FAILED, "", [])


def test_a_name_that_no_file_can_have_costs_that_name_only(films: Path, tmp_path: Path, classifier: Any) -> None:
    half = "\ud800.mp4"  # half of a character, as JSON may hold
    done = classifier.classify_files([half, films / "2.mp4"], tmp_path / "a.jsonl")
    assert (done.files, done.failed) == (2, Counter({"not_found": 1}))
    assert [record["status"] for record in read_records(tmp_path / "a.jsonl")] == ["error", "ok"]
    for wrong in (half, "\0"):
        with pytest.raises((OptionError, OutputError)):
            classifier.classify_files(films / "2.mp4", wrong)
        with pytest.raises(OutputError, match="can't read"):
            videomae.merge([wrong], tmp_path / "b.jsonl")
        with pytest.raises((OptionError, OutputError)):
            videomae.write_results([classifier.classify(films / "2.mp4")], f"{wrong}.jsonl")


def test_a_folder_of_arrays_grows_and_keeps_its_names(films: Path, tmp_path: Path, embedder: Any) -> None:
    """Even if the folder that all videos share is another one then, and a new video would like an old one's name."""
    archive, out = tmp_path / "archive", tmp_path / "arrays"
    for name in ("a/0.mp4", "a/1.mp4"):
        (archive / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(films / "0.mp4", archive / name)
    embedder.embed_files(archive, f"{out}/")
    before = {file.name: file.stat().st_mtime_ns for file in out.glob("*.npy")}
    shutil.copyfile(films / "1.mp4", archive / "0.mp4")
    (archive / "a" / "1.mp4").unlink()
    seen: list[str] = []
    done = embedder.embed_files(archive, f"{out}/", resume=True, on_result=lambda one, seen=seen: seen.append(one.path))
    assert (done.files, seen) == (2, [str(archive / "0.mp4")])
    assert {file.name: file.stat().st_mtime_ns for file in out.glob("[01].mp4.npy")} == before
    index = [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]
    assert [entry["path"] for entry in index] == [str(archive / name) for name in ("0.mp4", "a/0.mp4", "a/1.mp4")]
    assert len({entry["file"] for entry in index}) == 3
    assert all((out / entry["file"]).is_file() for entry in index)


def test_a_name_outside_the_folder_is_not_kept(films: Path, tmp_path: Path, embedder: Any) -> None:
    (tmp_path / "archive").mkdir()
    shutil.copyfile(films / "0.mp4", tmp_path / "archive" / "0.mp4")
    out = tmp_path / "out" / "arrays"
    embedder.embed_files(tmp_path / "archive", f"{out}/")
    index = out / "index.jsonl"
    index.write_text(index.read_text().replace('"0.mp4.npy"', '"../evil.npy"'))
    (out.parent / "evil.npy").write_bytes(b"mine")
    embedder.embed_files(tmp_path / "archive", f"{out}/", resume=True)
    assert (out.parent / "evil.npy").read_bytes() == b"mine"
    assert json.loads(index.read_text())["file"] == "0.mp4.npy"
