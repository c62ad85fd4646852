"""What training is made of, each part by itself: rates, groups, mixing, probes, recipes, states."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from sklearn.linear_model import LogisticRegression

from videomae_cli.errors import OptionError, OutputError, TrainingError
from videomae_cli.jobs import Settings
from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification
from videomae_cli.pictures.charts import training_curves
from videomae_cli.training import Run, cosine_rate, masked_recipe_for, parameter_groups, recipe_for
from videomae_cli.training.card import classifier_card
from videomae_cli.training.linear_probe import Rows, best_probe, fit, probabilities
from videomae_cli.training.mixing import Mixing, one_hot, smoothed, soft_cross_entropy
from videomae_cli.training.optim import layer_of
from videomae_cli.training.run_folder import load_state, save_state


def small() -> VideoMAEForVideoClassification:
    return VideoMAEForVideoClassification(
        VideoMAEConfig(
            image_size=32,
            patch_size=16,
            num_frames=4,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=64,
            id2label={0: "a", 1: "b", 2: "c"},
        )
    )


def test_the_rate_rises_in_a_line_and_falls_half_a_cosine() -> None:
    rates = [cosine_rate(step, steps=110, warmup=10, floor=0.1) for step in range(110)]
    assert rates[:10] == pytest.approx([i / 9 for i in range(10)])
    assert rates[10] == 1.0
    assert rates[60] == pytest.approx(0.1 + 0.9 * 0.5)
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)
    assert all(a >= b for a, b in itertools.pairwise(rates[9:]))


def test_each_layer_learns_at_a_part_of_the_rate_above_it() -> None:
    model = small()
    groups = parameter_groups(model.named_parameters(), lr=1.0, weight_decay=0.05, layer_decay=0.5, layers=3)
    rate = {id(p): g["lr"] for g in groups for p in g["params"]}  # type: ignore[attr-defined]
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}  # type: ignore[attr-defined]
    named = dict(model.named_parameters())
    assert len(rate) == len(named)
    for name, parameter in named.items():
        assert rate[id(parameter)] == 0.5 ** (4 - layer_of(name, 3)), name
        assert decay[id(parameter)] == (0.05 if parameter.ndim > 1 else 0.0), name
    assert rate[id(named["classifier.weight"])] == 1.0
    assert rate[id(named["videomae.encoder.layer.0.output.dense.weight"])] == 0.125
    assert rate[id(named["videomae.embeddings.patch_embeddings.projection.weight"])] == 0.0625


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), mixup=st.sampled_from([0.0, 0.8]), cutmix=st.sampled_from([0.0, 1.0]))
def test_mixed_targets_say_what_is_in_a_clip(seed: int, mixup: float, cutmix: float) -> None:
    clips = torch.zeros(2, 3, 1, 12, 10)
    clips[1] = 1.0  # how much of the second clip is in one is then its mean
    targets = torch.eye(2)
    mixed, said = Mixing(mixup, cutmix)(clips, targets, np.random.default_rng(seed))
    assert said.sum(dim=1).tolist() == pytest.approx([1.0, 1.0])
    assert mixed.mean(dim=(1, 2, 3, 4)).tolist() == pytest.approx(said[:, 1].tolist(), abs=1e-5)
    frames = mixed[0].flatten(1)
    assert bool((frames == frames[0]).all()), "all frames alike"
    if not mixup and not cutmix:
        assert torch.equal(mixed, clips)


def test_soft_targets_have_the_loss_of_hard_ones() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 1])
    theirs = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    ours = soft_cross_entropy(logits, smoothed(one_hot(labels, 4), 0.1))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


def test_a_probe_is_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 120)
    features = (rng.normal(size=(120, 6)) + np.eye(6)[labels] * 1.5).astype(np.float32) * 7 + 100
    ours = fit(Rows(torch.from_numpy(features), torch.from_numpy(labels)), 3, strength=2.0)
    standard = (features - features.mean(0)) / features.std(0)
    theirs = LogisticRegression(C=1 / 2.0, tol=1e-9, max_iter=5000).fit(standard, labels)
    got = probabilities(ours, torch.from_numpy(features), several=False)
    np.testing.assert_allclose(got, theirs.predict_proba(standard), atol=2e-4)


def test_the_best_penalty_is_the_one_that_scores_best() -> None:
    torch.manual_seed(0)
    rows = Rows(torch.randn(30, 4), torch.randint(0, 2, (30,)))
    tried: list[float] = []
    best, score = best_probe(
        rows, 2, score=lambda p: -abs(math.log10(p.strength) + 1), on_probe=lambda p, s: tried.append(p.strength)
    )
    assert best.strength == 0.1
    assert score == 0
    assert len(tried) == 6


def test_features_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(TrainingError, match="not numbers"):
        fit(Rows(torch.full((4, 2), float("nan")), torch.tensor([0, 1, 0, 1])), 2, strength=1.0)


def test_the_default_has_the_published_rate_at_the_published_step() -> None:
    recipe = recipe_for(clips=240_000, labels=["archery", "bowling"], asked={"batch": 6, "accumulate": 8}, world=8)
    assert recipe.lr == pytest.approx(7.5e-4)
    assert (recipe.epochs, recipe.warmup, recipe.layer_decay, recipe.drop_path) == (75, 5.0, 0.75, 0.1)
    assert (recipe.mixup, recipe.cutmix, recipe.smoothing, recipe.erase) == (0.8, 1.0, 0.1, 0.25)
    assert recipe.flip


@pytest.mark.parametrize("label", ["pan left", "Turn Right", "roll counter-clockwise", "clockwise"])
def test_labels_with_a_side_are_not_mirrored(label: str) -> None:
    assert not recipe_for(clips=50, labels=["x", label], asked={}).flip
    assert recipe_for(clips=50, labels=["x", label], asked={"flip": True}).flip
    assert recipe_for(clips=50, labels=["bright", "leftover", "copyright"], asked={}).flip


@pytest.mark.parametrize("width", [384, 768, 1024, 1280])
@pytest.mark.parametrize("epochs", [None, 4, 5, 6, 12, 30])
@pytest.mark.parametrize("clips", [8, 90, 5000, 200_000])
def test_all_else_is_published(clips: int, epochs: int | None, width: int) -> None:
    """Rates, clips of a step and the changes of few clips are what a measurement supports (docs/training.md)."""
    asked = {"epochs": epochs, "batch": 8, "lr": 1e-4, "min_lr": 1e-6}
    changes = {"mixup": 0.8, "cutmix": 1.0, "operations": 4, "magnitude": 7.0, "scale": 0.08}
    ours, published = (
        recipe_for(clips=clips, labels=["a", "b"], asked={**asked, **changes}, name=name, width=width)
        for name in ("default", "paper")
    )
    assert replace(ours, name="paper") == published
    ours, published = (
        masked_recipe_for(clips=clips, asked=asked, name=name, width=width) for name in ("default", "paper")
    )
    assert replace(ours, name="paper") == published


def test_little_data_is_changed_less_and_what_is_said_holds() -> None:
    few = recipe_for(clips=60, labels=["a"], asked={"mixup": 0.2, "epochs": 3})
    assert (few.mixup, few.cutmix, few.epochs, few.warmup) == (0.2, 0.0, 3, 0.6)
    assert (few.operations, few.magnitude, few.scale, few.erase) == (2, 5.0, 0.08, 0.25)
    assert recipe_for(clips=5000, labels=["a"], multi_label=True, asked={}).smoothing == 0


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"lr": 2.0}, {"drop_path": 1.0}, {"ema": 1.5}, {"mixup": -1.0}])
def test_impossible_numbers_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        recipe_for(clips=60, labels=["a"], asked=wrong)


def test_a_damaged_state_is_told(tmp_path: Path) -> None:
    save_state(tmp_path / "state.pt", {"done": 3, "module": {"w": torch.ones(3)}})
    assert load_state(tmp_path / "state.pt")["done"] == 3
    whole = (tmp_path / "state.pt").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"text", whole.replace(b"module", b"modulo", 1)[:-40]):
        (tmp_path / "state.pt").write_bytes(content)
        with pytest.raises(TrainingError, match="overwrite=True starts over"):
            load_state(tmp_path / "state.pt")


def test_metrics_after_the_state_come_once(tmp_path: Path) -> None:
    settings_ = Settings("finetune", "1", {"a": 1})
    with Run(tmp_path / "run", resume=False, overwrite=False) as run:
        assert run.begin(settings_) is None
        run.note({"event": "step", "step": 1})
        run.save({"done": 1})
        run.note({"event": "step", "step": 2})
    with Run(tmp_path / "run", resume=True, overwrite=False) as run:
        state = run.begin(settings_)
        assert state is not None
        assert state["done"] == 1
        assert [event["step"] for event in run.events()] == [1]
        with pytest.raises(OutputError, match="in use"), Run(tmp_path / "run", resume=True, overwrite=False):
            pass
    with (
        pytest.raises(TrainingError, match="a was 1, now 2"),
        Run(tmp_path / "run", resume=True, overwrite=False) as run,
    ):
        run.begin(Settings("finetune", "1", {"a": 2}))


@pytest.mark.parametrize("name", ["thesis.txt", "model.safetensors", "README.md"])
def test_a_folder_with_other_things_is_not_replaced(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    for resume, overwrite in ((False, False), (False, True), (True, False)):
        with pytest.raises(OutputError), Run(tmp_path, resume=resume, overwrite=overwrite) as run:
            run.begin(Settings("finetune", "1", {"a": 1}))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_what_the_run_before_made_goes_and_nothing_else(tmp_path: Path) -> None:
    first, second = (Settings("finetune", "1", {"a": number}) for number in (1, 2))
    chart = training_curves([{"event": "step", "step": 1, "epoch": 1.0, "loss": 1.0}])
    made = (
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "README.md",
        "features.npz",
        "curves.png",
        "last/config.json",
    )
    mine = {"notes.txt": b"mine", "scatter.png": b"no picture of a run", "last/notes.txt": b"mine"}
    with Run(tmp_path, resume=False, overwrite=False) as run:
        run.begin(first)
        run.last.mkdir()
        for name in made:
            (tmp_path / name).write_bytes(chart)
    for name, content in mine.items():
        (tmp_path / name).write_bytes(content)
    with Run(tmp_path, resume=True, overwrite=False) as run:
        run.begin(first)
        assert not run.adds("README.md"), "it may have been edited"
        assert run.adds("confusion.png")
        assert run.adds("curves.png"), "it is a picture as drawn here, and there is more to draw"
        assert not run.adds("scatter.png"), "it is no picture of ours"
        (tmp_path / "README.md").unlink()
        assert run.adds("README.md"), "it was removed by hand"
    for keeps in (("features.npz",), ()):
        with Run(tmp_path, resume=False, overwrite=True) as run:
            run.begin(second, keeps=keeps)
        there = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
        assert there == {*mine, *keeps, "training.json", "metrics.jsonl"}


def test_cards_count_as_people_do() -> None:
    from videomae_cli.datasets import Dataset, Example
    from videomae_cli.datasets.checking import Report
    from videomae_cli.evaluation import measure
    from videomae_cli.training.card import classifier_card
    from videomae_cli.training.classification import Data
    from videomae_cli.training.figures import Figures

    examples = tuple(Example(f"{name}.mp4", (name,), None, name) for name in "ab")
    dataset = Dataset(examples=examples, classes=("a", "b"), multi_label=False)
    data = Data(dataset=dataset, train=examples[:1], val=examples[1:])
    about = Settings("finetune", "1.0", {"init": "x", "data": {"train_clips": 1, "val_clips": 1}})
    figures = Figures(measure(np.array([[1.0, 0.0]]), np.array([0])), failed=1, loss=0.5)
    card = classifier_card("x", figures, data, about)
    assert "2 classes, trained by" in card
    assert "1 clip; 1 clip held out" in card
    assert "1 held-out file could not be read" in card
    assert "on 1 held-out clip (" in card
    assert not re.search(r"\b1 \w+s\b|-0\.0|\bnan\b", card)
    assert Report(dataset, examples[:1], examples[1:], "as said").lines()[0] == (
        "1 train clip, 1 held out, 2 classes (1 train clip each); as said"
    )


def test_a_card_shows_names_and_does_nothing_with_them() -> None:
    classes = ["a|b", "<script>x</script>", "[x](javascript:y)", "line\n\n# head", "\x1b[2J", "half \ud83d"]
    data: Any = SimpleNamespace(dataset=SimpleNamespace(classes=classes, names=classes, outputs=()))
    values = {"init": "hub/<b>\n---", "data": {"train_clips": 2, "val_clips": 0}}
    settings: Any = SimpleNamespace(version="1", values=values)
    card = classifier_card("my\n---\n<i>model", None, data, settings)
    card.encode()
    assert card.startswith("---\npipeline_tag: video-classification\ntags: [videomae]\n---\n\n# ")
    assert card.count("\n---\n") == 1, "no name ends or begins a header"
    tokens = MarkdownIt("commonmark").parse(card.split("\n\n", 1)[1])
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h1", "h2"]
    inside = [child for token in tokens for child in token.children or []]
    assert not [child for child in inside if child.type in ("html_inline", "link_open")]
    text = "".join(child.content for child in inside)
    for name in ("a|b", "<script>x</script>", "[x](javascript:y)", r"line\n\n# head", r"\x1b[2J", r"half \ud83d"):
        assert name in text
