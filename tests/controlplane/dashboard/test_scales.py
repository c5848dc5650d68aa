"""The scales of charts."""

import pytest

from controlplane.dashboard.scales import bytes_scale, count_scale, percent_scale

MIB = 1 << 20


def labels(scale) -> list[str]:
    return [scale.write(scale.top * quarter / 4).strip() for quarter in range(5)]


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (0, ["0 B", "256 B", "512 B", "768 B", "1 KiB"]),
        (900 * MIB, ["0 B", "256 MiB", "512 MiB", "768 MiB", "1 GiB"]),
        (1_025 * MIB, ["0 B", "512 MiB", "1 GiB", "1.5 GiB", "2 GiB"]),
        (9 << 30, ["0 B", "5 GiB", "10 GiB", "15 GiB", "20 GiB"]),
        (500 << 30, ["0 B", "200 GiB", "400 GiB", "600 GiB", "800 GiB"]),
    ],
)
def test_bytes_scale__any_size__quarters_are_what_they_say(most, expected) -> None:
    scale = bytes_scale(most)
    assert labels(scale) == expected
    units = {"B": 1, "KiB": 1 << 10, "MiB": MIB, "GiB": 1 << 30}
    for quarter, text in enumerate(expected):
        number, unit = text.split()
        assert float(number) * units[unit] == scale.top * quarter / 4


@pytest.mark.parametrize(
    ("most", "top"), [(0, 4), (4, 4), (5, 8), (9, 20), (21, 40), (1_000_001, 2_000_000)]
)
def test_count_scale__any_number__is_the_next_that_a_quarter_of_reads_well(most, top) -> None:
    assert count_scale(most).top == top


def test_labels__of_all_scales__are_equally_wide() -> None:
    scales = (percent_scale(), count_scale(123_456), bytes_scale(700 * MIB))
    widths = {len(scale.write(scale.top * quarter / 4)) for scale in scales for quarter in range(5)}
    assert len(widths) == 1
