"""Measures how fast this machine runs a model in each engine and number format: the function behind `videomae bench`."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from videomae_cli import system
from videomae_cli.api.footage import find_videos
from videomae_cli.api.loaded import model_name
from videomae_cli.arguments import at_least, checked
from videomae_cli.engines import cpu
from videomae_cli.engines.choosing import DEFAULT, DISTURBED_GAIN, GAIN, NEAR
from videomae_cli.engines.precision import TORCH_FREE
from videomae_cli.engines.timings import Fastest, keep_fastest
from videomae_cli.errors import DependencyError, OptionError, VideoMAEError
from videomae_cli.hub import resolve

if TYPE_CHECKING:
    import torch

    from videomae_cli.engines import Features, KnownCheckpoint, Logits, Network
    from videomae_cli.video import FoundVideo

Videos: TypeAlias = "str | os.PathLike[str] | Iterable[str | os.PathLike[str]]"
WARM_UP = 1
# How much of the time of its threads a round may wait for the CPU, and how much longer than the shortest it may take, to count.
_WAITING, _SCATTER = 0.1, 1.25
# Rounds are repeated, up to so many times as many as asked for, until enough of them count.
_PATIENCE = 2
# Seconds before each round: ONNX Runtime's threads look for more work for a while, on the CPUs that the next engine needs.
_REST = 0.05
# Rounds, and clips to compare outputs on, of a measurement at the beginning of a job, which waits for it.
_FEW_ROUNDS, _FEW_CLIPS = 3, 8


@dataclass
class EngineSpeed:
    """The measurement of one engine and format.

    clips_per_s: median over undisturbed rounds; speed: relative to PyTorch in float32; off: largest deviation from the outputs of
    PyTorch in float32, relative to the largest of them; agree: fraction of clips with the same best label, if there are
    labels and real clips; problem: why it could not be measured.
    """

    engine: str
    dtype: str
    clips_per_s: float | None = None
    speed: float | None = None
    off: float | None = None
    agree: float | None = None
    problem: str | None = None
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class EngineSpeeds:
    """The result of `measure_engines`. weights: digest of the model's weights; clips: number of real clips, 0 for
    noise; settings: first PyTorch in float32, the reference; disturbed: other work kept the CPU busy, and the numbers
    are not to be relied on; failures: a line for each of the videos that could not be read."""

    model: str
    device: str
    batch_size: int
    clips: int
    weights: str
    settings: Sequence[EngineSpeed]
    disturbed: bool = False
    failures: Sequence[str] = ()

    @property
    def best(self) -> EngineSpeed:
        """The fastest sufficiently exact floating-point setting, or the reference if none is clearly faster."""
        near = [one for one in self.settings if one.speed and one.dtype != "int8" and (one.off or 0.0) <= NEAR]
        fastest = max(near, key=lambda one: one.speed or 0.0)
        clearly = DISTURBED_GAIN if self.disturbed else GAIN
        return fastest if (fastest.speed or 0.0) > clearly else self.settings[0]

    def keep(self) -> Fastest:
        """Return the best setting; remember it for this machine and these weights, if it was measured on the CPU."""
        speed = None if self.disturbed else self.best.speed or 1.0
        found = Fastest(self.best.engine, self.best.dtype, speed)
        if self.device == "cpu":
            keep_fastest(self.weights, found, self._light)
        return found

    @property
    def _light(self) -> Fastest | None:
        """The fastest in float32 that needs no PyTorch; None if there is none, or its speed isn't known."""
        near = [one for one in self.settings if one.dtype == "float32" and one.speed and (one.off or 0.0) <= NEAR]
        light = [Fastest(one.engine, one.dtype, one.speed) for one in near if one.engine in TORCH_FREE]
        return None if self.disturbed else max(light, key=lambda one: one.speed or 0.0, default=None)

    def as_dict(self) -> dict[str, Any]:
        """Return what `videomae bench --json` prints."""
        settings = [{name: value for name, value in asdict(one).items() if name != "seconds"} for one in self.settings]
        recommended = {"engine": self.best.engine, "dtype": self.best.dtype}
        about = {"model": self.model, "device": self.device, "batch_size": self.batch_size, "clips": self.clips}
        quality = {"disturbed": self.disturbed, "failures": list(self.failures)}
        return {**about, "settings": settings, "recommended": recommended, **quality}


