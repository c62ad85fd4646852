"""The bundled `camera-motion` checkpoint, trained from scratch on rendered clips: a task for `videomae finetune`.

    videomae finetune recipes/camera_motion/classifier.py --set data=data --set clips=200000 --dtype bfloat16 -o runs/camera-motion

Two things get the model over the plateau on which a cold start sits for tens of thousands of clips: a curriculum (large
noise-free pans, tilts and static clips first, each contrast-normalised; then all nine labels; then noise, shake, objects
and small motions), and a second loss that exists in training only: every token also predicts how far the scene moves under
it, which the virtual camera knows exactly. That head is thrown away; what is saved is a plain VideoMAE classifier.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from recipes.camera_motion.motion import FRAMES, LABELS, SIZE
from recipes.camera_motion.render import EASY_LABELS, PATCH, TUBELET, Renderer
from recipes.camera_motion.sources import load_footage, load_pictures
from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification
from videomae_cli.training import Share, Task, TaskOptions, adamw, save_checkpoint
from videomae_cli.video import PreprocessConfig, Preprocessor

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


Batch = tuple[Tensor, Tensor, Tensor, float]  # clips, labels, motion of every token, normalisation


class Stream(IterableDataset[Batch]):
    """Batches from clip number `start` on, of which this process renders its part. Clip i is the same whatever clip the run
    was resumed at."""

    def __init__(self, renderer: Renderer, start: int, total: int, share: Share) -> None:
        self._renderer, self._start, self._total, self._share = renderer, start, total, share

    def __iter__(self) -> Iterator[Batch]:
        for first in range(self._start, self._total, BATCH):
            now = stage(first, self._total)
            spread = np.random.default_rng([7, first]).uniform(*SPREAD, BATCH)
            samples = [
                self._renderer.sample(first + i, difficulty=now.difficulty * float(spread[i]), labels=now.labels)
                for i in range(self._share.rank, BATCH, self._share.world)
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


class CameraMotion(Task):
    """sources: of the renderer; total: clips of the whole run; rate: the peak of the learning rate."""

    epoch, clips = 250, BATCH  # steps to a checkpoint: nothing is held out here, `evaluate.py` measures

    def __init__(
        self, renderer: Renderer, *, total: int, seed: int, rate: float, share: Share | None = None, workers: int = 1
    ) -> None:
        torch.manual_seed(seed)
        cv2.setNumThreads(1)  # before its first use: a forked renderer hangs on OpenCV's own thread pool
        self.total, self.peak, self._seed = total, rate, seed
        self.steps = -(-total // BATCH)
        self._renderer, self._share, self._workers = renderer, share or Share(), workers
        self.model = VideoMAEForVideoClassification(configuration())
        with torch.no_grad():
            projection = self.model.videomae.embeddings.patch_embeddings.projection
            projection.weight.copy_(motion_filters(projection.weight.shape, seed=seed))
        # Training only. After the last block: local flow and the camera's own step. After the second: local flow, and
        # the token's column and row, which its fixed sin-cos position hides: with only four columns, the table's
        # fastest wave is slower than a row, so a column can't be read off linearly; zoom and roll need it.
        self.motion_head = nn.Linear(self.model.config.hidden_size, 6)
        self.early_head = nn.Linear(self.model.config.hidden_size, 2 + 2 * GRID)
        self.module = nn.ModuleDict({"model": self.model, "motion": self.motion_head, "early": self.early_head})

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"task": "camera motion", "clips": self.total, "rate": self.peak, "seed": self._seed, "batch": BATCH}

    def optimizers(self) -> list[torch.optim.Optimizer]:
        parameters = list(self.module.parameters())
        groups: list[dict[str, object]] = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05, "lr": self.peak},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0, "lr": self.peak},
        ]
        return [adamw(groups, betas=(0.9, 0.98))]

    def clipped(self) -> Iterator[nn.Parameter]:
        return self.model.parameters()

    def rate(self, step: int) -> float:
        """Up over the first 1 %, level to a fifth, then half a cosine down to 1 %."""
        at = step * BATCH / self.total
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, (at - 0.2) / 0.8))))
        return min(1.0, at / 0.01 + 0.01) * max(0.01, cosine)

    def batches(self, first: int) -> Iterator[Batch]:
        stream = Stream(self._renderer, first * BATCH, self.total, self._share)
        workers = min(1, self._workers)  # more would mix up the order
        return iter(DataLoader(stream, batch_size=None, num_workers=workers, prefetch_factor=8 if workers else None))

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        clips, labels, motion, normalise = batch
        output = self.model(pixel_values(clips, normalise), output_hidden_states=True)
        assert output.hidden_states is not None
        late = self.motion_head(_normed(output.last_hidden_state))
        early = self.early_head(_normed(output.hidden_states[2]))
        with torch.autocast("cpu", enabled=False):
            return self._losses(output.logits.float(), late.float(), early.float(), labels, motion)

    def _losses(
        self, logits: Tensor, late: Tensor, early: Tensor, labels: Tensor, motion: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        place = torch.arange(early.shape[1])  # tokens come in (t, h, w) order
        columns, rows = early[..., 2 : 2 + GRID], early[..., 2 + GRID :]
        place_loss = sum(
            F.cross_entropy(guess.flatten(0, 1), target.repeat(len(logits)))
            for guess, target in ((columns, place % GRID), (rows, place // GRID % GRID))
        )
        flow_loss = F.smooth_l1_loss(late, compress(motion), beta=0.3)
        early_loss = F.smooth_l1_loss(early[..., :2], compress(motion[..., :2]), beta=0.3)
        label_loss = F.cross_entropy(logits, labels, label_smoothing=0.05)
        right = (logits.argmax(-1) == labels).float().mean()
        figures = {"label": label_loss, "motion": flow_loss, "early": early_loss, "place": place_loss, "top1": right}
        return label_loss + flow_loss + 0.5 * early_loss + place_loss, figures

    def average_decay(self, done: int) -> float:
        return min(0.999, 1 - 10 / (10 + done))

    def export(self, module: nn.Module, folder: Path) -> None:
        """Stored as float16, half the size; loading makes the weights float32 again."""
        model = module.get_submodule("model")
        assert isinstance(model, VideoMAEForVideoClassification)
        save_checkpoint(deepcopy(model).half(), preprocessor(), folder)


def preprocessor() -> Preprocessor:
    """As clips are normalised here when training ends."""
    return Preprocessor(PreprocessConfig(shortest_edge=SIZE, crop=(SIZE, SIZE), mean=(MEAN,) * 3, std=(STD,) * 3))


def sources(data: Path) -> tuple[Sequence[Any], Sequence[Any]]:
    """(pictures, footage) to train on, of the folder that `recipes.camera_motion.sources` makes."""
    pictures = load_pictures(data / "train")
    return pictures, [load_footage(file) for file in sorted((data / "train_footage").iterdir())]


def task(options: TaskOptions) -> CameraMotion:
    """`--set data=FOLDER`, `clips=N` and `rate=R` may be given."""
    pictures, footage = sources(Path(options.values.get("data", "data")))
    return CameraMotion(
        Renderer(pictures, footage, seed=options.seed),
        total=int(options.values.get("clips", 200_000)),
        seed=options.seed,
        rate=float(options.values.get("rate", 1e-3)),
        share=options.share,
        workers=options.workers,
    )
