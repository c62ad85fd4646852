"""Engines and number formats: the same weights give the same numbers, or nearly, and converted models are kept."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from converting import converted_once

from videomae_cli import system
from videomae_cli.engines import (
    Engine,
    Features,
    Logits,
    TorchNetwork,
    check_engine,
    cpu,
    make_network,
    packages,
    pick_engine,
    timings,
)
from videomae_cli.engines import openvino as through_openvino
from videomae_cli.engines.store import kept, store_folder
from videomae_cli.errors import DependencyError, OptionError, OutputError
from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification, VideoMAEModel, weights_digest

__all__ = ["converted_once"]
pytestmark = pytest.mark.usefixtures("converted_once")

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {
    "image_size": 32,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "id2label": {i: str(i) for i in range(5)},
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where converted models go."""
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def classifier(**changes: Any) -> VideoMAEForVideoClassification:
    """Every parameter random, the same in every call."""
    torch.manual_seed(1)
    model = VideoMAEForVideoClassification(VideoMAEConfig(**{**SIZES, "use_mean_pooling": True, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1)
    return model


def clips(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 16, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def network(part: Logits | Features, name: str, dtype: str, **options: Any) -> Any:
    digest = weights_digest(part)
    return make_network(part, Engine(name, dtype, CPU), digest=digest, **options)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("mean_pooling", [True, False])
def test_openvino_in_float32_gives_the_logits_of_torch(mean_pooling: bool, size: int) -> None:
    expected = TorchNetwork(Logits(classifier(use_mean_pooling=mean_pooling)), Engine("torch", "float32", CPU))(
        clips(3)
    )
    got = network(Logits(classifier(use_mean_pooling=mean_pooling)), "openvino", "float32", size=size)
    for count in (3, 1, 2):  # any number of views through one conversion, whatever it was compiled for
        torch.testing.assert_close(got(clips(3)[:count]), expected[:count], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("pool", "layer"), [("mean", None), ("time", None), ("tokens", None), ("mean", 1), ("tokens", 0)]
)
@pytest.mark.parametrize("kind", [VideoMAEModel, VideoMAEForVideoClassification])
def test_openvino_gives_the_features_of_torch(kind: type[Any], pool: str, layer: int | None) -> None:
    def model() -> Any:
        net = classifier()
        return net if kind is VideoMAEForVideoClassification else net.videomae

    expected = TorchNetwork(Features(model(), pool, layer), Engine("torch", "float32", CPU))(clips())
    got = network(Features(model(), pool, layer), "openvino", "float32")(clips())
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(params=["this CPU", "a lesser CPU"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The real CPU, whatever it has, and one without any unit for short numbers."""
    if request.param == "a lesser CPU":
        monkeypatch.setenv("VIDEOMAE_CPU_UNITS", "")
    return str(request.param)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [
        ("torch", "bfloat16", 0.05),
        ("torch", "float16", 0.05),
        ("openvino", "bfloat16", 0.05),
        ("openvino", "int8", 0.1),
    ],
)
def test_shorter_numbers_stay_near(name: str, dtype: str, tolerance: float) -> None:
    if name == "openvino" and dtype not in packages.formats():
        with pytest.raises(OptionError, match=f"this CPU has no units for {dtype}"):
            network(Logits(classifier()), name, dtype)
        return
    exact = TorchNetwork(Logits(classifier()), Engine("torch", "float32", CPU))(clips(8))
    got = network(Logits(classifier()), name, dtype, calibration=lambda: clips(8).split(1))(clips(8))
    difference = (got - exact).abs().max() / exact.abs().max()
    assert 0 < difference < tolerance
    assert got.dtype == torch.float32


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux says which files a process has mapped")
@pytest.mark.parametrize("size", [1, 4])
def test_openvino_gives_the_same_without_the_pages_of_its_file(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    released = dict[frozenset[tuple[int, int]], bool]()
    release = system.release_mapped
    monkeypatch.setattr(system, "release_mapped", lambda places: released.update({places: release(places)}))
    other, got = (network(Logits(classifier()), "openvino", "float32", size=size) for _ in range(2))
    other.wait()
    got.wait()
    assert len(released) == 2
    assert frozenset.isdisjoint(*released), "each gives back its own pages only: the other may end at any time"
    assert all(released.values()), "the model's file is mapped no more, or under another name"
    before = got(clips(3))
    assert torch.equal(got(clips(3)), before)
    if size == 1:
        assert torch.equal(torch.cat([got(clip[None]) for clip in clips(3)]), before)


def test_a_model_that_this_cpu_can_not_run_is_not_called_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*given: object) -> None:
        raise RuntimeError("Exception from node.cpp:823:\n[CPU] MVN node has a bad combination\n")

    monkeypatch.setattr(packages.load_openvino().Core, "compile_model", lacking)
    words = r"can't run the converted model in .* on this CPU \(\[CPU\] MVN node has a bad combination\): choose engine=.torch"
    with pytest.raises(DependencyError, match=words):
        network(Logits(classifier()), "openvino", "float32").wait()


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            RuntimeError("Exception from a.cpp:1:\n[CPU] no memory\n"),
            r"can't run this model here \(\[CPU\] no memory\)",
        ),
        ([np.zeros((0, 4), np.float32)], "computes nothing on this CPU"),
    ],
    ids=["raises", "empty"],
)
def test_what_openvino_can_not_compute_is_one_line(
    answer: Any, words: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = network(Logits(classifier()), "openvino", "float32", size=size)
    request: Future[Any] = Future()
    request.set_result(Mock(infer=Mock(side_effect=[answer] * 3)))
    monkeypatch.setattr(asked, "_request", request)
    with pytest.raises(DependencyError, match=f"OpenVINO {words}.*: choose engine=.torch"):
        asked(clips(3))


@pytest.mark.parametrize(("units", "largest"), [({"int8"}, 127), (set(), 64)], ids=["VNNI", "no VNNI"])
def test_without_vnni_weights_have_seven_bits(
    units: set[str], largest: int, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two products of bytes are added in 16 bits there, which overflow."""
    monkeypatch.setattr(cpu, "units", lambda: frozenset(units))
    network(Logits(classifier()), "openvino", "int8", calibration=lambda: clips(8).split(1))
    (file,) = cache.rglob("model.xml")
    weights = [
        one.get_data()
        for one in packages.load_openvino().Core().read_model(file).get_ops()
        if one.get_type_name() == "Constant" and one.get_element_type().get_type_name() == "i8"
    ]
    # The first layer's have seven in any case.
    assert max(int(np.abs(one.astype(int)).max()) for one in weights) == pytest.approx(largest, abs=1)


def test_a_model_is_converted_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = network(Logits(classifier()), "openvino", "float32")(clips())

    def never(part: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(through_openvino, "_converted", never)
    second = network(Logits(classifier()), "openvino", "float32")(clips())
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)
    for dtype in ("bfloat16", "float16"):  # all floating formats share one, on CPUs without units for them too
        part = Logits(classifier())
        through_openvino.model_file(part, Engine("openvino", dtype, CPU), digest=weights_digest(part))
    with pytest.raises(AssertionError, match="converted again"):
        network(Features(classifier()), "openvino", "float32")  # but other outputs are another
    other = classifier()
    with torch.no_grad():
        other.classifier.bias[0] += 1
    with pytest.raises(AssertionError, match="converted again"):
        network(Logits(other), "openvino", "float32")  # and other weights
    assert len([place for place in cache.iterdir() if place.is_dir()]) == 1, "what failed leaves nothing"


def test_eight_bit_numbers_are_calibrated_once(capfd: pytest.CaptureFixture[str]) -> None:
    asked = []

    def calibration() -> tuple[torch.Tensor, ...]:
        asked.append(1)
        return clips(4).split(1)

    first = network(Logits(classifier()), "openvino", "int8", calibration=calibration)
    second = network(Logits(classifier()), "openvino", "int8", calibration=calibration)
    assert asked == [1]
    torch.testing.assert_close(first(clips()), second(clips()), rtol=1e-5, atol=1e-6)
    assert first.identity == second.identity
    assert first.identity["calibration"], "another calibration is another model, and records say so"
    assert capfd.readouterr().out == "", "standard output is for data"


def test_without_a_clip_nothing_is_calibrated() -> None:
    for calibration in (None, tuple):
        with pytest.raises(OptionError, match="calibrated on clips"):
            network(Logits(classifier()), "openvino", "int8", calibration=calibration)


def test_torch_weights_are_given_up_once_openvino_has_them() -> None:
    model = classifier()
    network(Logits(model), "openvino", "float32")
    assert all(parameter.is_meta for parameter in model.parameters())


def test_the_converter_of_openvino_is_imported_when_it_is_used() -> None:
    program = """
import sys
from concurrent.futures import Future
from videomae_cli.engines.packages import load_openvino
openvino = load_openvino()
assert load_openvino() is openvino
assert "openvino.tools.ovc" not in sys.modules
assert not hasattr(openvino, "convert_models")
assert "openvino.tools.ovc" not in sys.modules
from openvino import convert_model
assert convert_model is sys.modules["openvino.tools.ovc"].convert_model is openvino.convert_model
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_makers_of_openvino_are_told_nothing() -> None:
    packages.load_openvino()
    assert sys.modules["openvino_telemetry"] is None


@pytest.mark.parametrize(("missing", "words"), [("openvino", "openvino"), ("nncf", "nncf")])
def test_a_missing_package_is_told_with_what_installs_it(
    missing: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(DependencyError, match=rf"needs the package {words}: pip install 'videomae-cli\[openvino\]'"):
        network(Logits(classifier()), "openvino", "int8", calibration=lambda: [clips(1)])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_what_openvino_can_not_do_here_is_refused(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOMAE_CPU_UNITS", "")
    with pytest.raises(OptionError, match=f"no units for {dtype}.*give dtype=.float32"):
        pick_engine("openvino", dtype, CPU)
    with pytest.raises(OptionError, match=f"no units for {dtype}.*give dtype=.float32"):
        network(Logits(classifier()), "openvino", dtype)
    assert pick_engine("openvino", "auto", CPU).dtype == "float32"


@pytest.mark.parametrize(
    ("name", "dtype", "units", "words"),
    [
        ("torch", "bfloat16", "", "no units for bfloat16: PyTorch emulates it"),
        ("torch", "float16", "bfloat16,int8", "no units for float16: PyTorch emulates it"),
        ("openvino", "int8", "bfloat16", "no units for int8: it may be no faster"),
        ("torch", "bfloat16", "bfloat16", None),
        ("openvino", "bfloat16", "bfloat16", None),
        ("openvino", "int8", "int8", None),
        ("torch", "float32", "", None),
        ("openvino", "float32", "", None),
    ],
)
def test_what_is_slow_here_is_told_by_one_rule(
    name: str, dtype: str, units: str, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "units", lambda: frozenset(filter(None, units.split(","))))
    slow = pick_engine(name, dtype, CPU).slow
    assert (slow is None) if words is None else (slow is not None and words in slow)
    assert Engine(name, dtype, torch.device("cuda")).slow is None, "it says nothing of other devices"


def test_units_are_taken_away_and_never_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_detected", lambda: frozenset({"bfloat16", "int8"}))
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    for said, left in {"": set(), "int8": {"int8"}, " bfloat16 , float16": {"bfloat16"}, "nonsense": set()}.items():
        monkeypatch.setenv("VIDEOMAE_CPU_UNITS", said)
        assert cpu.units() == left
    monkeypatch.delenv("VIDEOMAE_CPU_UNITS")
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
        for isa, some in {"AVX2": set(), "avx2_vnni": {"int8"}, "ALL": {"bfloat16", "int8"}}.items():
            monkeypatch.setenv(name, isa)
            assert cpu.units() == some


def test_what_is_detected_is_what_the_engines_find() -> None:
    detected = cpu._detected()
    said = packages.load_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert detected <= set(cpu.SHORT_FORMATS)
    if platform.machine() == "x86_64" and "ONEDNN_MAX_CPU_ISA" not in os.environ:
        assert ("bfloat16" in detected) == ("BF16" in said)
    assert cpu.machine_name()


def test_what_linux_lists_is_what_torch_detects(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch takes a second to import; asked only where the system doesn't tell."""
    listed = cpu._detected.__wrapped__()
    if hasattr(torch.cpu, "get_capabilities"):
        monkeypatch.setattr(system, "cpu_flags", frozenset)
        assert cpu._detected.__wrapped__() == listed
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    for flags, expected in {
        "sse avx2": set(),
        "amx_bf16 avx_vnni": {"bfloat16", "int8"},
        "avx512_fp16": {"float16"},
    }.items():
        monkeypatch.setattr(system, "cpu_flags", lambda flags=flags: frozenset(flags.split()))
        assert cpu._detected.__wrapped__() == expected


def test_threads_are_as_many_as_torch_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    count = torch.get_num_threads()
    assert cpu.threads() == count
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert cpu.threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.setenv("MKL_NUM_THREADS", "2")
    assert cpu.threads() == 2
    monkeypatch.delenv("MKL_NUM_THREADS")
    assert cpu.threads() == system.physical_cores() >= 1


@pytest.mark.parametrize(
    ("machine", "there", "expected"),
    [
        ("x86_64", {"_is_avx512_bf16_supported": True, "_is_vnni_supported": True}, {"bfloat16", "int8"}),
        ("AMD64", {"_is_avx512_bf16_supported": False, "_is_vnni_supported": True}, {"int8"}),
        ("x86_64", {"_is_avx512_bf16_supported": False, "_is_vnni_supported": False}, set()),
    ],
)
def test_older_versions_of_torch_are_asked_too(
    machine: str, there: dict[str, bool], expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(system, "cpu_flags", frozenset)  # a system that doesn't list them
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    for question, answer in there.items():
        monkeypatch.setattr(torch.cpu, question, lambda answer=answer: answer, raising=False)
    assert cpu._detected.__wrapped__() == expected


def missing() -> None:
    raise DependencyError.about("openvino", "no OpenVINO")


def test_what_was_measured_is_kept_for_this_machine_and_model(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "units", lambda: frozenset({"bfloat16"}))
    found = timings.Fastest("openvino", "bfloat16", 2.5)
    assert timings.fastest("weights") is None
    timings.keep_fastest("weights", found)
    assert timings.fastest("weights") == found
    assert timings.fastest("others") is None
    monkeypatch.setattr(cpu, "units", frozenset)
    assert timings.fastest("weights") is None, "another machine"
    monkeypatch.setattr(cpu, "units", lambda: frozenset({"bfloat16"}))
    (file,) = cache.glob("timings/*")
    whole = json.loads(file.read_text())
    for change in ({"version": "2024.1"}, {"speed": -1}, {"speed": "fast"}, {"engine": "tf"}, {"dtype": "float12"}):
        file.write_text(json.dumps(whole | change))
        assert timings.fastest("weights") is None, change
    file.write_text(json.dumps(whole | {"speed": None}))
    assert timings.fastest("weights") == timings.Fastest("openvino", "bfloat16", None)
    file.write_text(json.dumps(whole))
    with monkeypatch.context() as uninstalled:
        uninstalled.setattr(packages, "load_openvino", missing)
        assert timings.fastest("weights") is None
    for damage in (
        "",
        "[]",
        "{}",
        '{"engine": "tf", "dtype": "float32", "speed": 2}',
        '{"engine": "torch", ',
        "null",
        "[" * 100_000,
    ):
        file.write_text(damage)
        assert timings.fastest("weights") is None
    file.write_text('{"engine": "openvino", "dtype": "float32", "speed": NaN}')
    assert timings.fastest("weights") is None


def test_a_cache_that_can_not_be_written_forgets_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "file"))
    timings.keep_fastest("weights", timings.Fastest("openvino", "float32", 2.0))
    assert timings.fastest("weights") is None


@pytest.mark.parametrize(
    ("name", "dtype", "words"),
    [
        ("tf", "auto", "unknown engine"),
        ("torch", "int4", "unknown dtype"),
        ("torch", "int8", 'needs engine="openvino"'),
    ],
)
def test_names_that_are_none_are_refused(name: str, dtype: str, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        check_engine(name, dtype)


def test_what_auto_means() -> None:
    assert pick_engine("torch", "auto", CPU).dtype == "float32"
    assert pick_engine("openvino", "auto", CPU).dtype in ("bfloat16", "float32")  # as the CPU has it
    assert pick_engine("torch", "auto", torch.device("mps")).dtype == "float32"
    with pytest.raises(OptionError, match="runs on the CPU"):
        pick_engine("openvino", "auto", torch.device("cuda"))


def test_the_store_is_where_the_user_wants_it(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store_folder() == cache
    monkeypatch.delenv("VIDEOMAE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert store_folder() == tmp_path / "xdg" / "videomae"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert store_folder() == Path.home() / ".cache" / "videomae"


def test_what_is_kept_is_complete_or_not_there(cache: Path) -> None:
    def breaks(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError("cut")

    with pytest.raises(RuntimeError, match="cut"):
        kept({"a": 1}, breaks)
    assert list(cache.iterdir()) == []
    place = kept({"a": 1}, lambda folder: (folder / "whole").write_text("y") and None)
    assert (place / "whole").read_text() == "y"
    assert kept({"a": 1}, breaks) == place


def test_two_at_once_keep_one(cache: Path) -> None:
    def other_is_faster(folder: Path) -> None:
        (folder / "mine").touch()
        kept({"a": 1}, lambda theirs: (theirs / "theirs").touch())

    place = kept({"a": 1}, other_is_faster)
    assert (place / "theirs").exists()
    assert list(cache.iterdir()) == [place]


def test_a_scanner_that_looks_into_a_new_folder_gets_a_moment(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows moves no folder while somebody has a file in it open."""
    looking, move = iter([True, True, False]), Path.replace

    def replace(self: Path, target: Path) -> Path:
        if next(looking):
            error = PermissionError(13, "it is used by another process")
            error.winerror = 5  # type: ignore[attr-defined,unused-ignore]
            raise error
        return move(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr("videomae_cli.files.time.sleep", lambda seconds: None)
    place = kept({"a": 1}, lambda folder: (folder / "whole").touch())
    assert list(cache.iterdir()) == [place]
    assert (place / "whole").exists()


def test_a_store_that_can_not_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="set VIDEOMAE_CACHE"):
        kept({"a": 1}, lambda folder: None)


def test_compiled_for_one_size_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    expected = TorchNetwork(Logits(classifier()), Engine("torch", "float32", CPU))(clips(7))

    def eager(function: Any, **options: Any) -> Any:
        def run(pixel_values: torch.Tensor) -> Any:
            sizes.append(len(pixel_values))
            if len(pixel_values) > 4:
                raise torch.OutOfMemoryError("too many")
            return function(pixel_values)

        return run

    monkeypatch.setattr(torch, "compile", eager)
    engine = Engine("torch", "float32", CPU, compiled=True)
    got = make_network(Logits(classifier()), engine, digest="", size=8)
    assert sizes == [8, 4], "halved until it fits, before the first clip"
    torch.testing.assert_close(got(clips(7)), expected)
    assert set(sizes[1:]) == {4}, "of one size only"
    assert got.identity["compile"] == "yes"


def test_what_can_not_be_compiled_is_told_before_the_first_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/nonexistent")
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "/nonexistent"))
    monkeypatch.setattr("torch._inductor.config.fx_graph_cache", False)
    torch._dynamo.reset()
    with pytest.raises(OptionError, match=r"compile=True does not work here .*leave it out"):
        make_network(Logits(classifier()), Engine("torch", "float32", CPU, compiled=True), digest="")


def test_openvino_is_not_compiled_by_torch() -> None:
    with pytest.raises(OptionError, match='compile=True is for engine="torch"'):
        pick_engine("openvino", "float32", CPU, compiled=True)


def test_handlers_that_others_share_with_nncf_keep_their_level() -> None:
    log, handler = logging.getLogger("nncf"), logging.NullHandler(logging.INFO)
    log.addHandler(handler)
    try:
        packages.load_nncf()
        assert (log.level, handler.level) == (logging.ERROR, logging.INFO)
    finally:
        log.removeHandler(handler)
