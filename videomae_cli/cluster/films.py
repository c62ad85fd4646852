"""The actors of jobs on whole films: each holds a model and a decoder, and takes films from beginning to end.

A film can't be decoded to its end and shipped, for memory must not grow with its length. So there is one stage instead of
two: the same object as on a single machine takes a film's frames as they are decoded, and its result becomes a piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from videomae_cli import system
from videomae_cli.cluster.attempts import Attempt
from videomae_cli.cluster.decoding import DecodingWork, in_groups, task_key, tasks
from videomae_cli.cluster.inference import InferenceWork, PieceReport, convicted, ready_model, write_piece
from videomae_cli.cluster.models import monitored_memory
from videomae_cli.errors import DependencyError, MachineError
from videomae_cli.results import Result
from videomae_cli.video import Decoder, FoundVideo


class FilmWorker:
    """A class for Ray Data's actor pool that turns ranges of the list, each a `task_table`, into tables of reports.

    Raises what loading the model raises, or ClusterError if this machine would give different results.
    """

    def __init__(self, reading: DecodingWork, work: InferenceWork) -> None:
        system.return_freed_memory()
        self._reading, self._work = reading, work
        self._maker, _ = work.model.film_maker(ready_model(work))
        limits = reading.decoding
        self._decoder = Decoder(
            timeout=limits.timeout,
            memory=limits.memory,
            reserve=monitored_memory(),
            threads=work.model.threads,
            debug=reading.debug,
        )

    def __call__(self, batch: Any) -> Any:
        """Do the films of each range, and write pieces; return a table of their reports."""
        import pyarrow as pa

        reports = [
            report.to_json()
            for first, videos, attempt in tasks(batch, self._reading)
            for report in self._reports(first, videos, attempt)
        ]
        return pa.table({"report": reports})

    def _reports(self, first: int, videos: Sequence[FoundVideo], attempt: Attempt) -> Iterator[PieceReport]:
        results = self._results(first, videos, attempt)
        for group in in_groups(first, videos, results, self._reading, "film"):
            if group.refusal is not None:
                yield PieceReport(group.first, group.stop, 0, refusal=group.refusal)
            else:
                yield write_piece(self._work, group, (result for _, result in group.files))

    def _results(self, first: int, videos: Sequence[FoundVideo], attempt: Attempt) -> Iterator[Result]:
        """Yield the result of each film, and say which is in hand: a process that dies of one does so after hours."""
        attempts, key = self._reading.attempts, task_key(first)
        for place, video in enumerate(videos, first):
            if count := attempt.convicted.get(place):
                video = replace(video, error=convicted(video.path, count))
            attempts.hold(key, place)
            result = self._result(video)
            attempts.hold(key, None)
            yield result

    def _result(self, video: FoundVideo) -> Result:
        """Return the result of a film. Unlike on one machine, a MachineError doesn't end the job: it fails the film only."""
        try:
            (result,) = self._maker([video], decoder=self._decoder)
        except (MachineError, DependencyError) as error:
            (result,) = self._maker([replace(video, error=error)], decoder=self._decoder)
        return result
