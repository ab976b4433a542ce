"""Every reader of a file has a fuzz test, or a reason why what it reads is the program's own."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("cli", "conversion", "core", "data_prep", "eval", "launch", "merge", "recipes", "scaling")
CALLS = re.compile(
    r"(read_(json|object|objects|list|jsonl|lines|bytes|text)|parse_json|json\.loads?|JSONDecoder|yaml\.(safe_)?load|"
    r"OmegaConf\.load|OmegaConf\.from_dotlist|pq\.\w*(read_\w+|ParquetFile)|pj\.read_json|torch\.load|safe_open|"
    r"np\.(fromfile|load|memmap)|\w*Unpickler|Tokenizer\.from_file|from_pretrained|zipfile\.ZipFile|read_values)"
)
"""Names of calls that take a file's bytes, or parse them."""
CORE = "core/test_fuzz_core.py::"
EVAL = "eval/test_fuzz_eval.py::"
RUN = "recipes/test_fuzz_run.py::"
CHECKPOINT = "conversion/test_fuzz_checkpoint.py::"
DOCUMENTS = "data_prep/test_documents_fuzz.py::test_fuzz_documents"
STORE = "data_prep/test_fuzz_store.py::"

TESTS: dict[str, tuple[str, ...]] = {
    "cli/evaluate.py": ("cli/test_fuzz_request.py::test_fuzz_request",),
    "cli/run/pipeline.py": ("cli/test_fuzz_request.py::test_fuzz_request",),
    "cli/run/request.py": ("cli/test_fuzz_request.py::test_fuzz_request",),
    "conversion/bin_folder.py": (CHECKPOINT + "test_fuzz_bin", CHECKPOINT + "test_fuzz_bin_index"),
    "conversion/distcp.py": (CHECKPOINT + "test_fuzz_format",),
    "conversion/follow.py": (CHECKPOINT + "test_fuzz_followed",),
    "conversion/stored.py": (CHECKPOINT + "test_fuzz_distcp",),
    "conversion/verify.py": (CORE + "test_fuzz_settings",),
    "core/checkpoint.py": (CORE + "test_fuzz_seal", CORE + "test_fuzz_tracker"),
    "core/dcp.py": (CORE + "test_fuzz_metadata", CHECKPOINT + "test_fuzz_metadata_as_it_is_read"),
    "core/hf_config.py": (CORE + "test_fuzz_settings",),
    "core/hf_tokenizer.py": ("recipes/test_fuzz_journal.py::test_fuzz_tokenizer",),
    "core/hf_weights.py": (CORE + "test_fuzz_safetensors", CORE + "test_fuzz_weights_index"),
    "core/manifest.py": (CORE + "test_fuzz_manifest", CORE + "test_fuzz_interrupted"),
    "core/qwen3.py": (CORE + "test_fuzz_config",),
    "data_prep/documents/formats.py": (DOCUMENTS,),
    "data_prep/documents/store.py": (STORE + "test_fuzz_corpus", STORE + "test_fuzz_rejected"),
    "data_prep/documents/survey.py": (DOCUMENTS,),
    "data_prep/documents/values.py": (DOCUMENTS,),
    "data_prep/indexed.py": ("data_prep/test_tokens_record.py::test_fuzz_index",),
    "data_prep/shards.py": (DOCUMENTS,),
    "data_prep/tokenizer.py": ("recipes/test_fuzz_journal.py::test_fuzz_tokenizer",),
    "data_prep/tokens_record.py": ("data_prep/test_tokens_record.py::test_fuzz_tokens_record",),
    "eval/backends.py": (EVAL + "test_fuzz_model_settings",),
    "eval/benchmark.py": (EVAL + "test_fuzz_benchmark_index",),
    "eval/bioinstruct.py": (EVAL + "test_fuzz_french_records",),
    "eval/cells.py": (EVAL + "test_fuzz_runs",),
    "eval/contamination.py": (EVAL + "test_fuzz_contaminated",),
    "eval/fetch.py": (EVAL + "test_fuzz_benchmark_parquet",),
    "eval/figures.py": (EVAL + "test_fuzz_curve",),
    "eval/harness/batch_size.py": (EVAL + "test_fuzz_batch_sizes",),
    "eval/harness/generation.py": (EVAL + "test_fuzz_model_settings",),
    "eval/harness/weights.py": (EVAL + "test_fuzz_weights",),
    "eval/heldout.py": (EVAL + "test_fuzz_tasks",),
    "eval/paper.py": (EVAL + "test_fuzz_paper_tables",),
    "eval/plan.py": (EVAL + "test_fuzz_plan", EVAL + "test_fuzz_model_identity"),
    "eval/run.py": (EVAL + "test_fuzz_notes_of_answers",),
    "eval/scores.py": (EVAL + "test_fuzz_scores",),
    "eval/scoring.py": (EVAL + "test_fuzz_samples", EVAL + "test_fuzz_rows"),
    "eval/tradeoff.py": (EVAL + "test_fuzz_tradeoff",),
    "merge/parents.py": (CORE + "test_fuzz_settings",),
    "recipes/dry_run.py": ("data_prep/test_tokens_record.py::test_fuzz_tokens_record",),
    "recipes/failures/record.py": ("recipes/test_fuzz_journal.py::test_fuzz_ranks",),
    "recipes/inputs.py": ("data_prep/test_tokens_record.py::test_fuzz_tokens_record",),
    "recipes/journal.py": ("recipes/test_fuzz_journal.py::test_fuzz_journal",),
    "recipes/layers.py": ("recipes/test_layers.py::test_fuzz_recipe", "recipes/test_layers.py::test_fuzz_override"),
    "recipes/run_folder.py": tuple(RUN + f"test_fuzz_{name}" for name in ("identity", "state", "skipped", "achieved")),
    "recipes/seal.py": (RUN + "test_fuzz_provenance",),
    "recipes/vocabulary.py": ("recipes/test_fuzz_journal.py::test_fuzz_vocabulary",),
    "scaling/constants.py": ("scaling/test_fuzz_scaling.py::test_fuzz_constants",),
    "scaling/published.py": ("scaling/test_fuzz_scaling.py::test_fuzz_rows",),
}
"""Module that reads -> the tests that give it damaged files."""
OWN = {
    "cli/bench_convert.py": "files that it has just made",
    "cli/bench_ceilings.py": "its own rank's results",
    "cli/bench_process.py": "/proc",
    "cli/bench_scaling_page.py": "a template and a figure of its own",
    "cli/bench_tokens.py": "files that it, and what it compares with, have just made",
    "cli/bench_train.py": "results of runs that it has just made",
    "cli/bench_trainers.py": "results of runs that it has just made",
    "cli/compare.py": "a model that `read_config` has been through",
    "core/files.py": "where the readers are",
    "core/jsonio.py": "where the parser is; core/test_jsonio.py",
    "core/process.py": "/proc",
    "data_prep/near_duplicates.py": "files of a temporary folder",
    "data_prep/parcomed.py": "packaged",
    "data_prep/sample/grammar.py": "packaged",
    "data_prep/shard_tokens.py": "parts of a shard that a rename has declared whole, in the stage's hidden folder",
    "data_prep/tokens.py": "parts of a shard that a rename has declared whole, in the stage's hidden folder",
    "data_prep/documents/folders.py": "compares a manifest's beginning only",
    "eval/harness/messages.py": "a log of its own",
    "eval/harness/units.py": "a log, and a generation_config.json, of its own",
    "eval/language.py": "packaged",
    "eval/page.py": "packaged, and figures of its own",
    "eval/paper_claims.py": "packaged",
    "eval/process.py": "its worker's messages",
    "eval/worker.py": "a job that its parent has just written",
    "recipes/engine.py": "a job that its parent has just written",
    "recipes/failures/memory.py": "/proc and /sys",
    "recipes/hardware.py": "a child's answer",
    "recipes/parity.py": "a job that its parent has just written",
    "recipes/spawn.py": "exit codes that its own child has just written",
    "recipes/stream.py": "no file: Megatron's name for a tokenizer of numbers",
    "recipes/watch.py": "what the run's own ranks have told the store",
}
"""Module that reads nothing that others write -> what it reads."""


def readers() -> dict[str, set[str]]:
    """Module -> the calls by which it reads."""
    found: dict[str, set[str]] = {}
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        calls = {name for name in names if CALLS.fullmatch(name) or CALLS.fullmatch(name.rpartition(".")[2])}
        if calls:
            found[str(path.relative_to(ROOT))] = calls
    return found


def test_every_reader_has_a_fuzz_test_or_reads_its_own() -> None:
    found = readers()
    known = TESTS.keys() | OWN.keys()
    assert not TESTS.keys() & OWN.keys()
    assert {name: calls for name, calls in found.items() if name not in known} == {}, "not registered"
    assert known - found.keys() == set(), "these read nothing any more"


def test_the_fuzz_tests_are_there() -> None:
    for test in {test for tests in TESTS.values() for test in tests}:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), test
