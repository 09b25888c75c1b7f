"""Names and scales: what ``-m`` and ``-x`` mean."""

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srcli import catalog
from srcli.catalog import Architecture, Catalogue, Model, Purpose, Variant, WeightsFile
from srcli.errors import UsageError

ARCH = Architecture("net", "Net", "residual", "p", "r", "m:C")
BARE = Architecture("bare", "Bare", "residual", "p", "r", "m:C")


def model(name, scales, *, weights=True, arch=ARCH):
    file = WeightsFile("f.pth", 1, "0" * 64, "https://e/f") if weights else None
    return Model(name, arch, "MIT", "s", variants=tuple(Variant(s, file, 1) for s in scales))


def catalogue(*models):
    return Catalogue({"net": ARCH, "bare": BARE}, {m.name: m for m in models})


def test_an_architecture_means_its_first_tag_with_the_scale():
    c = catalogue(
        model("net.untrained", [2, 3, 4], weights=False),
        model("net.a", [2]),
        model("net.b", [2, 4]),
    )
    assert catalog.resolve("net", 2, c).name == "net.a"
    assert catalog.resolve("net", 4, c).name == "net.b"
    assert catalog.resolve("net", 3, c).name == "net.a"  # nobody trained it: the first that runs
    assert catalog.resolve("net", 2.5, c).name == "net.a"
    assert catalog.resolve("net", None, c).name == "net.a"
    assert catalog.resolve("net.untrained", 2, c).name == "net.untrained"
    assert catalog.get("net.b", c).name == "net.b"


def test_an_architecture_without_weights_can_still_be_named():
    c = catalogue(model("net.untrained", [2], weights=False))
    assert catalog.resolve("net", 2, c).name == "net.untrained"
    with pytest.raises(UsageError) as caught:
        catalog.resolve("bare", 2, c)
    assert "--weights" in caught.value.hint


@pytest.mark.parametrize("name", ["", "   ", "\x00", "../../etc/passwd", "zzzzzzzz", "🙂" * 50])
def test_nonsense_is_a_usage_error(name):
    with pytest.raises(UsageError, match="no model"):
        catalog.resolve(name, 4)


@pytest.mark.parametrize(
    ("scales", "scale", "passes"),
    [
        ([2, 4], 4, (4,)),
        ([2, 4], 2.5, (4,)),
        ([2, 4], 8, (4, 2)),
        ([2, 4], 16, (4, 4)),
        ([2, 4], 64, (4, 4, 4)),
        ([2, 3, 4], 3, (3,)),
        ([2, 3, 4], 6, (3, 2)),
        ([2, 3, 4], 9, (3, 3)),
        ([2, 3, 4], 5, (3, 2)),
        ([4], 2, (4,)),
        ([3], 4, (3, 3)),
        ([2], 32, (2, 2, 2, 2, 2)),
        ([2, 4], 1, ()),
        ([2, 4], 0.5, ()),
        ([2, 4], 4 * (1 + 1e-12), (4,)),
    ],
)
def test_chain(scales, scale, passes):
    assert catalog.chain(model("net.a", scales), scale) == passes


def test_resamplers_need_no_passes():
    assert catalog.chain(catalog.get("lanczos"), 7.3) == ()
    assert catalog.default_scale(catalog.get("lanczos")) == 4


@pytest.mark.parametrize("scale", [0, -2, math.nan, math.inf, -math.inf, 64.5, 1e9])
@pytest.mark.parametrize("name", ["bcrn.authors", "bicubic"])
def test_impossible_scales_are_usage_errors(name, scale):
    with pytest.raises(UsageError, match="scale"):
        catalog.chain(catalog.get(name), scale)


def test_too_many_passes_name_the_scales():
    with pytest.raises(UsageError, match=r"5 passes; it has only x2\."):
        catalog.chain(model("net.a", [2]), 33)
    with pytest.raises(UsageError, match=r"it has x1 and x2\."):
        catalog.chain(model("net.a", [1, 2]), 33)


@given(
    st.sets(st.integers(2, 8), min_size=1, max_size=4),
    st.one_of(st.floats(1.001, 64), st.integers(2, 64)),
)
def test_chain_is_the_smallest_then_the_shortest(scales, scale):
    enough = [
        c
        for n in range(1, 6)
        for c in itertools.product(scales, repeat=n)
        if math.prod(c) >= scale * (1 - 1e-9)
    ]
    m = model("net.a", sorted(scales))
    if not enough:
        with pytest.raises(UsageError):
            catalog.chain(m, scale)
        return
    passes = catalog.chain(m, scale)
    assert set(passes) <= scales
    assert list(passes) == sorted(passes, reverse=True)
    least = min(math.prod(c) for c in enough)
    assert math.prod(passes) == least
    assert len(passes) == min(len(c) for c in enough if math.prod(c) == least)
    if scale in scales:
        assert passes == (scale,)


@pytest.mark.parametrize(
    ("scales", "default"), [([2, 4], 4), ([2], 2), ([3], 3), ([2, 3], 3), ([2, 8], 8), ([4], 4)]
)
def test_default_scale(scales, default):
    assert catalog.default_scale(model("net.a", scales)) == default


