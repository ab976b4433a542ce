"""Colours of series: apart from each other and from the page, for every kind of colour vision."""

import re
from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from pdapt.eval.report.page import TEMPLATES
from pdapt.eval.report.theme import LONGEST, MARKERS, THEMES, Look, Theme, short_names

# Machado, Oliveira and Fernandes 2009, table of severity 1.0, applied to linear RGB.
VISION = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
# IEC 61966-2-1: linear sRGB to XYZ; white D65.
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
LEAST_DISTANCE = 25.0
"""Distance of two series in CIE 1976 L*a*b*, where 2.3 is what is just seen; the nearest two are 26 apart."""
LEAST_CONTRAST = 3.0
"""WCAG 2, 1.4.11: of what a figure shows with what is beside it."""


def linear(colour: str) -> np.ndarray:
    value = np.array(to_rgb(colour))
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(colour: str, vision: str) -> np.ndarray:
    """CIE 1976 L*a*b*."""
    seen = np.clip(VISION[vision] @ linear(colour), 0, 1)
    ratios = XYZ @ seen / (XYZ @ np.ones(3))
    f = np.where(ratios > (6 / 29) ** 3, np.cbrt(ratios), ratios / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(first: str, second: str, vision: str) -> float:
    return float(np.linalg.norm(lab(first, vision) - lab(second, vision)))


def contrast(first: str, second: str) -> float:
    """WCAG 2's ratio of two colours."""
    high, low = sorted((float(XYZ[1] @ linear(colour)) for colour in (first, second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_distance_is_that_of_the_formula() -> None:
    assert distance("#ffffff", "#000000", "usual") == pytest.approx(100, abs=0.01)
    assert lab("#ff0000", "usual") == pytest.approx([53.24, 80.09, 67.20], abs=0.05)
    assert distance("#ff0000", "#b05000", "deuteranopia") < distance("#ff0000", "#b05000", "usual") / 1.5
    assert contrast("#ffffff", "#000000") == pytest.approx(21)


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_colours_of_series_are_apart_for_every_kind_of_vision(theme: Theme) -> None:
    for vision in VISION:
        nearest = min((distance(*pair, vision), pair) for pair in combinations(theme.series, 2))
        assert nearest[0] > LEAST_DISTANCE, (vision, nearest)


def test_colours_of_series_stand_out_from_the_page() -> None:
    papers = re.findall(r"--paper: *(#[0-9a-f]+)", (TEMPLATES / "report.css").read_text())
    light, dark = THEMES
    for theme, paper in zip((light, dark, light), papers, strict=True):  # the last is of print
        for colour in theme.series:
            assert contrast(colour, paper) > LEAST_CONTRAST, (theme.name, colour)


def test_no_two_of_twelve_series_look_alike() -> None:
    for theme in THEMES:
        looks = [tuple(sorted(Look(number).style(theme).items())) for number in range(2 * len(theme.series))]
        assert len(set(looks)) == len(looks)
        assert len({Look(0, number).style(theme)["marker"] for number in range(len(MARKERS))}) == len(MARKERS)


def test_long_names_are_cut_in_the_middle_and_told_apart() -> None:
    assert short_names(["base", "Qwen3-0.6B-Base"]) == ["base", "Qwen3-0.6B-Base"]
    long = [f"Qwen3-30B-A3B-Instruct-{number}-continued-pretraining" for number in range(9)]
    assert len(set(short_names(long))) == 9
    assert all(len(name) <= LONGEST for name in short_names(long))
    assert short_names(["Qwen3-8B-medical-continued-1234", "Qwen3-8B"]) == ["Qwen3-8B-med…nued-1234", "Qwen3-8B"]
