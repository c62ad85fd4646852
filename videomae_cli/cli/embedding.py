"""A vector for one more file, made as those of a table were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from videomae_cli.assembly import EmbedderRequest, settings_of
from videomae_cli.cli.batch import named
from videomae_cli.cli.loading import load_embedder
from videomae_cli.errors import EmbeddingsError, OptionError, VideoError
from videomae_cli.video import Decoder, SamplingSpec, discover

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


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
        embedder = load_embedder(request)
    except (
        OptionError
    ) as error:  # of the engine: int8 that was calibrated on another machine, or a format without units
        raise EmbeddingsError(f"can't make a vector as the table's were made: {error}") from None
    now = settings_of("embed", embedder, sampling)
    # What an older table's sampling doesn't name was as it is by default.
    before = {name: value for name, value in settings.items() if name != "fingerprint"}
    before["sampling"] = asdict(sampling)
    changed = now.differences({**before, "version": now.version})
    if changed:
        raise EmbeddingsError(f"{request.name} is not what made the table ({'; '.join(changed)}): make it again")
    with Decoder() as decoder:
        (result,) = embedder(discover([path]), sampling=sampling, decoder=decoder)
    if result.vectors is None:
        assert result.error is not None
        raise VideoError(named(path, result.error.message))
    return result.vectors.astype(np.float32)
