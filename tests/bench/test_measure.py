"""Timing, counting and charts; what they say of a machine is not tested."""

import io
import itertools
import time

import numpy as np
import pytest
import torch
from PIL import Image

from srcli import catalog
from srcli.bench.child import Child
from srcli.bench.cost import Cost, cost
from srcli.bench.machine import Limits, measure_limits
from srcli.bench.measure import Row, agreement, alternate
from srcli.bench.plot import plot
from srcli.bench.run import best
from srcli.bench.runners import Runner, Setup
from srcli.engine.pytorch.network import Network
from srcli.media.chart import Axis
from srcli.weights import new_network

LIMITS = Limits(2, {"fp32": 100.0}, 10.0)


def setup(model="a", scale=4, size=(10, 20), backend="torch", **more):
    fields = {"precision": "fp32", "threads": 2, **more}
    return Setup(model, scale, size, backend, **fields)


def row(times, *, setup=setup(), parameters=1000, notes=()):  # noqa: B008 - frozen
    return Row(setup, Cost(parameters, 10**9), tuple(times), 50.0, LIMITS, notes=notes)


def test_runners_take_turns():
    log = []

    def runner(name):
        return Runner(
            setup(name),
            Cost(1, 1),
            lambda: log.append(name + " prepared"),
            lambda: log.append(name),
            lambda _: np.zeros((1, 1, 3), np.float32),
        )

    times, made = alternate([runner("a"), runner("b")], 2)
    assert log == ["a prepared", "a", "b prepared", "b"] * 3  # the first round does not count
    assert [len(t) for t in times] == [2, 2]
    assert len(made) == 2


def test_preparing_does_not_count():
    slow = Runner(setup(), Cost(1, 1), lambda: time.sleep(0.05), lambda: None, lambda _: None)
    ((taken,),), _ = alternate([slow], 1)
    assert taken < 0.05


def test_figures_of_a_row():
    found = row([0.3, 0.1, 0.2])
    assert found.median_s == 0.2
    assert found.spread_s == (0.1, 0.3)
    assert found.megapixels_per_s == pytest.approx(10 * 20 * 16 / 0.2 / 1e6)
    assert found.limit_s == pytest.approx(0.02)  # 2 GFLOP at 100 GFLOP/s
    assert found.share_of_limit == pytest.approx(0.1)
    assert row([1, 2, 3, 4, 5]).spread_s == (2, 4)
    unknown = row([1], setup=setup(precision="bf16"))
    assert unknown.share_of_limit is None


def test_a_row_as_json():
    first = Child(1.5, 2**20)
    fields = Row(setup(), Cost(7, 9), (0.5,), float("inf"), LIMITS, first).as_json()
    assert fields["agreement_db"] is None
    assert (fields["lr_size"], fields["first_picture_s"]) == ([10, 20], 1.5)
    assert (fields["parameters"], fields["multiply_adds"]) == (7, 9)


def test_psnr_of_floats():
    a = np.full((8, 8, 3), 0.5, np.float32)
    assert agreement(a, a, 2) == float("inf")
    b = a + np.float32(1 / 255)
    # a grey level in RGB is 219 / 255 of one in luma
    assert agreement(b, a, 2) == pytest.approx(20 * np.log10(255 / (219 / 255)), abs=1e-3)
    b = a.copy()
    b[0] = 0
    assert agreement(b, a, 1) == float("inf")  # in the border


def test_multiply_adds_are_those_of_the_convolutions():
    entry = catalog.resolve("realesr_animevideov3")
    scale = entry.scales[0]
    module = new_network(entry.variant(scale), entry.arch)
    seen = []

    def count(layer, _, out):
        taps = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
        seen.append(out.numel() * taps)

    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        module(torch.zeros(1, 3, 20, 16))
    wanted = sum(seen)
    for layer in module.modules():
        layer._forward_hooks.clear()
    network = Network(module, entry.arch, entry.preprocessing, scale)
    assert cost(network, (20, 16), 5) == Cost(5, wanted)
    assert next(module.parameters()).device.type == "cpu"  # it was not moved


def test_limits_are_positive():
    before = torch.get_num_threads()
    found = measure_limits(
        1,
        {"fp32": torch.float32},
        torch.device("cpu"),
        seconds=0.0,
        side=32,
        copy_bytes=2**16,
    )
    torch.set_num_threads(before)
    assert found.threads == 1
    assert found.gflops["fp32"] > 0
    assert found.copy_gb_s > 0


def test_the_best_is_the_fastest_at_the_largest_size():
    rows = [
        row([3.0], setup=setup(size=(40, 40))),
        row([2.0], setup=setup(size=(40, 40), threads=1, tile=64)),
        row([0.5], setup=setup(size=(10, 10))),
        row([1.0], setup=setup(size=(40, 40), backend="onnxruntime", baseline=True)),
        row([1.5], setup=setup(size=(40, 40), precision="fp16"), notes=("overflowed",)),
        row([9.0], setup=setup("b", backend="openvino")),
    ]
    for order in itertools.permutations(rows):
        found = best(order)
        assert found.keys() == {("a", 4), ("b", 4)}
        assert (found["a", 4].threads, found["a", 4].tile) == (1, 64)
        assert (found["a", 4].milliseconds, found["a", 4].size) == (2000.0, (40, 40))
        assert found["b", 4].backend == "openvino"


def test_axes():
    axis = Axis.around([1, 100], logarithmic=True)
    assert axis.share(10) == pytest.approx(0.5)
    assert axis.ticks() == pytest.approx([1, 2, 5, 10, 20, 50, 100])
    assert Axis(3.2, 4.9, logarithmic=True).ticks() == pytest.approx(
        [3.2, 3.4, 3.6, 3.8, 4, 4.2, 4.4, 4.6, 4.8]
    )
    even = Axis.around([1, 3], room=0.5)
    assert (even.low, even.high) == (0, 4)
    assert even.ticks() == [0, 1, 2, 3, 4]
    assert Axis(30.42, 32.61).ticks() == pytest.approx([30.5, 31, 31.5, 32, 32.5])
    assert Axis.around([2, 2]).share(2) == 0  # a point is no division by zero


def test_bubbles_lie_where_they_belong():
    rows = [
        row([0.010], setup=setup("slow, good"), parameters=900_000),
        row([0.005], setup=setup("slow, good"), parameters=900_000),
        row([0.001], setup=setup("quick, poor"), parameters=100_000),
    ]
    data = plot(rows, [33.0, 33.0, 30.0], "title")
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).astype(int)
    blue, red = ((np.abs(pixels - c) <= 2).all(2) for c in ((143, 183, 216), (228, 168, 142)))
    assert blue.sum() > 5 * red.sum() > 100  # nine times the parameters
    (blue_y, blue_x), (red_y, red_x) = (np.argwhere(m).mean(0) for m in (blue, red))
    assert blue_y < red_y  # better is higher
    assert blue_x > red_x  # slower is further right
