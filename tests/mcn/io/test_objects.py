"""Objects are fetched and stored completely, and failed requests are repeated."""

from pathlib import Path

import fsspec
import pytest

from mcn.io.objects import ObjectError, fetch, retry_storage, store


def test_stored_objects_are_fetched_unchanged(tmp_path: Path) -> None:
    for uri in (str(tmp_path / "new" / "a"), f"file://{tmp_path}/b", "memory://c/d"):
        store(uri, b"whole")
        assert fetch(uri) == fetch(uri, 5, 5) == b"whole"
        with pytest.raises(ObjectError, match="it has 5 bytes, more than the limit of 4"):
            fetch(uri, most=4)
    assert not list(tmp_path.rglob("*.new"))
    with pytest.raises(FileNotFoundError):
        fetch(str(tmp_path / "none"))


def test_a_truncated_response_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"cut")
    with pytest.raises(OSError, match="3 of 5 bytes were received"):
        fetch(str(tmp_path / "a"), 5)


def test_requests_are_retried_a_limited_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    import mcn.io.objects

    monkeypatch.setattr(mcn.io.objects, "_LONGEST_WAIT_S", 0.0)
    attempts = []

    def answer(failures: int, error: Exception) -> str:
        attempts.append(error)
        if len(attempts) <= failures:
            raise error
        return "here"

    assert retry_storage(answer, 3, OSError("slow down")) == "here"
    assert len(attempts) == 4
    attempts.clear()
    with pytest.raises(OSError, match="slow down"):
        retry_storage(answer, 99, OSError("slow down"))
    assert len(attempts) == 6
    attempts.clear()
    with pytest.raises(FileNotFoundError):
        retry_storage(answer, 99, FileNotFoundError("none"))
    assert len(attempts) == 1


def test_an_object_that_shrinks_while_read_is_fetched_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store("memory://cut/a", b"whole")
    fs = fsspec.filesystem("memory", use_listings_cache=False)
    cat_file, times = type(fs).cat_file, []

    def cut(self, path, start=None, end=None, **kwargs):  # type: ignore[no-untyped-def]
        times.append(path)
        data = cat_file(self, path, start=start, end=end, **kwargs)
        return data[:2] if len(times) < 3 else data

    monkeypatch.setattr(type(fs), "cat_file", cut)
    assert fetch("memory://cut/a", 5) == b"whole"
    assert len(times) == 3
