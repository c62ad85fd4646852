"""Records for the tests of jobs, as real results make them."""

from __future__ import annotations

from videomae_cli.jobs import Settings, Shard
from videomae_cli.results import Classification, Failure, Prediction, Record, Stamp

SETTINGS = Settings("classify", "0.1.0", {"model": "tiny", "top_k": 5, "sampling": {"clips": None, "stride": 4}})


def record(place: int, *, shard: Shard | None = None, failed: bool = False, settings: Settings = SETTINGS) -> Record:
    """The record of file number `place` of a shard."""
    index = (shard or Shard()).index(place)
    result = (
        Classification(f"{index}.mp4", "tiny", error=Failure("decode", "broken"))
        if failed
        else Classification(f"{index}.mp4", "tiny", predictions=(Prediction("run", 0, 0.5),))
    )
    return result.as_dict(Stamp(index, settings.fingerprint, settings.version, str(shard) if shard else None))


def names(count: int) -> list[str]:
    """The list that these records are of."""
    return [f"{number}.mp4" for number in range(count)]
