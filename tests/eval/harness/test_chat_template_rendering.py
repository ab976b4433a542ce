"""A chat template that is faulty or does not end is refused before the first task."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.eval.harness.chat_template import check_rendering

SOUND = "{% for m in messages %}{{ m.role }}\n{{ m.content }}\n{% endfor %}"
WRONG = {
    "syntax": (SOUND + "\n{% if %}", r"fails in line 4: TemplateSyntaxError"),
    "error": (SOUND + "\n\n{{ messages[7].content.strip() }}", r"fails in line 5: UndefinedError"),
    "refusal": ("{{ raise_exception('no examples') }}", r"fails in line 1: TemplateError: no examples"),
    "endless": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        r"takes more than 5 s of CPU",
    ),
    "memory": ("{{ 'a' * 10 ** 11 }}", r"takes more than 2 GiB of memory"),
}


@pytest.mark.slow
def test_templates_that_fail_or_never_end_are_refused_with_their_line(
    tiny_qwen3: Callable[..., Path],
) -> None:
    folder = tiny_qwen3()
    template = folder / "chat_template.jinja"
    template.write_text(SOUND)
    check_rendering({"m": folder})
    for content, message in WRONG.values():
        template.write_text(content)
        with pytest.raises(UserError, match=f"m's chat template {message}"):
            check_rendering({"m": folder})
    template.write_text(SOUND)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="m's chat template cannot be rendered: "):
        check_rendering({"m": folder})
