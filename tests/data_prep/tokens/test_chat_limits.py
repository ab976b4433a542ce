"""A chat template is a program: one that does not end, or takes all memory, is ended."""

import shutil
import time
from pathlib import Path

import pytest
from test_chat import CHATS, MESSAGES, write

from pdapt.core.errors import UserError
from pdapt.core.hf import chat_rendering
from pdapt.data_prep.tokens.build import build_tokens


def test_a_template_that_does_not_end_is_ended_and_the_conversation_is_named(
    chat_tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time may depend on what it writes: here on the third conversation alone."""
    monkeypatch.setattr(chat_rendering, "SECONDS", 0.3)
    folder = Path(shutil.copytree(chat_tokenizer, tmp_path / "tokenizer"))
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    sound = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(
        "{% if 'poids' in messages[1].content %}" + loop + "{% endif %}" + sound
    )
    given = [str(write(tmp_path / "chats.jsonl", [CHATS[0], CHATS[1], CHATS[3]]))]
    before = time.process_time()
    with pytest.raises(UserError, match=r"the chat template takes more than 0\.3 s .*chats\.jsonl, .*number 3\)"):
        build_tokens(given, folder, tmp_path / "tokens", MESSAGES)
    assert not (tmp_path / "tokens").exists()
    (folder / "chat_template.jinja").write_text("{{ 'a' * 10 ** 11 }}")
    with pytest.raises(UserError, match="the chat template takes more than 2 GiB of memory for one conversation"):
        build_tokens(given, folder, tmp_path / "tokens", MESSAGES)
    assert time.process_time() - before < 10, "by itself it takes minutes"
