"""Addresses and tags go; comparisons, exponents, reference codes and columns stay."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdapt.data_prep.clean.markup import remove_addresses, remove_tags

COUNTS: Counter[str] = Counter()


@pytest.mark.parametrize(
    "text",
    [
        "SpO2<90% sous air",
        "p<0,05 et IMC>30 kg/m²",
        "a<b et c>d",
        "si a<b>c",
        "dose <5 mg> usuelle",
        "<Nom du patient>",
        "5 < x > 3",
        "<p",
        "5<b>10</b>",
        "x<sup>a</sup>",
        "C<sub>max</sub>",
        "2<i>5",
    ],
)
def test_what_is_no_tag_stays(text: str) -> None:
    left = remove_tags(text, Counter()).replace("</b>", "")
    assert left == text.replace("</b>", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("un <b>gros</b> mot", "un gros mot"),
        ('<a href="x?a=1&amp;b=2" class=y>lien</a>', "lien"),
        ("Titre</h1><p>Texte</p>suite", "Titre\nTexte\nsuite"),
        ("fin<br/>début<BR>", "fin\ndébut"),
        ("<tr><td>Na</td><td>140</td></tr>", "Na\t140"),
        ("<th>5</th><th>10</th>", "5\t10"),
        ("10<sup>9</sup>/L", "10⁹/L"),
        ("10<sup>-3</sup> mol", "10⁻³ mol"),
        ("CO<sub>2</sub>", "CO₂"),
        ("1<sup>er</sup>, n<sup>o</sup> 5, Doliprane<sup>®</sup>", "1er, no 5, Doliprane®"),
        ("a<!-- 5 mg\n>3 -->b<script>if (a<5) {}</script>c", "abc"),
        ("5<!-- -->10", "5 10"),
    ],
)
def test_tags(text: str, expected: str) -> None:
    changes: Counter[str] = Counter()
    assert remove_tags(text, changes) == expected
    assert changes["tags"] > 0
    assert remove_tags(expected, Counter()) == expected


NUMBER = st.integers(0, 9999).map(lambda number: f"{number / 10}".replace(".", ","))
NAME = st.sampled_from(["p", "a", "b", "i", "s", "IMC", "Hb", "dose", "SpO2", "TA", "q"])
COMPARISON = st.tuples(
    st.one_of(NAME, NUMBER), st.sampled_from(["<", ">", " < ", "<=", " > ", "<>", ">="]), st.one_of(NAME, NUMBER)
).map("".join)


@given(st.lists(COMPARISON, min_size=1, max_size=5).map(" et ".join))
def test_comparisons_survive(text: str) -> None:
    assert remove_tags(text, Counter()) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Voir www.ansm.fr.", "Voir."),
        ("voir https://www.has-sante.fr/jcms/c_1234/fr/x pour plus", "voir pour plus"),
        ("(http://x.fr/a?b=1&c=2)", ""),
        ("voir (cf. http://x.fr), 5 mg", "voir (cf.), 5 mg"),
        ("http://x.fr,500 mg", ",500 mg"),
        ("HTTPS://X.FR/Fièvre_(médecine) !", " !"),
        ("<ftp://x.fr/a> fin", " fin"),
        ("https://doi.org/10.1016/j.lfs.2020.01.001", "10.1016/j.lfs.2020.01.001"),
        ("voir https://clinicaltrials.gov/ct2/show/NCT01234567.", "voir NCT01234567."),
        ("https://base.fr/extrait.php?specid=60234100 b", "60234100 b"),
        ("Na\thttp://x.fr\t140", "Na\t\t140"),
        ("Na   http://x.fr   140", "Na   http://x.fr   140"),
        ("jean@www.chu.fr, le protocole http est ancien", "jean@www.chu.fr, le protocole http est ancien"),
    ],
)
def test_addresses(text: str, expected: str) -> None:
    changes: Counter[str] = Counter()
    assert remove_addresses(text, changes) == expected
    assert changes["addresses"] == (text != expected)
