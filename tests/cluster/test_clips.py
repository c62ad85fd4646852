"""Decoded clips that travel: the same when they arrive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from samples import write_video

from videomae_cli.cluster.clip_rows import Group, from_table, to_table
from videomae_cli.errors import NotAVideoError
from videomae_cli.video import ClipRequest, DecodedVideo, Decoder, SamplingSpec


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
