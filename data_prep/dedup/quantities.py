"""The numbers of texts with what stands around them: texts that give different numbers in one place are different.

A number is a word of digits, or one such as « deux ». Its value is the number with its signs (`<`, `±`, the comma of
`2,5`) and its unit; its place is known by the three words before it, and by the three after it.
"""

from collections import Counter
from itertools import groupby

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .shingles import FIRST_OF_SEVERAL, MULTIPLIER, Hashes, Offsets, Words, among, mixed, words_of

AROUND = 3
"""Words before a number, or after it, that say where it stands."""
NUMBER_WORDS = """
    zéro deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize vingt trente
    quarante cinquante soixante cent cents mille million millions milliard demi demie tiers quart double triple
"""
ARTICLES = "un une"
UNITS = """
    kg g mg µg μg mcg ng pg l dl cl ml µl μl m dm cm mm µm μm nm km mol mmol µmol μmol nmol pmol meq ui iu u kui mui
    bq mbq gbq gy mgy sv msv kcal cal kj j w hz khz mhz bpm bar pa kpa hpa mmhg s sec min mn h j jr jrs
    seconde secondes minute minutes heure heures jour jours semaine semaines mois an ans année années fois pour
    comprimé comprimés gélule gélules goutte gouttes ampoule ampoules sachet sachets dose doses bouffée bouffées
    cuillère cuillères cuillerée cuillerées suppositoire suppositoires patch patchs flacon flacons
    injection injections prise prises euro euros
"""
"""Words that belong to the number before them."""
SPELLINGS = {
    **dict.fromkeys("\u00a0\u202f\u2009", " "),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    **{"×": "*", "≈": "~", "≤": "\x01", "≥": "\x02", "±": "\x03", "°": "\x04", "‰": "\x05"},
}
"""Sign -> the single byte that stands for it here."""
NEAR = 8
"""Bytes before a number, or after it, in which its signs are looked for."""

Numbers = npt.NDArray[np.uint64]


def _marks(signs: str) -> Numbers:
    """A number for each byte that is one of some signs, and 0 for any other, [256]."""
    marks = np.zeros(256, np.uint64)
    places = np.frombuffer(signs.encode(), np.uint8)
    marks[places] = mixed(places.astype(np.uint64) + np.uint64(1000))
    return marks


SIGNS, JOINTS, PERCENT = _marks("<>=+-~*^\x01\x02\x03"), _marks("<>=+-~*^\x01\x02\x03,.:/"), _marks("%\x04\x05")


