"""What `--recipe default` does otherwise than published, each deviation against its matched control: docs/training.md's table.

    python -m recipes.few_clips.which_recording --data data --to runs/recordings
    python -m recipes.few_clips.defaults runs/recordings --to runs/defaults

Every run is `videomae finetune` from `camera-motion-mae`, the same but for the options of its row. Prints a line for each run
as it ends: top-1 and loss on the held-out clips after the last epoch. Runs that are there already are not repeated, so that it
may be stopped at any time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

# What default uses on these clips, said aloud, so that `--recipe paper` differs from it in how frames are drawn alone.
SAID = (
    "--batch-size 16 --lr 1.531e-4 --min-lr 6.25e-8 --mixup 0 --cutmix 0 --augment-ops 2 --augment-magnitude 5 --erase 0 "
    "--crop-scale 0.5"
)
CONTROLS = {
    "default": "",
    "frames of short clips as published": f"--recipe paper {SAID}",
    "rate in a line": "--lr 3.125e-5",
    "all changes as published": "--mixup 0.8 --cutmix 1 --augment-ops 4 --augment-magnitude 7 --erase 0.25 --crop-scale 0.08",
    "mixing as published": "--mixup 0.8 --cutmix 1",
    "RandAugment as published": "--augment-ops 4 --augment-magnitude 7",
    "erasing as published": "--erase 0.25",
    "crops as published": "--crop-scale 0.08",
}


def measured(data: Path, run: Path, options: list[str]) -> tuple[float, float]:
    """(top-1, loss) on the held-out clips after the last epoch of a run with these options, trained where it isn't there."""
    said = run / "training.json"
    if not said.exists() or json.loads(said.read_text()).get("ended") != "finished":
        line = [sys.executable, "-m", "videomae_cli", "finetune", str(data), "-o", str(run), "--resume", "--no-check"]
        line += ["--init", "camera-motion-mae", "--mode", "full", "--quiet", *options]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = [event for event in events if event["event"] == "epoch"][-1]
    return last["top1"], last["val_loss"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder made by recipes.few_clips.which_recording")
    parser.add_argument("--to", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--views", type=int, default=1, help="of each clip, in all runs alike")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    same = f"--epochs {asked.epochs} --views {asked.views} --workers {asked.workers}"
    print(f"| {same} | seed | top-1 | loss |\n|---|---|---|---|", flush=True)
    for seed in range(asked.seeds):
        for name, options in CONTROLS.items():
            run = asked.to / f"{name.replace(' ', '-')}-{asked.epochs}-{asked.views}-{seed}"
            top1, loss = measured(asked.data, run, [*same.split(), *options.split(), "--seed", str(seed)])
            print(f"| {name} | {seed} | {top1:.1%} | {loss:.3f} |", flush=True)


if __name__ == "__main__":
    main()
