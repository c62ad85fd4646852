"""Labels videos by asking: embeds them, learns from each answer, and serves the page of `videomae label`."""

from __future__ import annotations

import contextvars
import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Self, Unpack

from videomae_cli.api.embedder import VideoEmbedder
from videomae_cli.api.footage import find_videos, sampling_spec, window_length
from videomae_cli.api.loaded import LoadOptions, load_model
from videomae_cli.api.output_jobs import OutputJob
from videomae_cli.arguments import checked
from videomae_cli.assembly import dense_embedder, dense_settings, settings_of
from videomae_cli.errors import OptionError, OutputError, VideoMAEError, VideoNotFoundError
from videomae_cli.jobs.work import Work
from videomae_cli.labelling.answers import AnswerTable, Clip
from videomae_cli.labelling.clip_previews import Previews
from videomae_cli.labelling.label_server import LabelServer
from videomae_cli.labelling.labelling_session import Session
from videomae_cli.labelling.learnt_model import LabelEncoderRequest, check_model_place, save_learnt
from videomae_cli.labelling.taken_labels import TakenLabels, named_beside
from videomae_cli.results import Embedding, Record, path_of
from videomae_cli.video import FoundVideo, WindowSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from videomae_cli.jobs import Settings
    from videomae_cli.jobs.targets import Target
    from videomae_cli.pipeline import Embedder
    from videomae_cli.video import Decoder, SamplingSpec

# Records of an earlier run that are taken over at once.
_AT_ONCE = 256
_STOPPING_SECONDS = 30.0


class LabelEncoder(VideoEmbedder):
    """An encoder whose vectors are what the last layer of the classifier made of it sees."""

    def for_labels(
        self, job: OutputJob, target: Target, windows: WindowSpec | None
    ) -> tuple[Embedder, SamplingSpec, Settings, Callable[..., Iterator[Embedding]]]:
        """Return the model for a job, how it samples clips, the settings of the job, and what embeds (files, starts, decoder).

        windows: parts of films to embed instead of files.
        """
        if windows is None:
            spec = self.pipeline.fit(sampling_spec())
            model = self._for_job(job, target, self.pipeline)

            def files(
                left: Sequence[FoundVideo], starts: Sequence[int | None], decoder: Decoder
            ) -> Iterator[Embedding]:
                found: Iterator[Embedding] = model(left, sampling=spec, decoder=decoder, starts=starts)
                return found

            return model, spec, settings_of("embed", model, spec), files
        model = self._for_job(job, target, self.pipeline)
        maker, spec = dense_embedder(model, sampling_spec(), windows)

        def parts(left: Sequence[FoundVideo], starts: Sequence[int | None], decoder: Decoder) -> Iterator[Embedding]:
            return maker(left, decoder=decoder)

        return model, spec, dense_settings(maker, spec), parts


