"""`videomae bench`: how fast this machine runs a model, in every engine and number format that it has."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import LoudnessOptions, takes_groups
from videomae_cli.cli.terminal import streams
from videomae_cli.errors import DependencyError, OptionError

if TYPE_CHECKING:
    import torch

    from videomae_cli.engines import Engine, Network
    from videomae_cli.engines.timings import Fastest

# Settings that may be recommended: how far their outputs may be from float32's, as a share of the largest.
NEAR = 0.02
WARM_UP = 1


@dataclass
class Setting:
    """One engine and format. clips_per_s: median over rounds; speed: against PyTorch in float32; off: the largest
    difference of outputs over the largest output; agree: share of clips with the same best label, where there are labels
    and real clips; problem: why there is nothing else."""

    engine: str
    dtype: str
    clips_per_s: float | None = None
    speed: float | None = None
    off: float | None = None
    agree: float | None = None
    problem: str | None = None
    seconds: list[float] = field(default_factory=list)


@takes_groups
def bench(
    model: Annotated[
        str, typer.Argument(help="A checkpoint, as --model takes it elsewhere.", metavar="MODEL")
    ] = options.DEFAULT_MODEL,
    *,
    videos: Annotated[
        list[str] | None,
        typer.Option(
            "--videos", help="Measure on clips of these, and int8 too, which is calibrated on them.", metavar="PATH"
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Times that every setting has its turn.")] = 5,
    batch_size: options.BatchSize = None,
    device: options.Device = "auto",
    revision: options.Revision = None,
    heads: options.Heads = None,
    as_json: options.Json = False,
    loudness: LoudnessOptions,
) -> None:
    """Measure clips a second per engine and number format, and say which to use here.

    Only the model is measured: decoding runs beside it. Without --videos its input is noise.
    """
    loudness.configure()
    from videomae_cli.engines.timings import Fastest, keep_fastest

    measured = _measure(model, revision, device, heads, videos or [], rounds, batch_size)
    weights, about, settings = next(measured), next(measured), list(next(measured))
    best = _best(settings)
    chosen = Fastest(best.engine, best.dtype, best.speed or 1.0)
    if about["device"] == "cpu":
        keep_fastest(weights, chosen)  # for the hint of long jobs
    if as_json:
        found = [{key: value for key, value in asdict(one).items() if key != "seconds"} for one in settings]
        recommended = {"engine": best.engine, "dtype": best.dtype}
        streams.put_json({"schema_version": 1, **about, "settings": found, "recommended": recommended})
        return
    _show(about, settings, chosen)


def _measure(
    name: str,
    revision: str | None,
    device: str,
    heads: int | None,
    videos: Sequence[str],
    rounds: int,
    batch_size: int | None,
) -> Iterator[Any]:
    """The digest of the weights, what is measured, and then every setting, measured."""
    from videomae_cli.cli.terminal.display import consoles, waiting
    from videomae_cli.cli.terminal.transfers import bring
    from videomae_cli.engines import pick_engine
    from videomae_cli.model import load_encoder, weights_digest
    from videomae_cli.pipeline import auto_batch_size, pick_device

    where = pick_device(device)
    source = bring(name, revision)
    net = load_encoder(source.path, num_attention_heads=heads)
    config = net.config
    weights = weights_digest(net)
    del net
    yield weights
    size = batch_size or auto_batch_size(config, where)
    clips = _clips(source.path, source.name, config, videos, size)
    yield {"model": source.name, "device": where.type, "batch_size": size, "clips": len(clips) if videos else 0}
    settings = [Setting(engine, dtype) for engine, dtype in _wanted(where.type, real=bool(videos))]
    networks: dict[int, Network] = {}
    with waiting("preparing", consoles()[1]):
        for number, one in enumerate(settings):
            try:
                engine = pick_engine(one.engine, one.dtype, where)
                if one.engine == "torch" and engine.slow:
                    one.problem = engine.slow  # nobody is to wait for what can't be recommended
                else:
                    networks[number] = _network(source.path, heads, engine, weights, clips)
            except (DependencyError, OptionError) as error:
                one.problem = str(error)
    with waiting("measuring", consoles()[1]):
        _compare(settings, networks, clips, labels=bool(config.num_labels) and bool(videos))
        batch = clips[:size] if len(clips) >= size else clips.repeat(-(-size // len(clips)), 1, 1, 1, 1)[:size]
        for turn in range(rounds + WARM_UP):
            for number, network in networks.items():
                started = time.perf_counter()
                network(batch)
                if turn >= WARM_UP:
                    settings[number].seconds.append(time.perf_counter() - started)
    base = statistics.median(settings[0].seconds)
    for one in settings:
        if one.seconds:
            middle = statistics.median(one.seconds)
            one.clips_per_s, one.speed = size / middle, base / middle
    yield settings


def _wanted(device: str, *, real: bool) -> list[tuple[str, str]]:
    """Engines and formats for a device; PyTorch in float32, to which others are compared, first."""
    if device == "cuda":
        return [("torch", "float32"), ("torch", "bfloat16"), ("torch", "float16")]
    if device == "mps":
        return [("torch", "float32"), ("torch", "float16")]
    found = [("torch", "float32"), ("torch", "bfloat16"), ("openvino", "float32"), ("openvino", "bfloat16")]
    return [*found, ("openvino", "int8")] if real else found


def _part(path: Any, heads: int | None) -> Any:
    from videomae_cli.engines import Features, Logits
    from videomae_cli.model import VideoMAEForVideoClassification, load_encoder

    net = load_encoder(path, num_attention_heads=heads)
    if isinstance(net, VideoMAEForVideoClassification) and net.config.num_labels:
        return Logits(net)
    return Features(net)


def _network(path: Any, heads: int | None, engine: Engine, weights: str, clips: torch.Tensor) -> Network:
    from videomae_cli.engines import make_network

    part = _part(path, heads)
    # The digest that classify and embed have of these weights: what is converted here is converted for them.
    network = make_network(part, engine, digest=weights, calibration=lambda: [clip[None] for clip in clips])
    del part
    gc.collect()
    return network


def _clips(path: Any, name: str, config: Any, videos: Sequence[str], size: int) -> torch.Tensor:
    """(V, T, C, H, W): of the videos, or one batch of noise."""
    import torch

    from videomae_cli.assembly import calibration_on, find_hints, preprocessor_for
    from videomae_cli.engines import calibration_clips
    from videomae_cli.video import Decoder, SamplingSpec, find_videos

    if not videos:
        shape = (config.num_frames, config.num_channels, *config.image_hw)
        return torch.randn(size, *shape, generator=torch.Generator().manual_seed(0))
    found = find_videos(videos)
    with Decoder() as decoder:
        hints = find_hints(config.num_frames, config.extra, name)
        calibrate = calibration_on(found, SamplingSpec(), decoder)
        preprocessor = preprocessor_for(path, config, "antialias")
        clips = list(calibrate(preprocessor, hints, calibration_clips(config)))
    if not clips:
        raise OptionError("none of the videos can be read")
    return torch.cat(clips)


def _compare(settings: Sequence[Setting], networks: dict[int, Network], clips: torch.Tensor, *, labels: bool) -> None:
    """How far the outputs of each setting are from those of the first."""
    outputs = {}
    import torch

    for number, network in networks.items():
        outputs[number] = torch.cat([network(clip[None]) for clip in clips])
        exact = outputs[0]
        settings[number].off = float((outputs[number] - exact).abs().max() / exact.abs().max())
        if labels:
            settings[number].agree = float((outputs[number].argmax(-1) == exact.argmax(-1)).float().mean())


def _best(settings: Sequence[Setting]) -> Setting:
    """The fastest floating format that is near enough, if it is worth a word at all."""
    near = [one for one in settings if one.speed and one.dtype != "int8" and (one.off or 0.0) <= NEAR]
    fastest = max(near, key=lambda one: one.speed or 0.0)
    return fastest if (fastest.speed or 0.0) > 1.1 else settings[0]


def _show(about: dict[str, Any], settings: Sequence[Setting], best: Fastest) -> None:
    real = f"{about['clips']} clips" if about["clips"] else "noise"
    streams.put(f"{about['model']} on {about['device']}, {about['batch_size']} at once, {real}")
    streams.put(f"{'engine':<10}{'dtype':<10}{'clips/s':>9}{'speed':>8}{'off by':>10}{'same label':>12}")
    for one in settings:
        if one.problem:
            first = f"{one.engine:<10}{one.dtype:<10}  "
            for line in wrap(one.problem, 80, initial_indent=first, subsequent_indent=" " * len(first)):
                streams.put(line)
            continue
        same = "" if one.agree is None else f"{one.agree:.0%}"
        streams.put(
            f"{one.engine:<10}{one.dtype:<10}{one.clips_per_s:>9.2f}{f'{one.speed:.2f}x':>8}{one.off:>10.1e}{same:>12}"
        )
    streams.put(f"recommended here: {best.asked or 'the defaults'}")
    small = next((one for one in settings if one.dtype == "int8" and one.speed), None)
    if small is not None and (small.speed or 0) > best.speed:
        streams.put(
            f"faster still, {small.speed:.2f}x: --engine openvino --dtype int8; look at its labels on your own videos"
        )
