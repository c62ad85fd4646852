"""Trains the bundled `camera-motion` checkpoint from scratch on rendered clips.

    python -m recipes.camera_motion.train --data data/ --out runs/camera-motion [--clips 200000]

Seeded and resumable: run the same command again and it goes on from the last saved state. Two things get the model over
the plateau on which a cold start sits for tens of thousands of clips: a curriculum (large noise-free pans, tilts and
static clips first, each contrast-normalised; then all nine labels; then noise, shake, objects and small motions), and a
second loss that exists in training only: every token also predicts how far the scene moves under it, which the virtual
camera knows exactly. That head is thrown away; what is saved is a plain VideoMAE classifier.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from recipes.camera_motion.motion import FRAMES, LABELS, SIZE
from recipes.camera_motion.render import EASY_LABELS, PATCH, TUBELET, Renderer
from recipes.camera_motion.sources import load_footage, load_pictures
from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification

MEAN, STD = 0.45, 0.25  # of all channels alike, as written to preprocessor_config.json
BATCH = 32
GRID = SIZE // PATCH
SPREAD = (0.4, 1.0)  # of the difficulty within a batch: easy clips never disappear


@dataclass(frozen=True)
class Stage:
    """What clip number `done` of `total` is rendered with."""

    labels: tuple[str, ...]
    difficulty: float
    normalise: float  # 1: each clip to its own mean and contrast; 0: the checkpoint's fixed mean and std


def stage(done: int, total: int) -> Stage:
    """The curriculum, as fractions of the whole run."""
    at = done / total
    if at < 0.04:
        return Stage(EASY_LABELS, 0.0, 1.0)
    if at < 0.13:
        return Stage(LABELS, 0.0, 1.0)
    ramp = min(1.0, (at - 0.13) / 0.35)
    return Stage(LABELS, ramp, max(0.0, 1 - 1.5 * ramp))


class Stream(IterableDataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]]):
    """Batches from clip number `start` on. Clip i is the same whatever clip the run was resumed at."""

    def __init__(self, renderer: Renderer, start: int, total: int) -> None:
        self._renderer, self._start, self._total = renderer, start, total

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]]:
        for first in range(self._start, self._total, BATCH):
            now = stage(first, self._total)
            spread = np.random.default_rng([7, first]).uniform(*SPREAD, BATCH)
            samples = [
                self._renderer.sample(first + i, difficulty=now.difficulty * float(spread[i]), labels=now.labels)
                for i in range(BATCH)
            ]
            yield (
                torch.from_numpy(np.stack([s.clip for s in samples])),
                torch.tensor([s.label for s in samples]),
                torch.from_numpy(np.stack([s.motion for s in samples])),
                now.normalise,
            )


def pixel_values(clips: torch.Tensor, normalise: float = 0.0) -> torch.Tensor:
    """(B, T, H, W, C) uint8 -> (B, T, C, H, W) float32, part-way between fixed and per-clip normalisation."""
    x = clips.permute(0, 1, 4, 2, 3).float() / 255
    mean, std = torch.full((len(x), 1, 1, 1, 1), MEAN), torch.full((len(x), 1, 1, 1, 1), STD)
    if normalise:
        own_mean = x.mean(dim=(1, 2, 3, 4), keepdim=True)
        own_std = x.std(dim=(1, 2, 3, 4), keepdim=True).clamp(min=0.02)
        mean = torch.lerp(mean, own_mean, normalise)
        std = torch.lerp(std, own_std, normalise)
    return (x - mean) / std


def _normed(tokens: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(tokens, tokens.shape[-1:])


def compress(flow: torch.Tensor) -> torch.Tensor:
    """Pixels a step to a scale on which small motions count: sign(f) log(1 + |f| / 0.3)."""
    return flow.sign() * torch.log1p(flow.abs() / 0.3)


def configuration() -> VideoMAEConfig:
    """The architecture: 64x64, 16 frames, patch 16, tubelet 2."""
    return VideoMAEConfig(
        image_size=SIZE,
        patch_size=PATCH,
        num_frames=FRAMES,
        tubelet_size=TUBELET,
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=6,
        intermediate_size=768,
        use_mean_pooling=True,
        id2label=dict(enumerate(LABELS)),
        extra={
            "videomae_cli": {
                "sampling": {"family": "dense", "stride": 4},
                "data": "rendered camera motion (recipes/camera_motion)",
                "license": "Apache-2.0",
            }
        },
    )


def motion_filters(shape: torch.Size, *, seed: int) -> torch.Tensor:
    """Initial patch embedding (D, C, t, p, p): Gabor filters, in pairs of phases, over the sum and the difference of the
    tubelet's frames: what a motion-energy detector (Adelson and Bergen, 1985) is made of. Their gain grows with their
    frequency as the contrast of natural pictures falls with it, so that no frequency drowns the others."""
    rng = np.random.default_rng(seed)
    width, channels, depth, size, _ = shape
    at = np.arange(size) - (size - 1) / 2
    y, x = np.meshgrid(at, at, indexing="ij")
    filters = np.zeros(tuple(shape))
    for number in range(width):
        # Two phases times two ways over time share one place, orientation and frequency.
        phase, parity = number % 2, (number // 2) % 2
        if number % 4 == 0:
            angle, cycles = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(0.035), np.log(0.22)))
            spread, centre = min(size / 3, 0.7 / cycles), rng.uniform(-size / 4, size / 4, 2)
            colour = np.ones(channels) if rng.random() < 0.8 else rng.normal(0, 1, channels)
        along = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
        distance = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
        gabor = np.exp(-distance / (2 * spread**2)) * np.cos(2 * np.pi * cycles * along + phase * np.pi / 2)
        gabor -= gabor.mean()
        gabor *= cycles / np.linalg.norm(gabor)
        over_time = np.where(np.arange(depth) < depth / 2, 1.0, -1.0) if parity else np.ones(depth)
        filters[number] = colour[:, None, None, None] * over_time[None, :, None, None] * gabor
    return torch.from_numpy(filters / filters.std() * 0.02).float()


class Trainer:
    """Model, the heads of training, optimizer, moving average and position in the stream: what a resumed run needs."""

    def __init__(self, *, total: int, seed: int, rate: float, bfloat16: bool = False) -> None:
        torch.manual_seed(seed)
        self.total, self.rate, self.bfloat16, self.done = total, rate, bfloat16, 0
        self.model = VideoMAEForVideoClassification(configuration())
        with torch.no_grad():
            projection = self.model.videomae.embeddings.patch_embeddings.projection
            projection.weight.copy_(motion_filters(projection.weight.shape, seed=seed))
        # Training only. After the last block: local flow and the camera's own step. After the second: local flow, and
        # the token's column and row, which its fixed sin-cos position hides: with only four columns, the table's
        # fastest wave is slower than a row, so a column can't be read off linearly; zoom and roll need it.
        self.motion_head = nn.Linear(self.model.config.hidden_size, 6)
        self.early_head = nn.Linear(self.model.config.hidden_size, 2 + 2 * GRID)
        self.average = VideoMAEForVideoClassification(configuration())
        self.average.load_state_dict(self.model.state_dict())
        parameters = [*self.model.parameters(), *self.motion_head.parameters(), *self.early_head.parameters()]
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)

    def learning_rate(self) -> float:
        """Linear warm-up over the first 1 %, then half a cosine down to 1 % of the rate."""
        at = self.done / self.total
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, (at - 0.2) / 0.8))))
        return self.rate * min(1.0, at / 0.01 + 0.01) * max(0.01, cosine)

    def step(
        self, clips: torch.Tensor, labels: torch.Tensor, motion: torch.Tensor, normalise: float
    ) -> dict[str, float]:
        """One optimizer step on a batch; returns what is worth logging."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            output = self.model(pixel_values(clips, normalise), output_hidden_states=True)
            assert output.hidden_states is not None
            late = self.motion_head(_normed(output.last_hidden_state)).float()
            early = self.early_head(_normed(output.hidden_states[2])).float()
        place = torch.arange(early.shape[1])  # tokens come in (t, h, w) order
        place_loss = sum(
            F.cross_entropy(logits.flatten(0, 1), target.repeat(len(clips)))
            for logits, target in (
                (early[..., 2 : 2 + GRID], place % GRID),
                (early[..., 2 + GRID :], place // GRID % GRID),
            )
        )
        flow_loss = F.smooth_l1_loss(late, compress(motion), beta=0.3)
        early_loss = F.smooth_l1_loss(early[..., :2], compress(motion[..., :2]), beta=0.3)
        label_loss = F.cross_entropy(output.logits.float(), labels, label_smoothing=0.05)
        self.optimizer.zero_grad(set_to_none=True)
        (label_loss + flow_loss + 0.5 * early_loss + place_loss).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.done += len(clips)
        decay = min(0.999, 1 - 10 / (10 + self.done / BATCH))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
        right = (output.logits.argmax(-1) == labels).float().mean()
        losses = {"label": label_loss, "motion": flow_loss, "early": early_loss, "place": place_loss, "top1": right}
        return {name: value.detach().item() for name, value in losses.items()}

    def save(self, file: Path) -> None:
        """Writes the whole state under a temporary name, then renames: a cut leaves the last whole state."""
        state = {
            "done": self.done,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "motion_head": self.motion_head.state_dict(),
            "early_head": self.early_head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, file.with_suffix(".tmp"))
        file.with_suffix(".tmp").replace(file)

    def load(self, file: Path) -> None:
        """Goes on from a state written by `save`."""
        state = torch.load(file, weights_only=True)
        self.done = state["done"]
        for name in ("model", "average", "motion_head", "early_head", "optimizer"):
            getattr(self, name).load_state_dict(state[name])


def export(trainer: Trainer, folder: Path) -> None:
    """The averaged weights as a checkpoint directory: config.json, preprocessor_config.json, model.safetensors.

    Stored as float16, half the size; loading makes them float32 again."""
    deepcopy(trainer.average).half().save_pretrained(folder)
    processor = {
        "image_processor_type": "VideoMAEImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": SIZE},
        "resample": 2,
        "do_center_crop": True,
        "crop_size": {"height": SIZE, "width": SIZE},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [MEAN] * 3,
        "image_std": [STD] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder made by recipes.camera_motion.sources")
    parser.add_argument("--out", type=Path, required=True, help="folder for the state, the log and the checkpoint")
    parser.add_argument("--clips", type=int, default=200_000, help="clips to train on, in all")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--bfloat16", action="store_true", help="mixed precision: 1.3x faster on a CPU with AVX-512 BF16"
    )
    parser.add_argument("--workers", type=int, default=1, help="rendering processes: 0 or 1, so that the order stays")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)  # before its first use: a forked renderer hangs on OpenCV's own thread pool
    arguments.out.mkdir(parents=True, exist_ok=True)
    pictures = load_pictures(arguments.data / "train")
    footage = [load_footage(file) for file in sorted((arguments.data / "train_footage").iterdir())]
    trainer = Trainer(total=arguments.clips, seed=arguments.seed, rate=arguments.rate, bfloat16=arguments.bfloat16)
    state = arguments.out / "state.pt"
    if state.exists():
        trainer.load(state)
    renderer = Renderer(pictures, footage, seed=arguments.seed)
    stream = Stream(renderer, trainer.done, trainer.total)
    loader = DataLoader(
        stream, batch_size=None, num_workers=arguments.workers, prefetch_factor=8 if arguments.workers else None
    )
    print(
        f"{len(pictures)} pictures, {len(footage)} recordings, from clip {trainer.done} of {trainer.total}", flush=True
    )
    means: dict[str, float] = {}
    began, first = time.monotonic(), trainer.done
    for number, batch in enumerate(loader, 1):
        for name, value in trainer.step(*batch).items():
            means[name] = 0.98 * means.get(name, value) + 0.02 * value
        if number % 50 == 0:
            speed = (trainer.done - first) / (time.monotonic() - began)
            line = {
                "clips": trainer.done,
                "clips_per_s": round(speed, 1),
                "difficulty": stage(trainer.done, trainer.total).difficulty,
            }
            print(json.dumps(line | {k: round(v, 4) for k, v in means.items()}), flush=True)
        if number % 250 == 0:
            trainer.save(state)
    trainer.save(state)
    export(trainer, arguments.out / "checkpoint")


if __name__ == "__main__":
    main()
