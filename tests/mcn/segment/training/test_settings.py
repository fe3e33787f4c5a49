"""The presets of the trainings are consistent."""

from mcn.segment.training.settings import PRESETS, VIT_PRESETS


def test_the_presets_fit_their_samples() -> None:
    for preset in (*PRESETS.values(), *VIT_PRESETS.values()):
        assert preset.sample.size % 32 == 0
        assert preset.steps % preset.epoch == 0


def test_a_vit_starts_with_a_low_learning_rate() -> None:
    assert PRESETS.keys() == VIT_PRESETS.keys()
    for name, preset in VIT_PRESETS.items():
        assert preset.rate < PRESETS[name].rate
