"""The bundled `camera-motion-mae` checkpoint, trained from scratch: a task for `videomae pretrain`.

    videomae pretrain recipes/camera_motion/autoencoder.py --set data=data --set steps=5000 --dtype bfloat16 -o runs/camera-motion-mae

What differs from the paper, because a few hours on two cores have to do, is listed in the recipe's README.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from recipes.camera_motion.classifier import sources
from recipes.camera_motion.head_start import head_start
from recipes.camera_motion.motion import FRAMES, SIZE
from recipes.camera_motion.unlabelled import Unlabelled
from videomae_cli.model import VideoMAEConfig, VideoMAEForPreTraining
from videomae_cli.model.masking import MASKS, select
from videomae_cli.model.pretraining import IMAGENET_MEAN, IMAGENET_STD
from videomae_cli.training import Share, Task, TaskOptions, save_checkpoint
from videomae_cli.video import PreprocessConfig, Preprocessor

BATCH = 16
STARTING_BATCHES = 6  # that the start is fitted to
PATCH, TUBELET = 8, 2
# Of the decoder's tokens, hidden ones that are predicted in a step, before the last part of the run.
ASKED = 128
WHOLE_FROM = 0.9  # fraction of the run from which all hidden tokens are predicted
KINDS = {"tube": 0.6, "random": 0.2, "frame": 0.1, "causal": 0.1}
# Visible tokens count a little, so that the decoder's picture of them fits its picture of the rest.
VISIBLE_WEIGHT = 0.05


def configuration() -> VideoMAEConfig:
    """The architecture: 64x64, 16 frames, patch 8, tubelet 2; 512 tokens, eight to a row.

    The widths, 228 and 152, are those at which one wave of the fixed position table turns once in eight tokens, so that
    a token's column can be read off it; at 192 or 256 it can't (tests/test_pretraining_recipe.py measures it).
    """
    return VideoMAEConfig(
        image_size=SIZE,
        patch_size=PATCH,
        num_frames=FRAMES,
        tubelet_size=TUBELET,
        hidden_size=228,
        num_hidden_layers=4,
        num_attention_heads=6,
        intermediate_size=912,
        decoder_hidden_size=152,
        decoder_num_hidden_layers=4,
        decoder_num_attention_heads=8,
        decoder_intermediate_size=608,
        norm_pix_loss=False,  # the model predicts mean and contrast too: its pixels need no statistics from elsewhere
        use_mean_pooling=False,
        id2label={},
        extra={
            "videomae_cli": {
                "sampling": {"family": "dense", "stride": 4},
                "data": "footage and rendered camera motion (recipes/camera_motion)",
                "license": "Apache-2.0",
            }
        },
    )


class Stream(IterableDataset[Tensor]):
    """Batches (B, T, H, W, C) uint8 from batch number `start` on, of which this process renders its part. Batch i is the same
    whatever the run resumed at."""

    def __init__(self, clips: Unlabelled, start: int, total: int, share: Share | None = None) -> None:
        self._clips, self._start, self._total, self._share = clips, start, total, share or Share()

    def __iter__(self) -> Iterator[Tensor]:
        for number in range(self._start, self._total):
            places = range(number * BATCH + self._share.rank, (number + 1) * BATCH, self._share.world)
            yield torch.from_numpy(np.stack([self._clips.sample(place) for place in places]))


def pixel_values(clips: Tensor) -> Tensor:
    """(B, T, H, W, C) uint8 -> (B, T, C, H, W) normalised float32."""
    x = clips.permute(0, 1, 4, 2, 3).float() / 255
    return (x - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)


def draw_mask(rng: np.random.Generator, config: VideoMAEConfig, batch: int) -> Tensor:
    """A mask of a random kind; what stays visible is 5 to 50 %, each halving of it as likely as the other."""
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    visible = float(np.exp(rng.uniform(np.log(0.05), np.log(0.5))))
    slots = config.grid[0]
    if kind in ("frame", "causal"):
        visible = max(visible, 1 / slots)
    return MASKS[kind](config.grid, 1 - visible, batch=batch, seed=int(rng.integers(0, 2**62)))


def asked_tokens(mask: Tensor, count: int | None, seed: int) -> Tensor:
    """Of the hidden tokens (B, N), `count` at random in each row; all where that is None or they are no more."""
    hidden = int(mask[0].sum())
    if count is None or hidden <= count:
        return mask
    scores = torch.rand(mask.shape, generator=torch.Generator().manual_seed(seed)).masked_fill(~mask, -1)
    return torch.zeros_like(mask).scatter(1, scores.topk(count, dim=1).indices, True)


def loss_of(model: VideoMAEForPreTraining, clips: Tensor, mask: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared errors of the asked hidden tokens and of the visible ones: the model's forward, but for the tokens.

    Leaving hidden tokens out of the decoder makes a step cheaper (VideoMAE V2, section 3.2)."""
    visible = model.encoder_to_decoder(model.videomae(clips, bool_masked_pos=mask).last_hidden_state)
    positions = model.decoder_positions(visible).expand(visible.shape[0], -1, -1)
    tokens = torch.cat(
        [visible + select(positions, ~mask), model.mask_token.to(visible.dtype) + select(positions, asked)], dim=1
    )
    pixels = model.decoder(tokens, tokens.shape[1]).logits.float()
    target = model.target(clips)
    count = visible.shape[1]
    return F.mse_loss(pixels[:, count:], select(target, asked)), F.mse_loss(pixels[:, :count], select(target, ~mask))


