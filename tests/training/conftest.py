"""The inputs of the training tests."""

import random
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """A small tokens folder: two sources of French-looking lines of very different lengths."""
    from pdapt.data_prep.corpus import Source, build_corpus
    from pdapt.data_prep.tokens.build import Options, build_tokens

    folder = tmp_path_factory.mktemp("tokens")
    draw = random.Random(0)
    words = ["le", "patient", "reçoit", "mg", "de", "paracétamol", "puis", "la", "ville", "compte", "des", "écoles"]
    sources = []
    for name, documents in (("soins", 300), ("ville", 200)):
        lines = [" ".join(draw.choices(words, k=draw.randint(5, 90))) + f" {n}" for n in range(documents)]
        (folder / name).mkdir()
        for number, line in enumerate(lines):
            (folder / name / f"{number:04d}.txt").write_text(line, encoding="utf-8")
        sources.append(Source(name, folder / name))
    build_corpus(sources, folder / "corpus")
    build_tokens([str(folder / "corpus")], tokenizer_folder, folder / "tokens", Options(valid_fraction=0.1))
    return folder / "tokens"
