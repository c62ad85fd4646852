"""Trains the bundled `camera-motion-mae` checkpoint from scratch: masked pre-training with our own VideoMAEForPreTraining.

    python -m recipes.camera_motion.pretrain --data data/ --out runs/camera-motion-mae --bfloat16

Seeded and resumable: run the same command again and it goes on from the last saved state. What differs from the paper,
because a few hours on two cores have to do, is listed in the recipe's README.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from recipes.camera_motion.head_start import head_start
from recipes.camera_motion.motion import FRAMES, SIZE
from recipes.camera_motion.sources import load_footage, load_pictures
from recipes.camera_motion.unlabelled import Unlabelled
from videomae_cli.model import VideoMAEConfig, VideoMAEForPreTraining
from videomae_cli.model.masking import MASKS, select
from videomae_cli.model.pretraining import IMAGENET_MEAN, IMAGENET_STD

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
    """Batches (B, T, H, W, C) uint8 from batch number `start` on. Batch i is the same whatever the run resumed at."""

    def __init__(self, clips: Unlabelled, start: int, total: int) -> None:
        self._clips, self._start, self._total = clips, start, total

    def __iter__(self) -> Iterator[Tensor]:
        for number in range(self._start, self._total):
            first = number * BATCH
            yield torch.from_numpy(np.stack([self._clips.sample(first + i) for i in range(BATCH)]))


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
    pixels = model.decoder(tokens, tokens.shape[1]).float()
    target = model.target(clips)
    count = visible.shape[1]
    return F.mse_loss(pixels[:, count:], select(target, asked)), F.mse_loss(pixels[:, :count], select(target, ~mask))


class PreTrainer:
    """Model, optimizers, moving average and place in the stream: what a resumed run needs."""

    def __init__(self, *, total: int, seed: int, rate: float, bfloat16: bool = False) -> None:
        torch.manual_seed(seed)
        self.total, self.rate, self.seed, self.bfloat16, self.done = total, rate, seed, bfloat16, 0
        self.model = VideoMAEForPreTraining(configuration())
        self.average = deepcopy(self.model)
        self.optimizers = optimizers(self.model, rate)

    def begin(self, clips: Tensor) -> None:
        """Give a fresh model its head start from clips (B, T, H, W, C) uint8."""
        grid, count = self.model.config.grid, len(clips)
        masks = [MASKS["tube"](grid, 0.9, batch=count, seed=1), MASKS["random"](grid, 0.8, batch=count, seed=2)]
        head_start(self.model.eval(), pixel_values(clips), masks)
        self.average.load_state_dict(self.model.state_dict())

    def learning_rate(self) -> float:
        """Linear warm-up over the first 2 %, then half a cosine down to 1 % of the rate."""
        at = self.done / self.total
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, (at - 0.3) / 0.7))))
        return self.rate * min(1.0, at / 0.02 + 0.01) * max(0.01, cosine)

    def step(self, clips: Tensor) -> dict[str, float]:
        """One optimizer step on a batch (B, T, H, W, C) uint8; returns what is worth logging."""
        rng = np.random.default_rng([self.seed, 9, self.done])
        mask = draw_mask(rng, self.model.config, len(clips))
        count = ASKED if self.done < WHOLE_FROM * self.total else None
        asked = asked_tokens(mask, count, int(rng.integers(0, 2**62)))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate()
        self.model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            hidden, visible = loss_of(self.model, pixel_values(clips), mask, asked)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        (hidden + VISIBLE_WEIGHT * visible).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.done += 1
        decay = min(0.998, 1 - 10 / (10 + self.done))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
        return {"hidden": hidden.item(), "visible": visible.item()}

    def save(self, file: Path) -> None:
        """Writes the whole state under a temporary name, then renames: a cut leaves the last whole state."""
        state = {
            "done": self.done,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        torch.save(state, file.with_suffix(".tmp"))
        file.with_suffix(".tmp").replace(file)

    def load(self, file: Path) -> None:
        """Goes on from a state written by `save`."""
        state = torch.load(file, weights_only=True)
        self.done = state["done"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def optimizers(model: VideoMAEForPreTraining, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for everything else."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and ("layer." in n or "decoder_layers." in n)]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def export(model: VideoMAEForPreTraining, folder: Path) -> None:
    """A checkpoint directory: config.json, preprocessor_config.json, model.safetensors in float16, half the size."""
    deepcopy(model).half().save_pretrained(folder)
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
        "image_mean": list(IMAGENET_MEAN),
        "image_std": list(IMAGENET_STD),
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder made by recipes.camera_motion.sources")
    parser.add_argument("--out", type=Path, required=True, help="folder for the state and the checkpoint")
    parser.add_argument("--steps", type=int, default=1000, help=f"batches of {BATCH} clips to train on, in all")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bfloat16", action="store_true", help="mixed precision, for a CPU with AVX-512 BF16")
    parser.add_argument("--workers", type=int, default=1, help="rendering processes: 0 or 1, so that the order stays")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)  # before its first use: a forked renderer hangs on OpenCV's own thread pool
    arguments.out.mkdir(parents=True, exist_ok=True)
    pictures = load_pictures(arguments.data / "train")
    footage = [load_footage(file) for file in sorted((arguments.data / "train_footage").iterdir())]
    trainer = PreTrainer(total=arguments.steps, seed=arguments.seed, rate=arguments.rate, bfloat16=arguments.bfloat16)
    state = arguments.out / "state.pt"
    clips = Unlabelled(pictures, footage, seed=arguments.seed)
    if state.exists():
        trainer.load(state)
    else:
        trainer.begin(torch.cat(list(Stream(clips, 0, STARTING_BATCHES))))
    stream = Stream(clips, trainer.done, trainer.total)
    loader = DataLoader(
        stream, batch_size=None, num_workers=arguments.workers, prefetch_factor=8 if arguments.workers else None
    )
    print(f"{len(pictures)} pictures, {len(footage)} recordings, step {trainer.done} of {trainer.total}", flush=True)
    means: dict[str, float] = {}
    began, first = time.monotonic(), trainer.done
    for batch in loader:
        for name, value in trainer.step(batch).items():
            means[name] = 0.98 * means.get(name, value) + 0.02 * value
        if trainer.done % 25 == 0:
            speed = (trainer.done - first) * BATCH / (time.monotonic() - began)
            line = {"step": trainer.done, "clips_per_s": round(speed, 1)}
            print(json.dumps(line | {k: round(v, 5) for k, v in means.items()}), flush=True)
        if trainer.done % 100 == 0:
            trainer.save(state)
            export(trainer.average, arguments.out / "checkpoint")
    trainer.save(state)
    export(trainer.average, arguments.out / "checkpoint")


if __name__ == "__main__":
    main()
