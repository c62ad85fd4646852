"""A model's name on the command line -> an `Embedder` ready to use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from videomae_cli.cli.batch import settings_for
from videomae_cli.cli.loading import SamplingHints, find_hints
from videomae_cli.cli.transfers import bring
from videomae_cli.errors import OutputError, VideoMAEError
from videomae_cli.jobs import Settings
from videomae_cli.video import Decoder, FoundVideo, PreprocessConfig, Preprocessor, SamplingSpec, find_videos

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from videomae_cli.pipeline import Embedder


@dataclass(frozen=True)
class EmbedderRequest:
    """Which model, and what is made of its tokens: the options of a command, as given."""

    name: str
    revision: str | None = None
    device: str = "auto"
    resize: str = "antialias"
    batch_size: int | None = None
    heads: int | None = None
    pool: str = "mean"
    layer: int | None = None
    normalize: bool = False
    per_clip: bool = False
    storage: str = "float32"


def load_embedder(request: EmbedderRequest) -> tuple[Embedder, SamplingHints]:
    """Raises ModelNotFoundError, DownloadError, CheckpointError, ConfigError or OptionError."""
    from videomae_cli.cli.display import consoles, waiting
    from videomae_cli.model import load_encoder
    from videomae_cli.pipeline import Embedder, Pooling, auto_batch_size, pick_device

    pooling = Pooling(request.pool, request.layer, request.normalize, request.per_clip)
    device = pick_device(request.device)
    source = bring(request.name, request.revision)
    with waiting(f"loading {request.name}", consoles()[1]):
        model = load_encoder(source.path, device=device, num_attention_heads=request.heads)
    config = model.config
    folder = source.path if source.path.is_dir() else source.path.parent
    processor = PreprocessConfig.from_directory(folder, config.image_hw)
    embedder = Embedder(
        model=model,
        preprocessor=Preprocessor(processor, resize=request.resize),
        name=source.name,
        revision=source.revision,
        pooling=pooling,
        storage=request.storage,
        batch_size=request.batch_size or auto_batch_size(config, device),
    )
    return embedder, find_hints(config.num_frames, config.extra, source.name)


def embedding_settings(embedder: Embedder, spec: SamplingSpec) -> Settings:
    """All that decides the vectors."""
    from videomae_cli.model import weights_digest

    values = {
        "model": embedder.name,
        "revision": embedder.revision,
        "weights": weights_digest(embedder.model),
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

    from videomae_cli.model import weights_digest

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
    if weights_digest(embedder.model) != settings["weights"]:
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


def with_hints(asked: SamplingSpec, hints: SamplingHints) -> SamplingSpec:
    """The sampling asked for as this model needs it."""
    return replace(asked, frames=hints.frames, checkpoint_family=hints.family, checkpoint_stride=hints.stride)
