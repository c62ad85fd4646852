"""How far `--protocol paper` is from the published test, restated (`tests/paper.py`), on a labelled folder.

    python benchmarks/paper.py [CLIPS] [--model camera-motion] [--sampling dense]

Without CLIPS: a clip of each of six motions of the camera, half of them 340x256 with pixels that are not square. For every clip: the largest difference of its views in levels of 255, of its merged scores, and of the same scores with the
default resize and display pixels, which is what the protocol's pixels are worth. Then top-1 of both over all clips, and of
`videomae evaluate --protocol paper` on the folder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="?", help="labelled clips, as `videomae evaluate` takes them")
    parser.add_argument("--model", default="camera-motion")
    parser.add_argument("--sampling", choices=["dense", "segments"], default="dense")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    with tempfile.TemporaryDirectory() as folder:
        clips = arguments.clips or make_clips(Path(folder))
        report(clips, arguments.model, arguments.sampling)


def report(clips: Path, model: str, sampling: str) -> None:
    """Print what was measured."""
    rows = measure(clips, model, sampling)
    print(f"{'clip':40} {'views':>6} {'scores':>9} {'without':>9}")
    for row in rows:
        print(f"{row['name'][-40:]:40} {row['views']:6.2f} {row['scores']:9.1e} {row['without']:9.1e}")
    print(f"\n{len(rows)} clips: worst views {max(row['views'] for row in rows):.2f} levels, ", end="")
    print(f"worst scores {max(row['scores'] for row in rows):.1e}")
    for side in ("official", "ours"):
        print(f"top-1, {side}: {np.mean([row[side] == row['truth'] for row in rows]):.2%}")
    print(f"top-1, videomae evaluate: {evaluated(clips, model, sampling):.2%}")


def make_clips(folder: Path) -> Path:
    """Six clips of 5 s, each in the folder of its label."""
    import av
    from motions import RATE, scene

    for number, label in enumerate(("pan left", "pan right", "tilt up", "zoom in", "zoom out", "roll clockwise")):
        (folder / label).mkdir()
        with av.open(str(folder / label / f"{number}.mp4"), "w") as output:
            stream = output.add_stream("libx264", rate=RATE)
            frames = [av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in scene(label, 5 * RATE, number)]
            size = (340, 256) if number % 2 else (frames[0].width, frames[0].height)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.codec_context.sample_aspect_ratio = Fraction(64, 51) if number % 2 else Fraction(1)
            for place, frame in enumerate(frames):
                picture = frame.reformat(*size, "yuv420p")
                picture.pts, picture.time_base = place, Fraction(1, RATE)
                output.mux(stream.encode(picture))
            output.mux(stream.encode(None))
    return folder


def measure(clips: Path, name: str, family: str) -> Sequence[dict]:
    """Each clip by both, in this process."""
    import paper

    from videomae_cli.assembly import ClassifierRequest
    from videomae_cli.datasets import read_dataset
    from videomae_cli.hub import resolve
    from videomae_cli.pipeline.batches import clip_request
    from videomae_cli.video import ClipRequest, Decoder, FoundVideo, SamplingSpec
    from videomae_cli.video.clips import decode_clips

    request = ClassifierRequest(name=name, device="cpu", top_k=10_000)
    classifier = request.make(resolve(name), request.pick_engine())
    spec = classifier.fit(SamplingSpec(protocol="paper", family=family))
    plain = replace(spec, protocol="auto", pixels="display", clips=len(_views(family)) // 3, crops=3)
    config = classifier.preprocessor.config
    views_of = paper.kinetics_views if family == "dense" else paper.something_views
    wanted = clip_request(classifier.preprocessor, spec)
    rows = []
    with Decoder(isolate=False) as decoder:
        for example in read_dataset(clips).examples:
            path = Path(example.path)
            theirs = views_of(paper.read_opencv(path), config.shortest_edge)
            ours = decode_clips(ClipRequest(path, spec, wanted.transform)).views()
            expected = paper.merged(theirs, classifier.model, config.mean, config.std)
            scores = [
                _scores(classifier, FoundVideo(str(path)), asked, decoder, len(expected)) for asked in (spec, plain)
            ]
            labels = classifier.model.config.id2label
            rows.append(
                {
                    "name": "/".join(path.parts[-2:]),
                    "views": np.abs(ours.astype(int) - theirs).max(),
                    "scores": np.abs(scores[0] - expected).max(),
                    "without": np.abs(scores[1] - expected).max(),
                    "official": labels[int(expected.argmax())],
                    "ours": labels[int(scores[0].argmax())],
                    "truth": example.labels[0],
                }
            )
    return rows


def _views(family: str) -> range:
    return range(15 if family == "dense" else 6)


def _scores(classifier, video, spec, decoder, count):
    (result,) = classifier([video], sampling=spec, decoder=decoder)
    scores = np.zeros(count)
    for prediction in result.predictions:
        scores[prediction.label_id] = prediction.score
    return scores


def evaluated(clips: Path, name: str, family: str) -> float:
    """Top-1 by the command."""
    command = [sys.executable, "-m", "videomae_cli", "evaluate", str(clips), "--model", name, "--sampling", family]
    done = subprocess.run(
        [*command, "--protocol", "paper", "--split", "all", "--format", "json", "--quiet", "--ok-on-errors"],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(json.loads(done.stdout)["metrics"]["top1"])


if __name__ == "__main__":
    main()
