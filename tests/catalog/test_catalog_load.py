"""The catalogue's file format: what it carries, and what it refuses."""

import tomllib
from pathlib import Path

import pytest

from srcli.catalog import NO_DENOISING, CatalogueError, Preprocessing, WeightsFile, load_catalogue

SHA = "0123456789abcdef" * 4

ARCH = """
[[architecture]]
name = "tiny"
title = "Tiny"
family = "residual"
paper = "Nobody 2024"
reference = "arXiv:0000.00000"
network = "tiny_network:Tiny"
"""
WEIGHTS = f"""
[model.variant.weights]
file = "tiny.one-x2.pth"
bytes = 1000
sha256 = "{SHA}"
url = "https://example.org/tiny.pth"
"""
VARIANT = """
[[model.variant]]
scale = 2
parameters = 10
"""
MODEL = """
[[model]]
name = "tiny.one"
licence = "MIT"
source = "https://example.org"
"""
GOOD = ARCH + MODEL + VARIANT + WEIGHTS
PURPOSE = """
[[purpose]]
name = "photo"
title = "photos"
about = "Photos."
models = ["tiny.one"]
"""
ALIAS = """
[[alias]]
names = ["T_I-N.Y"]
models = ['tiny']
"""


def for_photo(text):
    return text.replace("source", "for = ['photo']\nsource")


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "models.toml"
        path.write_text(text)
        return load_catalogue(path)

    return load


