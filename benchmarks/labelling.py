"""How many answers `videomae label` needs, against answering in random order, and how long a key takes.

    python -m recipes.camera_motion.sources --to data --only footage
    python -m benchmarks.labelling --data data [--runs 30] [--folder DIR]
    OPENBLAS_NUM_THREADS=1 python -m benchmarks.labelling --keys [--clips 5000]

The first two commands: real footage whose classes are known, split in time (recipes/few_clips). Each run takes four fifths of
the clips at random as its pool, answers them as asked and in random order, and counts the answers after which the accuracy on
the held-out clips is, and for three answers stays, 90 % of what all labels of the pool give. DIR keeps clips and vectors.

The last command: a server with random clips of 768 numbers, two hundred answers over HTTP: the time of each, with the next
question, and the memory before and after. Nothing is embedded meanwhile; one thread, as the command sets it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from videomae_cli import load_embedder
from videomae_cli.labelling.answers import AnswerTable, Clip
from videomae_cli.labelling.clip_previews import Previews
from videomae_cli.labelling.label_server import LabelServer
from videomae_cli.labelling.labelling_session import Session
from videomae_cli.labelling.learner import FeatureScale, Head, fit

ENOUGH, IN_A_ROW = 0.9, 3
CLIPS = {"recordings": {"train": 100, "val": 40}, "motions": {"train": 80, "val": 30}}


@dataclass(frozen=True)
class Task:
    """A pool (N, D) and held-out clips (M, D) with their classes; the share of each class of the pool that is taken."""

    name: str
    pool: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    held: npt.NDArray[np.float32]
    held_classes: npt.NDArray[np.int64]
    names: Sequence[str]
    shrink: float = 1.0

    def drawn(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Places of four fifths of the pool; with `shrink`, each class has so much of the one before it."""
        places = [
            rng.permutation(np.flatnonzero(self.classes == number))[: max(5, int(0.8 * size * self.shrink**rank))]
            for rank, number in enumerate(rng.permutation(len(self.names)))
            for size in [int((self.classes == number).sum())]
        ]
        return rng.permutation(np.concatenate(places))


def accuracy(head: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], list[str]] | None, task: Task) -> float:
    if head is None:
        return 0.0
    weight, bias, labels = head
    said = Head(weight, bias).probabilities(task.held).argmax(axis=1)
    known = np.array([task.names.index(label) for label in labels])
    return float((known[said] == task.held_classes).mean())


def of_all(task: Task, places: npt.NDArray[np.int64]) -> float:
    """The accuracy with every label of the pool."""
    scale = FeatureScale.of(task.pool[places])
    head = fit(scale(task.pool[places]), task.classes[places], len(task.names), iterations=500)
    return accuracy((*head.raw(scale), list(task.names)), task)


def answers_needed(task: Task, places: npt.NDArray[np.int64], wanted: float, seed: int, *, asked: bool) -> int:
    """The number of answers until the accuracy stays at what is wanted."""
    order = iter(np.random.default_rng(seed).permutation(len(places)).tolist())
    with tempfile.TemporaryDirectory() as folder:
        tables = [AnswerTable(Path(folder, name)) for name in ("labels.csv", "unsure.csv")]
        with tables[0], tables[1]:
            session = Session(tables[0], tables[1], classes=task.names, seed=seed)
            session.add([Clip(f"{place}.mp4") for place in places], task.pool[places])
            reached = count = 0
            while count < len(places):
                count += 1
                number = session.question() if asked else next(order)
                assert number is not None
                session.answer([number], task.names[task.classes[places[number]]])
                reached = reached + 1 if accuracy(session.head(), task) >= wanted else 0
                if reached == IN_A_ROW:
                    break
            session.close()
    return count - reached + 1


def read(name: str, folder: Path, model: str, shrink: float = 1.0) -> Task:
    """Embed the clips in folder/train/CLASS and folder/val/CLASS, or read the vectors that an earlier run kept."""
    kept = folder.with_name(f"{folder.name}-{model}.npz")
    if not kept.exists():
        found = [(result.path, result.vectors) for result in load_embedder(model).embed_all(folder)]
        np.savez(
            kept, x=np.stack([vectors[0] for _, vectors in found if vectors is not None]), paths=[p for p, _ in found]
        )
    with np.load(kept) as stored:
        vectors, paths = stored["x"].astype(np.float32), [Path(path) for path in stored["paths"].tolist()]
    names = sorted({path.parent.name for path in paths})
    classes = np.array([names.index(path.parent.name) for path in paths])
    train = np.array([path.parent.parent.name == "train" for path in paths])
    return Task(name, vectors[train], classes[train], vectors[~train], classes[~train], names, shrink)


