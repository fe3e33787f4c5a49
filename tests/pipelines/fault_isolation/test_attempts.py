"""The attempt log quarantines tiles that kill their worker or time out."""

from pipelines.fault_isolation.attempts import MAX_KILLS, AttemptLog


def test_a_tile_that_timed_out_is_retried_alone() -> None:
    attempt_log = AttemptLog()
    batch = ["slow", "quick"]
    assert attempt_log.begin("read", batch).overdue == 0
    attempt_log.overdue("read", batch, 60.0)
    assert attempt_log.begin("read", batch).alone
    verdict = attempt_log.begin("read", ["slow"])
    assert (verdict.overdue, verdict.kills, verdict.quarantined) == (1, 0, None)
    attempt_log.overdue("read", ["slow"], 120.0)
    reason = "read: took over 120 s alone, its second chance; --retry-failed tries once more"
    assert attempt_log.begin("read", ["slow"]).quarantined == reason
    assert attempt_log.begin("read", ["slow"]).quarantined == reason
    assert attempt_log.begin("read", ["quick"]).quarantined is None
    attempt_log.end("read", ["quick"], 1.0)
    assert attempt_log.begin("read", ["quick"]).overdue == 0


def test_killed_workers_do_not_count_as_timeouts() -> None:
    attempt_log = AttemptLog()
    for kills in range(MAX_KILLS - 1):
        assert attempt_log.begin("read", ["a"]).kills == kills
    assert attempt_log.begin("read", ["a"]).quarantined is None
    attempt_log.overdue("read", ["a"], 30.0)
    verdict = attempt_log.begin("read", ["a"])
    assert (verdict.overdue, verdict.kills, verdict.quarantined) == (1, MAX_KILLS - 1, None)


def test_progress_of_a_stage() -> None:
    attempt_log = AttemptLog()
    attempt_log.begin("read", ["a", "b"])
    attempt_log.end("read", ["a", "b"], 2.0, 300)
    attempt_log.begin("segment", ["a"])
    progress = attempt_log.progress()
    assert (progress["read"].begun, progress["read"].ended, progress["read"].bytes) == (2, 2, 300)
    assert progress["read"].seconds == 2.0
    assert (progress["segment"].begun, progress["segment"].ended) == (1, 0)
    assert not attempt_log.begin("read", []).draining
    attempt_log.drain()
    assert attempt_log.begin("read", []).draining
