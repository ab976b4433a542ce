"""The file of a flow: what it says, and what it may not."""

from pathlib import Path
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.launch.chain.flow_file import read_flow
from pdapt.launch.request import Reading, Request, TaskRuns

WHOLE = """\
title: French notes
data:
  paths: [notes=notes/, letters.jsonl.gz]
  domain: medical
  general: [none]
  encoding: cp1252
  max_rejected: 0.01
  profile: paper
  duplicates: near
  mask: [email, nir]
  topics: topics.csv
  decontaminate: benchmark
  parts: 8
  jobs: 4
base: Qwen3-8B-Base
recipe:
  name: qwen3_8b_cpt_48xh100_packed
  values: [job.account=abc@h100, 'job.time=10:00:00']
evaluation: {documents: 50, questions: 20, data: benchmark, tasks: [FR-MEDICAL], limit: 9}
merge: {t: 0.3}
site: jean_zay_h100
"""


def read(text: str, folder: Path) -> Any:
    (folder / "flow.yaml").write_text(text)
    return read_flow(folder / "flow.yaml")


def test_a_flow_says_what_the_options_of_run_say(tmp_path: Path) -> None:
    flow = read(WHOLE, tmp_path)
    assert flow.site == "jean_zay_h100"
    assert flow.request == Request(
        title="French notes",
        domain="medical",
        data=["notes=notes/", "letters.jsonl.gz"],
        general=["none"],
        base="Qwen3-8B-Base",
        recipe="qwen3_8b_cpt_48xh100_packed",
        overrides=["job.account=abc@h100", "job.time=10:00:00"],
        t=[0.3],
        reading=Reading(encoding="cp1252"),
        max_rejected=0.01,
        profile="paper",
        duplicates="near",
        mask=["email", "nir"],
        topics="topics.csv",
        decontaminate="benchmark",
        documents=50,
        questions=20,
        benchmark=TaskRuns("benchmark", ["FR-MEDICAL"], 9),
        parts=8,
        jobs=4,
    )


def test_tasks_of_ones_own_need_no_data_and_are_found_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    request = read("evaluation: {tasks: [tasks/, recht.csv]}\n", tmp_path).request
    assert request.benchmark == TaskRuns(None, [f"{tmp_path}/tasks", f"{tmp_path}/recht.csv"])
    with pytest.raises(UserError, match="the tasks' data are missing"):
        read("evaluation: {tasks: [tasks/, FR-MEDICAL]}\n", tmp_path)


def test_the_points_of_a_sweep_are_a_list_or_as_the_sweep_spells_them(tmp_path: Path) -> None:
    for spelled in ("[0.3, 0.5, 0.7]", "0.3:0.7:0.2", "0.3,0.5,0.7", "'0.3,0.5,0.7'"):
        request = read(f"merge:\n  t: {spelled}\n  max_loss: 2\n", tmp_path).request
        assert (request.t, request.max_loss) == ([0.3, 0.5, 0.7], 2.0), spelled


def test_what_is_left_out_is_as_the_options_defaults(tmp_path: Path) -> None:
    assert read("data: {domain: law}", tmp_path).request == Request("pdapt run: law", "law", [])
    assert read("{}", tmp_path).site == "generic"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("daata: {}", r"unknown key 'daata'(.|\n)*allowed: title, data, base(.|\n)*did you mean 'data'"),
        ("data: {path: [x]}", r"unknown key 'data.path'(.|\n)*did you mean 'paths'"),
        ("data: [notes]", r"data is \[\"notes\"\](.|\n)*allowed: a mapping of paths, domain"),
        ("merge: {t: far}", "merge.t"),
        ("merge: {t: [0.5, 2]}", "t is 2.0"),
        ("merge: {t: [0.5, 0.5]}", r"a point is given twice(.|\n)*merge.t"),
        ("merge: {t: []}", "merge.t"),
        ("merge: {t: {from: 0}}", "merge.t"),
        ("merge: {t: yes}", "merge.t"),
        ("merge: {t: null}", "merge.t"),
        ("merge: {max_loss: much}", "merge.max_loss"),
        ("recipe: {values: [steps=3]}", "no value for recipe.name"),
        (
            "recipe: qwen3_tiny_cpt_2xcpu",
            r"recipe is \"qwen3_tiny_cpt_2xcpu\"(.|\n)*allowed: a mapping of name, values",
        ),
        ("evaluation: {questions: 1.5}", "evaluation.questions"),
        ("evaluation: {limit: 5}", "evaluation.data"),
        ("title: ${oc.env:HOME}", "takes its value from elsewhere"),
        ("- a\n- b", "not a mapping"),
        ("title: [", "not valid YAML"),
    ],
)
def test_a_key_or_a_value_that_cannot_be_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read(text, tmp_path)


def test_a_flow_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no flow file"):
        read_flow(tmp_path / "gone.yaml")