def tasks(data: Path, folder: Path) -> list[Task]:
    from recipes.few_clips import which_motion, which_recording

    for name, cut in (("recordings", which_recording.cut), ("motions", which_motion.cut)):
        if not (folder / name).exists():
            print(name, cut(data, folder / name, clips=CLIPS[name]), "clips", flush=True)
    return [
        read("which recording", folder / "recordings", "camera-motion-mae"),
        read("which recording, unequal", folder / "recordings", "camera-motion-mae", 0.6),
        read("which motion", folder / "motions", "camera-motion"),
        read("which motion, hard", folder / "motions", "camera-motion-mae"),
    ]


def compare(data: Path, folder: Path, runs: int) -> None:
    print(f"{'':<26}{'all labels':>11}{'random':>16}{'asked':>16}{'ratio':>7}")
    for task in tasks(data, folder):
        whole, random, asked = [], [], []
        for seed in range(runs):
            places = task.drawn(np.random.default_rng(seed))
            whole.append(of_all(task, places))
            random.append(answers_needed(task, places, ENOUGH * whole[-1], seed, asked=False))
            asked.append(answers_needed(task, places, ENOUGH * whole[-1], seed, asked=True))
        spread = [f"{np.mean(n):.1f} ({np.min(n)}-{np.max(n)})" for n in (random, asked)]
        ratio = np.mean(asked) / np.mean(random)
        print(f"{task.name:<26}{np.mean(whole):>11.1%}{spread[0]:>16}{spread[1]:>16}{ratio:>7.2f}", flush=True)


def resident() -> int:
    """What this process holds, in MB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS"))


def keys(clips: int, answers: int = 200, width: int = 768, classes: int = 5) -> None:
    rng = np.random.default_rng(0)
    centres = 0.2 * rng.standard_normal((classes, width))
    truth = rng.integers(0, classes, clips)
    features = (centres[truth] + rng.standard_normal((clips, width))).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        tables = [AnswerTable(Path(folder, name)) for name in ("labels.csv", "unsure.csv")]
        with tables[0], tables[1], Previews() as previews:
            session = Session(tables[0], tables[1], classes=[f"class {number}" for number in range(classes)])
            session.add([Clip(f"archive/{number}.mp4") for number in range(clips)], features)
            with LabelServer(session, previews, save=lambda: "") as server:
                address = urlsplit(server.address)
                connection = http.client.HTTPConnection("127.0.0.1", server.port)
                cookie = {"Cookie": f"videomae-{server.port}={address.query.partition('=')[2]}"}
                connection.request("GET", "/api/state?page=a", headers=cookie)
                state = json.loads(connection.getresponse().read())
                seconds, held, worked = [], [], time.process_time()
                for _ in range(answers):
                    number = state["question"]["id"]
                    body = json.dumps({"page": "a", "clips": [number], "label": f"class {truth[number]}"})
                    began = time.perf_counter()
                    connection.request("POST", "/api/answer", body, {**cookie, "Content-Type": "application/json"})
                    state = json.loads(connection.getresponse().read())
                    seconds.append(time.perf_counter() - began)
                    held.append(resident())
                    time.sleep(0.1)  # people need longer
                worked = (time.process_time() - worked) / answers
            session.close()
    ms = 1000 * np.sort(seconds)
    print(f"{clips:,} clips of {width} numbers, {answers} answers: median {ms[len(ms) // 2]:.0f} ms, ", end="")
    print(
        f"95 % within {ms[int(0.95 * len(ms))]:.0f} ms, longest {ms[-1]:.0f} ms, "
        f"of processor time {1000 * worked:.0f} ms each; ",
        end="",
    )
    print(f"memory {held[10]} MB after ten answers, {held[-1]} MB at the end")


def fits(clips: int = 10_000, width: int = 768, classes: int = 5) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, classes, clips)
    features = (0.2 * rng.standard_normal((classes, width))[truth] + rng.standard_normal((clips, width))).astype(
        np.float32
    )
    scale = FeatureScale.of(features)
    rows = scale(features)
    for count in (100, 1000, clips):
        before = fit(rows[: count - 1], truth[: count - 1], classes)
        took = []
        for _ in range(5):
            began = time.perf_counter()
            head = fit(rows[:count], truth[:count], classes, start=before)
            head.probabilities(rows)
            took.append(time.perf_counter() - began)
        print(
            f"{count:,} answers, {clips:,} clips of {width} numbers: {1000 * np.median(took):.0f} ms a fit with all predictions"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--keys", action="store_true")
    parser.add_argument("--clips", type=int, default=5000)
    arguments = parser.parse_args()
    if arguments.keys:
        fits()
        keys(arguments.clips)
        return
    with tempfile.TemporaryDirectory() as scratch:
        compare(arguments.data, arguments.folder or Path(scratch), arguments.runs)


if __name__ == "__main__":
    main()
