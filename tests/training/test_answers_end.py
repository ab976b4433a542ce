"""Instructions from their file to answers: a fine-tuned Base ends its turn, and so do merges with its base."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import pdapt
from reading_helpers import json_rows
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from pdapt.core.files import read_json, write_json
from pdapt.merge.sweep import sweep

pytestmark = pytest.mark.slow

TEMPLATE = (
    "{%- for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ANSWER = "4 g par jour"
TURN, DOCUMENT = "<|im_end|>", "<|endoftext|>"
TASK = """\
task: doses
dataset_path: json
dataset_kwargs:
  data_files: {test: doses.jsonl}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["@@"], max_gen_toks: 24}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""
OPTIONS = ("steps=60", "optimizer.lr=1e-2", "optimizer.warmup_steps=2", "checkpoint.every=60", "validation.every=60")


def question(number: int) -> str:
    return f"Dose de paracétamol du patient {number} ?"


def ends_of(folder: Path) -> tuple[Any, Any, str]:
    """The end of a generation: by config.json, by generation_config.json, and by the tokenizer."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    config = read_json(folder / "config.json")["eos_token_id"]
    stated: Any = GenerationConfig.from_pretrained(folder).eos_token_id
    names = [tokenizer.convert_ids_to_tokens(each) for each in (config, stated)]
    return names[0], names[1], tokenizer.eos_token


@pytest.fixture
def base(tiny_qwen3: Callable[..., Path]) -> Path:
    """A Base: `<|endoftext|>` ends its generations. It has a template, but another than the conversations'."""
    folder = tiny_qwen3(dtype="bfloat16")
    end = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(DOCUMENT)
    write_json(folder / "config.json", read_json(folder / "config.json") | {"eos_token_id": end})
    write_json(folder / "generation_config.json", {"eos_token_id": end, "max_new_tokens": 2048})
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert ends_of(folder) == (DOCUMENT, DOCUMENT, DOCUMENT)
    return folder


def test_a_fine_tuned_base_ends_its_answers(
    base: Path, tokenizer_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    tokenizer = Path(shutil.copytree(tokenizer_folder, tmp_path / "tokenizer"))
    (tokenizer / "chat_template.jinja").write_text(TEMPLATE)
    chats = [{"messages": _turns(question(number))} for number in range(200)]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    given = [tmp_path / "chats.jsonl", "--format", "messages", "--tokenizer", tokenizer, "--valid-fraction", "0.1"]
    pdapt("tokens", "build", *given, "--out", tmp_path / "tokens")
    pdapt("convert", "import", base, tmp_path / "mcore")
    stages = ["--tokens", tmp_path / "tokens", "--base", tmp_path / "mcore", "--out", tmp_path / "run"]
    pdapt("train", recipe_file, *OPTIONS, *stages)
    pdapt("convert", "export", tmp_path / "run", tmp_path / "sft")
    pdapt("merge", "run", base, tmp_path / "sft", tmp_path / "merged", "--t", "0.9")
    sweep(base, tmp_path / "sft", tmp_path / "sweep", [0.5])
    for folder in (tmp_path / "sft", tmp_path / "merged", tmp_path / "sweep/t0.5"):
        assert ends_of(folder) == (TURN, [TURN, DOCUMENT], TURN), folder
        assert AutoTokenizer.from_pretrained(folder).chat_template == TEMPLATE, "the one that the model learned"
        assert read_json(folder / "generation_config.json")["max_new_tokens"] == 2048, "all else is the base's"
    assert "settings are those of tuned" in (tmp_path / "merged/README.md").read_text()

    # As transformers generates with the folder's own settings, without a limit of ours.
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "sft")
    words: Any = AutoTokenizer.from_pretrained(tmp_path / "sft")
    asked = [{"role": "user", "content": question(7)}]
    ids = words.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    written = model.generate(**ids, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert words.decode(written) == ANSWER + TURN

    # The same weights with the base's settings go on to the limit: what the export changes is what ends an answer.
    shutil.copytree(tmp_path / "sft", tmp_path / "as_base")
    (tmp_path / "as_base/manifest.json").unlink()
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        shutil.copy(base / name, tmp_path / "as_base" / name)
    (tmp_path / "task").mkdir()
    (tmp_path / "task/doses.yaml").write_text(TASK)
    rows = [{"question": question(number), "answer": ANSWER} for number in (3, 33, 133)]
    (tmp_path / "task/doses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    models = [f"{name}={tmp_path / name}" for name in ("sft", "as_base")]
    options = ["--tasks", tmp_path / "task/doses.yaml", "--chat-template", "--out", tmp_path / "scores"]
    pdapt("eval", "run", *models, *options)
    answers, goes_on = (json_rows(tmp_path / "scores" / name / "doses/samples.jsonl") for name in ("sft", "as_base"))
    assert [row["filtered_resps"] for row in answers] == [[ANSWER]] * 3
    assert all(row["filtered_resps"][0].startswith(ANSWER) for row in goes_on)
    cut = {
        name: [row["truncated"] for row in json_rows(tmp_path / "scores" / name / "doses/answers.jsonl")]
        for name in ("sft", "as_base")
    }
    assert cut == {"sft": [False] * 3, "as_base": [True] * 3}


def _turns(asked: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": ANSWER}]
