"""Lists of millions of files: the same files as in a plain list, and some of them that stand for all."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from videomae_cli.assembly import divide
from videomae_cli.errors import VideoNotFoundError
from videomae_cli.jobs import Shard
from videomae_cli.video import FileList, FoundVideo, find_videos, named_videos
from videomae_cli.video.file_list import Sample, spread
from videomae_cli.video.seen_names import SeenNames

NAMES = st.text(st.characters(exclude_categories=[]), max_size=6)


@given(st.lists(st.tuples(NAMES, st.booleans(), st.integers(0, 2**32 - 1))))
def test_a_list_gives_back_what_it_was_given(given: list[tuple[str, bool, int]]) -> None:
    error = VideoNotFoundError("gone", subject="gone")
    plain = [FoundVideo(name, error if bad else None, below) for name, bad, below in given]
    compact = FileList(plain)
    assert list(compact) == plain
    assert [video.below for video in compact] == [video.below for video in plain]
    assert compact[1:-1] == plain[1:-1]
    assert [compact[-place - 1] for place in range(len(plain))] == plain[::-1]


@given(st.lists(NAMES, max_size=400))
def test_names_are_new_once(names: list[str]) -> None:
    seen, plain = SeenNames(), set()
    for name in names:
        assert seen.add(name) == (name not in plain)
        plain.add(name)


def test_many_names_are_new_once() -> None:
    seen = SeenNames()
    assert all(seen.add(f"{number}.mp4") for number in range(5000))
    assert not any(seen.add(f"{number}.mp4") for number in range(5000))


def test_a_sample_stands_for_the_whole_list() -> None:
    for count in (0, 1, 63, 1024, 1025, 100_000):
        videos = [FoundVideo(f"{number}") for number in range(count)]
        chosen = spread(videos, 64)
        assert len(chosen) == min(count, 64)
        places = [int(video.path) for video in chosen]
        steps = {after - before for before, after in itertools.pairwise(places)}
        assert len(steps) < 2
        assert count < 2000 or places[-1] > count * 0.4
        sample = Sample()
        for video in videos:
            sample.add(video)
        assert spread(sample.files, 64) == chosen


def test_a_shard_has_its_own_files_and_a_sample_of_all() -> None:
    videos = [FoundVideo(f"{number}.mp4") for number in range(3000)]
    whole, sample, part = divide(videos, None)
    assert list(whole) == videos
    assert part is None
    together = []
    for number in (1, 2, 3):
        found, same, part = divide(iter(videos), Shard(number, 3))
        assert part is not None
        assert part.files == 3000
        assert same == sample
        assert list(found) == part.of(videos)
        together += list(found)
    assert sorted(together, key=videos.index) == videos


def test_lists_are_read_as_they_are_needed(tmp_path: Path) -> None:
    """Longer than what is read at once, with lines over its borders."""
    names = [f"s3://archive/{'x' * (number % 97)}/{number}.mp4" for number in range(30_000)]
    for end in ("\n", "\r\n"):
        (tmp_path / "names.txt").write_text(end.join(names) + end, encoding="utf-8", newline="")
        lines = named_videos([f"@{tmp_path / 'names.txt'}"], addresses=True)
        assert next(lines).path == names[0]
        assert [video.path for video in lines] == names[1:]
    mixed = [*names[:20000], "s3://archive/odd.mp4", *names[20000:]]
    text = "\r\n".join(mixed).replace("odd.mp4\r\n", "odd.mp4\n")
    (tmp_path / "names.txt").write_text(text, encoding="utf-8", newline="")
    found = find_videos([f"@{tmp_path / 'names.txt'}", os.fspath(tmp_path / "none.mp4")], addresses=True)
    assert [video.path.rstrip("\r") for video in found] == [*mixed, os.fspath(tmp_path / "none.mp4")]
