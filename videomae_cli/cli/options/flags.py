"""Maps the settings in the core's messages to command-line flags."""

from __future__ import annotations

from collections.abc import Collection

# {@name} in a message -> the flag that the user types.
FLAGS = {
    "accumulate": "--accumulate",
    "address": "--address",
    "allow_gaps": "--allow-gaps",
    "batch_size": "--batch-size",
    "bench_videos": "videomae bench --videos",
    "cached_models": "`videomae models --cached`",
    "cluster": "--cluster",
    "colour": "--colour",
    "compile": "--compile",
    "crops": "--crops",
    "debug": "--debug",
    "debug_log": "--debug",
    "device": "--device",
    "dtype": "--dtype",
    "embed_to": "videomae embed VIDEOS -o",
    "end": "--end",
    "engine": "--engine",
    "exclude": "--exclude",
    "format": "--format",
    "fps": "--fps",
    "frames_dir": "--frames-dir",
    "from_dir": "--from-dir",
    "gpus_per_worker": "--gpus-per-worker",
    "gradient_checkpointing": "--gradient-checkpointing",
    "hop": "--hop",
    "ignore_unknown": "--ignore-unknown",
    "known_models": "`videomae models`",
    "label": "--label",
    "label_smoothing": "--label-smoothing",
    "layers": "--layers",
    "lr": "--lr",
    "mask_ratio": "--mask-ratio",
    "method": "--method",
    "mode": "--mode",
    "model": "--model",
    "model_labels": "`videomae models MODEL`",
    "model_place": "behind --model",
    "no_timeout": "0",
    "num_workers": "--num-workers",
    "output": "--output",
    "overwrite": "--overwrite",
    "panels": "--panels",
    "per_head": "--per-head",
    "pool": "videomae embed --pool",
    "report": "--report",
    "resume": "--resume",
    "retry_errors": "--retry-errors",
    "revision": "--revision",
    "split": "--split",
    "start": "--start",
    "storage": "--storage",
    "stride": "--stride",
    "target": "--target",
    "val": "--val",
    "videos_place": "without an option",
    "wide": "--wide",
}

# The parameters that override a checkpoint's configuration -> their options.
OVERRIDES = {
    "decoder_num_attention_heads": "--decoder-heads",
    "labels": "--labels",
    "num_attention_heads": "--heads",
}


def words_of(command: str, taken: Collection[str]) -> dict[str, str]:
    """Map each setting to the words for it in messages of a command that takes the options `taken`.

    A setting that overrides a checkpoint's configuration, but has no option in this command, is worded as `videomae
    convert` with its flag.
    """
    # In these two commands --labels names the classes of the data, not those of the checkpoint.
    own = {"--labels"} if command in ("pretrain", "finetune") else set()
    overrides = {
        name: flag if flag in taken and flag not in own else f"`videomae convert` with {flag}"
        for name, flag in OVERRIDES.items()
    }
    return FLAGS | overrides
