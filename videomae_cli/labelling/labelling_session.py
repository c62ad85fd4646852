"""The state of a labelling: clips as they are embedded, answers, what is learnt from them, and the next question.

All methods may be called from several threads. An answer is on the disk before its method returns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Condition, RLock, Thread
from typing import Any

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import OptionError
from videomae_cli.labelling.answers import Answer, AnswerTable, Clip, check_label, latest, now
from videomae_cli.labelling.learner import AccuracyEstimate, Array, FeatureScale, Head, estimate, fit, kappa
from videomae_cli.labelling.questions import Questions, directions, least_sure, margins

NEIGHBOURS = 12
# With fewer clips, what is typical of them can't be told; more come while one looks at the first.
FEWEST = 30
# States of a clip that is of no class: nobody has answered, or somebody was not sure.
OPEN, UNSURE = -1, -2
# Answers between two looks at what the model says; it is settled if three looks in a row agree with the one before (Bloodgood
# and Vijay-Shanker, "A Method for Stopping Active Learning Based on Stabilizing Predictions", CoNLL 2009: kappa of 0.99).
_LOOK, _LOOKS, _SETTLED = 10, 4, 0.99
_STOP_SET = 2000
# Steps from the weights before the last answer, which are near the new ones; a model that is saved is fitted to the end.
_QUICKLY = 30
# Whoever answers comes before the estimate, which waits for a pause.
_PAUSE_SECONDS = 0.3
_UNDO = 1000
_DOUBT = "not sure"  # the label in the table of those clips


@dataclass(frozen=True)
class _Kept:
    """What the tables hold of a clip: its answer, or that somebody was not sure, or neither."""

    number: int
    answer: Answer | None = None
    doubt: Answer | None = None


class Session:
    """Labels clips by asking. classes: names in the order of their keys; seed: of the random choices.

    answers, unsure: the tables in which answers, and the clips of which nobody is sure, are kept; both are open; on_classes:
    called with the classes at first, and before there is one more.
    """

    def __init__(
        self,
        answers: AnswerTable,
        unsure: AnswerTable,
        *,
        classes: Sequence[str] = (),
        seed: int = 0,
        on_classes: Callable[[list[str]], object] = lambda names: None,
    ) -> None:
        self.answers, self.unsure = answers, unsure
        kept = [answer.label for answer in answers.answers]
        self.classes = list(dict.fromkeys([*map(check_label, classes), *kept]))
        self._on_classes = on_classes
        on_classes(self.classes)
        self.clips: list[Clip] = []
        self.failed: dict[str, str] = {}  # why files have no clips
        self.done = 0  # files that were embedded, or failed
        self.total: int | None = None  # files that will be in the end; None if that isn't known yet
        self.stopped = ""  # why no more are embedded
        self.lock = RLock()  # held while nothing may change between two calls
        self._numbers: dict[tuple[str, int | None, int | None], int] = {}
        self._store = np.zeros((0, 0), np.float32)
        self._class = np.zeros(0, np.int64)  # the class of each clip, or OPEN or UNSURE
        self._skipped: dict[int, int] = {}  # clip -> the number of the skip, so that the first comes back first
        self._asked: dict[str, int] = {}  # what other pages ask about now
        self._undo: deque[list[_Kept]] = deque(maxlen=_UNDO)
        self._scale: FeatureScale | None = None
        self._scaled_at = 0
        self._lengths: Array = np.zeros(0, np.float32)
        self._lengths_of: FeatureScale | None = None
        self._head: Head | None = None
        self._stale = True  # answers have come since it was fitted
        self._occurring: list[int] = []  # the classes that have answers, in the order of the head's rows
        self._questions = Questions(seed)
        self._looks: list[npt.NDArray[np.int64]] = []
        self._looked_at = 0
        self._estimate: AccuracyEstimate | None = None
        self._changed = Condition(self.lock)
        self._estimated_for = self._version = self._estimated_at = 0
        self._closed = False
        Thread(target=self._keep_estimating, name="videomae-estimate", daemon=True).start()

    def close(self) -> None:
        """End the thread that estimates the accuracy."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # --- clips ---

    def add(
        self, clips: Sequence[Clip], features: npt.NDArray[Any], *, labels: Mapping[int, str] | None = None
    ) -> None:
        """Add clips with their features (n, D); clips that are there already are left out. labels: of some of them, from
        elsewhere, which count as answers unless there are others; as nobody gave them here, the table has no time for them.
        Raises OutputError if those can't be kept."""
        with self.lock:
            new = [place for place, clip in enumerate(clips) if clip.key not in self._numbers]
            if not new:
                return
            taken = [Answer(clips[place], check_label(labels[place])) for place in new if labels and place in labels]
            self.answers.add([answer for answer in taken if self.answers.answer_of(answer.clip) is None])
            self._grow(np.asarray(features, np.float32)[new])
            for place in new:
                self._numbers[clips[place].key] = len(self.clips)
                self.clips.append(clips[place])
            found = np.array([self._found(clips[place]) for place in new], np.int64)
            self._class = np.concatenate([self._class, found])
            if (found >= 0).any():
                self._stale = True
                if self.count > 1.1 * self._estimated_at:
                    self._news()

    def _grow(self, rows: Array) -> None:
        count = len(self.clips)
        if count + len(rows) > len(self._store):
            # Doubling: each row is copied about once in all.
            store = np.zeros((max(256, 2 * len(self._store), count + len(rows)), rows.shape[1]), np.float32)
            if count:
                store[:count] = self._store[:count]
            self._store = store
        self._store[count : count + len(rows)] = rows

    @property
    def features(self) -> Array:
        """The features (N, D) of all clips so far."""
        return self._store[: len(self.clips)]

    def _id(self, label: str) -> int:
        if label not in self.classes:
            self._on_classes([*self.classes, label])
            self.classes.append(label)
        return self.classes.index(label)

    def _found(self, clip: Clip) -> int:
        """Return the class of a clip as the tables have it, or OPEN or UNSURE."""
        if (answer := self.answers.answer_of(clip)) is not None:
            return self._id(answer.label)
        return OPEN if self.unsure.answer_of(clip) is None else UNSURE

    # --- answers ---

    def answer(self, numbers: Iterable[int], label: str | None, *, seen: Mapping[int, int] | None = None) -> list[int]:
        """Keep an answer: `label` for these clips, None for not sure. Returns the clips that another page has answered in the
        meantime, which keep that answer.

        seen: the states (`state_of`) that the person saw, to find those. Raises OptionError for no such clip or label,
        OutputError if the answer is not on the disk; nothing has changed then.
        """
        with self.lock:
            wanted, time = self._checked(numbers), now()
            name = None if label is None else check_label(label)
            others = [
                n for n in wanted if (seen or {}).get(n, self._class[n]) != self._class[n] and self.label_of(n) != name
            ]
            changed = []
            for number in wanted:
                same = self._class[number] == UNSURE if name is None else self.label_of(number) == name
                if number not in others and not same:
                    given = Answer(self.clips[number], name or _DOUBT, time)
                    changed.append(_Kept(number, doubt=given) if name is None else _Kept(number, given))
            self._change(changed)
            return others

    def withdraw(self, numbers: Iterable[int]) -> None:
        """Take the answers of some clips back, so that they may be asked about again. Raises as `answer`."""
        with self.lock:
            self._change([_Kept(number) for number in self._checked(numbers)])

    def undo(self) -> list[int]:
        """Take the last change back; returns its clips. When all of this run are taken back, the latest answer of earlier runs
        is withdrawn, with those that were given at once with it. Raises OutputError if that is not on the disk."""
        with self.lock:
            kept = self._undo[-1] if self._undo else self._latest()
            if kept:
                self._keep(kept)
            if self._undo:
                self._undo.pop()
            return [one.number for one in kept]

    def _latest(self) -> list[_Kept]:
        """Return what is left of the clips that were answered last, when those answers are withdrawn."""
        given = [one for one in (*self.answers.answers, *self.unsure.answers) if one.clip.key in self._numbers]
        return [_Kept(self.number_of(one.clip)) for one in latest(given)]

    def add_class(self, name: str) -> str:
        """Add a class, and return its name. Raises OptionError for a name that tables can't hold."""
        with self.lock:
            return self.classes[self._id(check_label(name))]

    def number_of(self, clip: Clip) -> int:
        """Return the number of a clip. Raises OptionError for one that isn't here."""
        number = self._numbers.get(clip.key)
        if number is None:
            raise OptionError.about("clip", "there is no clip {path}", path=clip.path)
        return number

    def _checked(self, numbers: Iterable[int]) -> list[int]:
        wanted = list(dict.fromkeys(numbers))
        if bad := [number for number in wanted if not 0 <= number < len(self.clips)]:
            raise OptionError.about("clip", "there is no clip {bad}", bad=bad[0])
        return wanted

    def state_of(self, number: int) -> int:
        """Return the place of a clip's class in `classes`, or OPEN or UNSURE."""
        return int(self._class[number])

    def label_of(self, number: int) -> str | None:
        """Return the label of a clip; None if it has no answer."""
        return None if self._class[number] < 0 else self.classes[self._class[number]]

    def _change(self, changed: Sequence[_Kept]) -> None:
        """Keep something else of some clips, so that it can be undone."""
        clips = [(one.number, self.clips[one.number]) for one in changed]
        before = [_Kept(number, self.answers.answer_of(clip), self.unsure.answer_of(clip)) for number, clip in clips]
        if before:
            self._keep(changed)
            self._undo.append(before)

    def _keep(self, kept: Sequence[_Kept]) -> None:
        """Make the tables hold this of some clips, and then the session."""
        # What is written first is never less than what is removed after it.
        self.answers.add([one.answer for one in kept if one.answer])
        self.unsure.add([one.doubt for one in kept if one.doubt])
        self.answers.remove(self.clips[one.number] for one in kept if not one.answer)
        self.unsure.remove(self.clips[one.number] for one in kept if not one.doubt)
        for one in kept:
            self._class[one.number] = self._found(self.clips[one.number])
            self._skipped.pop(one.number, None)
        self._stale = True
        self._news()

    # --- questions ---

    def question(self, page: str = "") -> int | None:
        """Return the clip to ask about next, None if none is left now. page: who asks, for other pages get other clips."""
        with self.lock:
            free = self._class == OPEN
            if not free.any() or (len(free) < FEWEST and self.done < (self.total or 0)):
                self._asked.pop(page, None)
                return None
            if self._questions.used_up(free):
                self._questions.draw(self.features, self._scaled(), free)
            allowed = free.copy()
            busy = [number for other, number in self._asked.items() if other != page]
            allowed[[*self._skipped, *busy]] = False
            known = np.flatnonzero(self._class >= 0)
            self._questions.cover(
                known.tolist(), lambda numbers: directions(self.features[list(numbers)], self._scaled())
            )
            chances = self._chances(self._questions.places)
            unsure = np.zeros(len(free), np.float32)
            if chances is not None:
                unsure[self._questions.places] = margins(chances)
            chosen = self._questions.next(unsure if chances is not None else None, allowed)
            if chosen is None:
                others = [n for n in np.flatnonzero(free).tolist() if n not in busy] or np.flatnonzero(free).tolist()
                chosen = min(others, key=lambda number: self._skipped.get(number, 0))
            self._asked.pop(page, None)
            self._asked[page] = chosen
            while len(self._asked) > 16:  # pages that are long closed
                self._asked.pop(next(iter(self._asked)))
            return chosen

    def skip(self, number: int) -> None:
        """Ask about a clip again only when no others are left."""
        with self.lock:
            self._skipped[self._checked([number])[0]] = max(self._skipped.values(), default=0) + 1

    # --- what is learnt ---

    def _scaled(self) -> FeatureScale:
        if self._scale is None or len(self.clips) > 1.1 * self._scaled_at:
            self._scale, self._scaled_at = FeatureScale.of(self.features), len(self.clips)
            self._head, self._stale = None, True  # its weights are for the scale before
        return self._scale

    def _trained(self) -> tuple[Array, npt.NDArray[np.int64], list[int]]:
        """Return the standardised rows with an answer, their classes among those that occur, and these classes."""
        known = np.flatnonzero(self._class >= 0)
        occurring, classes = np.unique(self._class[known], return_inverse=True)
        return self._scaled()(self.features[known]), classes, occurring.tolist()

    def _news(self) -> None:
        """Have the accuracy estimated anew."""
        self._version += 1
        self._estimated_at = self.count
        self._changed.notify_all()

    def _learn(self) -> None:
        """Fit the head, if answers have come since it was."""
        if not self._stale:
            return
        self._stale = False
        rows, classes, occurring = self._trained()
        start = self._head if self._occurring == occurring else None
        self._head = (
            fit(rows, classes, len(occurring), start=start, iterations=_QUICKLY) if len(occurring) > 1 else None
        )
        self._occurring = occurring
        self._look()

    def _chances(self, places: npt.NDArray[np.int64] | None = None) -> Array | None:
        """Return the probabilities (n, classes that occur) of some clips, or of all; None before there are two classes."""
        scale = self._scaled()
        self._learn()
        if self._head is None:
            return None
        weight, bias = self._head.raw(scale)
        features = self.features if places is None else self.features[places]
        return Head(weight, bias).probabilities(features)

    def _look(self) -> None:
        """Keep what the model says now, every few answers, to see whether it still changes its mind."""
        done = self.count
        if self._head is None or done < self._looked_at + _LOOK:
            return
        step = max(1, len(self.clips) // _STOP_SET)
        chances = self._chances(np.arange(0, len(self.clips), step))
        assert chances is not None
        said = np.asarray(self._occurring)[chances.argmax(axis=1)]
        if self._looks and len(self._looks[-1]) != len(said):
            self._looks = []  # the pool has grown
        self._looks, self._looked_at = [*self._looks[1 - _LOOKS :], said], done

    @property
    def count(self) -> int:
        """The number of clips with a label."""
        return int((self._class >= 0).sum())

    @property
    def settled(self) -> bool:
        """Whether more answers would change little: the model has hardly changed its mind over the last thirty."""
        with self.lock:
            pairs = zip(self._looks, self._looks[1:], strict=False)
            agreed = [kappa(before, after) for before, after in pairs]
            return len(agreed) == _LOOKS - 1 and float(np.mean(agreed)) >= _SETTLED

    @property
    def estimate(self) -> AccuracyEstimate | None:
        """How often the model is right about answered clips that it has not seen; computed a little after each answer."""
        return self._estimate

    def _keep_estimating(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._version != self._estimated_for)
                while not self._closed and self._changed.wait(_PAUSE_SECONDS):
                    pass  # another answer
                if self._closed:
                    return
                self._estimated_for = self._version
                rows, classes, occurring = self._trained()
            found = estimate(rows, classes, len(occurring))
            with self.lock:
                self._estimate = found

    def head(self) -> tuple[Array, Array, list[str]] | None:
        """Return weight (C, D) and bias (C,) for features as the encoder gives them, and the C names; None before two
        classes have answers."""
        with self.lock:
            rows, classes, occurring = self._trained()
            if len(occurring) < 2:
                return None
            head = fit(rows, classes, len(occurring), start=self._head, iterations=500)
            weight, bias = head.raw(self._scaled())
            return weight, bias, [self.classes[number] for number in occurring]

    # --- what is shown ---

    def predictions(self, numbers: Sequence[int]) -> list[tuple[str, float] | None]:
        """Return what the model says of some clips, and the probability; None before there are two classes."""
        with self.lock:
            chances = self._chances(np.asarray(numbers, np.int64)) if len(numbers) else None
            if chances is None:
                return [None] * len(numbers)
            best = chances.argmax(axis=1)
            names = [self.classes[self._occurring[place]] for place in best]
            return list(zip(names, chances.max(axis=1).tolist(), strict=True))

    def nearest(self, number: int, count: int = NEIGHBOURS) -> list[int]:
        """Return the clips without an answer that are most like one, most alike first."""
        with self.lock:
            (number,) = self._checked([number])
            cosines = self._cosines(number)
            places = np.flatnonzero((self._class == OPEN) & (np.arange(len(self.clips)) != number))
            return list(map(int, places[np.argsort(-cosines[places], kind="stable")[:count]]))

    def _cosines(self, number: int) -> Array:
        """Return the cosines (N,) of all clips with one, up to a factor, without a standardised copy of the pool."""
        scale = self._scaled()
        if self._lengths_of is not scale or len(self._lengths) < len(self.clips):
            self._lengths_of = scale
            self._lengths = np.maximum(np.linalg.norm(scale(self.features), axis=1), 1e-12).astype(np.float32)
        across = scale(self.features[[number]])[0] / scale.deviation
        return np.asarray((self.features @ across - scale.mean @ across) / self._lengths, np.float32)

    def members(self, label: str | None) -> list[int]:
        """Return the clips with a label, those first that the model would call something else; None: those of which nobody was
        sure."""
        with self.lock:
            if label is not None and label not in self.classes:
                return []
            own = UNSURE if label is None else self.classes.index(label)
            places = np.flatnonzero(self._class == own)
            chances = self._chances(places) if len(places) else None
            if chances is not None and own in self._occurring:
                places = places[np.argsort(chances[:, self._occurring.index(own)], kind="stable")]
            return list(map(int, places))

    def rest(self) -> list[int]:
        """Return the clips without an answer, least sure first."""
        with self.lock:
            places, chances = np.flatnonzero(self._class == OPEN), self._chances()
            return list(map(int, places if chances is None else least_sure(chances, places)))

    def counts(self) -> dict[str, int]:
        """Return the number of answers of each class, in the order of their keys."""
        with self.lock:
            sizes = np.bincount(self._class[self._class >= 0], minlength=len(self.classes))
            return dict(zip(self.classes, sizes.tolist(), strict=True))

    @property
    def unsure_count(self) -> int:
        """The number of clips of which nobody was sure."""
        return int((self._class == UNSURE).sum())

    def labelled(self) -> list[Answer]:
        """Return the answers of the clips that were embedded."""
        with self.lock:
            return [
                Answer(self.clips[number], self.classes[self._class[number]])
                for number in np.flatnonzero(self._class >= 0).tolist()
            ]
