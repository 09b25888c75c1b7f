"""Files with other names for the same parameters."""

import re

import pytest
import torch

from srcli.archs.edsr import EDSR
from srcli.archs.rrdbnet import RRDBNet

N_BLOCKS = 3


def esrgan(name):
    """The authors' first release with named layers."""
    name = re.sub(r"^body\.(\d+)\.rdb(\d)\.", r"RRDB_trunk.\1.RDB\2.", name)
    name = name.replace("conv_body.", "trunk_conv.").replace("conv_hr.", "HRconv.")
    return re.sub(r"^conv_up(\d)", r"upconv\1", name)


def oldest(name):
    """Numbered layers."""
    name = re.sub(r"^body\.(\d+)\.rdb(\d)\.conv(\d)\.", r"model.1.sub.\1.RDB\2.conv\3.0.", name)
    for new, number in {
        "conv_first": "0", "conv_body": f"1.sub.{N_BLOCKS}", "conv_up1": "3", "conv_up2": "6",
        "conv_hr": "8", "conv_last": "10",
    }.items():  # fmt: skip
        name = name.replace(f"{new}.", f"model.{number}.")
    return name


def oldest_of(n_doublings):
    """The same of a network that enlarges by another power of two."""

    def rename(name):
        name = re.sub(r"^body\.(\d+)\.rdb(\d)\.conv(\d)\.", r"model.1.sub.\1.RDB\2.conv\3.0.", name)
        name = re.sub(r"^conv_up(\d)", lambda m: f"model.{3 * int(m[1])}", name)
        name = name.replace("conv_first", "model.0").replace("conv_body", f"model.1.sub.{N_BLOCKS}")
        name = name.replace("conv_hr", f"model.{3 * n_doublings + 2}")
        return name.replace("conv_last", f"model.{3 * n_doublings + 4}")

    return rename


@pytest.mark.parametrize("n_doublings", [0, 1, 3])
def test_the_oldest_names_at_any_power_of_two(n_doublings):
    config = {"scale": 2**n_doublings, "n_feats": 8, "growth": 4, "n_blocks": N_BLOCKS}
    config["n_doublings"] = n_doublings
    ours = RRDBNet(**config)
    state = {oldest_of(n_doublings)(k): v for k, v in ours.state_dict().items()}
    assert not set(state) & set(ours.state_dict())
    assert RRDBNet.config_of({k: tuple(v.shape) for k, v in state.items()}) == config
    other = RRDBNet(**config)
    other.load_state_dict(state)
    lr = torch.rand(1, 3, 6, 7)
    assert torch.equal(other(lr), ours(lr))
    assert ours(lr).shape[2:] == (6 * config["scale"], 7 * config["scale"])


def basicsr(name):
    for pattern, other in (
        (r"^head\.0\.", "conv_first."),
        (rf"^body\.{N_BLOCKS}\.", "conv_after_body."),
        (r"^body\.(\d+)\.body\.0\.", r"body.\1.conv1."),
        (r"^body\.(\d+)\.body\.2\.", r"body.\1.conv2."),
        (r"^tail\.0\.", "upsample."),
        (r"^tail\.1\.", "conv_last."),
    ):
        name, n = re.subn(pattern, other, name)
        if n:
            return name
    return name


def rrdbnet():
    return RRDBNet(scale=4, n_feats=8, growth=4, n_blocks=N_BLOCKS)


def edsr():
    return EDSR(scale=4, n_feats=8, n_blocks=N_BLOCKS)


@pytest.mark.parametrize(
    ("make", "other", "fixed"),
    [(rrdbnet, esrgan, ()), (rrdbnet, oldest, ()), (edsr, basicsr, ("sub_mean", "add_mean"))],
)
def test_other_names_load(make, other, fixed):
    torch.manual_seed(1)
    state = make().state_dict()
    theirs = {other(k): v for k, v in state.items() if not k.startswith(fixed or "-")}
    assert len(theirs) == len(state) - 2 * len(fixed)
    network = make()
    network.load_state_dict(theirs, strict=True)
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    assert set(theirs) == {other(k) for k in state if not k.startswith(fixed or "-")}  # untouched


@pytest.mark.parametrize("make", [rrdbnet, edsr])
def test_its_own_names_load_and_strange_ones_do_not(make):
    state = make().state_dict()
    make().load_state_dict(state, strict=True)
    with pytest.raises(RuntimeError, match="strange"):
        make().load_state_dict({**state, "strange.weight": torch.ones(1)}, strict=True)
