"""Adversarial runs: the forms of the loss, two optimisers, and going on exactly."""

import copy
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from srcli.errors import UsageError
from srcli.training import checkpoint
from srcli.training.adversary import (
    DISCRIMINATORS,
    Adversary,
    discriminator,
    discriminator_loss,
    generator_loss,
)
from srcli.training.config import Config, load
from srcli.training.loop import train
from srcli.training.networks import spec_of
from srcli.training.optimiser import Vectors
from srcli.training.prepare import Run
from srcli.training.step import Step

REPOSITORY = Path(__file__).parents[2]
GAN = """
discriminator = "{name}"
discriminator_config = {{ n_feats = 4 }}
rivalry = "{rivalry}"
"""
STAGE = """
[[stage]]
steps = 8
batch = 2
patch = 16
learning_rate = 1e-4
discriminator_rate = 4e-4
loss = {{ l1 = 1.0, adversarial = 0.1 }}
"""


@pytest.fixture
def gan(recipe, tmp_path):
    """A recipe of a stage without and two stages with a discriminator."""

    def make(name="unet", rivalry="vanilla"):
        text = recipe.read_text()
        head, first, _ = text.split("[[stage]]")
        parts = [head, GAN.format(name=name, rivalry=rivalry), "[[stage]]", first]
        path = tmp_path / f"{name}-{rivalry}.toml"
        path.write_text("".join(parts) + STAGE.format() + STAGE.format())
        return path

    return make


@pytest.fixture
def run(gan, folder, cache, tmp_path):
    def make(out="out", *sets, name="unet", rivalry="vanilla", **more):
        config = load(str(gan(name, rivalry)), sets=["1.steps=3", *sets])
        return Run(config, (folder,), tmp_path / out, cache, device="cpu", **more)

    return make


def events(run, stop_at=None):
    stop, got = threading.Event(), []
    for event in train(run, stop):
        got.append(event)
        if stop_at is not None and event["event"] == "step" and event["step"] >= stop_at:
            stop.set()
    return got


def assert_same_run(a: Path, b: Path) -> None:
    mine, theirs = (checkpoint.load_newest(out) for out in (a, b))
    for x, y in zip(mine["vectors"][:4], theirs["vectors"][:4], strict=True):
        assert torch.equal(x, y)
    assert len(mine["adversary"]) > 4
    for x, y in zip(mine["adversary"], theirs["adversary"], strict=True):
        assert torch.equal(x, y)
    mine, theirs = (load_file(out / "bcrn-x2.safetensors") for out in (a, b))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


# ----------------------------------------------------------------------------- forms of the loss


def test_the_forms_of_the_loss():
    """By their formulas, on logits of two pictures."""
    real, fake = torch.tensor([[1.5], [0.5]]), torch.tensor([[-0.5], [2.0]])
    one, zero = torch.ones(2, 1), torch.zeros(2, 1)
    bce = F.binary_cross_entropy_with_logits
    r, f = real - fake.mean(), fake - real.mean()
    wanted = {
        "vanilla": (bce(fake, one), bce(real, one) + bce(fake, zero)),
        "least_squares": (F.mse_loss(fake, one), F.mse_loss(real, one) + F.mse_loss(fake, zero)),
        "hinge": (-fake.mean(), F.relu(1 - real).mean() + F.relu(1 + fake).mean()),
        "relativistic": ((bce(r, zero) + bce(f, one)) / 2, (bce(r, one) + bce(f, zero)) / 2),
        "probability": (
            (1 - fake.sigmoid()).mean(),
            (1 - real.sigmoid()).mean() + fake.sigmoid().mean(),
        ),
    }
    for form, (paid_by_network, paid_by_discriminator) in wanted.items():
        got = generator_loss(form, fake, real), discriminator_loss(form, fake, real)
        assert float(got[0]) == pytest.approx(float(paid_by_network), rel=1e-5), form
        assert float(got[1]) == pytest.approx(float(paid_by_discriminator), rel=1e-5), form


