"""Maps the settings in the core's messages to command-line flags."""

from __future__ import annotations

from collections.abc import Collection

# The settings in messages, as {@name}, whose flags have their names.
_SETTINGS = (
    "accumulate address allow_gaps batch_size clips cluster colour compile crops debug device dtype end engine exclude "
    "format fps frame_folders frames_dir from_dir gpus_per_worker gradient_checkpointing hop ignore_unknown label label_smoothing layer "
    "layers lr mask_ratio method mode model num_workers output overwrite panels per_clip per_head report resize resume retry_errors "
    "protocol revision sampling split start storage stride target val videos wide window "
    # the recipe's numbers
    "augment_magnitude augment_ops betas clip_grad crop_scale cutmix drop_path ema epochs erase flip head_dropout "
    "head_init_scale layer_decay min_lr mixup recipe repeats views warmup weight_decay"
)
# {@name} in a message -> the flag that the user types.
FLAGS = {name: f"--{name.replace('_', '-')}" for name in _SETTINGS.split()} | {
    "bench_videos": "videomae bench --videos",
    "cached_models": "`videomae models --cached`",
    "debug_log": "--debug",
    "embed_to": "videomae embed VIDEOS -o",
    "known_models": "`videomae models`",
    "labels_used": "`videomae map --labels` and `videomae merge` read it",
    "model_labels": "`videomae models MODEL`",
    "model_place": "behind --model",
    "no_timeout": "0",
    "pool": "videomae embed --pool",
    "sharded": "`videomae classify --shard I/N`",
    "timelines_used": "`videomae merge` reads it",
    "vectors_used": "`videomae similar` and `videomae map` read it",
    "videos_place": "without an option",
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
    # In these commands --labels names the classes of the data, not those of the checkpoint.
    own = {"--labels"} if command in ("pretrain", "finetune", "label") else set()
    overrides = {
        name: flag if flag in taken and flag not in own else f"`videomae convert` with {flag}"
        for name, flag in OVERRIDES.items()
    }
    return FLAGS | overrides
