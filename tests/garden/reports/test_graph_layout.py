"""Where boxes stand: known for small graphs, and free of overlaps for random ones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from garden.reports import graph_layout
from garden.reports.graph_layout import BOX_HEIGHT, BOX_WIDTH, ROW_HEIGHT, lay_out


def test_a_chain_stands_in_one_column():
    layout = lay_out(3, [(0, 1), (1, 2)])
    assert (layout.width, layout.height) == (BOX_WIDTH, 3 * ROW_HEIGHT)
    assert [layout.centres[box] for box in range(3)] == [(BOX_WIDTH / 2, (row + 0.5) * ROW_HEIGHT) for row in range(3)]
    assert layout.lines[0, 1] == (
        (BOX_WIDTH / 2, ROW_HEIGHT / 2 + BOX_HEIGHT / 2),
        (BOX_WIDTH / 2, 1.5 * ROW_HEIGHT - BOX_HEIGHT / 2),
    )


def test_branches_stand_side_by_side_about_what_they_come_from():
    layout = lay_out(5, [(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4)])
    assert [layout.rows[box] for box in range(5)] == [0, 1, 1, 1, 2]
    x = [layout.centres[box][0] for box in range(5)]
    assert x[1] < x[2] < x[3]
    assert x[0] == x[4] == x[2] == pytest.approx((x[1] + x[3]) / 2)


def test_a_line_that_skips_rows_passes_beside_the_boxes_and_the_ends_stay_in_one_column():
    layout = lay_out(4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    assert layout.centres[0][0] == layout.centres[3][0]
    for x, _ in layout.lines[0, 3][1:-1]:
        for box in (1, 2):
            assert abs(x - layout.centres[box][0]) > BOX_WIDTH / 2


def test_twenty_blocks_with_a_shortcut_do_not_drift():
    edges = [edge for a in range(0, 60, 3) for edge in ((a, a + 1), (a + 1, a + 2), (a + 2, a + 3), (a, a + 3))]
    layout = lay_out(61, edges)
    assert len({layout.centres[box][0] for box in range(0, 61, 3)}) == 1
    assert layout.width < 1.5 * BOX_WIDTH


@pytest.mark.parametrize("seed", range(5))
def test_no_two_boxes_overlap_and_no_line_runs_behind_one(seed):
    chance = np.random.default_rng(seed)
    edges = sorted({(int(chance.integers(max(0, end - 4), end)), end) for end in range(1, 25) for _ in range(2)})
    layout = lay_out(25, edges)
    for (ax, ay), (bx, by) in itertools.combinations(layout.centres.values(), 2):
        assert abs(ax - bx) >= BOX_WIDTH or abs(ay - by) >= BOX_HEIGHT
    for (start, end), points in layout.lines.items():
        assert layout.rows[start] < layout.rows[end]
        for x, y in points[1:-1]:
            for bx, by in layout.centres.values():
                assert abs(x - bx) > BOX_WIDTH / 2 or abs(y - by) > BOX_HEIGHT / 2
    assert min(x for x, _ in layout.centres.values()) >= BOX_WIDTH / 2
    assert max(x for x, _ in layout.centres.values()) <= layout.width - BOX_WIDTH / 2


def test_numbers_that_rise_already_stay_and_others_share_their_mean():
    assert graph_layout._rising([1, 2, 5], [1, 1, 1]) == [1, 2, 5]
    assert graph_layout._rising([3, 1, 5], [1, 3, 1]) == [1.5, 1.5, 5]
