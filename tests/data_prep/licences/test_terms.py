"""Licences by name, SPDX identifier and address."""

import pytest

from pdapt.data_prep.documents.terms import terms_of


@pytest.mark.parametrize(
    ("stated", "spdx", "commercial"),
    [
        ("CC BY 4.0", "CC-BY-4.0", True),
        ("cc-by-sa-3.0", "CC-BY-SA-3.0", True),
        ("CC BY-SA-NC 4.0", "CC-BY-NC-SA-4.0", False),
        ("https://creativecommons.org/licenses/by/4.0/deed.fr", "CC-BY-4.0", True),
        ("http://creativecommons.org/licenses/by-nc-nd/", "", False),
        ("http://creativecommons.org/licenses/by/", "", True),
        ("Creative Commons Attribution 4.0 International", "CC-BY-4.0", True),
        ("Creative Commons Attribution Non Commercial 4.0", "CC-BY-NC-4.0", False),
        ("Creative Commons Attribution - Pas d’utilisation commerciale 4.0", "CC-BY-NC-4.0", False),
        ("CC0", "CC0-1.0", True),
        ("Apache-2.0", "Apache-2.0", True),
        ("GFDL-1.3-or-later", "GFDL-1.3-or-later", True),
        ("Licence Ouverte / Open Licence version 2.0", "etalab-2.0", True),
        ("Etalab", "", True),
        ("http://hal.archives-ouvertes.fr/licences/etalab/", "", True),
        ("http://hal.archives-ouvertes.fr/licences/copyright/", "", False),
        ("http://hal.archives-ouvertes.fr/licences/publicDomain/", "", True),
        ("CC BY-NC-SA 3.0 or CC BY-NC-ND 4.0", "", False),
        ("CC BY 4.0 and an agreement", "", None),
        ("CC BY, no commercial use", "", None),
        ("Licence francaise, INCa", "", None),
        ("agreement", "", None),
        ("", "", None),
    ],
)
def test_a_licence_is_known_by_its_name_or_address(stated: str, spdx: str, commercial: bool | None) -> None:
    terms = terms_of(stated)
    assert (terms.spdx, terms.commercial) == (spdx, commercial)


def test_a_licence_has_the_address_of_its_text() -> None:
    assert terms_of("CC BY-SA 4.0").url == "https://creativecommons.org/licenses/by-sa/4.0/"
    assert terms_of("https://x.fr/terms").url == "https://x.fr/terms"
    assert terms_of("agreement").url == ""
