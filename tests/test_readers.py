"""Every reader of a file has a fuzz test, or a reason why what it reads is the program's own."""

import ast
import re
from pathlib import Path

from syntax import nodes

ROOT = Path(__file__).resolve().parent.parent
ROOMS = sorted(folder.name for folder in ROOT.iterdir() if (folder / "__init__.py").is_file())
CALLS = re.compile(
    r"(read_(json|object|objects|list|jsonl|lines|bytes|text)|parse_json|json\.loads?|JSONDecoder|yaml\.(safe_)?load|"
    r"OmegaConf\.load|OmegaConf\.from_dotlist|pq\.\w*(read_\w+|ParquetFile)|pj\.read_json|torch\.load|safe_open|"
    r"np\.(fromfile|load|memmap)|\w*Unpickler|etree\.(parse|iterparse|fromstring)|pypdfium2\.PdfDocument|open_text|open_bytes|"
    r"Tokenizer\.from_file|from_pretrained|zipfile\.ZipFile|read_values)"
)
"""Names of calls that take a file's bytes, or parse them."""
CORE = "core/test_fuzz_core.py::"
EVAL = "eval/test_fuzz_eval.py::"
RUN = "training/run/test_fuzz_run.py::"
PREFLIGHT = "training/preflight/test_environment.py::"
CHECKPOINT = "conversion/test_fuzz_checkpoint.py::"
DOCUMENTS = "data_prep/documents/test_documents_fuzz.py::test_fuzz_documents"
STORE = "data_prep/documents/test_fuzz_store.py::"
COLLECT = "data_prep/collect/test_fuzz_collect.py::"
SOURCES = "data_prep/sources/test_fuzz_sources.py::"
FORMATS = SOURCES + "test_fuzz_formats"
DOCUMENT_SETS = "eval/clinical/test_document_questions.py::"
NATIVE = "data_prep/sources/formats/"