def test_carries_all_that_the_survey_needs(load):
    catalogue = load(
        f"""
[[architecture]]
name = "carnish"
title = "CARN-ish"
family = "residual"
paper = "A"
reference = "doi:1"
network = "srcli.archs.carnish:CARN"
multiple = 2

[[architecture]]
name = "collapsible"
title = "SESR-ish"
family = "extremely lightweight"
paper = "B"
reference = "doi:2"
network = "srcli.archs.collapsible:SESR"
expanded = true
tiling = "whole"

[[architecture]]
name = "early"
title = "SRCNN-ish"
family = "convolution"
paper = "C"
reference = "doi:3"
network = "srcli.archs.early:SRCNN"

[[architecture]]
name = "nearest"
title = "Nearest"
family = "resampling"
paper = "D"
reference = "none"

[[model]]
name = "carnish.authors"
licence = "MIT"
source = "https://example.org"
preprocessing = {{ colour = "bgr", maximum = 255 }}
config = {{ groups = 4, widths = [16, 8] }}
[[model.variant]]
scale = 4
parameters = 412
psnr_set5 = 31
weights = {{ file = "c.pth", bytes = 5, sha256 = "{SHA}", url = "https://e/c", state_key = "net" }}
[[model.variant]]
scale = 2
parameters = 412
config = {{ groups = 1 }}
weights = {{ file = "c.pth", bytes = 5, sha256 = "{SHA}", url = "https://e/c", state_key = "net" }}

[[model]]
name = "collapsible.srcli"
licence = "MIT"
source = "https://example.org"
preprocessing = {{ colour = "y" }}
[[model.variant]]
scale = 2
parameters = 9
weights = {{ file = "collapsible.srcli-x2.safetensors", bytes = 5, sha256 = "{SHA}" }}

[[model]]
name = "early.paper"
licence = "none stated"
source = "https://example.org"
preprocessing = {{ colour = "ycbcr", enlarged = true }}
[[model.variant]]
scale = 3
parameters = 8

[[model]]
name = "nearest"
licence = "MIT"
source = "https://example.org"
note = "No network."
"""
    )
    carn = catalogue.models["carnish.authors"]
    assert carn.scales == (2, 4)
    assert carn.preprocessing == Preprocessing("bgr", 255.0)
    assert carn.arch.multiple == 2
    assert carn.variant(2).config == {"groups": 1, "widths": (16, 8)}
    assert carn.variant(4).config == {"groups": 4, "widths": (16, 8)}
    assert carn.variant(2).weights == carn.variant(4).weights  # one file serves both
    assert carn.variant(4).weights == WeightsFile("c.pth", 5, SHA, "https://e/c", "net")
    assert carn.variant(4).psnr_set5 == 31.0
    sesr = catalogue.models["collapsible.srcli"]
    assert sesr.arch.expanded
    assert sesr.arch.tiling == "whole"
    assert sesr.preprocessing == Preprocessing("y")
    assert sesr.variant(2).weights.bundled
    early = catalogue.models["early.paper"]
    assert early.preprocessing == Preprocessing("ycbcr", 1.0, True)
    assert early.variant(3).weights is None
    assert catalogue.models["nearest"].is_resampler
    assert [m.name for m in catalogue.of_architecture("early")] == ["early.paper"]
    assert hash(carn) == hash(carn)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t + MODEL + VARIANT, "tiny.one: there are two"),
        (lambda t: ARCH + t, "architecture tiny: there are two"),
        (lambda t: t.replace("tiny.one", "huge.one", 1), "huge.one: there is no architecture"),
        (lambda t: t.replace("licence", "license"), "model tiny.one: licence is missing"),
        (lambda t: t + "colour = 3", "model tiny.one, x2, weights: unknown key colour"),
        (lambda t: t.replace("parameters", "psnr = 1\nparameters"), "x2: unknown key psnr"),
        (lambda t: t.replace("title", "titel = '1'\ntitle"), "tiny: unknown key titel"),
        (lambda t: "rows = 1\n" + t, "top level: unknown key rows"),
        (lambda t: t.replace(SHA, SHA[:-1]), "x2, weights: sha256 must be 64"),
        (lambda t: t.replace(SHA, SHA.upper()), "x2, weights: sha256 must be 64"),
        (lambda t: t.replace("tiny.one-x2.pth", "../x.pth"), "weights: file must be"),
        (lambda t: t.replace("bytes = 1000", "bytes = 0"), "weights: bytes must lie"),
        (lambda t: t.replace("bytes = 1000", "bytes = true"), "weights: bytes must be of type int"),
        (lambda t: t.replace("https:", "ftp:"), "url must be http"),
        (lambda t: "\n".join(x for x in t.splitlines() if "url" not in x), "is safetensors"),
        (lambda t: t.replace("residual", "magic"), "architecture tiny: family must be one of"),
        (lambda t: t.replace("tiny_network:Tiny", "tiny_network"), "network must be module:Class"),
        (lambda t: t.replace('name = "tiny.one"', 'name = "tiny"'), "must be architecture.tag"),
        (lambda t: t.replace("scale = 2", "scale = 2.5"), "scale must be of type int"),
        (lambda t: t + VARIANT.replace("10", "11"), "a scale is listed twice"),
        (lambda t: t + VARIANT.replace("= 2", "= 4"), "either all variants have weights or none"),
        (lambda t: t.replace("scale = 2", "scale = 2\nconfig = {scale = 2}"), "config cannot hold"),
        (lambda t: t.replace("scale = 2", "scale = 2\npsnr_set5 = -1"), "psnr_set5 must be a posi"),
        (lambda t: ARCH + MODEL, "there is no variant"),
        (lambda t: t + "[[model]]\nname = 'tiny.two'", "model tiny.two: there is no variant"),
        (lambda t: t + "[", "cannot be read"),
        (lambda t: t.replace("source", "for = ['photo']\nsource"), "no purpose 'photo'"),
        (lambda t: PURPOSE + t, "purpose photo: tiny.one is not for it"),
        (lambda t: PURPOSE + for_photo(t).replace('"tiny.one"', '"tiny.two"'), "tiny.one, which"),
        (lambda t: PURPOSE + PURPOSE + for_photo(t), "purpose photo: there are two"),
        (lambda t: PURPOSE.replace("photo", "tiny") + t, "'tiny' can be taken for tiny"),
        (lambda t: ALIAS + t, "alias T_I-N.Y: 'T_I-N.Y' can be taken for tiny"),
        (lambda t: ALIAS.replace("T_I-N.Y", "small") * 2 + t, "alias small: there are two"),
        (lambda t: ALIAS.replace("T_I", "x").replace("'tiny'", "'huge'") + t, "names huge, which"),
        (lambda t: ALIAS.replace("['tiny']", "[]") + t, "models must be a list of names"),
        (lambda t: ALIAS.replace("['tiny']", "['tiny', 'tiny']") + t, "models has a name twice"),
        (
            lambda t: t + (MODEL + VARIANT + WEIGHTS).replace('"tiny.one"', '"tiny.two"').replace(
                "1000", "1001"
            ),
            "model tiny.two: the file tiny.one-x2.pth is described differently under tiny.one",
        ),
    ],
)  # fmt: skip
def test_refuses_and_names_the_entry(load, change, said):
    load(GOOD)  # the change is what breaks it
    with pytest.raises(CatalogueError, match=r"catalogue .*models\.toml") as caught:
        load(change(GOOD))
    assert said in str(caught.value)


