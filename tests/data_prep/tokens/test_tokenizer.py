"""The tokenizer: the ids of transformers and of Qwen3, and no control id out of a document."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pdapt.core.errors import UserError
from pdapt.core.qwen3 import END_OF_DOCUMENT, SPECIAL_TOKENS
from pdapt.data_prep.tokens.tokenizer import Vocabulary, load_tokenizer, train_tokenizer

TEXT = "Où va-t-il ?  12\u202f500 UI, 37,5 °C\r\n\n  « l’aiguë » e\u0301te\u0301 🙂"


@pytest.fixture(scope="module")
def qwen3(shared: Callable[[str], Path]) -> Vocabulary:
    return load_tokenizer(shared("tokenizers/qwen3"), vocab_size=151_936)


def encoded(vocabulary: Vocabulary, text: str) -> list[int]:
    (ids,) = vocabulary.encode([text])
    return ids.tolist()


@pytest.mark.slow
def test_qwen3_ids_are_those_of_transformers(qwen3: Vocabulary) -> None:
    assert (qwen3.eod_id, qwen3.size) == (151_643, 151_669)
    assert [file.name for file in qwen3.files] == ["tokenizer.json", "tokenizer_config.json"]
    reference = PreTrainedTokenizerFast(tokenizer_file=str(qwen3.files[0]))
    assert encoded(qwen3, TEXT) == [*reference(TEXT)["input_ids"], 151_643]


def test_no_document_writes_a_control_id(qwen3: Vocabulary) -> None:
    added = [token.content for token in Tokenizer.from_file(str(qwen3.files[0])).get_added_tokens_decoder().values()]
    assert {"<|endoftext|>", "<|im_end|>", "<think>"} < set(added)
    for token in added:
        *ids, end = encoded(qwen3, f"avant {token}après")
        assert max(ids) < 151_643 == end
        assert qwen3.tokenizer.decode(ids) == f"avant {token}après"


def test_our_pre_tokenizer_is_qwen3s(qwen3: Vocabulary, tokenizer_folder: Path) -> None:
    ours, theirs = (json.loads(path.read_text()) for path in (tokenizer_folder / "tokenizer.json", qwen3.files[0]))
    for part in ("normalizer", "pre_tokenizer", "post_processor"):
        assert ours[part] == theirs[part]


def test_our_configuration_differs_from_qwen3s_in_the_end_of_a_document_alone(
    qwen3: Vocabulary, tokenizer_folder: Path
) -> None:
    """Qwen3-Base's has chat tokens beside, and their template; it says null where a key is left out here."""
    ours = json.loads((tokenizer_folder / "tokenizer_config.json").read_text())
    theirs = json.loads(qwen3.files[1].read_text())
    assert {key for key in ours if ours[key] != theirs.get(key)} <= {"eos_token", "pad_token"}
    assert {key for key in theirs if key not in ours} <= {
        *("added_tokens_decoder", "additional_special_tokens", "chat_template", "extra_special_tokens"),
    }


def test_our_words_are_qwen3s(qwen3: Vocabulary, tokenizer_folder: Path) -> None:
    ours = load_tokenizer(tokenizer_folder).tokenizer
    assert ours.pre_tokenizer
    assert qwen3.tokenizer.pre_tokenizer
    cut_ours, cut_theirs = ours.pre_tokenizer.pre_tokenize_str, qwen3.tokenizer.pre_tokenizer.pre_tokenize_str

    @given(st.text())
    def same(text: str) -> None:
        assert cut_ours(text) == cut_theirs(text)

    same()


def test_a_trained_folder_loads_in_transformers(tokenizer_folder: Path) -> None:
    vocabulary = load_tokenizer(tokenizer_folder, vocab_size=1024)
    reference = AutoTokenizer.from_pretrained(tokenizer_folder)
    assert encoded(vocabulary, TEXT) == [*reference(TEXT)["input_ids"], vocabulary.eod_id]
    assert {reference.eos_token, reference.pad_token} == {END_OF_DOCUMENT}
    assert len(reference) == vocabulary.size
    first = vocabulary.size - len(SPECIAL_TOKENS)
    assert reference.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(first, vocabulary.size))
    assert vocabulary.eod_id == first
    assert reference.decode(encoded(vocabulary, "dose : 5 mg")[:-1]) == "dose : 5 mg"


def test_threads_share_one_tokenizer(tokenizer_folder: Path) -> None:
    vocabulary = load_tokenizer(tokenizer_folder)
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda _: vocabulary.tokenizer, range(8)))
    assert {id(tokenizer) for tokenizer in loaded} == {id(vocabulary.tokenizer)}


def test_training_is_deterministic(tmp_path: Path) -> None:
    texts = [f"Le patient {n} reçoit {n * 5} mg de paracétamol par jour." for n in range(50)]
    for name in "ab":
        train_tokenizer(iter(texts), 280, tmp_path / name)
    first, second = ((tmp_path / name / "tokenizer.json").read_bytes() for name in "ab")
    assert first == second
    assert load_tokenizer(tmp_path / "a").size == 280


def test_tokenizers_that_do_not_serve_are_refused(tmp_path: Path, tokenizer_folder: Path) -> None:
    size = load_tokenizer(tokenizer_folder).size
    with pytest.raises(UserError, match=f"ids up to {size - 1}, the model's vocabulary has 300 rows"):
        load_tokenizer(tokenizer_folder, vocab_size=300)
    with pytest.raises(UserError, match=r"no such file: tokenizer.json"):
        load_tokenizer(tmp_path)
    with pytest.raises(UserError, match="no tokenizer at"):
        load_tokenizer(tmp_path / "nothing")
    value = json.loads((tokenizer_folder / "tokenizer.json").read_text())
    changed = value | {"added_tokens": [token for token in value["added_tokens"] if "endof" not in token["content"]]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(changed))
    with pytest.raises(UserError, match=r"the tokenizer has no <\|endoftext\|>"):
        load_tokenizer(tmp_path)
    shutil.copy(tokenizer_folder / "tokenizer_config.json", tmp_path / "tokenizer.json")
    with pytest.raises(UserError, match="holds no BPE model"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps(value | {"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}))
    with pytest.raises(UserError, match="holds no BPE model"):
        load_tokenizer(tmp_path)
    with pytest.raises(UserError, match="vocab_size = 258 is too small"):
        train_tokenizer(iter(["a"]), 258, tmp_path)