def quantities(words: Words) -> tuple[Numbers, Offsets]:
    """The numbers of each text: 32 bits of their place and 32 of their value.

    Args:
        words: of the texts.

    Returns:
        The numbers, two for each (by the words before it, and by those after it if there are so many), those of one
        place together and in the text's order; and where each text's begin, [texts + 1].
    """
    words = words._replace(values=_with_single_signs(words.values))
    is_number = _is_number(words)
    at = np.flatnonzero(is_number)
    texts = np.searchsorted(words.offsets, at, side="right") - 1
    begins, ends = words.offsets[texts], words.offsets[texts + 1]
    value = words.hashes[at] + _signs_before(words, at, texts, is_number)
    with_unit = value + _unit(words, at, texts)
    before = _context(words.hashes, [(at - step, at - step >= begins) for step in range(1, AROUND + 1)])
    inner = np.flatnonzero(at + AROUND < ends)  # what is added at a text's end changes no place
    after = _context(words.hashes, [(at[inner] + step, np.ones(len(inner), bool)) for step in range(1, AROUND + 1)])
    pairs = np.concatenate([_joined(before, with_unit), _joined(mixed(after + np.uint64(1)), value[inner])])
    both = np.concatenate([texts, texts[inner]])
    order = np.lexsort((pairs >> np.uint64(32), both))  # stable: the numbers of a place stay in the text's order
    counts = np.bincount(both, minlength=len(words.offsets) - 1)
    return pairs[order], np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def _with_single_signs(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Bytes of texts in which each sign of SPELLINGS is the byte that stands for it, and blanks."""
    values = np.concatenate([values, np.zeros(2, np.uint8)])
    beyond_ascii = np.flatnonzero(values >= FIRST_OF_SEVERAL)
    for lead in {sign.encode()[0] for sign in SPELLINGS}:
        places = beyond_ascii[values[beyond_ascii] == lead]
        following = values[places[:, None] + np.arange(3)]
        for sign, byte in SPELLINGS.items():
            spelled = np.frombuffer(sign.encode(), np.uint8)
            if spelled[0] == lead:
                signs = places[(following[:, : len(spelled)] == spelled).all(1)]
                values[signs[:, None] + np.arange(len(spelled))] = ord(" ")
                values[signs] = ord(byte)
    return values[:-2]


def _is_number(words: Words) -> npt.NDArray[np.bool_]:
    """Which words are numbers, [words]; « un » and « une » are before a unit."""
    first = words.values[words.starts]
    is_number = (first >= ord("0")) & (first <= ord("9")) | among(words.hashes, NUMBER_HASHES)
    articles = np.flatnonzero(among(words.hashes[:-1], ARTICLE_HASHES))
    articles = articles[among(words.hashes[articles + 1], UNIT_HASHES)]
    is_number[articles[~among(articles + 1, words.offsets)]] = True  # unless the unit is another text's first word
    return is_number


def _near(words: Words, begins: Offsets, ends: Offsets, marks: Numbers) -> Hashes:
    """Sum of the marks of the bytes from `begins` to `ends`, each NEAR bytes apart at most."""
    places = begins[:, None] + np.arange(NEAR)
    inside = places < ends[:, None]
    return np.where(inside, marks[words.values[np.minimum(places, len(words.values) - 1)]], np.uint64(0)).sum(1)


def _signs_before(words: Words, at: Offsets, texts: Offsets, is_number: npt.NDArray[np.bool_]) -> Hashes:
    """Hash of the signs before each number; between two numbers, commas and the like are signs, too."""
    starts, inside = words.starts[at], at > words.offsets[texts]
    before = np.where(inside, words.ends[at - 1], words.borders[texts])
    begin = np.maximum(starts - NEAR, before)
    joined = inside & is_number[at - 1]
    return np.where(joined, _near(words, begin, starts, JOINTS), _near(words, begin, starts, SIGNS))


def _unit(words: Words, at: Offsets, texts: Offsets) -> Hashes:
    """Hash of the percent sign, or of the units, after each number, as in `mg/kg`; 0 where there is none."""
    last, ends = len(words.hashes) - 1, words.offsets[texts + 1]
    stop = np.where(at + 1 < ends, words.starts[np.minimum(at + 1, last)], words.borders[texts + 1])
    unit, inside = _near(words, words.ends[at], stop, PERCENT), np.ones(len(at), bool)
    for step in range(1, AROUND + 1):
        following = words.hashes[np.minimum(at + step, last)]
        inside &= (at + step < ends) & among(following, UNIT_HASHES)
        unit = unit * MULTIPLIER + np.where(inside, following, np.uint64(0))
    return unit


def _context(hashes: Hashes, places: list[tuple[Offsets, npt.NDArray[np.bool_]]]) -> Hashes:
    """Hash of the words at some places around each number; 0 for one beyond the text's border."""
    context = np.zeros(len(places[0][0]), np.uint64)
    for at, inside in places:
        context = context * MULTIPLIER + np.where(inside, hashes[np.clip(at, 0, len(hashes) - 1)], np.uint64(0))
    return mixed(context)


def _joined(places: Hashes, values: Hashes) -> Numbers:
    low = np.uint64(32)
    return (places >> low << low) | (mixed(values) >> low)


def disagree(first: Numbers, second: Numbers) -> bool:
    """Whether two texts give other numbers in one place.

    A place that only one of them has does not count. In a place that both have equally often, the numbers must be the
    same in the same order; if one has it more often, all numbers of the other must be among its own.

    Args:
        first, second: of `quantities`.
    """
    if np.array_equal(first, second):
        return False
    places = [numbers >> np.uint64(32) for numbers in (first, second)]
    ours, theirs = first[among(*places)], second[among(*places[::-1])]
    if np.array_equal(ours >> np.uint64(32), theirs >> np.uint64(32)):
        return not np.array_equal(ours, theirs)
    by_place, others = _by_place(ours), _by_place(theirs)
    return any(_differ(numbers, others[at]) for at, numbers in by_place.items())


def _by_place(numbers: Numbers) -> dict[int, list[int]]:
    return {at: list(each) for at, each in groupby(numbers.tolist(), lambda number: number >> 32)}


def _differ(numbers: list[int], others: list[int]) -> bool:
    """Whether the numbers of one place in two texts cannot both be right."""
    if len(numbers) == len(others):
        return numbers != others
    ours, theirs = Counter(numbers), Counter(others)
    return bool(ours - theirs) and bool(theirs - ours)


def _hashes_of(text: str) -> Hashes:
    return np.unique(words_of(pa.array([text])).hashes)


NUMBER_HASHES, ARTICLE_HASHES, UNIT_HASHES = map(_hashes_of, (NUMBER_WORDS, ARTICLES, UNITS))
