"""The face: `pdapt <room> <verb>`. Import-light: a room is loaded when one of its verbs runs."""

import sys
from pathlib import Path

import typer

from ..core.disk import disk_error, full_disk
from ..core.errors import Halted, StoppedEarly, UserError

app = typer.Typer(
    help="Adapt a general language model to a domain at scale, and know whether that helped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _add_rooms() -> None:
    from . import bench, evaluation, merging, plan, report, stages, tokens, whole  # all load their rooms in a verb

    for name, room, help_text in (
        ("corpus", stages.corpus, "Documents: read, clean."),
        ("tokens", tokens.tokens, "Documents -> Megatron's token files, and what is in them."),
        ("convert", stages.convert, "Hugging Face <-> Megatron checkpoints."),
        ("merge", merging.merge, "Merge a checkpoint with its base, and choose how far."),
        ("eval", evaluation.evaluation, "Evaluate models with lm-eval."),
        ("report", report.report, "The pages that say what happened, and what the paper says."),
        ("plan", plan.plan, "Memory, time and cost of training, predicted; and how far that is off."),
        ("bench", bench.bench, "How fast, against what one would otherwise use."),
    ):
        app.add_typer(room, name=name, help=help_text, no_args_is_help=True)
    app.command("train", help="Train a recipe, or go on with it.")(stages.train)
    app.command("launch", help="The Slurm script of a recipe.")(stages.launch)
    app.command("run", help="All stages on your own text.")(whole.run)
    app.command("quickstart", help="All stages on the embedded sample, offline, in minutes.")(whole.quickstart)
    app.command("doctor", help="Do transformers and Megatron agree on a base's weights?")(whole.doctor)


_add_rooms()


def main() -> None:
    """Run a command.

    Exit codes: 2 and a message for the user's mistakes, 1 and a traceback for ours, 75 for work that was asked to stop
    and goes on with the same command, 76 for work that was ended because something was wrong with it.
    """
    try:
        app(prog_name="pdapt")
    except UserError as error:
        _say(str(error))
        sys.exit(2)
    except (StoppedEarly, Halted) as error:
        _say(str(error))
        sys.exit(error.code)
    except OSError as error:
        words = full_disk(error)
        if not words:
            raise
        _say(str(disk_error(words, Path(str(error.filename or ".")))))
        sys.exit(2)


def _say(message: str) -> None:
    print(f"pdapt: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