class Labelling:
    """A labelling at work, as returned by `label_videos`: a context manager, in which videos are embedded in the background.

    session: what is asked and learnt, by clip numbers; output, vectors, model: the table of answers, the embeddings, and the
    checkpoint that `save_model` writes.
    """

    def __init__(
        self,
        found: Sequence[FoundVideo],
        output: str,
        embedder: LabelEncoder,
        *,
        classes: Sequence[str],
        taken: TakenLabels | None,
        windows: WindowSpec | None,
        seed: int,
        on_file: Callable[[str, VideoMAEError | None], object],
    ) -> None:
        self.output, self.vectors = Path(output), Path(named_beside(output, ".vectors.parquet"))
        self.model = Path(named_beside(output, ".model"))
        self._found, self._embedder, self._windows, self._on_file = found, embedder, windows, on_file
        self._classes, self._taken, self._seed = classes, taken, seed
        self._stack = ExitStack()
        self._stop = Event()
        self._embedded = Event()  # all are, or nothing more will be
        self._error: Exception | None = None
        self.earlier = 0  # answers of earlier runs
        self._sampling: tuple[Embedder, SamplingSpec]

    def __enter__(self) -> Self:
        check_model_place(self.model)
        with ExitStack() as stack:
            answers = stack.enter_context(AnswerTable(self.output))
            unsure = stack.enter_context(
                AnswerTable(Path(named_beside(os.fspath(self.output), ".unsure.csv")), locked=False)
            )
            self.earlier = len(answers.answers)
            classes = [*self._classes, *(self._taken.classes if self._taken is not None else ())]
            self.session = Session(answers, unsure, classes=classes, seed=self._seed)
            stack.callback(self.session.close)
            self.session.total = len(self._found)
            embedding = self._embedding()
            next(embedding)  # what can't be begun is said before a page opens
            context = contextvars.copy_context()  # messages spell settings as those of the caller
            embed = partial(context.run, self._embed, embedding)
            Thread(target=embed, name="videomae-embed", daemon=True).start()
            stack.callback(self._end)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        self._stop.set()
        self._embedded.wait(_STOPPING_SECONDS)

    def _embed(self, embedding: Generator[None, None, None]) -> None:
        try:
            for _ in embedding:
                if self._stop.is_set():
                    break
        except Exception as error:  # `wait` raises it in the caller's thread
            self._error = error
            self.session.stopped = str(error) or type(error).__name__
        finally:
            embedding.close()
            self._embedded.set()

    def _embedding(self) -> Generator[None, None, None]:
        """Embed all files, beginning with what an earlier run has done; yields once it has begun, and after each file."""
        options = {"resume": True, "format": "parquet"}
        job = OutputJob(self._found, os.fspath(self.vectors), options)
        target = job.vectors(windows=self._windows is not None)
        model, spec, settings, run = self._embedder.for_labels(job, target, self._windows)
        self._sampling = model, spec
        listed = {video.path for video in self._found}
        with self._embedder.decoding.decoder(len(self._found)) as decoder, target.opened():
            work = Work(
                names=[video.path for video in self._found],
                target=target,
                settings=settings,
                vectors=job.layout(self._embedder.dimensions, model.storage, settings),
            )
            try:
                work.begin()
            except OutputError as refused:
                # There is no --overwrite here, which might be taken for one of the answers.
                remedy = "use those, or remove it to embed the videos anew: answers stay in their table"
                raise OutputError(*refused.args, subject=refused.subject, remedy=remedy, joined="; ") from None
            yield
            for records in _grouped(record for record in target.records() if path_of(record) in listed):
                for record in records:
                    parts = [(row["start"], row["end"]) for row in record["rows"]]
                    self._take(path_of(record), record["vectors"], parts, (record["error"] or {}).get("message"))
                yield
            for result in work.each(lambda left, starts: run([self._found[place] for place in left], starts, decoder)):
                error = result.error
                parts = [(place.start, place.end) for place in result.places]
                self._take(result.path, result.vectors, parts, error.message if error is not None else None)
                self._on_file(result.path, error.exception if error is not None else None)
                yield
            work.finish()

    def _take(
        self,
        path: str,
        vectors: npt.NDArray[np.floating] | None,
        parts: Sequence[tuple[float, float]],
        error: str | None,
    ) -> None:
        """Add a file's clips to the session."""
        if error is not None or vectors is None:
            self.session.failed[path] = error or "it has no vectors"
        else:
            clips = [Clip(path, *map(_whole_milliseconds, part)) for part in parts] if self._windows else [Clip(path)]
            taken = self._taken.of(clips) if self._taken is not None else None
            self.session.add(clips, vectors, labels=taken)
        self.session.done += 1

    # --- what Python asks ---

    def wait(self) -> None:
        """Wait until all videos are embedded. Raises what stopped that."""
        # Not the thread itself: a Ctrl-C while it is joined makes Python 3.11 take it for ended.
        while not self._embedded.wait(0.5):
            pass
        if self._error is not None:
            raise self._error

    def question(self) -> Clip | None:
        """Return the clip to ask about next: `path`, and `start` and `end` in seconds for a part of a film. None if there is none."""
        number = self.session.question()
        return None if number is None else self.session.clips[number]

    @checked
    def answer(self, clip: Clip, label: str | None) -> None:
        """Keep an answer, None for not sure; it is on the disk when this returns. Raises OutputError, OptionError."""
        self.session.answer([self.session.number_of(clip)], label)

    def undo(self) -> None:
        """Take the last answer back. Raises OutputError."""
        self.session.undo()

    def save_model(self) -> Path:
        """Write the checkpoint of what was learnt so far, and return its folder. Raises OutputError, OptionError before two
        classes have answers."""
        learnt = self.session.head()
        if learnt is None:
            raise OptionError.about("classes", "there is nothing to learn from yet: answer for clips of two classes")
        weight, bias, labels = learnt
        answers = self.session.labelled()
        save_learnt(self.model, *self._sampling, weight=weight, bias=bias, labels=labels, answers=answers)
        return self.model

    @checked
    def serve(self, *, host: str = "127.0.0.1", port: int = 0) -> LabelServer:
        """Return the server of the page, a context manager with `address`. Raises DependencyError without the extra `label`,
        OptionError if nothing can listen there."""
        previews = self._stack.enter_context(Previews(memory=self._embedder.decoding.memory))
        return LabelServer(
            self.session, previews, save=lambda: str(self.save_model()), title=self.output.name, host=host, port=port
        )


