"""Settings come from a file and from arguments; invalid ones are named."""

from pathlib import Path

import pytest

from serve.settings import SettingsError, plan_replicas, read_settings


def test_arguments_override_the_file(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('segmenter = "vit_b"\nseconds = 5\n[segmenters]\nmost = 7\n')
    settings = read_settings({"segmenter": "compact"}, str(file))
    assert (settings.segmenter, settings.seconds) == ("compact", 5)
    assert plan_replicas(2, 0, settings).segmenter.most == 7


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("colour = 1", "colour"),
        ("seconds = 0", "seconds"),
        ("seconds = [", "cannot be read as TOML"),
        ('token_sha256 = "secret"', "token_sha256"),
        ("insecure = true\nhost = '0.0.0.0'", "needs host = 127.0.0.1"),
        ("insecure = true\nhost = 'crystals.example.org'", "needs host = 127.0.0.1"),
        ("[jobs]\nmegapixels = 900", "megapixels = 900 is above megapixels_of_all = 512"),
        ("[jobs]\nminutes = 0", "jobs.minutes"),
        ("tls_cert = 'a.pem'", "belong together"),
        ("tls_cert = 'a.pem'\ntls_key = 'a.key'", "a.pem cannot be read"),
    ],
)
def test_invalid_settings_are_named(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=reason) as error:
        read_settings({}, str(file))
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    ("pool", "reason"),
    [({"most": 0}, "most"), ({"gpu": 1}, "gpu"), ({"least": 3, "most": 2}, "least = 3")],
)
def test_invalid_pools_are_named(pool: dict[str, int], reason: str) -> None:
    with pytest.raises(SettingsError, match=f"segmenters.*{reason}"):
        plan_replicas(2, 0, read_settings({"segmenters": pool}))


def test_pools_fit_the_cluster() -> None:
    settings = read_settings({})
    two = plan_replicas(2, 0, settings)
    least = [two.ingress, two.classifier, two.reader]
    assert two.segmenter.most * two.segmenter.cpus + sum(pool.cpus for pool in least) <= 2
    assert two.analyses == 4
    assert two.segmenter.least == 1
    four = plan_replicas(4, 0, settings)
    assert four.segmenter.least == 2, "one is there when the other dies"
    assert plan_replicas(4, 0, read_settings({"segmenters": {"most": 1}})).segmenter.least == 1
    gpus = plan_replicas(64, 8, settings)
    assert gpus.segmenter.most == 8
    assert gpus.segmenter.gpus + gpus.classifier.gpus <= 1
    assert gpus.segmenter.batch > 1
