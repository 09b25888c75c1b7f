"""Eager PyTorch in a process of its own."""

import gc
import os

import numpy as np
import pytest

from srcli import catalog
from srcli.bench.eager import Eager
from srcli.bench.runners import plain_run
from srcli.engine.pytorch.network import Network
from srcli.errors import SrcliError
from srcli.weights import WeightsOptions, load

LR = np.random.default_rng(0).random((20, 24, 3), dtype=np.float32)
NCHW = np.ascontiguousarray(LR.transpose(2, 0, 1)[None])


@pytest.mark.slow
@pytest.mark.parametrize("named", [False, True])
def test_it_runs_the_network_and_ends(alone, named):
    model = catalog.get("bcrn.srcli")
    module = load(model, 2, WeightsOptions.from_environment())
    state = None if named else {k: v * 0.5 for k, v in module.state_dict().items()}
    child = Eager(model, 2, 1, state, NCHW, os.environ)
    child.run()
    if state is not None:
        module.load_state_dict(state)
    wanted = plain_run(Network(module.eval(), model.arch, model.preprocessing, 2), LR)
    assert np.abs(child.result()[0].transpose(1, 2, 0) - wanted).max() < 1e-5
    process = child._process
    assert process.poll() is None
    del child
    gc.collect()
    assert process.poll() is not None


def test_what_goes_wrong_is_said(alone):
    model = catalog.get("bcrn.authors")  # offline and not at hand
    with pytest.raises(SrcliError, match=r"bcrn\.authors|offline|download"):
        Eager(model, 4, 1, None, NCHW, {**os.environ, "SRCLI_OFFLINE": "1", "SRCLI_MIRROR": ""})
