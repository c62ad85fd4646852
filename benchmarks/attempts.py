"""What could make ViT-B/16 faster on a CPU in PyTorch, or in OpenVINO, each tried against the model as it is, in turns, in one run.

    python benchmarks/attempts.py [--repeats 7] [--dtype float32 bfloat16] [--only NAME ...]

Every attempt gets the same weights and the same clip of 16x224x224, and must give the same logits up to rounding, which is
printed too. What helped is in `videomae_cli` (and shows here as `as it is`); what didn't is only here, so that nobody has to
try it again. `python benchmarks/engines.py` compares with transformers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from engines import model
from torch import Tensor, nn
from torch.nn import functional

from videomae_cli.model import VideoMAEForVideoClassification
from videomae_cli.model.layers import Block, PatchEmbeddings, SelfAttention

Change = Callable[[VideoMAEForVideoClassification], Any]


def parts(net: nn.Module, kind: type[nn.Module]) -> list[Any]:
    return [module for module in net.modules() if isinstance(module, kind)]


def heads(self: SelfAttention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (B, heads, N, head_dim), each by a product of its own."""
    split = (*x.shape[:2], self.num_heads, self.head_dim)
    query = functional.linear(x, self.query.weight, self.q_bias).view(split).transpose(1, 2)
    key = functional.linear(x, self.key.weight).view(split).transpose(1, 2)
    value = functional.linear(x, self.value.weight, self.v_bias).view(split).transpose(1, 2)
    return query, key, value


def joined(context: Tensor) -> Tensor:
    """(B, heads, N, head_dim) -> (B, N, D)."""
    return context.transpose(1, 2).flatten(2)


def attention(make: Callable[[SelfAttention], Callable[[Tensor], Tensor]]) -> Change:
    """Every self-attention computed by what `make` gives for it."""

    def change(net: VideoMAEForVideoClassification) -> None:
        for module in parts(net, SelfAttention):
            run = make(module)
            module.forward = lambda x, head_mask=None, need_weights=False, run=run: (run(x), None)

    return change


def sdpa(module: SelfAttention) -> Callable[[Tensor], Tensor]:
    return lambda x: joined(functional.scaled_dot_product_attention(*heads(module, x)))


def fused(module: SelfAttention) -> Callable[[Tensor], Tensor]:
    """One product for queries, keys and values."""
    assert module.q_bias is not None
    assert module.v_bias is not None
    weight = torch.cat([module.query.weight, module.key.weight, module.value.weight])
    bias = torch.cat([module.q_bias, torch.zeros_like(module.q_bias), module.v_bias])

    def run(x: Tensor) -> Tensor:
        split = (*x.shape[:2], 3, module.num_heads, module.head_dim)
        query, key, value = functional.linear(x, weight, bias).view(split).permute(2, 0, 3, 1, 4)
        return joined(functional.scaled_dot_product_attention(query, key, value))

    return run


def plain(module: SelfAttention) -> Callable[[Tensor], Tensor]:
    """Two matrix products with a softmax between them, all queries at once."""

    def run(x: Tensor) -> Tensor:
        query, key, value = heads(module, x)
        return joined((query * module.head_dim**-0.5 @ key.transpose(2, 3)).softmax(dim=-1) @ value)

    return run


def by_blocks(size: int, wide: bool = False) -> Callable[[SelfAttention], Callable[[Tensor], Tensor]]:
    """The same for `size` queries at a time, whose scores stay in the cache. wide: softmax in float32."""

    def make(module: SelfAttention) -> Callable[[Tensor], Tensor]:
        def run(x: Tensor) -> Tensor:
            query, key, value = (part.contiguous() for part in heads(module, x))
            query *= module.head_dim**-0.5
            key = key.transpose(2, 3)
            rows = []
            for block in query.split(size, dim=2):
                scores = block @ key
                scores = (scores.float() if wide else scores).softmax(dim=-1).to(value.dtype)
                rows.append(scores @ value)
            return joined(torch.cat(rows, dim=2))

        return run

    return make


def by_heads(module: SelfAttention) -> Callable[[Tensor], Tensor]:
    """One head after the other."""

    def run(x: Tensor) -> Tensor:
        query, key, value = heads(module, x)
        out = torch.empty_like(query)
        for head in range(query.shape[1]):
            scores = query[:, head] * module.head_dim**-0.5 @ key[:, head].transpose(1, 2)
            torch.matmul(scores.softmax(dim=-1), value[:, head], out=out[:, head])
        return joined(out)

    return run


def flexible(module: SelfAttention) -> Callable[[Tensor], Tensor]:
    """FlexAttention, which is nothing without being compiled."""
    from torch.nn.attention.flex_attention import flex_attention

    run = torch.compile(flex_attention)
    return lambda x: joined(run(*heads(module, x)))  # type: ignore[arg-type]


def in_place(net: VideoMAEForVideoClassification) -> None:
    """Residuals added where they are."""

    def run(self: Block, x: Tensor, head_mask: Tensor | None = None, need_weights: bool = False) -> Any:
        attended, weights = self.attention(self.layernorm_before(x), head_mask, need_weights)
        x = x + attended
        x += self.output(self.intermediate(self.layernorm_after(x)))
        return x, weights

    for block in parts(net, Block):
        block.forward = run.__get__(block)


def convolution(net: VideoMAEForVideoClassification) -> None:
    """The patch embedding as Conv3d, as transformers has it, instead of a matrix product."""

    def run(self: PatchEmbeddings, pixel_values: Tensor) -> Tensor:
        return self.projection(pixel_values.transpose(1, 2)).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]

    for module in parts(net, PatchEmbeddings):
        module.forward = run.__get__(module)


