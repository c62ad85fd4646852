"""What is on the local hub, and the command in a process of its own."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forking import early_variables
from hubserver import LocalHub

HUB_ID = "MCG-NJU/videomae-base-finetuned-kinetics"
CONFIG = json.dumps({"model_type": "videomae", "id2label": {"0": "abseiling", "1": "zumba"}}).encode()


def weights(size: int, seed: int = 0) -> bytes:
    """A safetensors file of `size` bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size - 108], "data_offsets": [0, size - 108]}})
    return (100).to_bytes(8, "little") + header.ljust(100).encode() + random.Random(seed).randbytes(size - 108)


WEIGHTS = weights(3_500_000)
FILES = {
    "README.md": b"# a card",
    "config.json": CONFIG,
    "preprocessor_config.json": b'{"size": 224}',
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": WEIGHTS[::-1],
    "tf_model.h5": b"x" * 20_000,
}
NEEDED = {"config.json", "preprocessor_config.json", "model.safetensors"}


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


Command = Callable[..., Done]


def environment(hub: LocalHub, home: Path, **more: str) -> dict[str, str]:
    """The settings of a process of its own: nothing but what is given, and what a process must have to be forked."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    given = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    return {**early_variables(), **kept, **given, **more}


def process(*arguments: object, env: dict[str, str], program: str | None = None, python: str = sys.executable) -> Done:
    """The command in a process of its own; `program` runs before it."""
    start = f"{program or ''}\nfrom videomae_cli.cli import main\nmain()"
    done = subprocess.run(
        [python, "-c", start, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=env,
        timeout=300,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


BLOCK_NETWORK = """
import sys
def hook(event, details):
    if event == "socket.getaddrinfo" or event == "socket.connect" and isinstance(details[1], tuple):
        raise RuntimeError(f"the network was asked: {event} {details}")
sys.addaudithook(hook)
"""
