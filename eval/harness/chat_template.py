"""Check that a model's chat template renders, before the first task."""

from pathlib import Path

from ...core.errors import UserError
from ...core.hf.chat_rendering import MEMORY, SECONDS, TemplateFault, render

_QUESTION = {"role": "user", "content": "What does insulin lower?"}
CONVERSATIONS = ([_QUESTION], [_QUESTION, {"role": "assistant", "content": "Blood sugar."}, _QUESTION])
"""As tasks ask: a question, and one after an example."""


def check_rendering(folders: dict[str, Path]) -> None:
    """Check that models' chat templates render what tasks ask.

    Args:
        folders: name of a model -> its folder.

    Raises:
        UserError: one is faulty, with its line, or takes too long or too much memory.
    """
    for name, folder in folders.items():
        try:
            render(CONVERSATIONS, folder, prompt=True)
        except TemplateFault as fault:
            raise UserError(
                f"{name}'s chat template {fault.what}",
                where=str(folder),
                allowed=f"a template that renders a question within {SECONDS} s and {MEMORY / 2**30:.0f} GiB",
                fix="correct the template, or run the model by a command of its own, without --chat-template, into the "
                "same --out",
            ) from None
