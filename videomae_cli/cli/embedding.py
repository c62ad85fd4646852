"""A model's name on the command line -> an `Embedder` ready to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from videomae_cli.cli.batch import named, settings_for
from videomae_cli.cli.loading import SamplingHints, find_hints
from videomae_cli.cli.transfers import bring
from videomae_cli.errors import EmbeddingsError, OptionError, VideoError
from videomae_cli.jobs import Settings
from videomae_cli.video import Decoder, PreprocessConfig, Preprocessor, SamplingSpec, discover

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


def embed_like(settings: Mapping[str, Any], path: str, *, device: str = "auto") -> npt.NDArray[np.float32]:
    """The vectors of a file, (Q, D), made as those of an output with these settings were: one, or one a clip.

    Raises EmbeddingsError where the settings don't say enough, or their model is not what it was; VideoError where the
    file has no vector; what `load_embedder` raises.
    """
    import numpy as np

    options = ("revision", "resize", "heads", "pool", "layer", "normalize", "per_clip", "storage")
    try:
        sampling = SamplingSpec(**settings["sampling"])
        request = EmbedderRequest(settings["model"], device=device, **{name: settings[name] for name in options})
    except (KeyError, TypeError, OptionError) as error:
        raise EmbeddingsError(f"another version of videomae made the table ({error}): make it again") from None
    embedder, _ = load_embedder(request)
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


def with_hints(asked: SamplingSpec, hints: SamplingHints) -> SamplingSpec:
    """The sampling asked for as this model needs it."""
    return replace(asked, frames=hints.frames, checkpoint_family=hints.family, checkpoint_stride=hints.stride)
