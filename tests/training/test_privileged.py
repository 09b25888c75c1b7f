"""A teacher that sees the answer, and its student: the losses, and going on exactly."""

import copy
import threading

import pytest
import torch
from torch.nn import functional as F

from srcli.errors import UsageError
from srcli.training import checkpoint
from srcli.training.config import load
from srcli.training.loop import train
from srcli.training.networks import spec_of
from srcli.training.optimiser import Vectors
from srcli.training.prepare import Run
from srcli.training.privileged import Privileged, laplace
from srcli.training.step import Step

SMALL = [
    "config={d=8, s=4, m=1}", "batch=2", "patch=12", "warmup=0", "precision=fp32", "ema=0.9",
    "log_every=1", "clip=1e9",
]  # fmt: skip


@pytest.fixture
def run(folder, cache, tmp_path):
    def make(out="out", *sets, **more):
        config = load("fsrcnn_pi-x2", sets=[*SMALL, "1.steps=3", "2.steps=3", *sets])
        return Run(config, (folder,), tmp_path / out, cache, device="cpu", **more)

    return make


def events(run, stop_at=None):
    stop, got = threading.Event(), []
    for event in train(run, stop):
        got.append(event)
        if event["event"] == "step" and event["step"] == stop_at:
            stop.set()
    return got


def test_laplace_is_the_density_s_logarithm():
    mean, features = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    spread = torch.rand(2, 3, 4, 5) + 0.1
    wanted = -torch.distributions.Laplace(mean, spread).log_prob(features).mean()
    assert float(laplace(mean, spread, features)) == pytest.approx(float(wanted), rel=1e-5)


def test_teacher_and_student_learn_by_the_paper_s_losses(photos):
    """Both losses, computed anew, and who of all learns by them."""
    weights = 0.25, 2.0
    config = load(
        "fsrcnn_pi-x2",
        sets=[
            *SMALL,
            f"1.loss={{l1=1.0, imitation={weights[0]}}}",
            f"2.loss={{l1=1.0, variational={weights[1]}}}",
        ],
    )
    torch.manual_seed(0)
    spec = spec_of("fsrcnn_pi", 2, config.config)
    network = spec.build().train()
    vectors = Vectors.of(network, copy.deepcopy(network))
    privileged = Privileged(network, config, spec.preprocessing, 2)
    layers = {"network": vectors.weights, "encoder": privileged.encoder.weights}
    layers["heads"] = privileged.heads.weights
    learned = []
    for stage, weight in zip(config.stages, weights, strict=True):
        step = Step(
            network,
            vectors,
            photos,
            config,
            stage,
            steps=4,
            preprocessing=spec.preprocessing,
            privileged=privileged,
        )
        where = step.draw(0)
        lr, hr = spec.preprocessed(
            network, *(x / 255 for x in photos.crops(where.lr, where.hr, stage.patch))
        )
        encoder, heads = privileged.encoder.network, privileged.heads.network
        with torch.no_grad():
            encoded = encoder(hr)
            if stage.teacher:
                wanted = F.l1_loss(network(encoded), hr) + weight * F.l1_loss(encoded, lr)
            else:
                told = features(privileged.teacher, encoded)
                mine = features(network, lr)
                spread = 0.1 * heads.spread(mine) + 1e-8
                density = torch.distributions.Laplace(heads.mean(mine), spread)
                wanted = F.l1_loss(network(lr), hr) - weight * density.log_prob(told).mean()
        before = {name: tensor.clone() for name, tensor in layers.items()}
        step(0)
        assert step.fetch()[0] == pytest.approx(float(wanted), rel=1e-4)
        learned.append({n for n, tensor in layers.items() if not torch.equal(tensor, before[n])})
        privileged.begin_stage()
        privileged.appoint(vectors.ema, network.buffers())
    assert learned == [{"network", "encoder"}, {"network", "heads"}]


def features(network, lr):
    """What the layer before the last gives."""
    return network.middle(network.feature_extraction(lr))


def test_a_run_resumes_bit_for_bit(run):
    """From inside each of the two stages, with the teacher as it was left."""
    assert events(run("whole"))[-1]["event"] == "done"
    for k, stop_at in enumerate((2, 5)):
        assert events(run("parts", resume=k > 0), stop_at)[-1]["event"] == "interrupted"
    assert events(run("parts", resume=True))[-1]["event"] == "done"
    mine, theirs = (checkpoint.load_newest(run(out).out) for out in ("parts", "whole"))
    for key, tensors in (("vectors", 4), ("privileged", 8)):
        pairs = list(zip(mine[key][:tensors], theirs[key][:tensors], strict=True))
        assert len(pairs) == tensors
        assert all(torch.equal(x, y) for x, y in pairs)
    # the teacher is what the first stage left, from where the student has gone on
    assert not torch.equal(theirs["privileged"][7], theirs["vectors"][0])


def test_the_teacher_may_be_of_any_network(folder, cache, recipe, tmp_path):
    """Of colours in 0..255 too, whose features are compared behind its first block."""
    sets = [
        "arch=edsr_baseline", "config={n_feats=8, n_blocks=1}", "quiet=[]",
        "privileged_layer=body.0",
        "1.loss={l1=1.0, imitation=0.1}", "2.loss={l1=1.0, variational=1e-3}", "steps=2",
        "log_every=1",
    ]  # fmt: skip
    config = load(str(recipe), sets=sets)
    got = events(Run(config, (folder,), tmp_path / "out", cache, device="cpu"))
    losses = [e["loss"] for e in got if e["event"] == "step"]
    assert len(losses) == 4
    assert all(0 < loss < 1 for loss in losses[:2])


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["1.steps=0"], "a stage with the loss imitation before it"),
        (["privileged_layer="], "needs privileged_layer"),
        (["loss={imitation=1.0, variational=1.0}"], "two stages"),
        (["privileged_layer=expandin"], "no layer 'expandin'"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(run, sets, said):
    with pytest.raises(UsageError) as caught:
        next(train(run("out", *sets)))
    assert said in f"{caught.value.message} {caught.value.hint}"
