"""Lays out a command's help: the most used options first, then the rest under headings, then examples."""

from __future__ import annotations

from collections.abc import Collection

# A command with fewer options than this has no headings in its help.
LONG_HELP = 12
OFTEN, REST, TRAINED = "Used most", "More options", "What is trained"
# Each flag's heading, in every command that takes it; flags not listed here come under REST.
SECTIONS: dict[str, str] = {
    "Model": "--model --init --revision --heads --labels --image-size --frames --size --patch-size --decoder-heads",
    "Which files": "--recursive --frame-folders --include --exclude --shard --data-labels --ignore-unknown --split --target --val --check",
    "Which frames": "--sampling --stride --clips --crops --protocol --fps --start --end --resize --pixels",
    "Windows and segments": "--window --hop --smooth --min-duration --threshold --unsure-below --windows --find --cut --camera",
    "Output": "--output --format --wide --top-k --detail --report --overwrite --json --storage --frames-dir --scale --panels "
    "--pool --layer --normalize --per-clip --all-predicted",
    TRAINED: "--mode --recipe --epochs --patience --repeats --views --ema --lora-rank --penalty --seed "
    "--mask --mask-ratio --norm-pix --head-init-scale",
    "Optimizer": "--lr --min-lr --warmup --betas --clip-grad --weight-decay --layer-decay --accumulate",
    "Augmentation and regularisation": "--crop-scale --flip --augment-ops --augment-magnitude --erase --mixup --cutmix "
    "--label-smoothing --drop-path --head-dropout",
    "Speed and memory": "--device --engine --dtype --compile --batch-size --workers --timeout --decoder-memory "
    "--gradient-checkpointing",
    "Page": "--browser --host --port",
    "Long jobs": "--resume --retry-errors --dry-run --ok-on-errors",
    "Cluster": "--cluster --address --num-workers --gpus-per-worker --shard-files",
    "Messages": "--progress --quiet --debug --help",
}
_HEADINGS = {flag: heading for heading, flags in SECTIONS.items() for flag in flags.split()}


class Guide:
    """The beginning and end of a command's help. often: its most used flags, "" where there are few; examples: as typed."""

    def __init__(self, often: str, *examples: str) -> None:
        self.often, self.examples = often, examples


GUIDES = {
    "classify": Guide(
        "--model --output --top-k --format --report",
        "videomae classify clip.mp4 --model camera-motion",
        "videomae classify videos/ -o labels.jsonl --resume",
        "videomae classify film.mkv --start 1:30 --end 2:00 --top-k 3",
    ),
    "timeline": Guide(
        "--model --output --window --hop --find",
        "videomae timeline film.mp4 --model camera-motion -o film.srt",
        "videomae timeline --find 'pan left' films/ --model camera-motion --cut clips/",
        "videomae timeline --camera 0 --model camera-motion",
    ),
    "embed": Guide(
        "--model --output --pool --per-clip --normalize",
        "videomae embed videos/ -o vectors.parquet --model camera-motion",
        "videomae embed videos/ -o vectors.npz --model base --per-clip",
        "videomae embed films/ -o features/ --model camera-motion --window 16f --hop 4f",
    ),
    "reconstruct": Guide(
        "--output --mask --mask-ratio --start --model",
        "videomae reconstruct clip.mp4 -o preview.gif",
        "videomae reconstruct clip.mp4 -o sheet.png --mask random --mask-ratio 0.75",
        "videomae reconstruct clip.mp4 -o sweep.mp4 --sweep",
    ),
    "attend": Guide(
        "--output --model --label --method --start",
        "videomae attend clip.mp4 --model camera-motion -o attention.mp4",
        "videomae attend clip.mp4 --model camera-motion --label 'pan right' -o pan.gif",
        "videomae attend clip.mp4 --model camera-motion --per-head -o heads.png",
    ),
    "label": Guide(
        "--output --classes --model --window --labels",
        "videomae label videos/ -o labels.csv --classes serve,rally,pause",
        "videomae label films/ -o labels.csv --window 4s --model camera-motion",
        "videomae label videos/ -o labels.csv --no-browser --port 8765",
    ),
    "finetune": Guide(
        "--output --init --mode --epochs --dry-run",
        "videomae finetune clips/ -o my-model/ --init camera-motion-mae",
        "videomae finetune labels.csv -o my-model/ --init base --mode full --patience 8",
        "videomae finetune clips/ -o my-model/ --resume",
    ),
    "evaluate": Guide(
        "--model --split --protocol --report --output",
        "videomae evaluate clips/ --model camera-motion",
        "videomae evaluate val.csv --model base-kinetics --protocol paper",
        "videomae evaluate clips/ --model my-model/ --report report/",
    ),
    "pretrain": Guide(
        "--output --init --size --epochs --dry-run",
        "videomae pretrain videos/ -o my-encoder/ --size small --epochs 200",
        "videomae pretrain videos/ -o my-encoder/ --init base --mask-ratio 0.9",
        "videomae pretrain videos/ -o my-encoder/ --resume",
    ),
    "demo": Guide("", "videomae demo", "videomae demo shown/ --overwrite"),
    "similar": Guide(
        "",
        "videomae similar clip.mp4 vectors.parquet",
        "videomae similar clip.mp4 vectors.parquet --top-k 3 --format json",
        "videomae similar --duplicates 0.98 vectors.parquet",
    ),
    "map": Guide(
        "",
        "videomae map vectors.parquet -o map.html",
        "videomae map vectors.parquet -o map.html --labels labels.jsonl",
        "videomae map vectors.parquet -o map.html --thumbnails 0",
    ),
    "merge": Guide(
        "",
        "videomae merge part-1.jsonl part-2.jsonl -o labels.jsonl",
        "videomae merge shards/ -o vectors.parquet",
    ),
    "bench": Guide("", "videomae bench camera-motion", "videomae bench base-kinetics --videos videos/"),
    "models": Guide("", "videomae models", "videomae models camera-motion", "videomae models --cached"),
    "download": Guide(
        "",
        "videomae download base-kinetics",
        "videomae download base-kinetics --to models/base",
        "videomae download --from-dir models/base",
    ),
    "export": Guide(
        "--format --dtype --uint8 --features --overwrite",
        "videomae export camera-motion model.onnx",
        "videomae export camera-motion model.onnx --uint8 --dtype float16",
        "videomae export camera-motion model.xml --dtype int8 --videos clips/",
        "videomae export camera-motion encoder.pt2 --features",
    ),
    "convert": Guide(
        "",
        "videomae convert checkpoint.pth my-model/",
        "videomae convert checkpoint.pth my-model/ --labels names.txt --dtype float16",
    ),
}


def headings(command: str, flags: Collection[str]) -> dict[str, str]:
    """Return the heading of each flag of a command, the flags in the order of the help."""
    often = GUIDES[command].often.split() if command in GUIDES else []
    order = [*often, *(flag for flag in flags if flag not in _HEADINGS), *_HEADINGS]
    ordered = sorted(flags, key=order.index)
    found = {flag: OFTEN if flag in often else _HEADINGS.get(flag, REST) for flag in ordered}
    trains = "--epochs" in flags  # --seed and --mask are not only of training
    return {flag: heading if trains or heading != TRAINED else REST for flag, heading in found.items()}
