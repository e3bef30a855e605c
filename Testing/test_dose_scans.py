"""Doses as scans: right on average, as noisy as that dose, nested, seeded, and without a trace of another organ."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from MAPDiffLib.model.fidelity import Fidelity
from MAPDiffLib.restoration.dose_scans import LEAST_DETAIL, NoiseTexture, dose_scans

SPACING = (4.0, 4.0, 4.0)
INPUT, DOSES = 0.05, (0.1, 0.25, 1.0)
SHAPE = (48, 44, 46)
INNER = np.s_[10:-10, 10:-10, 10:-10]
UNIT = (1.0,) * 5
PLAIN = Fidelity(drawn_gain=UNIT, drawn_kept=(0.0,) * 5, drawn_detail=0.0)


def textured(seed):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), 0.9)
    return (noise / noise.std()).astype(np.float32)


def scene(relative=0.3):
    """(scan, what it was drawn from, body): uniform, with 30 % noise."""
    body = np.zeros(SHAPE, bool)
    body[3:-3, 3:-3, 3:-3] = True
    truth = np.where(body, 2.0, 0).astype(np.float32)
    return truth * (1 + relative * textured(0)), truth, body


def drawn(scan, restored, body, seed=0, doses=DOSES, fidelity=PLAIN):
    tensors = [torch.from_numpy(array) for array in (scan, restored, body)]
    texture = NoiseTexture.of(*tensors, SPACING, fidelity)
    return {dose: image.numpy() for dose, image in dose_scans(*tensors, texture, INPUT, doses, seed)}


def banded(noise):
    """Its power at frequencies below and above the middle of those that drawn noise is fitted at."""
    power = np.abs(np.fft.rfftn(noise[INNER])) ** 2
    axes = [np.fft.fftfreq(n, 4.0) for n in noise[INNER].shape[:2]]
    z, y, x = np.ix_(*axes, np.fft.rfftfreq(noise[INNER].shape[2], 4.0))
    frequencies = np.sqrt(z**2 + y**2 + x**2)
    return np.array(
        [power[(frequencies >= low) & (frequencies < high)].sum() for low, high in ((0.01, 0.04), (0.06, 0.1))]
    )


def test_each_scan_has_the_noise_of_its_dose_and_the_mean_of_the_restored_image():
    scan, truth, body = scene()
    for dose, image in drawn(scan, truth, body).items():
        assert image[INNER].std() / 2 == pytest.approx(0.3 * np.sqrt(INPUT / dose), rel=0.06)
        assert image[INNER].mean() == pytest.approx(2.0, rel=0.01)


def test_what_the_restored_image_still_holds_of_the_noise_is_not_drawn_again():
    scan, truth, body = scene()
    own = 0.3 * truth * textured(7)  # another noise of the scan's kind, a tenth of its deviation
    kept = replace(PLAIN, drawn_kept=(0.3 * 0.01,) * 5)
    for dose, image in drawn(scan, truth + 0.1 * own, body, fidelity=kept).items():
        assert image[INNER].std() / 2 == pytest.approx(0.3 * np.sqrt(INPUT / dose), rel=0.08)


def test_a_gain_multiplies_the_drawn_variance_at_every_dose_and_no_draw_has_a_negative_one():
    scan, truth, body = scene()
    plain, more = (drawn(scan, truth, body, fidelity=replace(PLAIN, drawn_gain=(x,) * 5)) for x in (1.0, 1.5))
    for dose in DOSES:
        own = (INPUT / dose) * (scan - truth)
        ratio = np.var((more[dose] - truth - own)[INNER]) / np.var((plain[dose] - truth - own)[INNER])
        assert ratio == pytest.approx(1.5, rel=0.05)
    nothing = drawn(scan, truth, body, fidelity=replace(PLAIN, drawn_kept=(1.0,) * 5))[1.0]
    assert (nothing - truth)[INNER].std() == pytest.approx(INPUT * (scan - truth)[INNER].std(), rel=1e-3)


def test_the_quieter_a_scan_is_the_more_of_its_noise_is_taken_to_be_left_in_the_restored_image():
    added = []
    for relative in (0.3, 0.15):
        scan, truth, body = scene(relative)
        own = INPUT * (scan - truth)
        plain, less = (
            drawn(scan, truth, body, doses=(1.0,), fidelity=replace(PLAIN, drawn_kept=(kept,) * 5))[1.0] - truth - own
            for kept in (0.0, 0.3 * 0.02)
        )
        added.append(np.var(less[INNER]) / np.var(plain[INNER]))
    assert added == pytest.approx([1 - 0.02 * 19, 1 - 2 * 0.02 * 19], abs=0.05)


def test_the_noise_has_the_scans_spectrum_band_by_band():
    scan, truth, body = scene()
    image, own = drawn(scan, truth, body, doses=(1.0,))[1.0], banded(scan - truth)
    assert banded(image - truth) / own == pytest.approx(INPUT, rel=0.25)


@pytest.mark.parametrize("length", [45, 46])
def test_a_draw_has_the_power_that_is_asked_at_each_frequency_along_x(length):
    """Also at none and at the highest: frequencies that are their own conjugates, the last of an even length alone."""
    shape, drawn = (48, 40, length), []
    spectrum = torch.ones(48, 40, length // 2 + 1)
    texture = NoiseTexture(torch.ones(shape), spectrum, shape, SPACING, UNIT, (0.0,) * 5, 1.0, 0.0, 0.05)
    for number in range(4):
        drawn.append(np.abs(np.fft.rfftn(texture.draw(UNIT, 0, number).numpy())) ** 2)
    along_x = np.mean(drawn, axis=(0, 1, 2))
    assert along_x == pytest.approx(np.ones(len(along_x)), abs=0.06)
    assert along_x[1:-1] == pytest.approx(np.ones(len(along_x) - 2), abs=1e-3)


def test_each_band_has_its_own_gain_and_what_is_kept_of_it_is_not_drawn():
    scan, truth, body = scene()
    fidelity = Fidelity(drawn_gain=(0.88, 0.88, 2.0, 2.0, 2.0), drawn_kept=(0.3 * 0.02, 0.3 * 0.02, 0.0, 0.0, 0.0))
    own = INPUT * (scan - truth)
    plain, fitted = (drawn(scan, truth, body, doses=(1.0,), fidelity=each)[1.0] for each in (PLAIN, fidelity))
    ratio = banded(fitted - truth - own) / banded(plain - truth - own)
    assert ratio == pytest.approx([0.88 - 0.02 * (1 - INPUT) / INPUT, 2], rel=0.1)


def test_a_scan_holds_every_lower_one_and_all_hold_the_input():
    scan, truth, body = scene()
    images = {INPUT: scan, **drawn(scan, truth, body)}
    doses, added = sorted(images), []
    for lower, higher in zip(doses, doses[1:], strict=False):
        added.append((higher * images[higher] - lower * images[lower])[body])
        assert added[-1].min() > -1e-4  # counts, of the doses between
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(added[one], added[other])[0, 1]) < 0.05
    assert np.corrcoef(images[0.1][body], scan[body])[0, 1] == pytest.approx(np.sqrt(0.5), abs=0.05)


def test_a_seed_gives_the_same_scans_and_another_seed_others():
    scan, truth, body = scene()
    first, again, other = (drawn(scan, truth, body, seed)[1.0] for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(first[~body], scan[~body])


def test_detail_is_drawn_where_the_restored_image_has_some_the_same_for_every_dose():
    scan, truth, body = scene()
    z, _, _ = np.indices(SHAPE)
    striped = np.where((z < 24) & (z % 2 == 0), 0.9, np.where(z < 24, 1.1, 1.0)).astype(np.float32) * truth
    plain, more = (drawn(scan, striped, body, fidelity=replace(PLAIN, drawn_detail=x)) for x in (0.0, 0.6))
    shares = []
    for dose in DOSES:
        added = (more[dose] - plain[dose]) / (1 - INPUT / dose)
        even, detailed = added[28:-10, 10:-10, 10:-10], added[8:20, 10:-10, 10:-10]
        assert even.std() < 0.1 * detailed.std()
        shares.append(detailed)
    assert shares[-1].std() / 2 == pytest.approx(0.6 * np.sqrt(0.1**2 - LEAST_DETAIL**2), rel=0.15)
    assert np.corrcoef(shares[0].ravel(), shares[-1].ravel())[0, 1] > 0.8


def test_the_scans_know_no_units():
    scan, truth, body = scene()
    assert drawn(1024 * scan, 1024 * truth, body)[1.0] == pytest.approx(1024 * drawn(scan, truth, body)[1.0], rel=1e-4)


def test_nothing_of_a_hot_bladder_that_the_residual_holds_is_seen_elsewhere():
    scan, truth, body = scene()
    z, y, x = np.indices(SHAPE)
    bladder = (z - 38) ** 2 + (y - 22) ** 2 + (x - 22) ** 2 <= 25
    hot, restored = (np.where(bladder, scan * 60, scan), np.where(bladder, truth * 45, truth))  # a quarter is lost
    plain = NoiseTexture.of(*(torch.from_numpy(array) for array in (scan, truth, body)), SPACING)
    marked = NoiseTexture.of(*(torch.from_numpy(array) for array in (hot, restored, body)), SPACING)
    away = body & (ndimage.distance_transform_edt(~bladder) > 8)
    ratio = (marked.relative / plain.relative).numpy()[away]
    assert np.median(ratio) == pytest.approx(1, abs=0.1)
    noise = marked.draw(UNIT, 0, 0).numpy()
    shape = bladder.astype(float) - bladder.mean()
    match = np.fft.irfftn(np.fft.rfftn(noise) * np.conj(np.fft.rfftn(shape)), s=SHAPE, axes=(0, 1, 2))
    likes = np.fft.irfftn(
        np.fft.rfftn(plain.draw(UNIT, 1, 0).numpy()) * np.conj(np.fft.rfftn(shape)), s=SHAPE, axes=(0, 1, 2)
    )
    assert np.abs(match).max() < 2 * np.abs(likes).max()  # the bladder's shape fits nowhere better than in any noise
