"""The two sentences of a page and its table of decisions: each rule turns when the scores do."""

from collections.abc import Sequence

import pytest

from pdapt.eval.report.decisions import best_for_everything, decisions_table
from pdapt.eval.report.headline import AreaChange, Outcome, Unit, gain_effect, headline, loss_effect
from pdapt.eval.report.texts import Words
from pdapt.eval.statistics.compare import FamilyRole

ENGLISH, FRENCH = Words.read("en"), Words.read("fr")
ADAPTED, MERGED = FamilyRole.ADAPTED, FamilyRole.MERGED


def change(
    points: float, p: float = 0.0001, *, role: FamilyRole = ADAPTED, area: str = "medicine", reach: float = 1.0, **rest
) -> AreaChange:
    """A change with an interval of ± `reach`."""
    values = {"family": "8B", "model": role, "area": area, "label": area, "units": 900, "target": area == "medicine"}
    return AreaChange(role=role, change=points, low=points - reach, high=points + reach, p=p, **(values | rest))


def merged(points: float, p: float = 0.0001, **rest) -> AreaChange:
    return change(points, p, role=MERGED, **rest)


@pytest.mark.parametrize(
    ("of", "outcome"),
    [
        (change(3.0, 0.049), Outcome.BETTER),
        (change(-3.0, 0.049), Outcome.WORSE),
        (change(3.0, 0.05), Outcome.UNCLEAR),
        (change(1.0, 0.05), Outcome.SAME),
        (change(1.1, 0.05), Outcome.UNCLEAR),
        (change(-3.0, 0.049, unit=Unit.PERPLEXITY), Outcome.BETTER),
        (change(3.0, 0.049, unit=Unit.PERPLEXITY), Outcome.WORSE),
        (change(0.1, 0.5, unit=Unit.PERPLEXITY), Outcome.UNCLEAR),
        (change(0.1, 0.5, reach=0.9, unit=Unit.PERPLEXITY), Outcome.SAME),
    ],
)
def test_a_change_is_clear_by_its_p_and_level_by_its_interval(of: AreaChange, outcome: Outcome) -> None:
    assert of.outcome == outcome


ELSEWHERE = "other subjects"


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ([change(3.0)], "gains on medicine (+3.0 points)."),
        ([change(-3.0)], "loses on medicine (−3.0 points)."),
        ([change(3.0, 0.5)], "shows no clear change on medicine."),
        ([change(0.5, 0.5)], "keeps its level on medicine (within 2 points)."),
        (
            [change(-2.9, area=ELSEWHERE), change(3.0)],
            "gains on medicine (+3.0 points) and loses on other subjects (−2.9 points).",
        ),
        (
            [change(0.5, 0.5), change(-2.9, area=ELSEWHERE), change(-4.0, area="law"), change(9, 0.1, area="x")],
            "keeps its level on medicine (within 2 points), shows no clear change on x and loses on other subjects "
            "(−2.9 points) and law (−4.0 points).",
        ),
        ([change(-18.1, unit=Unit.PERPLEXITY)], "gains on medicine (perplexity −18.1\u00a0%)."),
    ],
)
def test_the_first_sentence_says_where_the_adapted_model_gains_and_loses(changes: list, first: str) -> None:
    assert headline(changes, ENGLISH)[0] == f"Against its base, the adapted 8B {first}"


@pytest.mark.parametrize(
    ("before", "after", "effect"),
    [
        (-3.0, -0.5, "loss_undone"),
        (-3.0, -2.0, "loss_reduced"),
        (-3.0, -3.5, "loss_left"),
        (3.0, -3.5, ""),
    ],
)
def test_what_a_merge_does_with_a_loss(before: float, after: float, effect: str) -> None:
    p = 0.5 if after == -0.5 else 0.001
    assert loss_effect([change(before)], [merged(after, p)]) == effect


@pytest.mark.parametrize(
    ("before", "p", "effect"), [(3.0, 0.001, "gain_kept"), (3.0, 0.2, "gain_lost"), (-3.0, 0.001, "")]
)
def test_what_a_merge_does_with_a_gain(before: float, p: float, effect: str) -> None:
    assert gain_effect([change(before)], [merged(2.0, p)]) == effect


def test_the_second_sentence_joins_both_effects() -> None:
    lost, undone, left = change(-3, area=ELSEWHERE), merged(-0.2, 0.5, area=ELSEWHERE), merged(-4, area=ELSEWHERE)

    def second(*changes: AreaChange) -> str:
        return headline(changes, ENGLISH)[1].partition(":")[0]

    start = "The merge with the base "
    assert second(change(3), lost, merged(2), undone) == f"{start}reverses the loss and keeps the gain"
    assert second(change(3), lost, merged(2), left) == f"{start}does not reverse the loss, but keeps the gain"
    assert second(change(3), lost, merged(2, 0.5), undone) == (
        f"{start}reverses the loss, but does not keep all of the gain"
    )
    assert second(change(0.1, 0.5), merged(2)).startswith(f"{start.strip()}, compared with the base, gains on medicine")
    assert second(change(3)).startswith("This rests on 900 questions")