def test_without_weights_says_what_to_do():
    """How to train it, and the nearest in size that no smaller one of its family beats."""

    def published(name, parameters, psnr, *, arch=ARCH):
        file = WeightsFile("f.pth", 1, "0" * 64, "https://e/f")
        variant = Variant(4, file, parameters, psnr)
        return Model(name, arch, "MIT", "s", variants=(variant,))

    other = Architecture("other", "Other", "dense", "p", "r", "m:C")
    bare = Model("bare.untrained", BARE, "MIT", "s", variants=(Variant(4, None, 500_000),))
    rest = (
        published("net.small", 90_000, 31.0),
        published("net.near", 300_000, 32.0),
        published("net.beaten", 490_000, 31.9),
        published("net.unknown", 500_000, None),
        published("other.same", 500_000, 32.0, arch=other),
    )
    message, hint = catalog.without_weights(bare, 4, catalogue(bare, *rest))
    assert "no weights for bare at x4 to download" in message
    assert "`srcli train bare-x4 --data PHOTOS --out FOLDER`" in hint
    assert "net.near (300K parameters, 32.00 dB on Set5)" in hint
    assert "of its authors: `--weights FILE --model bare`" in hint
    assert catalog.nearest(bare, 4, catalogue(bare, rest[-1])).name == "other.same"
    _, hint = catalog.without_weights(bare, 4, catalogue(bare))
    assert "nearest" not in hint


def test_a_purpose_means_its_first_model_with_the_scale():
    c = replace(
        catalogue(
            model("net.untrained", [2, 3, 4], weights=False),
            model("net.small", [4]),
            model("net.large", [2, 4]),
            model("bare.only", [3], arch=BARE),
        ),
        purposes={"photo": Purpose("photo", "photos", "All.", ("net.small", "net", "bare"))},
    )
    assert catalog.resolve("photo", None, c).name == "net.small"
    assert catalog.resolve("photo", 4, c).name == "net.small"
    assert catalog.resolve("photo", 2, c).name == "net.large"
    assert catalog.resolve("photo", 3, c).name == "bare.only"
    assert catalog.resolve("photo", 2.5, c).name == "net.small"  # native nowhere: the first
    assert catalog.resolve("PHOTOS", 2, c).name == "net.large"
    names = [m.name for m in catalog.candidates("photo", c)]
    assert names == ["net.small", "net.large", "bare.only"]
    with pytest.raises(UsageError, match="no one model's name") as caught:
        catalog.get("photo", c)
    assert "net.small" in caught.value.hint


def test_a_short_name_means_the_model_at_every_scale():
    first, second = model("net.a", [4]), model("net.b", [2, 4])
    c = catalogue(first, second, model("bare.untrained", [2], weights=False, arch=BARE))
    assert catalog.short_name(first, c) == "net"
    assert catalog.short_name(second, c) == "net.b"
    assert catalog.short_name(c.models["bare.untrained"], c) == "bare"
    c = catalogue(model("net.untrained", [4], weights=False), second)
    assert catalog.short_name(second, c) == "net"
    assert catalog.short_name(c.models["net.untrained"], c) == "net.untrained"
    c = catalogue(model("net.a", [3, 4]), model("net.b", [2, 4]))  # net is a at x4 but b at x2
    assert [catalog.short_name(m, c) for m in c.models.values()] == ["net", "net.b"]


def test_what_a_name_stands_for_is_told_where_it_does_not_tell():
    chosen = catalog.resolve("drawing")
    assert catalog.short_name(chosen) in catalog.meaning("drawing", chosen)
    assert catalog.meaning(chosen.name, chosen) is None
    assert catalog.meaning("BCRN", catalog.resolve("BCRN")) is None


# ------------------------------------------------------------------------------------ denoise


@pytest.mark.parametrize(
    ("text", "strength"), [("none", catalog.NO_DENOISING), ("0.5", 0.5), ("3", 3), (" NONE ", -1)]
)
def test_strengths_as_people_type_them(text, strength):
    assert catalog.parse_strength(text) == strength
    assert catalog.parse_strength(catalog.strength_text(strength)) == strength


@pytest.mark.parametrize("text", ["", "-1", "much", "inf", "nan"])
def test_what_is_no_strength(text):
    with pytest.raises(UsageError, match="strength"):
        catalog.parse_strength(text)


def test_a_strength_is_chosen_by_the_model():
    model = catalog.get("realesr_general.authors")
    half, weak = catalog.denoised(model, 0.5), catalog.denoised(model, 0)
    assert half == model
    assert [share for _, share in half.variant(4).parts] == [0.5, 0.5]
    assert [file.file for file, _ in weak.variant(4).parts] == [
        "realesr_general.authors-x4-wdn.pth"
    ]
    with pytest.raises(UsageError, match=r"strength 1\.5") as caught:
        catalog.denoised(model, 1.5)
    assert caught.value.hint == "It takes --denoise 0 to 1."
    with pytest.raises(UsageError, match="none"):
        catalog.denoised(model, catalog.NO_DENOISING)


def test_a_model_without_strengths_says_who_has_them():
    with pytest.raises(UsageError, match=r"bcrn\.srcli does not let you choose") as caught:
        catalog.denoised(catalog.get("bcrn.srcli"), 0.5)
    assert "realesr_general" in caught.value.hint


def test_a_scale_of_one_repairs_where_the_model_has_it():
    assert catalog.chain(model("net.a", [1, 2]), 1) == (1,)
    assert catalog.chain(model("net.a", [1]), 1) == (1,)
    assert catalog.chain(model("net.a", [2]), 1) == ()
    assert catalog.chain(model("net.a", [1, 2]), 0.5) == ()
    assert catalog.chain(model("net.a", [1, 2]), 4) == (2, 2)
    assert catalog.default_scale(model("net.a", [1])) == 1
    with pytest.raises(UsageError, match="cannot reach x2"):
        catalog.chain(model("net.a", [1]), 2)
