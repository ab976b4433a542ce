"""The trade-off curve: Pareto points, the rule, and its guard against luck, on made-up scores."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from pdapt.core.errors import UserError
from pdapt.core.files import write_json
from pdapt.eval.report.texts import NO_BREAK, Words
from pdapt.eval.report.theme import THEMES
from pdapt.eval.scores import SCORES_FILE, Comparison, Score, Scores
from pdapt.eval.statistics.tradeoff import (
    TRADEOFF_FILE,
    Tradeoff,
    build_tradeoff,
    draw_tradeoff,
    pareto,
    propose,
    tradeoff_points,
)

STDERR, DOCUMENTS = 0.001, 50
GIVEN = {"t0.2": (-0.05, 0.002), "t0.4": (-0.09, 0.006), "t0.6": (-0.11, 0.009), "t0.8": (-0.10, 0.02)}
"""Model -> change in nats per byte: domain, general."""


def made(changes: dict[str, tuple[float, float]], stderr: float = STDERR) -> Scores:
    reach = stderr * float(stats.t(DOCUMENTS - 1).ppf(0.975))
    rows = [
        Comparison(name, "base", f"perplexity_{domain}", domain, "byte_perplexity", d, stderr, d - reach, d + reach,
                   0.0, 0.0, DOCUMENTS)
        for name, both in changes.items()
        for domain, d in zip(("medical", "general"), both, strict=True)
    ]  # fmt: skip
    scores = [
        Score("base", f"perplexity_{domain}", domain, "", "byte_perplexity", 3.0, 0.1, DOCUMENTS, 1000)
        for domain in ("medical", "general")
    ]
    return Scores([("base", "base"), *((name, "checkpoint") for name in changes)], scores, rows)


def folder(path: Path, scores: Scores) -> Path:
    write_json(path / SCORES_FILE, scores.to_json())
    return path


def test_the_rule_takes_the_largest_gain_within_the_loss() -> None:
    points = tradeoff_points(made(GIVEN), "medical", "general", 1.0)
    assert [point.model for point in points] == ["base", "t0.2", "t0.4", "t0.6", "t0.8"]
    # 0.9 % is within 1 %, but its bound over four points is not: 100 (e^(0.009 + 0.001 t) - 1), t at 1 - 0.05 / 4.
    bound = 100 * math.expm1(0.009 + 0.001 * float(stats.t.ppf(0.9875, 49)))
    assert points[3].general_bound == pytest.approx(bound)
    assert points[3].general.value < 1 < bound
    assert [point.allowed for point in points] == [True, True, True, False, False]
    assert propose(points).model == "t0.4"
    assert propose(tradeoff_points(made(GIVEN), "medical", "general", 1.2)).model == "t0.6"
    assert propose(tradeoff_points(made(GIVEN), "medical", "general", 5)).model == "t0.6", (
        "t0.8 loses more and gains less"
    )


def test_the_base_stays_where_nothing_is_gained_or_all_lose_too_much() -> None:
    assert propose(tradeoff_points(made({"t0.5": (0.01, -0.01)}), "medical", "general", 1)).model == "base"
    assert propose(tradeoff_points(made({"t0.5": (-0.5, 0.02)}), "medical", "general", 1)).model == "base"
    assert propose(tradeoff_points(made({"t0.5": (0.0, 0.0)}), "medical", "general", 1)).model == "base"


def test_pareto_points_by_brute_force() -> None:
    draw = random.Random(5)
    for _ in range(50):
        points = [(draw.randint(0, 5), draw.randint(0, 5)) for _ in range(8)]
        expected = [
            all(other == point or other[0] > point[0] or other[1] > point[1] for other in points) for point in points
        ]
        assert pareto(points) == expected


def test_with_many_harmless_looking_points_a_bad_one_is_rarely_let_through() -> None:
    """Nine points whose true loss is the margin exactly, all measured with noise: one is let through in 5 % of cases.

    Their errors are drawn independently, for which Bonferroni's bound is all but exact.
    """
    draw, through, tries = random.Random(1), 0, 2000
    margin = math.log(1.01)
    level = stats.t(DOCUMENTS - 1).ppf(1 - 0.05 / 9)
    for _ in range(tries):
        noise = [draw.gauss(0, 1) / math.sqrt(draw.gammavariate(24.5, 2) / 49) for _ in range(9)]
        through += any(margin + STDERR * value + STDERR * level <= margin for value in noise)
    assert through / tries < 0.05 + 3 * math.sqrt(0.05 * 0.95 / tries)
    one = tradeoff_points(
        made({f"t{n}": (0.0, margin - STDERR * (level + 1e-6)) for n in range(9)}), "medical", "general", 1.0
    )
    other = tradeoff_points(
        made({f"t{n}": (0.0, margin - STDERR * (level - 1e-6)) for n in range(9)}), "medical", "general", 1.0
    )
    assert all(point.allowed for point in one)
    assert not any(point.allowed for point in other[1:]), "the bound is the one that was counted above"


@pytest.mark.slow
def test_the_tradeoff_is_written_with_its_rule_points_and_pictures(tmp_path: Path) -> None:
    scores = folder(tmp_path / "scores", made(GIVEN))
    manifest = build_tradeoff(scores, tmp_path / "curve", domain="medical", general="general")
    found = json.loads((tmp_path / "curve" / "tradeoff.json").read_text(encoding="utf-8"))
    assert found["proposed"] == "t0.4"
    assert "at most 1 %" in found["rule"]
    assert "all 4 points" in found["rule"]
    assert [point["pareto"] for point in found["points"]] == [True, True, True, True, False]
    assert found["points"][1]["domain"]["value"] == pytest.approx(100 * math.expm1(-0.05))
    assert manifest.counts["sentence"].startswith("Proposed: t0.4. Perplexity per byte against base: medical −8.61 %")
    for theme in ("light", "dark"):
        assert (tmp_path / "curve" / f"tradeoff-{theme}.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("language", "change", "dominated"),
    [("en", "medical: change (%)", "dominated"), ("fr", f"medical{NO_BREAK}: changement (%)", "dominé")],
)
def test_the_curve_has_the_words_of_its_page(
    language: str, change: str, dominated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = tradeoff_points(made(GIVEN), "medical", "general", 1.0)
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    tradeoff = Tradeoff("the lowest", "medical", "general", "t0.4", points)
    draw_tradeoff(tradeoff, Words.read(language), THEMES[1], tmp_path / "tradeoff-dark.png")
    (figure,) = drawn
    assert figure.axes[0].get_ylabel() == change
    (circle,) = (line for line in figure.axes[0].lines if line.get_markerfacecolor() == "none")
    assert circle.get_xydata() == pytest.approx(100 * np.expm1([[0.006, -0.09]])), (
        "general to the right, domain upwards"
    )
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert dominated in [text.get_text() for text in legend.get_texts()]


def test_a_proposal_that_is_none_of_the_points_is_refused(tmp_path: Path) -> None:
    points = tradeoff_points(made(GIVEN), "medical", "general", 1.0)
    write_json(tmp_path / TRADEOFF_FILE, Tradeoff("the lowest", "medical", "general", "t9", points).to_json())
    with pytest.raises(UserError, match="t9 is not one of the points"):
        Tradeoff.read(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domain": "legal", "general": "general"}, "allowed: two of the domains that were evaluated: medical, gen"),
        ({"domain": "medical", "general": "medical"}, "cannot be compared"),
        ({"domain": "medical", "general": "general", "max_loss": -1}, "--max-loss is -1"),
        ({"domain": "medical", "general": "general", "max_loss": math.nan}, "--max-loss is nan"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    scores = folder(tmp_path / "scores", made(GIVEN))
    with pytest.raises(UserError, match=message):
        build_tradeoff(scores, tmp_path / "curve", **options)  # pyright: ignore[reportArgumentType]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores"]


def test_a_base_alone_has_no_curve() -> None:
    with pytest.raises(UserError, match="needs a base, and models"):
        tradeoff_points(made({}), "medical", "general", 1)