@checked
def measure_engines(
    model: str | os.PathLike[str] = "camera-motion",
    *,
    videos: Videos = (),
    rounds: int = 5,
    batch_size: int | None = None,
    device: str = "auto",
    revision: str | None = None,
    heads: int | None = None,
    on_progress: Callable[[str], object] = lambda stage: None,
) -> EngineSpeeds:
    """Measure a model's clips per second in each engine and number format; what `videomae bench` does.

    model: a name, a hub id or a path; videos: measure on clips of these videos instead of noise, and include int8,
    which is calibrated on them; rounds: measurements per setting, of which those that other work disturbs are repeated;
    batch_size: clips per batch; device: "auto", "cpu", "cuda" or "mps"; heads: attention heads if the checkpoint doesn't
    say; on_progress: called with "preparing" and "measuring". The result has `settings`, each with `engine`, `dtype`, `clips_per_s` and `speed`, and `best`. Decoding
    is not measured. Raises OptionError, and what `load_classifier` raises for a name.
    """
    from videomae_cli.model import load_encoder, weights_digest
    from videomae_cli.pipeline import auto_batch_size, pick_device

    at_least(1, rounds=rounds, batch_size=batch_size, heads=heads)
    where = pick_device(device)
    source = resolve(model_name(model), revision=revision)
    net = load_encoder(source.path, num_attention_heads=heads)
    config = net.config
    weights = weights_digest(net)
    del net
    size = batch_size or auto_batch_size(config, where)
    found = find_videos(videos)
    real = bool(found)
    failures: list[str] = []
    clips = _clips(source.path, source.name, config, found, size, failures)
    settings = [EngineSpeed(engine, dtype) for engine, dtype in _wanted(where.type, real=real)]
    on_progress("preparing")
    networks = _networks(settings, lambda: _part(source.path, heads), where, weights, clips, size)
    on_progress("measuring")
    _compare(settings, networks, clips, labels=bool(config.num_labels) and real)
    disturbed = _time(settings, networks, _batch(clips, size), rounds)
    count = len(clips) if real else 0
    return EngineSpeeds(source.name, where.type, size, count, weights, settings, disturbed, failures)


def measure_candidates(
    candidates: Sequence[tuple[str, str]],
    make_part: Callable[[], Logits | Features],
    known: KnownCheckpoint,
    clips: torch.Tensor | None,
) -> EngineSpeeds:
    """Measure some engines and number formats against PyTorch in float32 on the CPU, in as little time as says which is best.

    make_part: loads what is run, once for each; clips: some of the job's, (V, T, C, H, W), or noise if None.
    """
    import torch

    from videomae_cli.pipeline import auto_batch_size

    where = torch.device("cpu")
    size = auto_batch_size(known.config, where)
    if clips is None:
        clips = _noise(known.config, size)
    settings = [EngineSpeed(*DEFAULT), *(EngineSpeed(*one) for one in candidates)]
    networks = _networks(settings, make_part, where, known.weights, clips, size)
    _compare(settings, networks, clips[:_FEW_CLIPS], labels=False)
    disturbed = _time(settings, networks, _batch(clips, size), _FEW_ROUNDS)
    return EngineSpeeds("", where.type, size, len(clips), known.weights, settings, disturbed)


