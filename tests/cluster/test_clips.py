"""Names and decoded clips that travel: the same when they arrive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from samples import write_video

from videomae_cli.assembly import DecoderOptions
from videomae_cli.cluster.attempts import Attempts
from videomae_cli.cluster.clip_rows import Group, from_table, to_table
from videomae_cli.cluster.decoding import DecodingWork, task_table, tasks
from videomae_cli.cluster.plan import ClusterPlan
from videomae_cli.errors import NotAVideoError, VideoNotFoundError
from videomae_cli.video import ClipRequest, DecodedVideo, Decoder, FileList, FoundVideo, SamplingSpec


def test_a_group_arrives_as_it_was_sent(tmp_path: Path) -> None:
    spec = SamplingSpec(clips=2)
    with Decoder(isolate=False) as decoder:
        videos = [
            decoder.decode(ClipRequest(write_video(tmp_path / name, size=size), sampling=spec))
            for name, size in (("a.mp4", (96, 64)), ("b.mp4", (64, 48)))
        ]
    odd = "\udcff.mp4"  # a name that is not UTF-8
    sent = Group(7, (("a", videos[0]), (odd, NotAVideoError("a letter")), ("b", videos[1])))
    (got,) = from_table(to_table(sent))
    assert (got.first, got.stop) == (7, 10)
    assert [path for path, _ in got.files] == ["a", odd, "b"]
    for (_, before), (_, after) in zip(sent.files, got.files, strict=True):
        if isinstance(before, DecodedVideo):
            assert isinstance(after, DecodedVideo)
            assert np.array_equal(before.views(), after.views())
            assert (after.info, after.timestamps, after.warnings) == (before.info, before.timestamps, before.warnings)
        else:
            assert (type(after), str(after)) == (NotAVideoError, "a letter")


def test_tables_join_and_a_group_may_hold_failures_only() -> None:
    import pyarrow as pa

    groups = [Group(first, ((str(first), NotAVideoError("no")),)) for first in range(3)]
    table = pa.concat_tables([to_table(group) for group in groups])
    assert [group.first for group in from_table(table)] == [0, 1, 2]


def test_a_task_brings_the_names_of_its_ranges() -> None:
    found = [
        FoundVideo(name, below=len(name) // 2) for name in ("a.mp4", "\udcff.mp4", "\ud83d", "s3://b/\u00e9 #1.mp4")
    ]
    found.append(FoundVideo("gone", VideoNotFoundError("there is no {subject!r}", subject="gone")))
    plan = ClusterPlan(files=5, task=5, shard=5, batch=1, group=1)
    work = DecodingWork(plan, ClipRequest(""), "", DecoderOptions(), Attempts(alive=lambda node: True))
    for kept in found, FileList(found):
        got = [(first, videos) for first, videos, _ in tasks(task_table(kept, [range(0, 2), range(3, 5)]), work)]
        assert [first for first, _ in got] == [0, 3]
        for videos, sent in zip((videos for _, videos in got), (found[:2], found[3:]), strict=True):
            assert [(video.path, video.below, str(video.error)) for video in videos] == [
                (video.path, video.below, str(video.error)) for video in sent
            ]
    assert isinstance(got[1][1][1].error, VideoNotFoundError)
