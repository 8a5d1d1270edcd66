"""Which run directories a report of trainings takes. Expected values: by hand."""

from fewslice.report.reading.runs import find_run_dirs


def test_selections_and_experiments_are_no_trainings(tmp_path):
    for stage in ("run_al_exp", "select_slices", "tr_baseline"):
        folder = tmp_path / "tiny" / stage / "x-0123456789"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "DONE").write_text("{}")
    assert [path.parent.name for path in find_run_dirs(tmp_path, "tiny")] == ["tr_baseline"]