@pytest.mark.parametrize("rivalry", ["vanilla", "least_squares", "hinge", "relativistic"])
def test_it_learns_to_tell(gan, rivalry):
    config = load(str(gan("patch", rivalry)))
    adversary = Adversary(config, 32, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    rate = torch.tensor(2e-3)
    first = last = 0.0
    for k in range(40):
        hr = torch.rand(4, 3, 32, 32, generator=generator)
        sr = F.avg_pool2d(hr, 3, 1, 1)
        loss, grad = adversary.gradient(sr, hr)
        with torch.no_grad():
            young = [torch.tensor(1 - beta ** (k + 1)) for beta in (config.beta1, config.beta2)]
            assert bool(adversary.update(loss, grad, rate, (young[0], young[1])))
        first, last = (float(loss) if k == 0 else first), float(loss)
    assert last < 0.8 * first
    assert adversary.fetch() > last
    assert adversary.fetch() == 0


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_the_same_seed_gives_the_same_discriminator(gan, name):
    config = load(str(gan(name)))
    before = torch.random.get_rng_state()
    a, b = (Adversary(config, 32, torch.device("cpu")) for _ in range(2))
    assert torch.equal(a.weights, b.weights)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_step_is_the_two_networks_own(gan, photos):
    """Both weights after one step, computed anew with PyTorch's own optimiser."""
    path = gan("patch", "relativistic")
    sets = ["1.steps=0", "3.steps=0", "clip=1e9", "discriminator_config={n_feats=4}"]
    config = load(str(path), sets=sets)
    (stage,) = config.stages
    torch.manual_seed(0)
    spec = spec_of("bcrn", 2, config.config)
    network = spec.build().train()
    vectors = Vectors.of(network, copy.deepcopy(network))
    adversary = Adversary(config, 32, torch.device("cpu"))
    step = Step(
        network,
        vectors,
        photos,
        config,
        stage,
        steps=4,
        preprocessing=spec.preprocessing,
        adversary=adversary,
    )
    generator, judge = copy.deepcopy(network), copy.deepcopy(adversary.network)
    betas = {"betas": (config.beta1, config.beta2), "eps": config.eps}
    first = torch.optim.Adam(generator.parameters(), lr=step.rate(0), **betas)
    ratio = stage.discriminator_rate / stage.learning_rate
    second = torch.optim.Adam(judge.parameters(), lr=step.rate(0) * ratio, **betas)
    where = step.draw(0)
    lr, hr = (x / 255 for x in photos.crops(where.lr, where.hr, stage.patch))
    sr = generator(lr)
    fake = judge(sr)
    loss = (sr - hr).abs().mean() + 0.1 * generator_loss("relativistic", fake, judge(hr).detach())
    loss.backward()
    first.step()
    second.zero_grad()
    real, fake = judge(hr), judge(sr.detach())
    discriminator_loss("relativistic", fake, real).backward()
    second.step()
    step(0)
    assert step.fetch()[0] == pytest.approx(float(loss.detach()), rel=1e-4)
    for mine, theirs in zip(network.parameters(), generator.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=2e-6)
    for mine, theirs in zip(adversary.network.parameters(), judge.parameters(), strict=True):
        # Adam's first step is the rate times the gradient's sign, which rounding may turn
        assert (mine - theirs).abs().mean() < 2e-6


# ------------------------------------------------------------------------------------------ runs


@pytest.mark.parametrize(
    ("name", "rivalry"),
    [
        ("unet", "vanilla"),
        pytest.param("vgg", "relativistic", marks=pytest.mark.slow),
        pytest.param("swift", "probability", marks=pytest.mark.slow),
        pytest.param("patch", "hinge", marks=pytest.mark.slow),
    ],
)
def test_a_run_resumes_bit_for_bit(run, name, rivalry):
    kind = {"name": name, "rivalry": rivalry}
    got = events(run("whole", **kind))
    assert got[-1]["event"] == "done"
    told = ["discriminator_loss" in e for e in got if e["event"] == "step"]
    assert told[0] is False
    assert told[-1] is True
    assert events(run("parts", **kind), 7)[-1]["event"] == "interrupted"
    assert events(run("parts", resume=True, **kind))[-1]["event"] == "done"
    assert_same_run(run("parts").out, run("whole").out)


def test_another_discriminator_cannot_be_resumed(run):
    events(run("out"), 2)
    with pytest.raises(UsageError, match="discriminator: unet then, patch now"):
        events(run("out", "discriminator=patch", resume=True))


@pytest.mark.long
def test_killed_again_and_again_equals_uninterrupted(run, gan):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    recipe = gan("unet", "relativistic")

    def command(out: str, *more: str) -> list[str]:
        made = run(out)
        code = (
            f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
            "import typer, torch; torch.set_num_threads(1)\n"
            "from srcli.cli.train import train\n"
            "app = typer.Typer(pretty_exceptions_enable=False); app.command()(train); app()\n"
        )
        return [
            sys.executable, "-c", code, str(recipe), "--data", str(made.data[0]),
            "--out", str(made.out), "--cache", str(made.cache), "--device", "cpu",
            "--set", "steps=8", "--set", "checkpoint_every=2", *more,
        ]  # fmt: skip

    subprocess.run(command("whole"), check=True, env=environment, stderr=subprocess.DEVNULL)
    out, kills = run("parts").out, 0
    for k in range(3):
        before = checkpoint.found(out)
        process = subprocess.Popen(
            command("parts", *(["--resume"] if before else [])),
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while checkpoint.found(out) == before and time.monotonic() < deadline:
            time.sleep(0.02 + 0.011 * k)
            if process.poll() is not None:
                break
        kills += process.poll() is None
        process.kill()
        process.wait()
        if (out / "bcrn-x2.safetensors").exists():
            break
    assert kills >= 2
    if not (out / "bcrn-x2.safetensors").exists():
        subprocess.run(command("parts", "--resume"), check=True, env=environment)
    assert_same_run(out, run("whole").out)


def test_a_stage_without_it_is_as_in_a_run_that_has_none(run, recipe):
    plain = replace(run("plain"), config=load(str(recipe), sets=["1.steps=3", "2.steps=0"]))
    gan = run("gan", "2.steps=1", "3.steps=0")
    losses = [
        [e["loss"] for e in events(asked) if e["event"] == "step" and e["step"] <= 3]
        for asked in (plain, gan)
    ]
    assert len(losses[0]) == 2
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["discriminator=none"], "needs a discriminator"),
        (["discriminator=dunet"], "none, unet, patch, vgg, swift"),
        (["rivalry=wasserstein"], "vanilla, least_squares"),
        (["patch=17"], "multiple of 8, not 34"),
        (["discriminator_config={n_layers=2}"], "cannot be built"),
        (["discriminator=vgg", "2.patch=32"], "one size"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(run, sets, said):
    with pytest.raises(UsageError) as caught:
        next(train(run("out", *sets)))
    assert said in f"{caught.value.message} {caught.value.hint}"
    assert not run("out").out.exists()


def test_the_recipe_keeps_the_discriminator(gan):
    config = load(str(gan()))
    assert Config.from_json(config.to_json()) == config
    assert discriminator("vgg", 64, {"n_feats": 2})(torch.rand(1, 3, 64, 64)).shape == (1, 1)
