"""What is measured first, once each; what failed is kept apart; all of it is put into one file."""

import json

from tests_support import load_recipe


def test_tasks_are_named_once_and_the_important_ones_come_first():
    worth = load_recipe("worth")
    tasks = worth.tasks()
    assert len(tasks) == len(set(tasks)) and tasks[0][1] == 0
    place = {task: number for number, task in enumerate(tasks)}
    assert place["shifted", 0, "unsealed"] < place["shifted", 1, "unsealed"] < place["shifted", 0, "unsealed-varied"]


def test_rows_are_collected_in_order_and_failures_are_named(tmp_path):
    worth = load_recipe("worth")
    for task, row in ((("fill50k", 0, "sealed"), {"a": 1}), (("shifted", 0, "unsealed"), {"failed": "ValueError: no"})):
        path = worth.file_of(tmp_path, task)
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            json.dumps(dict(zip(("domain", "seed", "arm"), task, strict=True)) | {"row": row, "device": "cpu", "precision": "no"})
        )
    worth.collect(tmp_path, tmp_path / "worth.json")
    figures = json.loads((tmp_path / "worth.json").read_text())
    assert figures["runs"] == {"fill50k/sealed/0": {"a": 1}} and figures["failed"] == {"shifted/unsealed/0": "ValueError: no"}
    assert figures["device"] == ["cpu no"] and not list(tmp_path.glob("*.png"))
