"""How many workers, and what each takes."""

import pytest

from srcli.cluster.hub import Layout, Wanted, layout
from srcli.errors import UsageError

LAPTOP, DESKTOP = {"CPU": 8.0}, {"CPU": 16.0}


@pytest.mark.parametrize(
    ("wanted", "nodes", "expected"),
    [
        (Wanted("local"), [LAPTOP], Layout(8, 1, False, 8)),
        (Wanted("local", 2), [LAPTOP], Layout(2, 4, False, 2)),
        (Wanted("local", 2, 1), [LAPTOP], Layout(2, 1, False, 2)),
        (Wanted("local", None, 4), [LAPTOP], Layout(2, 4, False, 2)),
        (Wanted("auto", None, 4), [LAPTOP, DESKTOP], Layout(6, 4, False, 4)),
        (Wanted("auto", 1), [LAPTOP, DESKTOP], Layout(1, 16, False, 1)),
        (Wanted("auto"), [{"CPU": 8.0, "GPU": 2.0}, LAPTOP], Layout(2, 8, True, 1)),
        (Wanted("auto", device="cpu"), [{"CPU": 4.0, "GPU": 2.0}], Layout(4, 1, False, 4)),
    ],
)
def test_layouts(wanted, nodes, expected):
    assert layout(wanted, nodes) == expected


def test_more_threads_than_any_machine_has():
    with pytest.raises(UsageError, match="9 threads"):
        layout(Wanted("auto", 1, 9), [LAPTOP])