class CameraMotionMAE(Task):
    """clips: what it is trained on; steps: of the whole run; rate: the peak of the learning rate."""

    epoch, clips = 100, BATCH  # steps to a checkpoint: nothing is held out here, `evaluate_mae.py` measures

    def __init__(
        self, stream: Unlabelled, *, steps: int, seed: int, rate: float, share: Share | None = None, workers: int = 1
    ) -> None:
        torch.manual_seed(seed)
        cv2.setNumThreads(1)  # before its first use: a forked renderer hangs on OpenCV's own thread pool
        self.steps, self.peak, self._seed = steps, rate, seed
        self._stream, self._share, self._workers = stream, share or Share(), workers
        self.module = self.model = VideoMAEForPreTraining(configuration())

    @property
    def settings(self) -> Mapping[str, Any]:
        return {
            "task": "masked camera motion",
            "rate": self.peak,
            "seed": self._seed,
            "batch": BATCH,
            "steps": self.steps,
        }

    def begin(self) -> None:
        """The head start, fitted to the first batches."""
        clips = torch.cat(list(Stream(self._stream, 0, STARTING_BATCHES)))
        grid, count = self.model.config.grid, len(clips)
        masks = [MASKS["tube"](grid, 0.9, batch=count, seed=1), MASKS["random"](grid, 0.8, batch=count, seed=2)]
        head_start(self.model.eval(), pixel_values(clips), masks)

    def optimizers(self) -> list[torch.optim.Optimizer]:
        return optimizers(self.model, self.peak)

    def rate(self, step: int) -> float:
        """Up over the first 2 %, level to 30 %, then half a cosine down to 1 %."""
        at = step / self.steps
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, (at - 0.3) / 0.7))))
        return min(1.0, at / 0.02 + 0.01) * max(0.01, cosine)

    def batches(self, first: int) -> Iterator[Tensor]:
        stream = Stream(self._stream, first, self.steps, self._share)
        workers = min(1, self._workers)  # more would mix up the order
        return iter(DataLoader(stream, batch_size=None, num_workers=workers, prefetch_factor=8 if workers else None))

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        rng = np.random.default_rng([self._seed, 9, step])
        mask = draw_mask(rng, self.model.config, BATCH)[self._share.rank :: self._share.world]
        count = ASKED if step < WHOLE_FROM * self.steps else None
        asked = asked_tokens(mask, count, int(rng.integers(0, 2**62)))
        hidden, visible = loss_of(self.model, pixel_values(batch), mask, asked)
        return hidden + VISIBLE_WEIGHT * visible, {"hidden": hidden, "visible": visible}

    def average_decay(self, done: int) -> float:
        return min(0.998, 1 - 10 / (10 + done))

    def export(self, module: nn.Module, folder: Path) -> None:
        """Stored as float16, half the size; loading makes the weights float32 again."""
        assert isinstance(module, VideoMAEForPreTraining)
        save_checkpoint(deepcopy(module).half(), preprocessor(), folder)


def optimizers(model: VideoMAEForPreTraining, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for everything else."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and ("layer." in n or "decoder_layers." in n)]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def preprocessor() -> Preprocessor:
    """As `pixel_values` normalises."""
    return Preprocessor(PreprocessConfig(shortest_edge=SIZE, crop=(SIZE, SIZE), mean=IMAGENET_MEAN, std=IMAGENET_STD))


def task(options: TaskOptions) -> CameraMotionMAE:
    """`--set data=FOLDER`, `steps=N` and `rate=R` may be given."""
    pictures, footage = sources(Path(options.values.get("data", "data")))
    return CameraMotionMAE(
        Unlabelled(pictures, footage, seed=options.seed),
        steps=int(options.values.get("steps", 5000)),
        seed=options.seed,
        rate=float(options.values.get("rate", 2e-3)),
        share=options.share,
        workers=options.workers,
    )
