"""Which of the catalogue's networks a test tries, where all at every scale would tell no more."""

from dataclasses import replace

import pytest

from srcli import catalog

# equal parts in a row, of which a few show what all would
FEWER = {
    "drrn_b1u9": {"n_units": 3},
    "drrn_b1u25": {"n_units": 4},
    "edsr_baseline": {"n_blocks": 3},
    "esrn": {"blocks": ("G_4_16_24", "C_3_16_16", "S_3_24_32")},
    "ghostsr_edsr": {"n_blocks": 3},
    "lkdn": {"n_blocks": 3},
    "lkdn_s": {"n_blocks": 2},
    "lkfmixer_b": {"n_blocks": 2},
    "lkfmixer_t": {"n_blocks": 2},
    "lkmn_t": {"n_blocks": 2},
    "msrresnet": {"n_blocks": 3},
    "rrdbnet": {"n_blocks": 1},
    "realesrgan_anime": {"n_blocks": 2},
    "realesrgan_x2plus": {"n_blocks": 1},
    "realesrgan_x4plus": {"n_blocks": 1},
    "realplksr": {"n_blocks": 2},
    "realplksr_dysample": {"n_blocks": 2},
    "dejpg": {"n_blocks": 2},
    "denoise": {"n_blocks": 1},
    "deh264": {"n_blocks": 1},
    "spbp_l": {"n_groups": 3},
    "spbp_m": {"n_groups": 3},
    "srgan5": {"n_blocks": 2},
    "srresnet": {"n_blocks": 3},
    "vdsr_half": {"n_layers": 5},
}
# whose tests are quick ones: the project's first four, and one each with channel attention over
# the picture, with a form for training, and on luma alone
HEADLINE = {"bcrn", "rlfn_s", "swift_srgan", "lesrcnn", "bsrn_s", "ecbsr_m8c24", "espcn"}
NETWORKS = [m for m in catalog.models() if m.variants]


def short(model):
    """The network with fewer of its equal parts, if it has many; without weights then."""
    fewer = FEWER.get(model.arch.name)
    if fewer is None:
        return model
    variants = (
        replace(v, config={**v.config, **fewer}, parameters=0, weights=None) for v in model.variants
    )
    return replace(model, variants=tuple(variants))


def at_one_scale(models=NETWORKS, rest=pytest.mark.long):
    """(model, scale) of each network, at its smallest scale: scales differ in the last layers.

    Those that are not among HEADLINE have the mark ``rest``: `-m long` tries them.
    """
    return [
        pytest.param(
            short(m), m.scales[0], id=m.name, marks=[] if m.arch.name in HEADLINE else [rest]
        )
        for m in models
    ]


def one_of_a_kind(models=NETWORKS, rest=pytest.mark.long):
    """(model, scale): the smallest of each class and preprocessing; others differ in size only."""
    kinds = {}
    for model in sorted(models, key=lambda m: -m.variants[0].parameters):
        kinds[model.arch.network, model.arch.expanded, model.preprocessing] = model
    return at_one_scale([m for m in models if m in kinds.values()], rest)