def _batch(clips: torch.Tensor, size: int) -> torch.Tensor:
    return clips[:size] if len(clips) >= size else clips.repeat(-(-size // len(clips)), 1, 1, 1, 1)[:size]


def _noise(config: Any, size: int) -> torch.Tensor:
    import torch

    shape = (config.num_frames, config.num_channels, *config.image_hw)
    return torch.randn(size, *shape, generator=torch.Generator().manual_seed(0))


def _networks(
    settings: Sequence[EngineSpeed],
    make_part: Callable[[], Logits | Features],
    where: torch.device,
    weights: str,
    clips: torch.Tensor,
    size: int,
) -> dict[int, Network]:
    """Build the network of each setting that can run here, by the setting's index; set `problem` for the others."""
    from videomae_cli.engines import make_network, pick_engine

    networks: dict[int, Network] = {}
    for number, one in enumerate(settings):
        try:
            engine = pick_engine(one.engine, one.dtype, where)
            if one.engine == "torch" and engine.slow:
                one.problem = engine.slow  # don't spend time on what won't be recommended
            else:
                part = make_part()
                # The digest that classify and embed use too, so that they find the models that were converted here.
                networks[number] = make_network(
                    part, engine, digest=weights, size=size, calibration=lambda: [clip[None] for clip in clips]
                )
                networks[
                    number
                ].wait()  # what can't be compiled is said of this setting, and the next is not slowed down
                del part
                gc.collect()
        except (DependencyError, OptionError) as error:
            networks.pop(number, None)
            one.problem = str(error)
    return networks


def _time(settings: Sequence[EngineSpeed], networks: Mapping[int, Network], batch: torch.Tensor, rounds: int) -> bool:
    """Time the settings in turn, round by round, so that a slow phase of the machine affects all of them.

    Return whether other work disturbed so many rounds that none of the numbers can be relied on.
    """
    turns: dict[int, list[_Round]] = {number: [] for number in networks}
    for turn in range(WARM_UP + _PATIENCE * rounds):
        for number, network in networks.items():
            measured = _round(network, batch)
            if turn >= WARM_UP:
                turns[number].append(measured)
        if all(len(_undisturbed(some)) >= rounds for some in turns.values()):
            break
    for number, some in turns.items():
        settings[number].seconds = _undisturbed(some) or [one.seconds for one in some]
    base = statistics.median(settings[0].seconds)
    for one in settings:
        if one.seconds:
            middle = statistics.median(one.seconds)
            one.clips_per_s, one.speed = len(batch) / middle, base / middle
    return any(len(_undisturbed(some)) < min(rounds, 2) for some in turns.values())


@dataclass(frozen=True)
class _Round:
    """One batch. waiting: fraction of the time of its threads in which other work had the CPU, 0 where nobody knows."""

    seconds: float
    waiting: float


def _round(network: Network, batch: torch.Tensor) -> _Round:
    time.sleep(_REST)
    before, started = system.waited_for_cpu(), time.perf_counter()
    network(batch)
    seconds, after = time.perf_counter() - started, system.waited_for_cpu()
    waited = 0.0 if before is None or after is None else after - before
    return _Round(seconds, waited / (seconds * cpu.threads()))


def _undisturbed(rounds: Sequence[_Round]) -> list[float]:
    """Return the seconds of the rounds that other work took no time from, as far as can be seen."""
    quiet = [one.seconds for one in rounds if one.waiting <= _WAITING]
    return [seconds for seconds in quiet if seconds <= _SCATTER * min(quiet)]


def _wanted(device: str, *, real: bool) -> list[tuple[str, str]]:
    """List the engines and formats to try on a device; first PyTorch in float32, the reference."""
    if device == "cuda":
        return [("torch", "float32"), ("torch", "bfloat16"), ("torch", "float16")]
    if device == "mps":
        return [("torch", "float32"), ("torch", "float16")]
    found = [("torch", "float32"), ("torch", "bfloat16"), ("openvino", "float32"), ("openvino", "bfloat16")]
    found.append(("onnx", "float32"))
    return [*found, ("openvino", "int8"), ("onnx", "int8")] if real else found


def _part(path: Any, heads: int | None) -> Any:
    from videomae_cli.engines import Features, Logits
    from videomae_cli.model import VideoMAEForVideoClassification, load_encoder

    net = load_encoder(path, num_attention_heads=heads)
    if isinstance(net, VideoMAEForVideoClassification) and net.config.num_labels:
        return Logits(net)
    return Features(net)


def _clips(
    path: Any, name: str, config: Any, found: Sequence[FoundVideo], size: int, failures: list[str]
) -> torch.Tensor:
    """Return clips (V, T, C, H, W) of the videos, or one batch of noise. failures: receives a line for each that gave none."""
    import numpy as np

    from videomae_cli.assembly import find_hints, preprocessor_for, sample_views
    from videomae_cli.engines import calibration_clips
    from videomae_cli.video import Decoder, SamplingSpec

    if not found:
        return _noise(config, size)
    failures += [video.error.naming(video.path) for video in found if video.error is not None]
    spec = SamplingSpec().for_model(find_hints(config.num_frames, config.extra, name))
    preprocessor = preprocessor_for(path, config, "antialias")

    def on_failure(path: str, error: VideoMAEError) -> None:
        failures.append(error.naming(path))

    with Decoder() as decoder:
        views = list(sample_views(found, spec, preprocessor, decoder, calibration_clips(config), on_failure))
    if not views:
        raise OptionError.about("videos", "none of the videos can be read ({first})", first=failures[0])
    return preprocessor.to_pixel_values(np.stack(views))


def _compare(
    settings: Sequence[EngineSpeed], networks: dict[int, Network], clips: torch.Tensor, *, labels: bool
) -> None:
    """Compute how much the outputs of each setting deviate from those of the first."""
    import torch

    outputs = {number: torch.cat([network(clip[None]) for clip in clips]) for number, network in networks.items()}
    exact = outputs[0]
    for number, output in outputs.items():
        settings[number].off = float((output - exact).abs().max() / exact.abs().max())
        if labels:
            settings[number].agree = float((output.argmax(-1) == exact.argmax(-1)).float().mean())
