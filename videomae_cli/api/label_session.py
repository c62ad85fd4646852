"""Labels videos by asking: embeds them, learns from each answer, and serves the page of `videomae label`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

from videomae_cli import filesystem
from videomae_cli.api.embedder import EmbeddingWork, VideoEmbedder
from videomae_cli.api.footage import find_videos, window_length
from videomae_cli.api.loaded import LoadOptions, load_model
from videomae_cli.api.output_jobs import OutputJob
from videomae_cli.arguments import checked
from videomae_cli.errors import DependencyError, OptionError, OutputError, VideoMAEError, VideoNotFoundError
from videomae_cli.files import write_file
from videomae_cli.jobs.work import Work
from videomae_cli.labelling.answers import AnswerTable, Clip
from videomae_cli.labelling.clip_previews import Previews
from videomae_cli.labelling.labelling_session import Session
from videomae_cli.labelling.learnt_model import LabelEncoderRequest, check_model_place, save_learnt
from videomae_cli.labelling.taken_labels import TakenLabels
from videomae_cli.labels import read_labels
from videomae_cli.results import Record, path_of
from videomae_cli.video import FoundVideo

if TYPE_CHECKING:
    import numpy.typing as npt

    from videomae_cli.labelling.label_server import LabelServer


class Labelling:
    """A labelling at work, as returned by `label_videos`: a context manager, in which `embed` adds the videos' clips.

    session: what is asked and learnt, by clip numbers; output, vectors, model: the table of answers, the embeddings, and the
    checkpoint that `save_model` writes; earlier: the number of answers of earlier runs.
    """

    session: Session
    earlier: int

    def __init__(
        self,
        found: Sequence[FoundVideo],
        output: str,
        embedder: VideoEmbedder,
        *,
        classes: Sequence[str],
        taken: TakenLabels | None,
        windows: dict[str, Any],
        seed: int,
        on_file: Callable[[str, VideoMAEError | None], object],
    ) -> None:
        self.output = Path(output)
        self.vectors, self.model = self.output.with_suffix(".vectors.parquet"), self.output.with_suffix(".model")
        self._found, self._embedder, self._windows, self._on_file = found, embedder, windows, on_file
        self._classes, self._taken, self._seed = classes, taken, seed
        self._stack = ExitStack()
        self._embedding: tuple[EmbeddingWork, Work]

    def __enter__(self) -> Self:
        check_model_place(self.model)
        with ExitStack() as stack:
            answers = stack.enter_context(AnswerTable(self.output))
            unsure = stack.enter_context(AnswerTable(self.output.with_suffix(".unsure.csv"), locked=False))
            self.earlier = len(answers.answers)
            names = self.output.with_suffix(".classes.txt")
            earlier = read_labels(names) if filesystem.is_there(names) else ()
            classes = [*self._classes, *earlier, *(self._taken.classes if self._taken is not None else ())]
            keep = partial(_keep_classes, names)
            self.session = Session(answers, unsure, classes=classes, seed=self._seed, on_classes=keep)
            stack.callback(self.session.close)
            self.session.total = len(self._found)
            self._embedding = self._begun(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _begun(self, stack: ExitStack) -> tuple[EmbeddingWork, Work]:
        """Begin or resume the job of vectors, so that what can't be begun is said before a page opens."""
        job = OutputJob(self._found, os.fspath(self.vectors), {"resume": True, "format": "parquet"})
        # A long film can be asked about before it is through; at its end, windows that are there already are left out.
        made = self._embedder.work_of(
            job, self._windows, lambda path, vectors, places: self._add(path, vectors, [p.as_dict() for p in places])
        )
        stack.enter_context(made.target.opened())
        names = [video.path for video in self._found]
        work = Work(names=names, target=made.target, settings=made.settings, vectors=made.layout)
        try:
            work.begin()
        except OutputError as refused:
            # There is no --overwrite here, which might be taken for one of the answers.
            remedy = "use those, or remove it to embed the videos anew: answers stay in their table"
            raise OutputError(*refused.args, subject=refused.subject, remedy=remedy, joined="; ") from None
        return made, work

    def _take(self, record: Record) -> None:
        """Add a file's clips to the session."""
        path, vectors, error = path_of(record), record["vectors"], record["error"]
        if error or vectors is None:
            self.session.failed[path] = error["message"] if error else "it has no vectors"
        else:
            self._add(path, vectors, record["rows"])
        self.session.done += 1

    def _add(self, path: str, vectors: npt.NDArray[Any], rows: Sequence[Record]) -> None:
        parts = [Clip(path, round(row["start"], 3), round(row["end"], 3)) for row in rows]
        clips = parts if self._windows else [Clip(path)]
        self.session.add(clips, vectors, labels=self._taken.of(clips) if self._taken is not None else None)

    # --- what Python asks ---

    def embed(self) -> None:
        """Embed all videos, beginning with what earlier runs have done; meanwhile the page and other threads can ask. Once, in a
        `with` block. Raises OutputError, and MachineError or DependencyError if this machine can't decode at all."""
        made, work = self._embedding
        listed = set(work.names)
        try:
            for record in work.target.records():
                if path_of(record) in listed:  # else it is of a file that isn't given this time
                    self._take(record)
            with self._embedder.decoding.decoder(made.decoders) as decoder:
                results = partial(made.results, decoder)
                for result in work.each(lambda left, starts: results([self._found[place] for place in left], starts)):
                    self._take(result.as_dict())
                    self._on_file(result.path, result.error.exception if result.error is not None else None)
            work.finish()
        except Exception as error:
            self.session.stopped = str(error) or type(error).__name__
            raise

    # --- what Python asks ---

    def question(self) -> Clip | None:
        """Return the clip to ask about next: `path`, and `start` and `end` in seconds for a part of a film. None if there is none."""
        number = self.session.question()
        return None if number is None else self.session.clips[number]

    @checked
    def answer(self, clip: Clip, label: str | None) -> None:
        """Keep an answer, None for not sure; it is on the disk when this returns. Raises OutputError, OptionError."""
        self.session.answer([self.session.number_of(clip)], label)

    def undo(self) -> None:
        """Take the last answer back, also one of an earlier run. Raises OutputError."""
        self.session.undo()

    def save_model(self) -> Path:
        """Write the checkpoint of what was learnt so far, and return its folder. Raises OutputError, OptionError before two
        classes have answers."""
        learnt = self.session.head()
        if learnt is None:
            raise OptionError.about("classes", "there is nothing to learn from yet: answer for clips of two classes")
        weight, bias, labels = learnt
        answers = self.session.labelled()
        made, _ = self._embedding
        save_learnt(self.model, made.model, made.sampling, weight=weight, bias=bias, labels=labels, answers=answers)
        return self.model

    @checked
    def serve(self, *, host: str = "127.0.0.1", port: int = 0) -> LabelServer:
        """Return the server of the page, a context manager with `address`. Raises DependencyError without the extra `label`,
        OptionError if nothing can listen there."""
        server = load_server()
        previews = self._stack.enter_context(Previews(memory=self._embedder.decoding.memory))
        return server(
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
    if window is None and hop is not None:
        raise OptionError.about("hop", "{@hop} is the step between windows: give {@window} too")
    lengths = {"window": window_length(window, "window"), "hop": window_length(hop or window, "hop")}
    windows = {name: length for name, length in lengths.items() if length is not None}
    # In a mixed order that stays the same when files are added: folders often hold one kind each, and questions begin with the
    # first clips.
    found = sorted(find_videos(videos), key=lambda video: hashlib.sha256(os.fsencode(video.path)).digest())
    if not found:
        raise VideoNotFoundError.about("videos", "no files: no name refers to a video")
    if (broken := found[0].error) is not None and all(video.error for video in found):
        raise broken
    taken = None if labels is None else TakenLabels(os.fspath(labels))
    embedder = VideoEmbedder(*load_model(LabelEncoderRequest, model, options))
    return Labelling(found, table, embedder, classes=classes, taken=taken, windows=windows, seed=seed, on_file=on_file)


def _keep_classes(file: Path, classes: Sequence[str]) -> None:
    """Keep the classes in the order of their keys, which shall be the same at the next start."""
    if classes:
        write_file(file, "".join(f"{name}\n" for name in classes).encode())


def load_server() -> type[LabelServer]:
    """Import what serves the page. Raises DependencyError without the packages of the extra `label`."""
    try:
        from videomae_cli.labelling.label_server import LabelServer
    except ImportError as error:
        raise DependencyError.about(
            "label",
            "the page needs the packages starlette and uvicorn ({error})",
            error=error,
            remedy="pip install 'videomae-cli[label]'",
        ) from None
    return LabelServer
