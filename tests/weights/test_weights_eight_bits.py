"""Which weights are for eight bits, told by their files' headers."""

from dataclasses import replace

import pytest
import torch

from srcli import catalog
from srcli.archs.quantised import attach
from srcli.catalog import WeightsFile
from srcli.engine.choice import check_weights
from srcli.engine.settings import Settings
from srcli.errors import UsageError
from srcli.weights import WeightsOptions
from srcli.weights.format import pack


def test_ranges_are_told_by_the_header(tmp_path):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1))
    bare = pack(network.state_dict(), {})
    attach(network, {"0": torch.tensor([-1.0, 1.0])})
    model, options = catalog.get("bcrn.srcli"), WeightsOptions(tmp_path)
    int8 = Settings(precision="int8")

    def check(data, file="own.safetensors"):
        if data is not None:
            (tmp_path / file).write_bytes(data)
        own = WeightsFile(file, 0, "", None, folder=tmp_path)
        variant = replace(model.variant(4), weights=own)
        changed = replace(model, variants=(variant,))
        check_weights(changed, [4], Settings(), options)  # of other precisions nothing is asked
        check_weights(changed, [4], int8, options)

    check(None)  # it is not here yet
    with pytest.raises(UsageError, match="not trained for --precision int8"):
        check(None, "authors.pth")  # and ranges are stored in no such file
    check(pack(network.state_dict(), {}))
    with pytest.raises(UsageError, match="not trained for --precision int8"):
        check(bare)
    for damaged in (b"", bare[:20], b"\xff" * 40, b"\1".ljust(8, b"\0") + b"1"):
        check(damaged)  # reading it all says why
