"""Learning from a teacher that has seen the answer: privileged information.

Lee et al., "Learning with privileged information for efficient image super-resolution", ECCV 2020,
arXiv 2007.07524. Two stages of a run, for any network:

1. A stage whose loss has the term ``imitation`` trains the **teacher**: the network is given, in
   the LR picture's place, what an encoder has made of the HR picture. Encoder and network learn
   together; imitation is the mean absolute difference of the encoder's output and the LR picture.
2. A later stage with the term ``variational`` trains the **student**: the network, from the
   teacher's weights on (as every stage begins with those of the stage before), is given LR pictures
   again. From what one of its layers gives (``privileged_layer``), two heads foretell what the
   teacher's layer gives, as the mean and the spread of a Laplace distribution; the loss is minus
   the mean logarithm of its density (variational information distillation, arXiv 1904.05835).

Encoder and heads are needed while training only. The authors' code adds a constant to the second
loss, which has no gradient and is left out.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from srcli.archs.blocks import conv
from srcli.catalog.entries import Preprocessing
from srcli.errors import UsageError
from srcli.training.config import Config, Stage
from srcli.training.optimiser import Beside, flatten

WIDE, NARROW = 56, 12  # channels of the encoder
SPREAD, LEAST = 0.1, 1e-8  # of Softplus, and what is added to it
SIDE = 16  # LR pixels, of a picture that shows how many channels the layer has


class Encoder(nn.Sequential):
    """What the network would give -> what it is given, of its size: FSRCNN's layers turned round.

    Args:
        channels: of both.
        stride: by how much the picture becomes smaller.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__(
            conv(channels, WIDE, 5),
            nn.PReLU(),
            conv(WIDE, WIDE, 5, stride=stride),
            nn.PReLU(),
            conv(WIDE, NARROW),
            nn.PReLU(),
            conv(NARROW, channels),
        )


class Heads(nn.Module):
    """(n, c, h, w) of the student's features to mean and spread of each of the teacher's."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.mean = nn.Sequential(conv(n_feats, n_feats, 1), nn.PReLU(), conv(n_feats, n_feats, 1))
        self.spread = nn.Sequential(
            conv(n_feats, n_feats, 1), nn.PReLU(), conv(n_feats, n_feats, 1), nn.Softplus()
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(features), SPREAD * self.spread(features) + LEAST


def laplace(mean: Tensor, spread: Tensor, features: Tensor) -> Tensor:
    """Minus the mean logarithm of the density that Laplace distributions have at ``features``."""
    return ((2 * spread).log() + (mean - features).abs() / spread).mean()


class Privileged:
    """Encoder, heads, and the teacher once it is trained.

    Args:
        network: of the run, on its device.
        config: names the layer.
        preprocessing: what the network takes and gives.
        scale: factor.

    Attributes:
        encoder, heads: what learns beside the network in the one stage and in the other.
        average: of the encoder's weights over the steps.

    Raises:
        UsageError: the network has no such layer, or it gives no features.
    """

    def __init__(
        self, network: nn.Module, config: Config, preprocessing: Preprocessing, scale: int
    ) -> None:
        self._seen: dict[str, Tensor] = {}
        self._layer = config.privileged_layer
        self.teacher = copy.deepcopy(network).eval()
        self._known = flatten(self.teacher)
        self.teacher.requires_grad_(False)
        device = self._known.device
        n_feats = self._watch(network, self.teacher, preprocessing) if self._layer else 1
        with torch.random.fork_rng(devices=[]):  # the run's other random numbers stay as they were
            torch.manual_seed(config.seed + 2)
            encoder = Encoder(preprocessing.channels, 1 if preprocessing.enlarged else scale)
            heads = Heads(n_feats)
        self.encoder = Beside(encoder.to(device), config)
        self.heads = Beside(heads.to(device), config)
        self.average = self.encoder.weights.clone()

    def _watch(self, network: nn.Module, teacher: nn.Module, preprocessing: Preprocessing) -> int:
        """Note what the layer gives in both networks; its channels."""
        for name, owner in (("student", network), ("teacher", teacher)):
            try:
                layer = owner.get_submodule(self._layer)
            except AttributeError:
                names = ", ".join(n for n, _ in network.named_children())
                raise UsageError(
                    f"privileged_layer: the network has no layer {self._layer!r}.",
                    f"Its outermost ones: {names}.",
                ) from None
            layer.register_forward_hook(partial(self._note, name))
        device = self._known.device
        with torch.no_grad():
            teacher(torch.zeros((1, preprocessing.channels, SIDE, SIDE), device=device))
        features = self._seen.pop("teacher", None)
        if features is None or features.ndim != 4:
            raise UsageError(f"privileged_layer: {self._layer!r} gives no features.")
        return features.shape[1]

    def _note(self, name: str, _: nn.Module, args: Any, out: Any) -> None:
        if isinstance(out, Tensor):
            self._seen[name] = out

    def learner(self, stage: Stage) -> Beside | None:
        """What learns beside the network in a stage."""
        return self.encoder if stage.teacher else self.heads if stage.student else None

    def tensors(self) -> list[Tensor]:
        """All that is to be kept of a run."""
        return [*self.changing(), self._known, *self.teacher.buffers()]

    def changing(self) -> list[Tensor]:
        """All that a step changes."""
        return [*self.encoder.tensors(), *self.heads.tensors(), self.average]

    def begin_stage(self) -> None:
        """Adam forgets; the encoder is what it was on average."""
        self.encoder.weights.copy_(self.average)
        for learner in (self.encoder, self.heads):
            learner.begin_stage()

    def appoint(self, weights: Tensor, buffers: Iterator[Tensor]) -> None:
        """The network, as a stage has left it, is the teacher of those that follow."""
        self._known.copy_(weights)
        for mine, theirs in zip(self.teacher.buffers(), buffers, strict=True):
            mine.copy_(theirs)

    def encoded(self, hr: Tensor) -> Tensor:
        """What the teacher is given: (n, c, h s, w s) -> (n, c, h, w), both in 0..1."""
        encoded: Tensor = self.encoder.network(hr)
        return encoded

    def surprise(self, hr: Tensor, white: float) -> Tensor:
        """The variational loss of the student's last pass; ``hr`` as `encoded` takes it, the
        network wants ``white`` times as much."""
        student = self._seen["student"]
        with torch.no_grad():
            self.teacher(self.encoded(hr) * white)
        mean, spread = self.heads.network(student)
        return laplace(mean.float(), spread.float(), self._seen["teacher"].float())
