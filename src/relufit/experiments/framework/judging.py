"""The judgement of an experiment as files: its verdicts as JSON, its tables as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from relufit.experiments.framework import trials
from relufit.experiments.framework.base import Experiment
from relufit.files.atomic import replacing, write_json


def judge(
    experiment: Experiment, config: Mapping[str, Any], traces: Path, tables: Mapping[str, Path], output: Path
) -> None:
    """Judge the traces of an experiment and write its tables and its verdicts.

    Parameters
    ----------
    experiment : Experiment
    config : mapping
        The checked configuration.
    traces : Path
        Folder of the experiment's traces.
    tables : mapping
        The CSV file of each table, by its name.
    output : Path
        JSON file of the verdicts.

    Raises
    ------
    DataError
        If a file of traces is missing or damaged.
    """
    results, timings = trials.read(experiment, config, traces)
    judgement = experiment.judge(config, results, timings)
    for name, table in judgement.tables.items():
        with replacing(tables[name]) as fresh:
            table.to_csv(fresh, index=False)
    write_json(
        output,
        {
            "experiment": experiment.NAME,
            "title": experiment.TITLE,
            "question": experiment.QUESTION,
            "prediction": experiment.PREDICTION,
            "setting": judgement.setting,
            "budget": judgement.budget,
            "verdicts": {topic: [v.as_json() for v in verdicts] for topic, verdicts in judgement.verdicts.items()},
        },
    )
