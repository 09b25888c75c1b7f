import pytest

from srcli import catalog
from srcli.errors import UsageError
from srcli.training.config import Config, load, recipes
from srcli.training.networks import spec_of
from srcli.training.schedule import ema_decay, learning_rate

AFTER_METHODS = {  # recipes that are not called as their results are
    "srgan-x4": "srresnet-x4",
    "esrgan-x4": "rrdbnet-x4",
    "realesrgan": "rrdbnet-x4",
}


@pytest.mark.parametrize("name", recipes())
@pytest.mark.parametrize("preset", [None, "quick"])
def test_every_recipe_loads_and_its_network_exists(name, preset):
    config = load(name, preset=preset)
    assert spec_of(config.arch, config.scale, config.config).scale == config.scale
    assert config.name == AFTER_METHODS.get(name, name)
    assert Config.from_json(config.to_json()) == config


@pytest.mark.parametrize("arch", catalog.architectures(), ids=lambda a: a.name)
def test_every_network_has_a_recipe(arch):
    """The one written for it, or the general one."""
    scales = {s for m in catalog.models() if m.arch == arch for s in m.scales}
    for scale in scales:
        config = load(f"{arch.name}-x{scale}", preset="quick")
        assert (config.arch, config.scale, config.name) == (
            arch.name,
            scale,
            f"{arch.name}-x{scale}",
        )
    with pytest.raises(UsageError, match="no recipe"):
        load(f"{arch.name}-x7")


def test_sets():
    config = load(
        "bcrn-x4",
        sets=["batch=8", "2.batch=4", "loss={charbonnier=1, fft=0.1}", "ema=0.5", "compile=off"],
    )
    assert [s.batch for s in config.stages] == [8, 4]
    assert config.stages[0].loss == {"charbonnier": 1, "fft": 0.1}
    assert (config.ema, config.compile) == (0.5, "off")
    assert len(load("bcrn-x4", sets=["2.steps=0"]).stages) == 1
    config = load("bcrn-x4", sets=["config.n_feats=8", "config.ghost=true", "2.loss.fft=0.5"])
    assert config.config == {"n_feats": 8, "ghost": True}
    assert config.stages[1].loss == {**load("bcrn-x4").stages[1].loss, "fft": 0.5}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("bacth=8", "batch"),
        ("batch=many", "of type int"),
        ("batch=1.5", "of type int"),
        ("batch=0", "above 0"),
        ("schedule=linear", "cosine, halving, constant, hold"),
        ("loss={l3=1}", "no loss 'l3'"),
        ("loss={distill=1}", "teacher"),
        ("9.batch=3", "2 stages"),
        ("loss={adversarial=1}", "needs a discriminator"),
        ("discriminator_rate=-1", "must not be negative"),
        ("precision=fp8", "auto, bf16, fp16, fp32"),
        ("batch", "key=value"),
        ("steps.n=1", "no key 'steps.n'"),
    ],
)
def test_wrong_sets_say_what_is_wrong(item, message):
    with pytest.raises(UsageError) as caught:
        load("bcrn-x4", sets=[item])
    assert message in f"{caught.value.message} {caught.value.hint}"


def test_real_esrgan_for_any_network():
    config = load("realesrgan", sets=["arch=espcn", "scale=2"])
    assert config.name == "espcn-x2"
    assert config.stages[1].adversarial
    assert config.degrade == "real-esrgan"


def test_wrong_names():
    with pytest.raises(UsageError) as caught:
        load("bcrn-x5")
    assert "bcrn-x4" in str(caught.value.hint)
    with pytest.raises(UsageError, match="preset"):
        load("bcrn-x4", preset="slow")
    with pytest.raises(UsageError, match="swift_srgan"):
        spec_of("swift_srgan", 3)
    with pytest.raises(UsageError):
        spec_of("bicubic", 2)


def test_learning_rate():
    def cosine(k):
        return learning_rate(k, 100, peak=1.0, warmup=10, final=0.1)

    assert [cosine(k) for k in (0, 4, 9)] == [0.1, 0.5, 1.0]
    assert cosine(10) == 1.0
    assert cosine(55) == pytest.approx(0.55)
    assert cosine(100) == pytest.approx(0.1)
    halving = [
        learning_rate(k, 100, peak=1.0, schedule="halving", halve_every=30) for k in (0, 29, 30, 60)
    ]
    assert halving == [1, 1, 0.5, 0.25]
    assert learning_rate(99, 100, peak=1.0, schedule="constant") == 1

    def held(k: int) -> float:
        return learning_rate(k, 100, peak=1.0, schedule="hold", fall=0.2, final=0.1)

    assert [held(k) for k in (0, 50, 80)] == [1, 1, 1]
    assert held(90) == pytest.approx(0.55)
    assert held(99) == pytest.approx(0.1 + 0.9 / 20)


def test_ema_decay_grows_to_its_limit():
    assert ema_decay(0, 0.999) == 0.1
    assert ema_decay(10**6, 0.999) == 0.999
