"""Files of terms: the one that comes with the project, one's own, and what is wrong with them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.data_prep.topics.term_list import TERMS, read_terms


def test_the_specialities_are_some_twenty_each_with_a_chapter_of_icd_10_and_terms_of_its_own() -> None:
    import yaml

    topics, values = read_terms(), yaml.safe_load(TERMS.read_text(encoding="utf-8"))
    assert len(topics) == 23
    assert all(len(topic.terms) >= 30 for topic in topics)
    assert all(value["icd10"] for value in values.values())
    assert [topic.name for topic in topics] == list(values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a mapping"),
        ("{}", "names no topic"),
        ("a: [x]", "the topic is not a mapping"),
        ("a: {}", "the topic has no terms"),
        ("Ä: {terms: [x]}", "cannot be a topic's name"),
        ("none: {terms: [x]}", "'none' is the topic of documents that have none"),
        ("a: {term: [coeur]}", r"(?s)no key of a topic is called 'term'.*did you mean 'terms'"),
        ("a: {terms: coeur}", "not a list of terms"),
        ("a: {terms: [112]}", r"(?s)not a list of terms.*quote those"),
        ("a: {terms: ['']}", "a term is empty"),
        ("a: {terms: [anti-tnf]}", r"(?s)'anti-tnf' cannot be a term.*a hyphen"),
        ("a: {terms: ['c*r']}", "cannot be a term"),
        ("a: {terms: ['*oeu*']}", "cannot be a term"),
        ("a: {terms: ['**']}", "cannot be a term"),
        ("a: {terms: ['co*']}", "would match too much"),
        ("a: {terms: [rénal], hints: [RENAUX]}", r"(?s)'RENAUX' appears twice.*case, accents and the plural"),
        ("a: {terms: [x]}\na: {terms: [y]}", r"(?s)the key 'a' appears twice.*terms.yaml:2"),
        ("a: &x {terms: [x]}\nb: *x", "YAML aliases"),
        ("a: {terms: [x", "not valid YAML: line 1: expected"),
        ("a: {terms: " + "[" * 6000, "nested more than 100 deep"),
    ],
)
def test_a_file_of_terms_that_is_wrong_says_where_and_how(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "terms.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_terms(path)


def test_a_file_of_terms_is_small(tmp_path: Path) -> None:
    path = tmp_path / "terms.yaml"
    path.write_text("a: {terms: [x]}\n" + "#" * 900_000)
    assert [topic.name for topic in read_terms(path)] == ["a"]
    path.write_text("a: {terms: [x]}\n" + "#" * 2_500_000)
    with pytest.raises(UserError, match="2,500,016 bytes"):
        read_terms(path)


def test_fuzz_terms(fuzz: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "terms.yaml"
    path.write_text("cardiology:\n  icd10: IX\n  terms: [coeur, '*cardite', infarctus du myocarde]\n  hints: [sang]\n")
    fuzz(path, lambda: [(topic.name, topic.terms) for topic in read_terms(path)], share=4)