TESTS: dict[str, tuple[str, ...]] = {
    "launch/score_models.py": ("launch/test_fuzz_request.py::test_fuzz_request",),
    "launch/build_reports.py": ("launch/test_fuzz_request.py::test_fuzz_request",),
    "launch/chain/run_status.py": ("launch/chain/test_chain.py::test_fuzz_progress",),
    "bench/scaling_chain.py": ("launch/chain/test_scaling_chain.py::test_fuzz_steps",),
    "launch/chain/folder_steps.py": ("launch/chain/test_scaling_chain.py::test_fuzz_steps",),
    "launch/chain/submitted.py": ("launch/chain/test_chain.py::test_fuzz_jobs",),
    "launch/drills/kill_tally.py": ("launch/drills/test_kill_tally.py::test_fuzz_kills",),
    "launch/steps.py": ("launch/test_steps.py::test_fuzz_done",),
    "launch/publish/publish_hub.py": ("launch/publish/test_publish_hub.py::test_fuzz_config",),
    "launch/publish/publishable.py": ("launch/publish/test_publish_hub.py::test_fuzz_config",),
    "launch/request.py": ("launch/test_fuzz_request.py::test_fuzz_request",),
    "conversion/bin_folder.py": (CHECKPOINT + "test_fuzz_bin", CHECKPOINT + "test_fuzz_bin_index"),
    "conversion/trainer_config.py": (
        "conversion/test_bridge_settings.py::test_fuzz_run_config",
        "conversion/test_nemo2_checkpoints.py::test_fuzz_model_config",
    ),
    "eval/clinical/documents/annotations.py": (DOCUMENT_SETS + "test_fuzz_brat", DOCUMENT_SETS + "test_fuzz_xml"),
    "eval/clinical/documents/document_questions.py": (DOCUMENT_SETS + "test_fuzz_choices",),
    "eval/benchmark/read_lm_eval.py": (EVAL + "test_fuzz_lm_eval_results",),
    "conversion/settings.py": (CORE + "test_fuzz_settings",),
    "conversion/distcp_read.py": (CHECKPOINT + "test_fuzz_format",),
    "conversion/follow.py": (CHECKPOINT + "test_fuzz_followed",),
    "conversion/stored_tensor.py": (CHECKPOINT + "test_fuzz_distcp",),
    "conversion/verify.py": (CORE + "test_fuzz_settings",),
    "core/checkpoint.py": (CORE + "test_fuzz_hashes_record", CORE + "test_fuzz_tracker"),
    "core/dcp.py": (CORE + "test_fuzz_metadata", CHECKPOINT + "test_fuzz_metadata_as_it_is_read"),
    "core/hf/config.py": (CORE + "test_fuzz_settings",),
    "core/hf/turns.py": (CORE + "test_fuzz_turns",),
    "core/hf/tokenizer_file.py": ("training/run/test_fuzz_journal.py::test_fuzz_tokenizer",),
    "core/hf/weights.py": (CORE + "test_fuzz_safetensors", CORE + "test_fuzz_weights_index"),
    "core/manifest.py": (CORE + "test_fuzz_manifest", CORE + "test_fuzz_interrupted"),
    "core/self_hash.py": (CORE + "test_fuzz_manifest", CORE + "test_fuzz_hashes_record"),
    "core/qwen3.py": (CORE + "test_fuzz_config",),
    "data_prep/clean/json_filter.py": ("data_prep/clean/test_json_filter.py::test_fuzz_lines",),
    "data_prep/collect/archives.py": (COLLECT + "test_fuzz_archive",),
    "data_prep/collect/download.py": (COLLECT + "test_fuzz_half",),
    "data_prep/collect/listings.py": (COLLECT + "test_fuzz_table",),
    "data_prep/collect/raw_folder.py": (COLLECT + "test_fuzz_journal",),
    "data_prep/collect/visit.py": (COLLECT + "test_fuzz_answers",),
    "data_prep/documents/collected.py": (COLLECT + "test_fuzz_journal",),
    "data_prep/documents/formats.py": (DOCUMENTS,),
    "data_prep/dedup/parts.py": (STORE + "test_fuzz_parts",),
    "data_prep/passes/spans.py": ("data_prep/passes/test_spans.py::test_fuzz_divided",),
    "data_prep/documents/store.py": (STORE + "test_fuzz_corpus", STORE + "test_fuzz_rejected"),
    "data_prep/documents/survey.py": (DOCUMENTS,),
    "data_prep/documents/values.py": (DOCUMENTS,),
    "data_prep/documents/recognise.py": (SOURCES + "test_fuzz_journal",),
    "data_prep/sources/recognition.py": (SOURCES + "test_fuzz_recognition",),
    "core/reading/yaml_mapping.py": (
        SOURCES + "test_fuzz_definition",
        "data_prep/topics/test_term_list.py::test_fuzz_terms",
        "eval/tasks/test_fuzz_own_tasks.py::test_fuzz_own_tasks",
    ),
    "data_prep/topics/assignments.py": ("data_prep/topics/test_assignments.py::test_fuzz_assignments",),
    **dict.fromkeys(
        (
            NATIVE + "brat.py",
            NATIVE + "pdf.py",
            NATIVE + "pdf_worker.py",
            NATIVE + "published_rows.py",
            NATIVE + "json_files/mediawiki.py",
            NATIVE + "json_files/translations.py",
            NATIVE + "text_files/bdpm.py",
            NATIVE + "text_files/conll.py",
            NATIVE + "text_files/moses.py",
            NATIVE + "text_files/mqc.py",
            NATIVE + "text_files/prose_table.py",
            NATIVE + "text_files/sentences.py",
            NATIVE + "xml_files/elements.py",
            NATIVE + "xml_files/web_page.py",
        ),
        (FORMATS,),
    ),
    "data_prep/tokens/chat/template.py": ("data_prep/tokens/test_chat.py::test_fuzz_templates",),
    "data_prep/tokens/index.py": (
        "data_prep/tokens/test_tokens_record.py::test_fuzz_index",
        "data_prep/tokens/test_chat.py::test_fuzz_answers",
    ),
    "data_prep/tokens/selection/shards.py": (DOCUMENTS,),
    "data_prep/tokens/tokenizer.py": ("training/run/test_fuzz_journal.py::test_fuzz_tokenizer",),
    "data_prep/tokens/tokens_record.py": ("data_prep/tokens/test_tokens_record.py::test_fuzz_tokens_record",),
    "eval/harness/backends.py": (EVAL + "test_fuzz_model_settings",),
    "eval/tasks/data_index.py": (EVAL + "test_fuzz_benchmark_index",),
    "eval/harness/result_files.py": tuple(EVAL + f"test_fuzz_{name}" for name in ("notes_of_answers", "rows", "runs")),
    "eval/tasks/questions.py": (EVAL + "test_fuzz_questions",),
    **dict.fromkeys(
        [f"eval/tasks/own/{name}.py" for name in ("asked_questions", "question_file", "task_rows")],
        ("eval/tasks/test_fuzz_own_tasks.py::test_fuzz_own_tasks",),
    ),
    "eval/tasks/bioinstruct.py": (EVAL + "test_fuzz_french_records",),
    "eval/statistics/contamination.py": (EVAL + "test_fuzz_contaminated",),
    "eval/tasks/fetch.py": (EVAL + "test_fuzz_benchmark_parquet",),
    "eval/report/heldout_figures.py": (EVAL + "test_fuzz_curve",),
    "eval/harness/batch_size.py": (EVAL + "test_fuzz_batch_sizes",),
    "core/hf/chat_rendering.py": (
        "eval/harness/test_chat_template_rendering.py::test_templates_that_fail_or_never_end_are_refused_with_their_line",
    ),
    "eval/harness/generation.py": (EVAL + "test_fuzz_model_settings",),
    "eval/harness/check_weights.py": (EVAL + "test_fuzz_weights",),
    "eval/heldout/task_index.py": (EVAL + "test_fuzz_tasks",),
    "eval/paper/tables_file.py": (EVAL + "test_fuzz_paper_tables",),
    "eval/benchmark/results_folder.py": (EVAL + "test_fuzz_plan", EVAL + "test_fuzz_model_identity"),
    "eval/scores.py": (EVAL + "test_fuzz_scores",),
    "eval/heldout/scoring.py": (EVAL + "test_fuzz_samples",),
    "eval/statistics/tradeoff.py": (EVAL + "test_fuzz_tradeoff",),
    "merge/parents.py": (CORE + "test_fuzz_settings",),
    "training/run/begun_saves.py": ("training/run/test_hashes.py::test_fuzz_begun_saves",),
    "training/run/failures/rank_file.py": ("training/run/test_fuzz_journal.py::test_fuzz_ranks",),
    "training/run/journal.py": ("training/run/test_fuzz_journal.py::test_fuzz_journal",),
    "recipes/overrides.py": (
        "recipes/test_overrides.py::test_fuzz_recipe",
        "recipes/test_overrides.py::test_fuzz_override",
    ),
    "training/preflight/environment.py": (PREFLIGHT + "test_fuzz_environment",),
    "training/preflight/start_check.py": (PREFLIGHT + "test_fuzz_preflight",),
    "training/run/folder.py": tuple(RUN + f"test_fuzz_{name}" for name in ("skipped", "achieved")),
    "training/run/identity.py": (RUN + "test_fuzz_identity",),
    "training/run/run_state.py": (RUN + "test_fuzz_state",),
    "training/run/hashes.py": (RUN + "test_fuzz_provenance",),
    "training/compare_tokenizers.py": ("training/run/test_fuzz_journal.py::test_fuzz_vocabulary",),
    "scaling/constants.py": ("scaling/test_fuzz_scaling.py::test_fuzz_constants",),
    "scaling/site_fit.py": ("scaling/test_fuzz_scaling.py::test_fuzz_site_rows",),
    "scaling/published.py": ("scaling/test_fuzz_scaling.py::test_fuzz_rows",),
}
"""Module that reads -> the tests that give it damaged files."""
PARTS = "parts of a shard that a rename has declared whole, in the stage's hidden folder"
OWN = {
    "bench/ceilings.py": "its own rank's results",
    "launch/planning/site_speed.py": "a site that `read_site` has been through",
    "launch/planning/speed_tables.py": "pages of our own documentation",
    "launch/nemo_run/on_nemo_run.py": "scripts that a dry run of its own has just written",
    "bench/resident_memory.py": "/proc",
    "bench/corpus/corpus.py": "logs of commands that it has just run",
    "bench/corpus/synthetic.py": "the sample that it has just written",
    "bench/corpus/tokens.py": "files that it, and what it compares with, have just made",
    "bench/train.py": "results of runs that it has just made",
    "bench/trainers.py": "models and rows that it has just made",
    "bench/side_job.py": "a job that its parent has just written",
    "launch/drills/disturbances.py": "the log of a job that it has just submitted",
    "launch/drills/training_job.py": "what a job that it has just submitted writes",
    "launch/drills/killed_submitter.py": "the numbers of the jobs that it has just submitted",
    "launch/drills/kills.py": "how long a run has taken that it has just made",
    "launch/drills/results.py": "runs that it has just made",
    "launch/doctor/compare_logits.py": "a model that `read_config` has been through",
    "core/files.py": "where the readers are",
    "data_prep/documents/streams.py": "where files are opened",
    "core/jsonio.py": "where the parser is; core/test_jsonio.py",
    "core/system/process.py": "/proc",
    "bench/corpus/dedup.py": "files that it, and what it compares with, have just made",
    "data_prep/clean/source_cleaning.py": "documents that it has just written down",
    "data_prep/decontaminate/corpus_search.py": "what its tasks have just written",
    "data_prep/dedup/duplicate_tasks.py": "what its tasks have just written",
    "data_prep/dedup/near_duplicates.py": "what the steps of the search have just written",
    "data_prep/passes/source_parts.py": "parts of a source that its tasks have just written",
    "data_prep/documents/faults.py": "faults that its tasks have just written",
    "data_prep/tokens/shard_tasks.py": "what its tasks have just written",
    "data_prep/tokens/selection/scan_tasks.py": "what its tasks have just written",
    "data_prep/dedup/contents.py": "files of a temporary folder",
    "data_prep/dedup/corpus_duplicates.py": "what the stage has just written",
    "data_prep/tokens/parcomed.py": "packaged",
    "data_prep/sample/grammar.py": "packaged",
    "data_prep/tokens/shard_tokens.py": PARTS,
    "data_prep/tokens/build.py": PARTS,
    "data_prep/tokens/assemble.py": PARTS,
    "data_prep/documents/folders.py": "compares a manifest's beginning only",
    "eval/harness/messages.py": "a log of its own",
    "eval/harness/run_lm_eval.py": "a log, and a generation_config.json, of its own",
    "eval/clinical/numbers/number_questions.py": "packaged",
    "eval/report/texts.py": "packaged",
    "eval/report/page.py": "packaged, and figures of its own",
    "eval/paper/claims.py": "packaged",
    "eval/harness/lm_eval_process.py": "its worker's messages",
    "eval/harness/worker.py": "a job that its parent has just written",
    "training/rank_task.py": "a job that its parent has just written",
    "training/run/failures/out_of_memory.py": "/proc and /sys",
    "recipes/hardware.py": "a child's answer",
    "training/megatron/parity.py": "a job that its parent has just written",
    "training/nemo/recipe_container.py": "a job that its parent has just written",
    "training/run/spawn.py": "exit codes that its own child has just written",
    "training/megatron/sequences.py": "no file: Megatron's name for a tokenizer of numbers",
    "training/run/listeners/watch.py": "what the run's own ranks have told the store",
}
"""Module that reads nothing that others write -> what it reads."""


def readers() -> dict[str, set[str]]:
    """Module -> the calls by which it reads."""
    found: dict[str, set[str]] = {}
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        calls = (node for node in nodes(path.read_text(encoding="utf-8")) if isinstance(node, ast.Call))
        names = {ast.unparse(call.func) for call in calls}
        reading = {name for name in names if CALLS.fullmatch(name) or CALLS.fullmatch(name.rpartition(".")[2])}
        if reading:
            found[str(path.relative_to(ROOT))] = reading
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
