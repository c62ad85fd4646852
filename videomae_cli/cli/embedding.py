"""A model's name on the command line -> an `Embedder` ready to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from videomae_cli.cli.batch import named, settings_for
from videomae_cli.cli.loading import Calibrate, ModelRequest, SamplingHints, find_hints, preprocessor_for
from videomae_cli.cli.transfers import bring
from videomae_cli.errors import EmbeddingsError, OptionError, VideoError
from videomae_cli.jobs import Settings
from videomae_cli.video import Decoder, SamplingSpec, discover

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from videomae_cli.pipeline import Embedder


@dataclass(frozen=True, kw_only=True)
class EmbedderRequest(ModelRequest):
    """Which model, and what is made of its tokens: the options of a command, as given."""

    pool: str = "mean"
    layer: int | None = None
    normalize: bool = False
    per_clip: bool = False
    storage: str = "float32"


def load_embedder(request: EmbedderRequest, calibrate: Calibrate | None = None) -> tuple[Embedder, SamplingHints]:
    """Raises ModelNotFoundError, DownloadError, CheckpointError, ConfigError, DependencyError or OptionError."""
    from videomae_cli.cli.display import consoles, waiting
    from videomae_cli.engines import Features, calibration_clips, make_network, pick_engine
    from videomae_cli.model import load_encoder, weights_digest
    from videomae_cli.pipeline import Embedder, Pooling, auto_batch_size, pick_device

    pooling = Pooling(request.pool, request.layer, request.normalize, request.per_clip)
    engine = pick_engine(request.engine, request.dtype, pick_device(request.device), request.compiled)
    source = bring(request.name, request.revision)
    with waiting(f"loading {request.name}", consoles()[1]):
        model = load_encoder(source.path, num_attention_heads=request.heads)
        weights = weights_digest(model)
    config = model.config
    pooling.check(config, crops=1)
    preprocessor = preprocessor_for(source.path, config.image_hw, request.resize)
    hints = find_hints(config.num_frames, config.extra, source.name)
    size = request.batch_size or auto_batch_size(config, engine.device)
    with waiting(f"preparing {request.name}", consoles()[1]):
        clips = (lambda: calibrate(preprocessor, hints, calibration_clips(config))) if calibrate else None
        part = Features(model, pooling.pool, pooling.layer)
        network = make_network(part, engine, digest=weights, size=size, calibration=clips)
    embedder = Embedder(
        model=model,
        preprocessor=preprocessor,
        name=source.name,
        revision=source.revision,
        pooling=pooling,
        storage=request.storage,
        batch_size=size,
        network=network,
        weights=weights,
    )
    return embedder, hints


def embedding_settings(embedder: Embedder, spec: SamplingSpec) -> Settings:
    """All that decides the vectors."""
    values = {
        "model": embedder.name,
        "revision": embedder.revision,
        **embedder.settings,
        "preprocessing": asdict(embedder.preprocessor.config),
        "sampling": asdict(spec),
    }
    return settings_for("embed", values)


def embed_like(settings: Mapping[str, Any], path: str, *, device: str = "auto") -> npt.NDArray[np.float32]:
    """The vectors of a file, (Q, D), made as those of an output with these settings were: one, or one a clip.

    Raises EmbeddingsError where the settings don't say enough, or their model is not what it was; VideoError where the
    file has no vector; what `load_embedder` raises.
    """
    import numpy as np

    options = ("revision", "resize", "heads", "pool", "layer", "normalize", "per_clip", "storage", "engine", "dtype")
    try:
        sampling = SamplingSpec(**settings["sampling"])
        given = {name: settings[name] for name in options}
        request = EmbedderRequest(name=settings["model"], device=device, compiled="compile" in settings, **given)
    except (KeyError, TypeError, OptionError) as error:
        raise EmbeddingsError(f"another version of videomae made the table ({error}): make it again") from None
    try:
        embedder, _ = load_embedder(request)
    except (
        OptionError
    ) as error:  # of the engine: int8 that was calibrated on another machine, or a format without units
        raise EmbeddingsError(f"can't make a vector as the table's were made: {error}") from None
    now = embedding_settings(embedder, sampling)
    before = {name: value for name, value in settings.items() if name != "fingerprint"}
    changed = now.differences({**before, "version": now.version})
    if changed:
        raise EmbeddingsError(f"{request.name} is not what made the table ({'; '.join(changed)}): make it again")
    with Decoder() as decoder:
        (result,) = embedder(discover([path]), sampling=sampling, decoder=decoder)
    if result.vectors is None:
        assert result.error is not None
        raise VideoError(named(path, result.error.message))
    return result.vectors.astype(np.float32)
