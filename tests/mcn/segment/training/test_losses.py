import torch

from mcn.segment.training.losses import mask_losses, proposal_losses, window_truth, wrong_cells


def test_the_target_of_a_window_is_the_label_under_it() -> None:
    labels = torch.zeros(2, 8, 8, dtype=torch.int32)
    labels[1, 2:6, 4:] = 7
    windows = torch.tensor([[4.0, 0.0, 12.0, 8.0]] * 3)
    index, targets = torch.tensor([1, 0, 1]), torch.tensor([7, 7, 0])
    target, valid = window_truth(labels, windows, index, targets, 4)
    expected = torch.tensor([[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    assert torch.equal(target[0], expected.float())
    assert not target[1:].any()  # another image, and background: an empty mask
    assert torch.equal(valid, torch.tensor([1.0, 1, 0, 0]).expand(3, 4, 4))


def test_a_click_falls_on_an_error_of_the_mask() -> None:
    target = torch.zeros(2, 4, 4)
    target[0, 1, 2] = 1
    logits = torch.full((2, 4, 4), -1.0)
    logits[1, 3, 0] = 1.0
    cells, signs = wrong_cells(logits, target)
    assert cells.tolist() == [[2, 1], [0, 3]]
    assert signs.tolist() == [[1], [0]]


def test_the_correct_mask_has_no_loss_and_pixels_outside_do_not_count() -> None:
    target, valid = torch.zeros(1, 8, 8), torch.ones(1, 8, 8)
    target[0, 2:5, 2:5], valid[0, :, 6:] = 1, 0
    logits = (40 * (target - 0.5))[:, None].repeat(1, 4, 1, 1)
    logits[..., 6:] = 20.0
    mask, iou = mask_losses(logits, torch.ones(1, 4), target, valid)
    assert mask.item() < 1e-4
    assert iou.item() == 0
    worse, doubt = mask_losses(-logits, torch.ones(1, 4), target, valid)
    assert worse.item() > 1
    assert doubt.item() > 1


def test_what_is_unknown_has_no_loss() -> None:
    labels = torch.full((1, 16, 16), -1, dtype=torch.int32)
    labels[0, :8, :8] = 3
    windows = torch.tensor([[0.0, 0, 16, 16]] * 2)
    target, valid = window_truth(labels, windows, torch.tensor([0, 0]), torch.tensor([3, -1]), 8)
    assert valid[0].all()
    assert not valid[1].any()
    logits = (40 * (target - 0.5))[:, None].repeat(1, 4, 1, 1)
    estimates = torch.ones(2, 4)
    mask, iou = mask_losses(logits, estimates, target, valid)
    logits[1], estimates[1] = 17.0, 0.3
    assert mask_losses(logits, estimates, target, valid) == (mask, iou)

    heat = torch.zeros(1, 4, 4)
    heat[0, 1, 1] = 1
    regress = torch.full((1, 4, 4, 4), torch.nan)
    proposal = torch.zeros(1, 6, 4, 4)
    centre, _ = proposal_losses(proposal, heat, regress, labels)
    proposal[:, :2, 2:, 2:] = 3.0
    assert proposal_losses(proposal, heat, regress, labels)[0] == centre
    assert proposal_losses(proposal, heat, regress, labels.clamp(min=0))[0] > centre
