"""The files that the how-to on tasks of one's own shows."""

import re
from pathlib import Path
from textwrap import dedent

HOW_TO = Path(__file__).parents[3] / "docs/howto-own-tasks.md"
GENERATED = "recht_frist"


def write_how_to(folder: Path) -> Path:
    """Write the page's files, each under the name in its first line, and the data of its task file of lm-eval."""
    text = HOW_TO.read_text(encoding="utf-8")
    for block in re.findall(r"^ *```(?:csv|text|yaml)\n(.*?)```", text, re.DOTALL | re.MULTILINE):
        first, _, content = dedent(block).partition("\n")
        path = folder / first.removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    (row,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    (folder / f"{GENERATED}.jsonl").write_text(row + row.replace("14", "30").replace("kann", "darf"), encoding="utf-8")
    return folder
