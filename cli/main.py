"""The command line: `pdapt <noun> <verb>`. Import-light: a room is loaded when one of its verbs runs."""

import atexit
import gc
import os
import sys
from typing import Annotated

import typer

from ..core.errors import Failed, Halted, StoppedEarly, UserError
from ..core.exit_codes import ExitCode, exit_codes_help
from ..core.system.disk import disk_error, full_disk
from ..core.system.os_errors import missing_package, user_error
from .terminal import prepare, use_utf8

app = typer.Typer(
    help="Adapt a general language model to a domain at scale, and know whether that helped.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _add_rooms() -> None:
    from . import (  # their rooms load later
        bench,
        chain,
        convert,
        corpus,
        doctor,
        drill,
        eval,
        merge,
        plan,
        report,
        run,
        tokens,
        topics,
        train,
    )

    corpus.corpus.command("topics")(topics.show_topics)
    for name, room, help_text in (
        ("corpus", corpus.corpus, "Collect, read and clean documents."),
        ("tokens", tokens.tokens, "Tokenize documents into Megatron's files, and show what is in them."),
        ("convert", convert.convert, "Convert between Hugging Face and Megatron checkpoints."),
        ("merge", merge.merge, "Merge a checkpoint with its base, and choose the point between them."),
        ("eval", eval.evaluation, "Evaluate models with lm-eval."),
        ("report", report.report, "Write reports on runs, and on the paper's tables."),
        ("publish", report.publish, "Publish a model or a data set on the Hugging Face Hub."),
        ("plan", plan.plan, "Predict memory, time and cost of training, and how far off the predictions are."),
        ("bench", bench.bench, "Measure pdapt against the tools that one would otherwise use."),
    ):
        app.add_typer(room, name=name, help=help_text, no_args_is_help=True)
    for name, verb, summary in (
        ("train", train.train, "Train a recipe, or continue its run."),
        ("launch", train.launch, "Submit a flow to Slurm, or write the script of a recipe."),
        ("status", chain.status, "Show how a run stands, and why it has stopped."),
        ("logs", chain.logs, "Print the log of a run's step."),
        ("cancel", chain.cancel, "Cancel a run's jobs."),
        ("run", run.run, "Run all stages on your own text."),
        ("quickstart", run.quickstart, "Run all stages on the embedded sample, offline, in minutes."),
        ("doctor", doctor.doctor, "Check packages, machine, GPUs, a site, or a base's weights."),
        ("drill", drill.drill, "Disturb a tiny flow on purpose, and compare its results."),
    ):
        app.command(name, short_help=summary, epilog=f"\b\n{exit_codes_help()}")(verb)


_add_rooms()


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"pdapt {version('pdapt')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version  # `_print_version` has ended the program


def main() -> None:
    """Run a command.

    It ends with one of `ExitCode`, and with a traceback only where the defect is ours.
    """
    atexit.register(gc.freeze)  # else Python searches all objects of torch at its end, for 1.5 s
    use_utf8()
    prepare()
    try:
        code = _run()
        sys.stdout.flush()  # here, where a closed pipe is still caught
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OUTPUT_CLOSED
    sys.exit(code)


def _run() -> int:
    """Run the command of `sys.argv`; its exit code."""
    stdout = sys.stdout
    try:
        app(prog_name="pdapt")
    except SystemExit as end:
        if sys.stdout is not stdout:  # typer's way to say that nobody reads it
            raise BrokenPipeError from None
        return end.code if isinstance(end.code, int) else ExitCode.DONE
    except (UserError, StoppedEarly, Halted, Failed) as error:
        _say(str(error))
        return error.code
    except BrokenPipeError:
        raise
    except OSError as error:
        mistake = user_error(error)
        if mistake is None:
            raise
        _say(str(mistake))
        return mistake.code
    except ImportError as error:
        mistake = missing_package(error)
        if mistake is None:
            raise
        _say(str(mistake))
        return mistake.code
    except Exception as error:  # a library raises any error when the disk is full; all else is our defect
        words = full_disk(error)
        if not words:
            raise
        _say(str(disk_error(words, None)))
        return ExitCode.USER_ERROR
    return ExitCode.DONE


def _say(message: str) -> None:
    print(f"pdapt: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
