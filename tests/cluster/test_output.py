"""The folder of a job: refused, gone on with, put together; no Ray needed."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from videomae_cli.cli.app import app
from videomae_cli.cluster.output import PARTIAL, Form, WorkPlace, open_output, renew_shard, write_shard
from videomae_cli.cluster.plan import ClusterPlan, Pieces, ranges_left
from videomae_cli.errors import OptionError, OutputError
from videomae_cli.jobs import CLUSTER_HEADER, Job, Settings
from videomae_cli.results import Classification, Embedding, Failure, Prediction, Stamp, VectorPlace
from videomae_cli.storage import manifest_names
from videomae_cli.video import FoundVideo
from videomae_cli.video.file_list import FileList, Paths
from videomae_cli.writers import VectorLayout, read_records, read_vector_records

SETTINGS = Settings("classify", "0", {"model": "m", "revision": None, "top_k": 5})
LABELS = Form()
PLAN = ClusterPlan(files=7, task=2, shard=4, batch=1, group=4)
NAMES = [f"{number}.mp4" for number in range(6)] + [os.fsdecode(b"\xff.mp4")]


def record(place: int) -> dict[str, Any]:
    failed = Failure("decode", "no") if place == 5 else None
    found = () if failed else (Prediction("walking", 3, place / 10),)
    return Classification(NAMES[place], "m", predictions=found, error=failed).as_dict(
        Stamp(place, SETTINGS.fingerprint, "0")
    )


def piece(place: WorkPlace, first: int, stop: int, form: Form = LABELS, make: Any = record) -> tuple[int, int]:
    with place.folder.writing(place.piece_name(first, stop)) as sink:
        writer = form.writer("parquet", sink)
        for place in range(first, stop):
            writer.write(make(place))
        writer.finish()
    return first, stop


def opened(output: Path | str, **options: Any) -> Any:
    wide = str(output).endswith(".csv")  # only that can be read back
    given = {"vectors": False, "format": None, "wide": wide, "resume": False, "overwrite": False} | options
    return open_output(str(output), **given)


def write_shards(output: Any, plan: ClusterPlan = PLAN, form: Form = LABELS, make: Any = record) -> None:
    for number in range(plan.shards):
        files = plan.shard_files(number)
        chain = [piece(output.place, files.start, files.stop, form, make)]
        write_shard(output.place, form, plan.shard_name(number), chain)


def test_pieces_become_shards_and_shards_one_file(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    with opened(file) as output:
        output.begin(SETTINGS, NAMES, PLAN, shard=None)
        first = [piece(output.place, *stretch) for stretch in ((0, 1), (1, 2), (2, 4))]
        assert write_shard(output.place, Form(), PLAN.shard_name(0), first) == Counter()
        assert output.folder.names(PARTIAL) == [], "pieces are removed"
        rest = [piece(output.place, 4, 6), piece(output.place, 6, 7)]
        assert write_shard(output.place, Form(), PLAN.shard_name(1), rest) == Counter({"decode": 1})
        output.finish(Form(), PLAN)
    assert list(read_records(file)) == [record(place) for place in range(7)]
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("values", [(("speed", -0.25),), (("speed", 1e-30), ("x\ty", -7.0))], ids=["one", "two"])
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_values_are_kept_by_pieces_and_shards(suffix: str, values: Any, tmp_path: Path) -> None:
    def measured(place: int) -> dict[str, Any]:
        if place == 5:
            return record(place)
        found = {name: value * (place + 1) for name, value in values}
        return Classification(NAMES[place], "m", values=found).as_dict(Stamp(place, SETTINGS.fingerprint, "0"))

    folder, file = tmp_path / "out", tmp_path / f"values.{suffix}"
    for output in (opened(f"{folder}/"), opened(file)):
        with output:
            output.begin(SETTINGS, NAMES, PLAN, shard=None)
            for number in range(PLAN.shards):
                files = PLAN.shard_files(number)
                middle = files.start + 1
                chain = [
                    piece(output.place, *stretch, make=measured)
                    for stretch in ((files.start, middle), (middle, files.stop))
                ]
                write_shard(output.place, LABELS, PLAN.shard_name(number), chain)
            output.finish(LABELS, PLAN)
    expected = [measured(place) for place in range(7)]
    assert list(read_records(file)) == expected
    shards = sorted(folder.glob("part-*.parquet"))
    assert [entry for shard in shards for entry in read_records(shard)] == expected
    # What `merge` makes of the folder.
    joined = tmp_path / f"joined.{suffix}"
    assert (
        CliRunner()
        .invoke(app, ["merge", str(folder), "-o", str(joined), *(["--wide"] if suffix == "csv" else [])])
        .exit_code
        == 0
    )
    assert list(read_records(joined)) == expected


def test_a_folder_keeps_its_shards_and_what_made_them(tmp_path: Path) -> None:
    with opened(f"{tmp_path}/out/") as output:
        output.begin(SETTINGS, NAMES, PLAN, shard="2/3")
        write_shards(output)
        output.finish(LABELS, PLAN)
    names = ["_job.json", "_list.parquet", "part-00000-of-00002.parquet", "part-00001-of-00002.parquet"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    with (tmp_path / "out" / "_list.parquet").open("rb") as listed:
        assert list(manifest_names(listed)) == NAMES
    about = json.loads((tmp_path / "out" / CLUSTER_HEADER).read_bytes())
    assert (about["settings"], about["shard"]) == (SETTINGS.as_dict(), "2/3")


@pytest.mark.parametrize("gone", [0, 1, 3])
@pytest.mark.parametrize("given", ["folder", "files"])
def test_a_lost_shard_is_missed_wherever_it_was(given: str, gone: int, tmp_path: Path) -> None:
    plan, folder = ClusterPlan(files=7, task=2, shard=2, batch=1, group=4), tmp_path / "out"
    with opened(f"{folder}/") as output:
        output.begin(SETTINGS, NAMES, plan, shard=None)
        write_shards(output, plan)
        output.finish(LABELS, plan)
    (folder / plan.shard_name(gone)).unlink()
    outputs = [str(folder)] if given == "folder" else [str(path) for path in folder.glob("part-*")]
    command = ["merge", *outputs, "-o", str(tmp_path / "all.jsonl")]
    done = CliRunner().invoke(app, command)
    assert (done.exit_code, done.stderr.count(f"shard {plan.shard_name(gone)} is missing")) == (1, 1)
    assert not (tmp_path / "all.jsonl").exists()
    assert CliRunner().invoke(app, [*command, "--allow-gaps"]).exit_code == 1
    assert [r["index"] for r in read_records(tmp_path / "all.jsonl")] == [n for n in range(7) if n // 2 != gone]


def test_what_is_there_is_found_again_with_the_plan_it_was_made_by(tmp_path: Path) -> None:
    with opened(f"{tmp_path}/out/") as output:
        output.begin(SETTINGS, NAMES, PLAN, shard=None)
        write_shard(output.place, Form(), PLAN.shard_name(1), [piece(output.place, 4, 7)])
        piece(output.place, 0, 1)
        piece(output.place, 2, 4)
    other = ClusterPlan(files=7, task=1, shard=7, batch=8, group=8)
    with opened(f"{tmp_path}/out/", resume=True) as output:
        plan, past = output.begin(SETTINGS, NAMES, other, shard=None)
        assert plan == PLAN
        assert past.shards == {1: Counter({"decode": 1})}
        assert past.done(plan) == 6
        left = ranges_left(plan, past.shards, past.pieces)
        assert left == [range(1, 2)], "pieces of a task that isn't done are kept"


def test_pieces_of_another_job_in_the_same_place_are_never_taken(tmp_path: Path) -> None:
    """One whose machines went on when it had been taken for dead, and then was replaced."""
    with opened(f"{tmp_path}/out/") as output:
        output.begin(SETTINGS, NAMES, PLAN, shard=None)
        before = output.place
        piece(before, 0, 4)
    with opened(f"{tmp_path}/out/", overwrite=True) as output:
        _, past = output.begin(SETTINGS, NAMES, PLAN, shard=None)
        piece(before, 0, 4)
        piece(output.place, 4, 7, make=lambda place: record(place) | {"fingerprint": "another"})
    with opened(f"{tmp_path}/out/", resume=True) as output:
        _, past = output.begin(SETTINGS, NAMES, PLAN, shard=None)
        assert past.chain(PLAN, 0) is None
        with pytest.raises(OutputError, match="holds results of other settings: another job writes to this output"):
            write_shard(output.place, LABELS, PLAN.shard_name(1), past.chain(PLAN, 1) or [])
        assert not output.folder.exists(PLAN.shard_name(1))
        write_shards(output)
        output.finish(LABELS, PLAN)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        CLUSTER_HEADER,
        "_list.parquet",
        *map(PLAN.shard_name, (0, 1)),
    ]


def test_other_settings_lists_and_shards_are_refused(tmp_path: Path) -> None:
    with opened(f"{tmp_path}/out/") as output:
        output.begin(SETTINGS, NAMES, PLAN, shard=None)
        piece(output.place, 0, 2)
    changed = Settings("classify", "0", {"model": "m", "revision": None, "top_k": 1})
    cases = [
        ((changed, NAMES, PLAN, None), "top k was 5, now 1"),
        ((SETTINGS, NAMES, PLAN, "1/2"), "shard was None, now 1/2"),
    ]
    for (settings, names, plan, shard), words in cases:
        with pytest.raises(OutputError, match=words), opened(f"{tmp_path}/out/", resume=True) as output:
            output.begin(settings, names, plan, shard=shard)
    (tmp_path / "out" / CLUSTER_HEADER).write_text("{")
    with pytest.raises(OutputError, match="damaged"), opened(f"{tmp_path}/out/", resume=True) as output:
        output.begin(SETTINGS, NAMES, PLAN, shard=None)


def test_nothing_that_is_there_is_lost(tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    (films / "a.mp4").write_bytes(b"")
    with pytest.raises(OutputError, match="holds other files"), opened(films):
        pass
    file = tmp_path / "labels.csv"
    file.write_text("mine")
    with pytest.raises(OutputError, match="overwrite=True replaces it"), opened(file):
        pass
    with opened(f"{tmp_path}/out/") as output:
        output.begin(SETTINGS, NAMES, PLAN, shard=None)
        piece(output.place, 0, 2)
        with pytest.raises(OutputError, match="another process"), opened(f"{tmp_path}/out/", resume=True):
            pass
    with pytest.raises(OutputError, match="resume=True completes it"), opened(f"{tmp_path}/out/"):
        pass
    with opened(f"{tmp_path}/out/", overwrite=True) as output:
        _, past = output.begin(SETTINGS, NAMES, PLAN, shard=None)
        assert past.done(PLAN) == 0
    assert not (tmp_path / "out").exists(), "begun in vain, nothing is left"
    with pytest.raises(OptionError, match="opposite"):
        opened(f"{tmp_path}/out/", resume=True, overwrite=True)


def test_what_is_there_and_isnt_the_jobs_is_never_touched(tmp_path: Path) -> None:
    mine = [
        "notes.txt",
        "part-of-my-thesis.parquet",
        "_partial/notes.txt",
        "_partial/1-2.parquet",
        "sub/0000000000-0000000002.parquet",
    ]

    def complete(**options: Any) -> None:
        with opened(f"{tmp_path}/out/", **options) as output:
            output.begin(SETTINGS, NAMES, PLAN, shard=None)
            write_shards(output)
            for name in ("_partial/.0000000000-0000000001.parquet", f".{PLAN.shard_name(1)}"):
                (tmp_path / f"out/{name}.0123abcd.part").write_bytes(b"of one that was killed")
            output.finish(LABELS, PLAN)

    complete()
    assert not (tmp_path / "out" / PARTIAL).exists()
    for name in mine:
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_text("mine")
    complete(overwrite=True)
    ours = [CLUSTER_HEADER, "_list.parquet", *(PLAN.shard_name(number) for number in range(2))]
    there = sorted(str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*") if file.is_file())
    assert there == sorted([*mine, *ours])
    assert all((tmp_path / "out" / name).read_text() == "mine" for name in mine)


@pytest.mark.parametrize("name", ["notes.txt", ".notes", "sub/notes.txt"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_users_folder_in_the_place_of_a_jobs_is_refused(name: str, begun: bool, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    if begun:
        with opened(file) as output:
            output.begin(SETTINGS, NAMES, PLAN, shard=None)
            piece(output.place, 0, 2)
    (tmp_path / "labels.jsonl.partial" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "labels.jsonl.partial" / name).write_text("mine")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(OutputError, match="holds other files"), opened(file, **options):
            pass
    assert (tmp_path / "labels.jsonl.partial" / name).read_text() == "mine"


def test_a_shard_that_was_removed_is_made_again(tmp_path: Path) -> None:
    with opened(f"{tmp_path}/out/") as output:
        output.begin(SETTINGS, NAMES, PLAN, shard=None)
        write_shards(output)
        output.finish(LABELS, PLAN)
    (tmp_path / "out" / PLAN.shard_name(0)).unlink()
    with opened(f"{tmp_path}/out/", resume=True) as output:
        plan, past = output.begin(SETTINGS, NAMES, PLAN, shard=None)
        assert ranges_left(plan, past.shards, past.pieces) == [range(0, 2), range(2, 4)]


def test_jobs_of_one_machine_and_of_a_cluster_are_not_taken_for_each_other(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    with opened(file) as output:
        output.begin(SETTINGS, NAMES, PLAN, shard=None)
        piece(output.place, 0, 2)
    with pytest.raises(OutputError, match="with a cluster job"), Job(file, format="jsonl", resume=True):
        pass
    with pytest.raises(OutputError, match="with a cluster job"), Job(file, format="jsonl", overwrite=True):
        pass
    other = tmp_path / "other.jsonl"
    with Job(other, format="jsonl") as job:
        job.begin(SETTINGS, NAMES)
        job.append(record(0))
    with pytest.raises(OutputError, match="holds other files"), opened(other, resume=True):
        pass


@pytest.mark.parametrize("suffix", ["parquet", "npz", "jsonl"])
def test_vectors_come_back_to_the_last_bit(tmp_path: Path, suffix: str) -> None:
    layout = VectorLayout(
        3, "float32", {**SETTINGS.as_dict(), "fingerprint": "f", "dimensions": 3, "storage": "float32"}
    )
    form = Form(layout)

    def embedded(place: int) -> dict[str, Any]:
        if place == 5:
            return Embedding(NAMES[place], "m", error=Failure("decode", "no")).as_dict(
                Stamp(place, SETTINGS.fingerprint, "0")
            )
        vectors = np.random.default_rng(place).normal(size=(2, 3)).astype(np.float32)
        places = (VectorPlace(0.0, 0.5, 0), VectorPlace(0.5, 1.0, 1))
        return Embedding(NAMES[place], "m", vectors=vectors, places=places).as_dict(
            Stamp(place, SETTINGS.fingerprint, "0")
        )

    file = tmp_path / f"vectors.{suffix}"
    with opened(file, vectors=True) as output:
        output.begin(SETTINGS, NAMES, PLAN, shard=None)
        write_shards(output, form=form, make=embedded)
        output.finish(form, PLAN)
    got = list(read_vector_records(file))
    assert [entry["status"] for entry in got] == ["ok"] * 5 + ["error", "ok"]
    for place, entry in enumerate(got):
        if place != 5:
            assert np.array_equal(entry["vectors"], embedded(place)["vectors"])


def test_the_name_says_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in (f"{tmp_path}/new/", f"{tmp_path}/there", "s3://bucket/out", "s3://bucket/out/"):
        with pytest.raises(OptionError, match="shards in Parquet"):
            opened(name, format="csv")
    with pytest.raises(OptionError, match="can't tell the format"):
        opened(tmp_path / "labels")
    assert opened("s3://bucket/out/").folder.location == "s3://bucket/out"
    assert Pieces().chain(range(0)) == []


def failing(*places: int, kind: str = "decode") -> Any:
    """Records of which those at some places failed."""

    def make(place: int) -> dict[str, Any]:
        error = Failure(kind, "no") if place in places else None
        found = () if error else (Prediction("walking", 3, place / 10),)
        return Classification(NAMES[place], "m", predictions=found, error=error).as_dict(
            Stamp(place, SETTINGS.fingerprint, "0")
        )

    return make


def go_on(output: Any, make: Any, *, tasks: int = 99, shards: bool = True) -> list[int]:
    """Do what is left as a cluster does, or some of it. Returns the tasks that were done."""
    plan, past = output.begin(SETTINGS, NAMES, PLAN, shard=None, form=LABELS)
    done = past.left(plan)[:tasks]
    for files in done:
        past.pieces.add(*piece(output.place, files.start, files.stop, make=make))
    for number in range(plan.shards) if shards else ():
        chain = past.chain(plan, number)
        if number in past.shards or chain is None:
            continue
        name = plan.shard_name(number)
        if number in past.again:
            for _ in range(2):  # whoever made it died before it could say so
                first = plan.shard_files(number).start
                past.shards[number] = renew_shard(output.place, LABELS, name, first, chain, past.kinds)
        else:
            past.shards[number] = write_shard(output.place, LABELS, name, chain)
    if len(past.shards) == plan.shards:
        output.finish(LABELS, plan)
    return [files.start // plan.task for files in done]


def what_is_there(place: Path) -> list[dict[str, Any]]:
    if place.is_dir():
        return [entry for number in range(PLAN.shards) for entry in read_records(place / PLAN.shard_name(number))]
    return list(read_records(place))


def changed(place: int) -> dict[str, Any]:
    """As another batch would have it: what was fine must not become this."""
    return {**failing()(place), "predictions": [{"label": "running", "label_id": 1, "score": 0.5}]}


@pytest.mark.parametrize("name", ["out/", "labels.jsonl", "labels.csv", "labels.parquet"])
def test_failures_are_done_again_and_nothing_else_changes(name: str, tmp_path: Path) -> None:
    out = f"{tmp_path}/{name}"
    with opened(out) as output:
        go_on(output, failing(0, 5))
    before = what_is_there(Path(out))
    with opened(out, resume=True, retry=frozenset({"fetch"})) as output:
        assert output.failures(LABELS) == Counter()
        assert go_on(output, changed) == []
    assert what_is_there(Path(out)) == before
    for made in ([0], [2]):  # broken off after each task
        with opened(out, resume=True, retry=frozenset({"decode"})) as output:
            assert output.failures(LABELS) == Counter({"decode": 2})
            assert go_on(output, changed, tasks=1, shards=False) == made
        assert what_is_there(Path(out)) == before, "it stays until the new one is whole"
    with opened(out, resume=True) as output:  # nobody needs to ask again
        assert go_on(output, changed) == []
    assert what_is_there(Path(out)) == [changed(place) if place in (0, 5) else failing()(place) for place in range(7)]
    there = sorted(path.name for path in tmp_path.rglob("*"))
    shards = [PLAN.shard_name(number) for number in range(2)]
    assert there == (["_job.json", "_list.parquet", "out", *shards] if name == "out/" else [name])


@pytest.mark.parametrize("name", ["out/", "labels.jsonl"])
def test_what_fails_again_is_a_failure_still(name: str, tmp_path: Path) -> None:
    out = f"{tmp_path}/{name}"
    with opened(out) as output:
        go_on(output, failing(0, 1, 5))
    for kinds in ({"decode"}, {"all"}):
        with opened(out, resume=True, retry=frozenset(kinds)) as output:
            assert go_on(output, failing(1, 5)) == [0, 2]
    assert what_is_there(Path(out)) == [failing(1, 5)(place) for place in range(7)]


def test_pieces_of_failures_are_done_again_too(tmp_path: Path) -> None:
    with opened(f"{tmp_path}/out/") as output:
        go_on(output, failing(0, 5, kind="fetch"), tasks=3, shards=False)
    with opened(f"{tmp_path}/out/", resume=True, retry=frozenset({"fetch", "timeout"})) as output:
        assert go_on(output, failing()) == [0, 2, 3]
    assert what_is_there(tmp_path / "out") == [failing()(place) for place in range(7)]


def test_a_complete_file_of_another_job_is_not_opened_again(tmp_path: Path) -> None:
    out = tmp_path / "labels.jsonl"
    with opened(out) as output:
        go_on(output, failing(0))
    before = out.read_bytes()
    other = Settings("classify", "0", {"model": "m", "revision": None, "top_k": 1})
    with pytest.raises(OutputError, match="other settings"):  # noqa: SIM117
        with opened(out, resume=True, retry=frozenset({"decode"})) as output:
            output.begin(other, NAMES, PLAN, shard=None, form=LABELS)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(out.name, before)]


def test_names_are_asked_for_and_not_copied(tmp_path: Path) -> None:
    found = FileList(FoundVideo(f"{number}.mp4") for number in range(1000))
    names, plan = Paths(found), ClusterPlan(files=1000, task=10, shard=100, batch=1, group=4)
    for _ in range(2):
        with open_output(f"{tmp_path}/out/", vectors=False, format=None, resume=True, overwrite=False) as output:
            output.begin(SETTINGS, names, plan, shard=None)
            assert output.names is names
            with output.folder.writing(output.place.piece_name(0, 10)) as sink:
                sink.write(b"")
    # A list that has grown is held once, and is that of before, then what is new.
    more = Paths.kept(["new.mp4", "7.mp4", *names, "new.mp4"])
    with open_output(f"{tmp_path}/out/", vectors=False, format=None, resume=True, overwrite=False) as output:
        output.begin(SETTINGS, more, ClusterPlan(files=1001, task=10, shard=100, batch=1, group=4), shard=None)
        assert list(output.names) == [*names, "new.mp4"]
        assert (output.names[7], output.names[-2:]) == ("7.mp4", ["999.mp4", "new.mp4"])
