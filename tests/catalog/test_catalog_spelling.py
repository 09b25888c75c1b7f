"""Names as people write them, and what is said of those that are none."""

import re
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from srcli import catalog
from srcli.catalog import Alias, Purpose
from srcli.errors import UsageError

BUILT_IN = catalog.built_in()


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("BCRN", "bcrn"),
        ("rlfn-s", "rlfn_s"),
        ("RLFN S", "rlfn_s"),
        ("BSRN-S", "bsrn_s"),
        ("bcrn-authors", "bcrn.authors"),
        ("BCRN_Authors", "bcrn.authors"),
        ("swiftsrgan", "swift_srgan"),
        ("bicubic++", "bicubic_pp"),
        ("FSRCNN-s", "fsrcnn_s"),
        ("Photo", "photo"),
        ("text and screens", "text"),
        ("psnr-research", "best"),
        ("anime", "realesr_animevideov3"),
        ("Real-ESRGAN anime video", "realesr_animevideov3"),
        ("RealESRGAN_x4plus", "realesrgan_x4plus"),
        ("RealESRGAN_x4plus_anime_6B", "realesrgan_anime"),
        ("realesr-general-x4v3", "realesr_general"),
        ("rrdbnet_x2plus", "realesrgan_x2plus"),
        ("rrdbnet_anime", "realesrgan_anime"),
    ],
)
def test_how_people_write(written, name):
    assert catalog.canonical(written, BUILT_IN) == name
    assert catalog.resolve(written, 4) == catalog.resolve(name, 4)


@pytest.mark.parametrize("name", [*BUILT_IN.models, *BUILT_IN.architectures, *BUILT_IN.purposes])
def test_every_name_is_its_own_spelling(name):
    for written in (name, name.upper(), name.replace("_", "-"), name.replace("_", "")):
        assert catalog.canonical(written, BUILT_IN) == name


@pytest.mark.parametrize(
    ("written", "said", "hint"),
    [
        ("swinir", "srcli has no swinir", ["bsrn"]),
        ("GLADSR", "srcli has no GLADSR: no code was published", ["esrn"]),
        ("realesrgan", "several", ["realesr_general", "realesrgan_x4plus", "realesrgan_anime"]),
        ("ESRGAN", "several", ["realesrgan_x4plus", "(--weights FILE) rrdbnet"]),
        ("waifu2x", "several", ["waifu2x_photo", "waifu2x_art"]),
        ("SRGAN", "several", ["swift_srgan", "srgan5"]),
        ("bcm", "no model 'bcm'", ["Did you mean bcrn?"]),
        ("brcn", "no model", ["bcrn"]),
        ("bcrn.author", "no model", ["bcrn.authors"]),
        ("swift", "no model", ["swift_srgan"]),
        ("spanch", "no model", ["span_ch28", "span_ch26"]),
        ("swinr", "no model", ["swinir"]),
        ("qqqqqqqqqqqq", "no model", ["`srcli models`"]),
        ("", "no model ''", ["`srcli models`"]),
        ("-", "no model '-'", ["`srcli models`"]),
    ],
)
def test_names_that_are_none_or_several(written, said, hint):
    for find in (catalog.get, lambda n: catalog.resolve(n, 4)):
        with pytest.raises(UsageError) as caught:
            find(written)
        assert said in caught.value.message
        for word in hint:
            assert word in caught.value.hint


LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789_"


@st.composite
def mistyped(draw):
    """A name of at least four letters with one or two letters wrong."""
    known = [*BUILT_IN.architectures, *BUILT_IN.purposes, *BUILT_IN.aliases, "bcrn.authors"]
    name = text = draw(st.sampled_from([n for n in known if len(n) >= 4]))
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(text) - 1))
        letter = draw(st.sampled_from(LETTERS))
        text = draw(
            st.sampled_from(
                [
                    text[:at] + letter + text[at:],
                    text[:at] + letter + text[at + 1 :],
                    text[:at] + text[at + 1 :],
                    text[:at] + text[at : at + 2][::-1] + text[at + 2 :],
                ]
            )
        )
    return name, text


@settings(deadline=None)  # a busy machine is no mistake
@example(("rcan", "rnc"))  # c and n swapped, and a between them left out
@given(mistyped())
def test_a_typo_or_two_always_gets_a_suggestion(names):
    _, text = names
    try:
        catalog.resolve(text, 4)
    except UsageError as error:
        found = any(word in error.hint for word in ("Did you mean", "nearest", "the one you mean"))
        assert found, (text, error.hint)


def test_the_user_s_own_name_wins_over_one_that_is_written_alike():
    model = replace(catalog.get("rlfn.authors"), name="rlfn.s")
    mine = replace(BUILT_IN, models={**BUILT_IN.models, "rlfn.s": model})
    assert catalog.canonical("rlfn.s", mine) == "rlfn.s"
    assert catalog.canonical("rlfn_s", mine) == "rlfn_s"
    with pytest.raises(UsageError, match="several") as caught:
        catalog.canonical("RLFN-S", mine)
    assert "rlfn_s" in caught.value.hint
    assert "rlfn.s" in caught.value.hint


def test_the_built_in_names_lead_somewhere():
    assert {"photo", "drawing", "text", "fast", "best"} <= set(BUILT_IN.purposes)
    for purpose in BUILT_IN.purposes.values():
        assert isinstance(purpose, Purpose)
        for scale in (None, 2, 3, 4):
            chosen = catalog.resolve(purpose.name, scale)
            assert chosen.trained
            assert purpose.name in chosen.purposes
    # --denoise is for one network, so that it is one at every factor
    damaged = {catalog.denoised(catalog.resolve("damaged", s), 0.2).name for s in (1, 2, 3, 4, 8)}
    assert len(damaged) == 1
    for alias in BUILT_IN.aliases.values():
        assert isinstance(alias, Alias)
        for name in alias.models + alias.nearest:
            assert catalog.canonical(name, BUILT_IN) == name


@pytest.mark.parametrize("model", catalog.models(), ids=lambda m: m.name)
def test_every_model_that_can_be_used_says_what_it_does_well_and_badly(model):
    if model.trained:
        assert len(model.advice) > 30
        assert model.advice.endswith(".")
        if {"photo", "damaged"} & set(model.purposes):  # for flaws, not for more of them
            assert not re.search("enlarge|JPEG.* sharper", model.advice)
