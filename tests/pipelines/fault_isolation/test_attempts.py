"""The ledger quarantines tiles that kill their worker or run out of time."""

from pipelines.fault_isolation.attempts import MAX_KILLS, Ledger


def test_a_tile_that_ran_out_of_time_is_retried_alone() -> None:
    ledger = Ledger()
    batch = ["slow", "quick"]
    assert ledger.begin("read", batch).overdue == 0
    ledger.overdue("read", batch, 60.0)
    assert ledger.begin("read", batch).alone
    verdict = ledger.begin("read", ["slow"])
    assert (verdict.overdue, verdict.kills, verdict.quarantined) == (1, 0, None)
    ledger.overdue("read", ["slow"], 120.0)
    reason = "read: took over 120 s alone, its second chance; --retry-failed tries once more"
    assert ledger.begin("read", ["slow"]).quarantined == reason
    assert ledger.begin("read", ["slow"]).quarantined == reason
    assert ledger.begin("read", ["quick"]).quarantined is None
    ledger.end("read", ["quick"], 1.0)
    assert ledger.begin("read", ["quick"]).overdue == 0


def test_killed_workers_do_not_count_as_timeouts() -> None:
    ledger = Ledger()
    for kills in range(MAX_KILLS - 1):
        assert ledger.begin("read", ["a"]).kills == kills
    assert ledger.begin("read", ["a"]).quarantined is None
    ledger.overdue("read", ["a"], 30.0)
    verdict = ledger.begin("read", ["a"])
    assert (verdict.overdue, verdict.kills, verdict.quarantined) == (1, MAX_KILLS - 1, None)


def test_progress_of_a_stage() -> None:
    ledger = Ledger()
    ledger.begin("read", ["a", "b"])
    ledger.end("read", ["a", "b"], 2.0, 300)
    ledger.begin("segment", ["a"])
    progress = ledger.progress()
    assert (progress["read"].begun, progress["read"].ended, progress["read"].bytes) == (2, 2, 300)
    assert progress["read"].seconds == 2.0
    assert (progress["segment"].begun, progress["segment"].ended) == (1, 0)
    assert not ledger.begin("read", []).draining
    ledger.drain()
    assert ledger.begin("read", []).draining
