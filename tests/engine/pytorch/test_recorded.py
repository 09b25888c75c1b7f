"""Which sizes are recorded, and when; without a card, a recording is stood in for."""

import pytest
import torch

from srcli.engine.pytorch import recorded
from srcli.engine.pytorch.recorded import MOST, Recorded


@pytest.fixture
def made(monkeypatch):
    """The sizes that were recorded; replaying doubles the input."""
    sizes = []

    class Graph:
        def __init__(self, recording):
            self.recording = recording

        def replay(self):
            self.recording.sr.copy_(self.recording.rgb * 2)

    def record(network, rgb):
        if rgb.shape[3] == 13:
            raise RuntimeError("not permitted when stream is capturing")
        sizes.append(tuple(rgb.shape[2:]))
        recording = recorded._Recording(None, rgb.clone(), rgb.clone())
        object.__setattr__(recording, "graph", Graph(recording))
        return recording

    monkeypatch.setattr(recorded, "_record", record)
    return sizes


def picture(height, width):
    return torch.full((1, 3, height, width), float(width))


def test_the_second_of_a_size_is_recorded_and_others_replayed(made):
    plain = []
    whole = Recorded(lambda rgb: plain.append(rgb.shape) or rgb + 1, records=True)
    assert torch.equal(whole(picture(4, 5)), picture(4, 5) + 1)
    assert made == [] and not whole.has((4, 5))
    kept = whole(picture(4, 5))
    assert torch.equal(kept, picture(4, 5) * 2)
    assert made == [(4, 5)] and whole.has((4, 5))
    assert torch.equal(whole(picture(4, 5) + 1), picture(4, 5) * 2 + 2)
    assert torch.equal(kept, picture(4, 5) * 2)  # not what the replay wrote over
    assert made == [(4, 5)] and len(plain) == 1


def test_the_oldest_make_room(made):
    whole = Recorded(lambda rgb: rgb, records=True)
    for width in range(20, 20 + MOST + 1):
        whole(picture(4, width))
        whole(picture(4, width))
        whole(picture(4, 20 + MOST - 1)) if width == 20 + MOST else None  # used again: young
    assert not whole.has((4, 20)) and whole.has((4, 20 + MOST))
    whole.clear()
    assert not whole.has((4, 20 + MOST))


def test_what_cannot_be_recorded_runs_as_it_is(made):
    whole = Recorded(lambda rgb: rgb + 1, records=True)
    for _ in range(3):
        assert torch.equal(whole(picture(4, 13)), picture(4, 13) + 1)
    assert made == []


def test_elsewhere_nothing_is_recorded(made):
    whole = Recorded(lambda rgb: rgb + 1, records=False)
    for _ in range(3):
        whole(picture(4, 5))
    assert made == []
