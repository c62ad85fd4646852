"""The recipe of the bundled checkpoint: labels mean what they say, and a run can stop and go on."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from recipes.camera_motion import classifier
from recipes.camera_motion.classifier import CameraMotion, configuration, motion_filters, pixel_values, preprocessor
from recipes.camera_motion.motion import LABELS, SIZE, camera_path
from recipes.camera_motion.render import Renderer, over_picture, token_points
from recipes.camera_motion.sources import procedural
from videomae_cli.jobs import Settings
from videomae_cli.model import VideoMAEForVideoClassification
from videomae_cli.model.layers import sincos_table
from videomae_cli.training import Loop, Run, Trainer

# What the scene does in the picture while the camera does what the label says: (x, y) flow at the right edge's middle.
SCENE = {
    "static": (0, 0),
    "pan left": (1, 0),
    "pan right": (-1, 0),
    "tilt up": (0, 1),
    "tilt down": (0, -1),
    "zoom in": (1, 0),
    "zoom out": (-1, 0),
    "roll clockwise": (0, -1),
    "roll counter-clockwise": (0, 1),
}


@pytest.mark.parametrize("label", LABELS)
def test_the_scene_moves_against_the_camera(label: str) -> None:
    path = camera_path(np.random.default_rng(3), label, difficulty=0.0)
    flow = path.flow(np.array([[SIZE / 2, 0.0]]))[:, 0]
    direction = np.sign(np.round(flow[0], 6))
    assert tuple(direction) == SCENE[label] or (label.startswith("roll") and direction[1] == SCENE[label][1])


@pytest.mark.parametrize("label", ["pan right", "tilt up", "zoom in", "roll clockwise"])
def test_the_pixels_move_as_the_flow_says(label: str) -> None:
    """OpenCV's own optical flow, on the rendered clip, against the analytic one that training uses."""
    rng = np.random.default_rng(5)
    path = camera_path(rng, label, difficulty=0.0)
    clip = over_picture(rng, procedural(rng), path)
    assert clip is not None
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip[:2]]
    seen = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(grey[0], grey[1], None)
    points = token_points()
    inner = np.abs(points).max(axis=1) < 16
    said = path.flow(points)[0][inner]
    at = (points[inner] + SIZE / 2).astype(int)
    measured = seen[at[:, 1], at[:, 0]]
    assert np.abs(measured - said).mean() < 0.35 * max(1.0, float(np.abs(said).mean()))


def test_a_sample_is_a_function_of_its_number() -> None:
    first, second = (Renderer([], [], seed=4, textures=2) for _ in range(2))
    a, b = first.sample(11, difficulty=1.0), second.sample(11, difficulty=1.0)
    np.testing.assert_array_equal(a.clip, b.clip)
    np.testing.assert_array_equal(a.motion, b.motion)
    assert a.clip.shape == (16, 64, 64, 3)
    assert a.motion.shape == (128, 6)
    assert not np.array_equal(a.clip, first.sample(12, difficulty=1.0).clip)


def test_filters_come_in_pairs_that_ignore_brightness() -> None:
    config = configuration()
    filters = motion_filters(torch.Size((config.hidden_size, 3, 2, 16, 16)), seed=0)
    assert filters.sum(dim=(-1, -2)).abs().max() < 1e-4
    same, differ = filters[0], filters[2]  # the same place and phase, over the sum and the difference of two frames
    torch.testing.assert_close(same[:, 0], differ[:, 0])
    torch.testing.assert_close(same[:, 1], -differ[:, 1])


def test_four_columns_can_not_be_read_off_the_position_table() -> None:
    """Why training has tokens name their column: what least squares leaves of it, as a share of its deviation."""
    table = sincos_table(128, configuration().hidden_size).squeeze(0).double().numpy()
    column = np.arange(128) % 4 - 1.5
    table = table - table.mean(axis=0)
    weights = np.linalg.solve(table.T @ table + 1e-3 * np.eye(table.shape[1]), table.T @ column)
    left = float(np.std(table @ weights - column) / np.std(column))
    assert round(left, 2) == 0.98


def lesson() -> CameraMotion:
    return CameraMotion(Renderer([], [], seed=0, textures=2), total=12, seed=0, rate=1e-3, workers=0)


def trained(folder: Path, *, stop_after: int | None = None) -> Trainer:
    """A run in `folder`, to its end or to a break."""
    task = lesson()
    with Run(folder, resume=True, overwrite=False) as run:
        state = run.begin(Settings("finetune", "test", task.settings))
        trainer = Trainer(task, run, Loop(), stop=lambda: trainer.done == stop_after)
        assert trainer(state) == ("finished" if stop_after is None else "interrupted")
    return trainer


def test_a_resumed_run_is_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "BATCH", 4)
    through = trained(tmp_path / "through")
    trained(tmp_path / "broken", stop_after=1)
    resumed = trained(tmp_path / "broken")
    assert resumed.done == through.done == 3
    for (name, ours), theirs in zip(
        resumed.task.module.state_dict().items(), through.task.module.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    loaded = VideoMAEForVideoClassification.from_pretrained(tmp_path / "broken")
    assert [loaded.config.id2label[i] for i in range(9)] == list(LABELS)


def test_clips_are_normalised_as_the_checkpoint_says() -> None:
    clips = torch.from_numpy(np.stack([lesson()._renderer.sample(i, difficulty=0.0).clip for i in range(2)]))
    ours = pixel_values(clips)
    assert ours.shape == (2, 16, 3, 64, 64)
    torch.testing.assert_close(ours, preprocessor().to_pixel_values(clips.numpy()), rtol=1e-5, atol=1e-5)