def test_the_sentences_are_in_french() -> None:
    changes = [change(3.1, area="la médecine"), change(-2.9, area="le droit"), merged(-0.4, 0.6, area="le droit")]
    first, second = headline([*changes, merged(2.0, area="la médecine")], FRENCH)
    assert first == (
        "Par rapport à sa base, le modèle 8B adapté gagne sur la médecine (+3,1 points) et perd sur le droit "
        "(−2,9 points)."
    )
    assert second == (
        "La fusion avec la base annule la perte et garde le gain\u00a0: par rapport à la base, elle gagne sur "
        "la médecine (+2,0 points) et garde son niveau sur le droit (à 2 points près)."
    )


def families(gains: Sequence[float], losses: Sequence[float]) -> list[AreaChange]:
    """A family for each gain in the target and each loss elsewhere; 0 is no clear change."""
    return [
        change(points, 0.001 if points else 0.5, area=area, family=f"{number}B")
        for area, values in (("medicine", gains), (ELSEWHERE, losses))
        for number, points in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("gains", "losses", "first"),
    [
        ([0, 0, 0], [0, 0, 0], "none of the 3 adapted models; elsewhere a clear loss in none of them."),
        (
            [3, 0, 0],
            [0, -2, 0],
            "one of the 3 adapted models (+3.0 points); elsewhere a clear loss in one of them (−2.0 points).",
        ),
        (
            [3, 5, 0],
            [-1, -2, -3],
            "2 of the 3 adapted models (+3.0 to +5.0 points); elsewhere a clear loss in each of them "
            "(−1.0 to −3.0 points).",
        ),
        (
            [3, 3, -4],
            [0, 0, 0],
            "2 of the 3 adapted models (+3.0 points); a clear loss there in one of them (−4.0 points); elsewhere a "
            "clear loss in none of them.",
        ),
    ],
)
def test_several_families_are_counted(gains: list[float], losses: list[float], first: str) -> None:
    start = "On medicine, a clear gain over the base is seen in "
    assert headline(families(gains, losses), ENGLISH)[0] == start + first


def test_several_families_are_counted_in_french() -> None:
    assert headline(families([3, 3, -4], [0, 0, 0]), FRENCH)[0] == (
        "Gain net par rapport à la base sur medicine\u00a0: 2 des 3 modèles adaptés (+3,0 points)\u202f; "
        "perte nette\u00a0: un d'entre eux (−4,0 points)\u202f; perte nette ailleurs\u00a0: aucun."
    )


def rows(*changes: AreaChange, **options: bool) -> list[list[str]]:
    table = decisions_table(changes, ENGLISH, **options)
    return [[row.head, *(entry.text for entry in row.entries)] for row in table.rows]


def test_the_model_to_use_is_the_one_that_gains_most_or_else_the_base() -> None:
    (gains,) = rows(change(3.0, 0.02), merged(4.0, 0.0001))
    assert gains[:2] == ["medicine", "merged"]
    assert gains[2] == "adapted +3.0 points (+2.0 to +4.0); merged +4.0 points (+3.0 to +5.0)"
    assert gains[3] == "high (p < 0.001)"
    assert rows(change(5.0, 0.02), merged(4.0, 0.0001))[0][1::2] == ["adapted", "fair (p = 0.02)"]
    assert rows(change(-3.0, 0.002), merged(-4.0, 0.004))[0][1::2] == ["base", "good (p = 0.004)"]
    assert rows(change(-3.0, 0.02), merged(0.3, 0.5))[0][1::2] == ["base, or merged", "good: within 2 points"]
    assert rows(change(-3.0, 0.02), merged(1.5, 0.5))[0][1::2] == ["base", "open: up to 2.5 points are possible"]


def test_one_model_for_everything_loses_nowhere() -> None:
    lost, kept = change(-3, area=ELSEWHERE), merged(-0.2, 0.5, area=ELSEWHERE)
    assert best_for_everything([change(5), lost, merged(2), kept]) == MERGED
    assert best_for_everything([change(5), change(0, 0.5, area=ELSEWHERE), merged(2), kept]) == ADAPTED
    assert best_for_everything([change(5), lost, merged(2, 0.5), kept]) == FamilyRole.BASE
    last = rows(change(5), lost, merged(2), kept)[-1]
    assert last == [
        "One model for everything",
        "merged",
        "adapted: better in 1, worse in 1 of 2; merged: better in 1, worse in 0 of 2",
        "high (p < 0.001)",
    ]


def test_of_several_families_the_target_alone_is_decided_first() -> None:
    changes = families([3, 0], [0, -2])
    assert [row[0] for row in rows(*changes, every_area=False)] == [
        "0B: medicine",
        "0B: One model for everything",
        "1B: medicine",
        "1B: One model for everything",
    ]
    assert len(rows(*changes)) == 6