def channels_last(net: VideoMAEForVideoClassification) -> None:
    """The same convolution with channels innermost."""

    def run(self: PatchEmbeddings, pixel_values: Tensor) -> Tensor:
        x = pixel_values.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)
        return self.projection(x).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]

    for module in parts(net, PatchEmbeddings):
        module.projection = module.projection.to(memory_format=torch.channels_last_3d)
        module.forward = run.__get__(module)


def compiled(net: VideoMAEForVideoClassification) -> Any:
    return torch.compile(net)


def prepacked(net: VideoMAEForVideoClassification) -> Any:
    """Traced and frozen: oneDNN gets its weights in its own order once."""
    with torch.inference_mode():
        traced = torch.jit.trace(
            _Logits(net).eval(), torch.zeros(1, 16, 3, 224, 224, dtype=net.dtype), check_trace=False
        )  # type: ignore[no-untyped-call]
        return _Wrapped(torch.jit.optimize_for_inference(torch.jit.freeze(traced)))


def packaged(net: VideoMAEForVideoClassification) -> Any:
    """Exported and compiled ahead of time with frozen weights (AOTInductor); says how long the file takes to load."""
    from torch._inductor import aoti_compile_and_package, aoti_load_package

    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        clip = torch.zeros(1, 16, 3, 224, 224, dtype=net.dtype)
        exported = torch.export.export(_Logits(net), (clip,))
        file = f"{folder}/model.pt2"
        started = time.perf_counter()
        aoti_compile_and_package(exported, package_path=file, inductor_configs={"freezing": True})
        built = time.perf_counter() - started
        started = time.perf_counter()
        run = aoti_load_package(file)
        size, load = os.path.getsize(file) / 1e6, time.perf_counter() - started  # noqa: PTH202
        print(f"  (a package of {size:.0f} MB, compiled in {built:.0f} s, loaded in {load:.2f} s)", flush=True)
        return _Wrapped(run)


def through_openvino(change: Change = lambda net: None) -> Change:
    """Converted as `--engine openvino` does it, after `change`."""

    def convert(net: VideoMAEForVideoClassification) -> Any:
        from videomae_cli.engines.openvino import converted
        from videomae_cli.engines.packages import load_openvino

        hint = {torch.float32: "f32", torch.bfloat16: "bf16"}[net.dtype]
        with torch.no_grad():
            change(net.float())
        made = converted(_Logits(net), torch.zeros(1, 16, 3, 224, 224))
        made.reshape([1, 16, 3, 224, 224])
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
        request = load_openvino().Core().compile_model(made, "CPU", settings).create_infer_request()
        return _Wrapped(lambda x: torch.from_numpy(request.infer([x.float().numpy()])[0].copy()))

    return convert


class _Logits(nn.Module):
    def __init__(self, net: VideoMAEForVideoClassification) -> None:
        super().__init__()
        self.net = net.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).logits  # type: ignore[no-any-return]


class _Wrapped:
    def __init__(self, run: Any) -> None:
        self.run = run

    def __call__(self, x: Tensor) -> Any:
        return type("Output", (), {"logits": self.run(x)})


ATTEMPTS: dict[str, Change] = {
    "as it is": lambda net: None,
    "sdpa": attention(sdpa),
    "sdpa, fused qkv": attention(fused),
    "matmul attention": attention(plain),
    "matmul, 64 queries at once": attention(by_blocks(64)),
    "matmul, 128 queries at once": attention(by_blocks(128)),
    "matmul, 256 queries at once": attention(by_blocks(256)),
    "matmul, 512 queries at once": attention(by_blocks(512)),
    "matmul, 256, float32 softmax": attention(by_blocks(256, wide=True)),
    "matmul, a head at a time": attention(by_heads),
    "in-place residuals": in_place,
    "patches by Conv3d": convolution,
    "patches by Conv3d, channels last": channels_last,
    "traced and frozen": prepacked,
    "FlexAttention": attention(flexible),
    "torch.compile": compiled,
    "AOTInductor": packaged,
    "OpenVINO": through_openvino(),
    "OpenVINO, fused qkv": through_openvino(attention(fused)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--dtype", nargs="*", default=["float32", "bfloat16"])
    parser.add_argument("--only", nargs="*", choices=list(ATTEMPTS))
    arguments = parser.parse_args()
    clip = torch.randn(1, 16, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    for dtype in arguments.dtype:
        x = clip.to(getattr(torch, dtype))
        runs: dict[str, Callable[[Tensor], Any]] = {}
        for name, change in ATTEMPTS.items():
            if arguments.only and name not in (*arguments.only, "as it is"):
                continue
            net = model().to(x.dtype)
            try:
                changed = change(net)
                run = net if changed is None else changed
                with torch.inference_mode():
                    run(x)  # warms up, and compiles
            except Exception as error:  # a compiler that is not there, or what jit can't do: told, not fatal
                print(f"{name}: {str(error).splitlines()[0]}")
                continue
            runs[name] = run
        times: dict[str, list[float]] = {name: [] for name in runs}
        logits = {}
        with torch.inference_mode():
            truth = model()(clip).logits
            for _ in range(arguments.repeats):
                for name, run in runs.items():
                    started = time.perf_counter()
                    logits[name] = run(x).logits
                    times[name].append(time.perf_counter() - started)
        base = statistics.median(times["as it is"])
        print(f"{dtype:<36}{'median s':>10}{'ratio':>8}{'off float32 by':>16}")
        for name, measured in times.items():
            middle = statistics.median(measured)
            off = float((logits[name].float() - truth).abs().max() / truth.abs().max())
            print(f"  {name:<34}{middle:>10.3f}{middle / base:>8.2f}{off:>16.1e}", flush=True)


if __name__ == "__main__":
    main()
