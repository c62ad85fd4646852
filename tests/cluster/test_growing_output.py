"""`--resume` with another list does the files that are new, and nothing that is there is made again or lost; no Ray needed."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from objectstore import ObjectStore

from videomae_cli.cluster.output import Form, Output, open_output, renew_shard, write_shard
from videomae_cli.cluster.plan import ClusterPlan
from videomae_cli.errors import OutputError
from videomae_cli.jobs import Settings
from videomae_cli.results import Classification, Failure, Prediction, Stamp
from videomae_cli.storage.folders import Folder
from videomae_cli.writers import read_records

SETTINGS = Settings("classify", "0", {"model": "m", "revision": None, "top_k": 5})
FORM = Form()


class Killed(BaseException):
    """Stands for the end of the process."""


def names(*numbers: int) -> list[str]:
    return [f"{number:02}.mp4" for number in numbers]


def plan_of(files: int) -> ClusterPlan:
    return ClusterPlan(files=files, task=2, shard=4, batch=1, group=4)


def run(
    out: str,
    listed: list[str],
    done: list[str],
    *,
    most: int = 99,
    failing: str | set[str] = "",
    before_shards: bool = False,
    **options: Any,
) -> None:
    """A job as a cluster does it, up to `most` tasks; notes in `done` which files it did. before_shards: it is killed then."""
    given = {"vectors": False, "format": None, "resume": True, "overwrite": False, **options}
    with open_output(out, **given) as output:
        plan, past = output.begin(SETTINGS, listed, plan_of(len(listed)), shard=None, form=FORM)
        assert plan.files == len(output.names)
        for files in past.left(plan)[:most]:
            with output.folder.writing(output.place.piece_name(files.start, files.stop)) as sink:
                writer = FORM.writer("parquet", sink)
                for place in files:
                    name = output.names[place]
                    done.append(name)
                    error = (
                        Failure("fetch", "no") if name in ({failing} if isinstance(failing, str) else failing) else None
                    )
                    found = () if error else (Prediction(name, 3, 0.5),)
                    stamp = Stamp(place, SETTINGS.fingerprint, "0")
                    writer.write(Classification(name, "m", predictions=found, error=error).as_dict(stamp))
                writer.finish()
            past.pieces.add(files.start, files.stop)
        if before_shards:
            raise Killed
        write_shards(output, plan, past)


def write_shards(output: Output, plan: ClusterPlan, past: Any) -> None:
    for number in range(plan.shards):
        chain = past.chain(plan, number)
        if number in past.shards or chain is None:
            continue
        name, first = plan.shard_name(number), plan.shard_files(number).start
        if number in past.again:
            past.shards[number] = renew_shard(output.place, FORM, name, first, chain, past.kinds)
        else:
            past.shards[number] = write_shard(output.place, FORM, name, chain)
    if len(past.shards) == plan.shards:
        output.finish(FORM, plan)


@pytest.fixture(params=["disk", "s3", "file"])
def out(request: pytest.FixtureRequest, tmp_path: Path, bucket: str) -> str:
    if request.param == "disk":
        return f"{tmp_path}/out/"
    if request.param == "file":
        return f"{tmp_path}/out.jsonl"
    store: ObjectStore = request.getfixturevalue("store")
    return store.bucket(bucket) + "/out/"


def records(out: str) -> list[dict[str, Any]]:
    if out.endswith(".jsonl"):
        assert [path.name for path in Path(out).parent.iterdir()] == ["out.jsonl"]
        return list(read_records(Path(out)))
    folder, found = Folder(out.rstrip("/")), []
    shards = [name for name in folder.names() if name.startswith("part-")]
    assert {name[-13:-8] for name in shards} == {f"{len(shards):05}"}, "all of one count, none missing"
    assert folder.names("_partial") == []
    assert folder.names() == ["_job.json", "_list.parquet", *shards]
    for name in shards:
        with folder.local(name) as path:
            found += list(read_records(path))
    return found


def check(out: str, expected: list[str]) -> None:
    found = records(out)
    assert [record["path"] for record in found] == expected
    assert [record["index"] for record in found] == list(range(len(expected)))
    assert [record["predictions"][0]["label"] for record in found] == expected


# Where a bucket holds the output, every step is one of a folder, but slower: one case of each kind.
@pytest.mark.parametrize(
    ("out", "before"),
    [*itertools.product(["disk", "file"], [0, 3, 4, 7, 8, 13]), ("s3", 7), ("s3", 8)],
    indirect=["out"],
)
def test_new_films_come_after_those_of_before(out: str, before: int) -> None:
    first = names(*range(10, 10 + before))
    done: list[str] = []
    run(out, first, done)
    check(out, first)
    grown = sorted([*first, *names(1, 2, 30)])  # some sort before, some after
    done.clear()
    run(out, grown, done)
    assert done == names(1, 2, 30)
    check(out, first + done)
    done.clear()
    with (
        pytest.raises(OutputError) if str(out).endswith(".jsonl") else contextlib.nullcontext()
    ):  # a complete file says so
        run(out, grown, done)
    assert done == []
    check(out, first + names(1, 2, 30))


def test_films_that_are_gone_keep_what_is_known_of_them(out: str) -> None:
    done: list[str] = []
    run(out, names(1, 2, 3, 4, 5), done)
    done.clear()
    run(out, names(5, 6, 1), done)
    assert done == names(6)
    check(out, names(1, 2, 3, 4, 5, 6))


def test_an_interrupted_job_grows_and_its_failures_are_tried_again(out: str) -> None:
    done: list[str] = []
    run(out, names(*range(9)), done, most=3, failing="01.mp4")
    run(out, names(*range(11)), done, failing="01.mp4")
    assert done == names(*range(11))
    run(out, names(*range(12)), done, retry=frozenset({"fetch"}))
    assert sorted(done[11:]) == names(0, 1, 11), "the task of the failure, and the new one"
    check(out, names(*range(12)))


@pytest.mark.parametrize(
    ("out", "tasks", "again"),
    [*itertools.product(["disk", "file"], [0, 1, 2], [False, True]), ("s3", 1, False), ("s3", 2, True)],
    indirect=["out"],
)
def test_what_was_tried_again_before_an_interrupt_survives_a_longer_list(out: str, tasks: int, again: bool) -> None:
    first, failed = names(*range(7)), {"04.mp4", "06.mp4"}
    run(out, first, [], failing=failed)
    tried: list[str] = []
    # Of the last shard, which is cut anew, one task is done again or both, and nothing of it written into the shard.
    with pytest.raises(Killed):
        run(out, first, tried, most=tasks, retry=frozenset({"fetch"}), before_shards=True)
    assert tried == names(4, 5, 6)[: 2 * tasks]
    done: list[str] = []
    run(out, names(*range(9)), done, retry=frozenset({"fetch"}) if again else frozenset())
    check(out, names(*range(9)))
    if not again:  # what was done is not done once more
        assert sorted([*tried, *done]) == sorted(names(*([4, 5] if tasks else [4]), 6, 7, 8))


@pytest.mark.parametrize("kind", ["disk", "file"])
def test_whatever_a_kill_cuts_nothing_is_lost(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every step of a resumed job that has grown, one after the other."""
    steps = {"left": 10**6}

    def counted(name: str) -> Callable[..., Any]:
        original = getattr(Folder, name)

        def step(self: Folder, *given: Any, **named: Any) -> Any:
            if "_owners" not in str(given):
                steps["left"] -= 1
                if steps["left"] < 0:
                    raise Killed
            return original(self, *given, **named)

        return step

    for name in ("writing", "rename", "remove"):
        monkeypatch.setattr(Folder, name, counted(name))
    for step in range(100):
        place = tmp_path / str(step)
        place.mkdir()
        out = f"{place}/out/" if kind == "disk" else f"{place}/out.jsonl"
        steps["left"] = 10**6
        run(out, names(*range(10, 16)), [])
        steps["left"] = step
        grown, killed = sorted(names(1, 2, 3, *range(10, 16))), False
        try:
            run(out, grown, [])
        except Killed:
            killed = True
        steps["left"] = 10**6
        if killed:
            with contextlib.suppress(OutputError):  # it may be complete
                run(out, grown, [])
        check(out, names(*range(10, 16), 1, 2, 3))
        if not killed:
            assert step > 8
            return
    raise AssertionError("it never ended")


def test_a_list_that_was_split_can_not_change(tmp_path: Path) -> None:
    given = {"vectors": False, "format": None, "resume": True, "overwrite": False}
    for listed, refused in ((names(1, 2), False), (names(1, 2, 3), True)):
        with open_output(f"{tmp_path}/out/", **given) as output:  # type: ignore[arg-type]
            if refused:
                with pytest.raises(OutputError, match="another list"):
                    output.begin(SETTINGS, listed, plan_of(len(listed)), shard="1/2", form=FORM)
                continue
            _, past = output.begin(SETTINGS, listed, plan_of(len(listed)), shard="1/2", form=FORM)
            with output.folder.writing(output.place.piece_name(0, 2)) as sink:
                sink.write(b"")
            assert past.left(plan_of(2)) == [range(2)]
