"""What `--recipe default` does otherwise than published, or did, each deviation against its matched control: docs/training.md's table.

    python -m recipes.camera_motion.sources --to data --only footage
    python -m recipes.few_clips.defaults --data data --to runs/defaults

Cuts 84 small clips of six recordings, cuts a small start out of `camera-motion-mae` (two of its four layers, on 4 frames) and
trains with the commands themselves: two runs of a row differ in the options of that row alone. Prints a line for each row and
seed as it ends. Runs that are there already are not repeated, so that it may be stopped at any time.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from fractions import Fraction
from io import StringIO
from pathlib import Path

import videomae_cli
from recipes.few_clips.which_recording import cut
from videomae_cli.cli.app import app
from videomae_cli.model import VideoMAEForPreTraining

CHECKPOINTS = Path(videomae_cli.__file__).parent / "checkpoints"
# Large enough for the 64x64 pixels of the model, small enough that decoding and changing frames cost little.
SIDE = 80
CLIPS = {"train": 8, "val": 6}
# Of a pixel's width to its height: square, wide PAL, PAL, anamorphic HDV.
ASPECTS = (Fraction(1), Fraction(64, 45), Fraction(16, 15), Fraction(4, 3))

ALL = "--no-check --quiet --workers 1"
# A clip spans 64 frames, more than the 24 of a file, as those of 16 frames at stride 4 do.
TUNING = f"finetune CLIPS {ALL} --init START --mode full --stride 16 --views 1 --epochs 12 --warmup 2.4 --erase 0 --crop-scale 0.5"
MASKED = f"pretrain CLIPS {ALL} --size tiny --image-size 32 --patch-size 8 --frames 4 --mask-ratio 0.75 --epochs 8"


@dataclass(frozen=True)
class Pair:
    """A row of the table. base: options of both runs; tried, published: what each has besides; clips: the folder of both."""

    name: str
    published: str
    base: str = TUNING
    tried: str = ""
    clips: str = "square"


PAIRS = (
    Pair("rate", "--lr 2.344e-5"),
    Pair("clips of a step", "--batch-size 12 --accumulate 4 --lr 9.375e-5 --min-lr 1.875e-7"),
    Pair("warm-up", "--warmup 5"),
    Pair("mixing", "--mixup 0.8 --cutmix 1"),
    Pair("RandAugment", "--augment-ops 4 --augment-magnitude 7"),
    Pair("erasing", "--erase 0.25"),
    Pair("crops", "--crop-scale 0.08"),
    Pair("pixels", "--pixels stored", tried="--pixels display", clips="odd"),
    Pair("pre-training: rate", "--lr 7.031e-6", MASKED),
    Pair("pre-training: clips of a step", "--batch-size 12 --accumulate 4 --lr 2.8125e-5 --min-lr 1.875e-6", MASKED),
)


def cut_start(folder: Path) -> None:
    """Writes the checkpoint that is trained from. Positions are sines, so that fewer frames need no other weights."""
    whole = VideoMAEForPreTraining.from_pretrained("camera-motion-mae")
    small = VideoMAEForPreTraining(whole.config.replace(num_hidden_layers=2, num_frames=4))
    kept = small.state_dict()
    small.load_state_dict({name: tensor for name, tensor in whole.state_dict().items() if name in kept})
    small.save_pretrained(folder)
    shutil.copy(CHECKPOINTS / "camera-motion-mae" / "preprocessor_config.json", folder)


def measured(run: Path, line: str) -> str:
    """Top-1 where there are classes, and loss on the held-out clips after the last epoch of the run that a command line makes,
    made where it isn't there."""
    said = run / "training.json"
    if not said.exists() or json.loads(said.read_text()).get("ended") != "finished":
        with redirect_stdout(StringIO()):
            code = app([*line.split(), "-o", str(run), "--resume"], standalone_mode=False)
        if code:
            raise SystemExit(code)
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = [event for event in events if event["event"] == "epoch"][-1]
    return (f"{last['top1']:.1%}, " if "top1" in last else "") + f"{last['val_loss']:.3f}"


def rows(to: Path, seeds: int) -> Iterator[str]:
    """Lines of the table: for each seed and pair the figures of both runs. One that several pairs share is made once."""
    made: dict[str, str] = {}
    for seed in range(seeds):
        for pair in PAIRS:
            cells = []
            for arm, options in (("tried", pair.tried), ("published", pair.published)):
                line = f"{pair.base} {options} --seed {seed}".replace("CLIPS", str(to / pair.clips)).replace(
                    "START", str(to / "start")
                )
                if line not in made:
                    made[line] = measured(to / f"{pair.name.replace(' ', '-').replace(':', '')}-{arm}-{seed}", line)
                cells.append(made[line])
            yield f"| {pair.name} | {seed} | {cells[0]} | `{pair.published}` | {cells[1]} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder made by recipes.camera_motion.sources")
    parser.add_argument("--to", type=Path, required=True, help="folder for the clips and the runs")
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    for name, aspects in (("square", (Fraction(1),)), ("odd", ASPECTS)):
        if not (asked.to / name).is_dir():
            cut(asked.data, asked.to / name, clips=CLIPS, side=SIDE, aspects=aspects)
    if not (asked.to / "start").is_dir():
        cut_start(asked.to / "start")
    print("| | seed | tried | published | |\n|---|---|---|---|---|", flush=True)
    for row in rows(asked.to, asked.seeds):
        print(row, flush=True)


if __name__ == "__main__":
    main()