@checked
def label_videos(
    videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | FoundVideo],
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str],
    classes: Sequence[str] = (),
    labels: str | os.PathLike[str] | None = None,
    window: float | str | None = None,
    hop: float | str | None = None,
    seed: int = 0,
    on_file: Callable[[str, VideoMAEError | None], object] = lambda path, error: None,
    **options: Unpack[LoadOptions],
) -> Labelling:
    """Teach a classifier your own classes by answering questions; what `videomae label` does.

    output: the table of answers (.csv); beside it are the vectors (NAME.vectors.parquet), from which a later call goes on, and
    the checkpoint (NAME.model); model: the encoder; classes: names, more may follow; labels: a table or a folder of class
    folders whose labels count as answers; window, hop: ask about parts of films, in seconds or as "2s" (hop: a window); on_file:
    called with each file that was embedded, and its error or None. The result is a context manager with `question`,
    `answer`, `undo`, `wait`, `save_model` and `serve`. Raises OptionError, VideoNotFoundError, OutputError, DatasetError, and
    what loading a model raises.
    """
    table = os.fspath(output)
    if not table.lower().endswith(".csv"):
        raise OptionError.about(
            "output", "the table of answers is CSV: give it a name that ends in .csv, not {table!r}", table=table
        )
    length = window_length(window, "window")
    if length is None and hop is not None:
        raise OptionError.about("hop", "{@hop} is the step between windows: give {@window} too")
    windows = None if length is None else WindowSpec(window=length, hop=window_length(hop, "hop") or length)
    # In a mixed order that stays the same when files are added: folders often hold one kind each, and questions begin with the
    # first clips.
    found = sorted(find_videos(videos), key=lambda video: hashlib.sha256(os.fsencode(video.path)).digest())
    if not found:
        raise VideoNotFoundError.about("videos", "no files: no name refers to a video")
    if (broken := found[0].error) is not None and all(video.error for video in found):
        raise broken
    taken = None if labels is None else TakenLabels(os.fspath(labels))
    embedder = LabelEncoder(*load_model(LabelEncoderRequest, model, options))
    return Labelling(found, table, embedder, classes=classes, taken=taken, windows=windows, seed=seed, on_file=on_file)


def _grouped(records: Iterator[Record]) -> Iterator[list[Record]]:
    while group := list(islice(records, _AT_ONCE)):
        yield group


def _whole_milliseconds(seconds: float) -> float:
    # Records hold four places, and a time must come out the same from a record as from the result it was made of.
    return round(round(seconds, 4), 3)
