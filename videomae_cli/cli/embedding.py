"""A model's name on the command line -> an `Embedder` ready to use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from videomae_cli.cli.batch import settings_for
from videomae_cli.cli.loading import Calibrate, ModelRequest, SamplingHints, find_hints, preprocessor_for
from videomae_cli.cli.transfers import bring
from videomae_cli.errors import OutputError, VideoMAEError
from videomae_cli.jobs import Settings
from videomae_cli.video import Decoder, FoundVideo, SamplingSpec, find_videos

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
    engine = pick_engine(request.engine, request.dtype, pick_device(request.device))
    source = bring(request.name, request.revision)
    with waiting(f"loading {request.name}", consoles()[1]):
        model = load_encoder(source.path, num_attention_heads=request.heads)
        weights = weights_digest(model)
    config = model.config
    pooling.check(config, crops=1)
    preprocessor = preprocessor_for(source.path, config.image_hw, request.resize)
    hints = find_hints(config.num_frames, config.extra, source.name)
    with waiting(f"preparing {request.name}", consoles()[1]):
        clips = (lambda: calibrate(preprocessor, hints, calibration_clips(config))) if calibrate else None
        part = Features(model, pooling.pool, pooling.layer)
        network = make_network(part, engine, digest=weights, calibration=clips)
    embedder = Embedder(
        model=model,
        preprocessor=preprocessor,
        name=source.name,
        revision=source.revision,
        pooling=pooling,
        storage=request.storage,
        batch_size=request.batch_size or auto_batch_size(config, engine.device),
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


def embed_like(
    settings: Mapping[str, Any], paths: Sequence[str], *, device: str = "auto"
) -> list[npt.NDArray[np.float32] | VideoMAEError]:
    """One float32 vector (D,) a file, made as the vectors of an output with these settings were, pooled over the file.

    Raises OutputError where the model of that output is not to be had any more or has other weights.
    """
    import numpy as np

    missing = {"model", "sampling", "pool", "weights"} - set(settings)
    if missing or settings["pool"] == "tokens":
        raise OutputError(
            "the table does not say how its vectors were made: make it with videomae embed -o NAME.parquet"
        )
    request = EmbedderRequest(
        name=settings["model"],
        revision=settings.get("revision"),
        device=device,
        resize=settings.get("resize", "antialias"),
        heads=settings.get("heads"),
        layer=settings.get("layer"),
        normalize=settings.get("normalize", False),
    )
    embedder, _ = load_embedder(request)
    if embedder.weights != settings["weights"]:
        raise OutputError(
            f"{settings['model']} has other weights now than when the table was made: make the table again"
        )
    found: list[FoundVideo] = []
    for path in paths:
        found += find_videos([path])[:1]
    with Decoder() as decoder:
        results = list(embedder(found, sampling=SamplingSpec(**settings["sampling"]), decoder=decoder))
    vectors: list[npt.NDArray[np.float32] | VideoMAEError] = []
    for result in results:
        if result.vectors is None:
            assert result.error is not None
            vectors.append(VideoMAEError(result.error.message))
        else:
            vectors.append(result.vectors[0].astype(np.float32))
    return vectors
