"""The language of a domain's documents, by what screening counted."""

import pytest

from pdapt.data_prep.screening.language import NOT_TOLD
from pdapt.launch.prepare_text import other_language


@pytest.mark.parametrize(
    ("kept", "languages", "other"),
    [
        (10, {"en": 6}, "en"),
        (10, {"en": 5}, None),
        (11, {"en": 5, NOT_TOLD: 2}, "en"),
        (12, {"en": 5, NOT_TOLD: 2}, None),
        (10, {"de": 4, "en": 3, "fi": 1}, "de"),
        (3, {NOT_TOLD: 3}, None),
    ],
)
def test_text_is_of_another_language_where_more_than_half_of_what_shows_one_is(
    kept: int, languages: dict[str, int], other: str | None
) -> None:
    counts = {"kept": kept, "screened": {"languages": languages}}
    assert other_language([counts]) == other_language([counts, counts]) == other
