"""Progress is counted, shown only on a terminal, and logged."""

import logging

import pytest

from pipelines.batch import Count, WrittenBatch
from pipelines.monitoring.progress import ScanProgress


def written(**wells: Count) -> WrittenBatch:
    return WrittenBatch((), wells, {})


def test_batches_are_counted_and_the_end_is_logged(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, "pipelines.scan")
    with ScanProgress("scan-7", {"A": 3, "B": 4}) as progress:
        progress.add(written(A=Count(2, 1, 50)))
        progress.add(written(B=Count(1, 0, 9)))
        assert progress.done == Count(3, 1, 59)
    line = caplog.messages[-1]
    assert line.startswith("scan scan-7: 4/7 tiles · 1 failed · 59 crystals · ")
    assert line.endswith("; wells at work: B 1/4")
    assert capsys.readouterr() == ("", ""), "no bar without a terminal"


def test_empty_scans_and_unknown_wells_do_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pipelines.scan")
    with ScanProgress("scan", {}):
        pass
    assert "0/0 tiles" in caplog.messages[-1]
    with ScanProgress("scan", {"A": 1}) as progress:
        progress.add(written(other=Count(1, 0, 0)))
    assert progress.done.tiles == 1


def test_a_scan_of_many_wells_names_a_few_of_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pipelines.scan")
    wells = {f"well-{number}": 2 for number in range(40)}
    with ScanProgress("scan", wells) as progress:
        progress.add(written(**dict.fromkeys(wells, Count(1, 0, 0))))
    assert caplog.messages[-1].count("1/2") == 5