def test_purposes_and_other_names(load):
    catalogue = load(PURPOSE + ALIAS.replace("T_I-N.Y", "small one") + for_photo(GOOD))
    assert catalogue.models["tiny.one"].purposes == ("photo",)
    assert catalogue.purposes["photo"].models == ("tiny.one",)
    assert catalogue.aliases["small one"].models == ("tiny",)


def test_a_missing_file_is_a_catalogue_error(tmp_path):
    with pytest.raises(CatalogueError, match="cannot be read"):
        load_catalogue(tmp_path / "none.toml")


def test_the_package_holds_its_data():
    """package-data names catalog/*.toml; a wheel without it would be useless."""
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    data = tomllib.loads(pyproject.read_text())["tool"]["setuptools"]["package-data"]["srcli"]
    assert "catalog/*.toml" in data


# ------------------------------------------------------------------------------------ denoise


def file_of(strength, n):
    return f"""
[[model.variant.denoise.weights]]
strength = {strength}
file = "tiny.one-x2-{n}.pth"
bytes = 1000
sha256 = "{SHA[::-1] if n else SHA}"
url = "https://example.org/{n}.pth"
"""


def denoise(*files, default='"none"', between="false"):
    table = f"\n[model.variant.denoise]\nbetween = {between}\ndefault = {default}\n"
    return ARCH + MODEL + VARIANT + table + "".join(files)


def test_levels_of_denoising_are_files(load):
    text = denoise(file_of(1, 2), file_of('"none"', 0), file_of(0, 1))
    variant = load(text).models["tiny.one"].variant(2)
    assert variant.denoise.strengths == (NO_DENOISING, 0, 1)
    assert [file.file for file in variant.files] == [f"tiny.one-x2-{n}.pth" for n in range(3)]
    for strength, n in ((NO_DENOISING, 0), (0, 1), (1, 2)):
        chosen = variant.denoised(strength)
        assert chosen.weights.file == f"tiny.one-x2-{n}.pth"
        assert chosen.parts == ((chosen.weights, 1.0),)
    assert variant == variant.denoised(NO_DENOISING)
    assert not variant.denoise.has(0.5)


def test_between_two_files_lie_their_mixtures(load):
    text = denoise(file_of(1, 1), file_of(0, 0), default="0.25", between="true")
    variant = load(text).models["tiny.one"].variant(2)
    shares = [(file.file, share) for file, share in variant.parts]
    assert shares == [("tiny.one-x2-1.pth", 0.25), ("tiny.one-x2-0.pth", 0.75)]
    assert variant.weights.file == "tiny.one-x2-0.pth"
    assert variant.denoised(1).parts == ((variant.files[1], 1.0),)
    assert len({variant.denoised(s).identity for s in (0, 0.25, 0.5, 1)}) == 4
    assert variant.denoised(0).identity == variant.files[0].sha256
    assert not variant.denoise.has(1.01)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (denoise(file_of(0, 0), default="0"), "at least two files"),
        (denoise(file_of(0, 0), file_of(0, 1), default="0"), "another strength"),
        (denoise(file_of(0, 0), file_of(1, 1), default="0.5"), "default"),
        (denoise(file_of(-1, 0), file_of(1, 1), default="1"), "strength"),
        (denoise(file_of('"weak"', 0), file_of(1, 1), default="1"), "none"),
        (denoise(file_of(0, 0), file_of(1, 1), default="1") + WEIGHTS, "exclude each other"),
    ],
)
def test_denoising_that_makes_no_sense_is_refused(load, text, said):
    with pytest.raises(CatalogueError, match=said):
        load(text)
