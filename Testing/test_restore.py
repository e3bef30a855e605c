"""Restoring a small volume with a small, untrained but shaken network: the promises that hold for any weights."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.special import logit

from MAPDiffLib.errors import Cancelled, InputError
from MAPDiffLib.job import RestoreOptions
from MAPDiffLib.model.bundle import Bundle
from MAPDiffLib.model.diffusion import Diffusion
from MAPDiffLib.model.manifest import Anchor, DoseCalibration, Manifest, Sampling
from MAPDiffLib.model.network import DenoisingUNet, NetworkConfig
from MAPDiffLib.restoration import restore as restoring
from MAPDiffLib.restoration.doses import at_dose, mix
from MAPDiffLib.restoration.facts import measure
from MAPDiffLib.restoration.noise import UNKNOWN_NOISE, measure_noise
from MAPDiffLib.restoration.plan import make_plan, uncertainty_scale
from MAPDiffLib.restoration.restore import restore
from MAPDiffLib.scan.volume import Volume, body_mask

MANIFEST = Manifest(
    name="shaken",
    description="random weights",
    licence="Apache-2.0",
    weights_sha256="0" * 64,
    network=NetworkConfig(widths=(8, 16), embedding=16),
    diffusion=Diffusion(),
    anchors=tuple(Anchor(d, t) for d, t in ((0.1, 150), (0.25, 90), (0.5, 50), (1.0, 0))),
    sampling=Sampling(2, 1.0, (0.05, 0.5), (2.0, 2.0)),
    input_doses=(0.02, 0.05),
    noise_levels=(0.03, 0.6),
    spacing_range_mm=(3.0, 5.0),
    body_mean_suv=0.85,
    dose_calibration=DoseCalibration((0.01, 0.05, 0.25, 1.0), (0.4, 0.2, 0.1, 0.05), 0.2),
    training_data={},
    scores={},
)
GIVEN = RestoreOptions(input_dose=0.05, seed=3)


def saying(bundle: Bundle, **changes) -> Bundle:
    """The bundle with another manifest."""
    return replace(bundle, manifest=replace(bundle.manifest, **changes))


def sampled(bundle: Bundle, **changes) -> Bundle:
    """The bundle with another sampling."""
    return saying(bundle, sampling=replace(bundle.manifest.sampling, **changes))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    torch.manual_seed(0)
    network = DenoisingUNet(MANIFEST.network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return Bundle(tmp_path_factory.mktemp("bundle"), network.eval(), MANIFEST)


@pytest.fixture(scope="module")
def volume():
    """A noisy cylinder with a hot spot, in kBq/mL-like numbers, on an oblique grid."""
    rng = np.random.default_rng(0)
    z, y, x = np.ogrid[:56, :48, :44]
    truth = np.where((y - 24) ** 2 + (x - 22) ** 2 < 16**2, 3.0, 0.0) * ((z > 3) & (z < 52))
    truth[25:29, 20:24, 20:24] = 15.0
    noise = ndimage.gaussian_filter(rng.standard_normal(truth.shape), 0.8)
    voxels = (truth * (1 + 0.15 * noise / noise.std()) + 0.01 * rng.random(truth.shape)).astype(np.float32)
    turn = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
    return Volume(voxels, (4.0, 4.0, 4.5), (-10.0, 5.0, 100.0), turn, "BQML", {})


def run(volume, bundle, options=GIVEN, **hooks):
    """(its doses, the restoration)"""
    restoration = restore(volume, bundle, options, **hooks)
    return list(restoration), restoration


@pytest.fixture(scope="module")
def result(volume, bundle):
    return run(volume, bundle)


def test_every_anchor_above_the_input_is_restored_in_ascending_order(result):
    assert [dose.dose for dose in result[0]] == [0.1, 0.25, 0.5, 1.0]


def test_geometry_and_units_are_the_inputs(result, volume):
    for restored in [*(dose.volume for dose in result[0]), result[1].uncertainty]:
        for name in ("spacing_mm", "origin_mm", "direction", "units"):
            assert getattr(restored, name) == getattr(volume, name)
        assert restored.voxels.dtype == np.float32 and restored.voxels.shape == volume.voxels.shape


def test_outside_the_body_the_input_is_untouched(result, volume):
    outside = ~body_mask(volume.voxels, volume.spacing_mm)
    for dose in result[0]:
        assert np.array_equal(dose.volume.voxels[outside], volume.voxels[outside])
    assert not result[1].uncertainty.voxels[outside].any()


def test_mean_activity_in_the_body_is_the_inputs_to_one_percent(result, volume):
    body = body_mask(volume.voxels, volume.spacing_mm)
    for dose in result[0]:
        assert dose.volume.voxels[body].mean() == pytest.approx(volume.voxels[body].mean(), rel=0.01)
        assert {"guard_drift", "guard_local_max", "noise", "seconds"} <= set(dose.figures)


def test_the_same_seed_gives_the_same_answer_and_another_seed_another(result, volume, bundle):
    again, _ = run(volume, bundle)
    other, _ = run(volume, bundle, replace(GIVEN, seed=4))
    for first, second, third in zip(result[0], again, other, strict=True):
        assert np.allclose(second.volume.voxels, first.volume.voxels, rtol=1e-5, atol=0)
        assert not np.allclose(third.volume.voxels, first.volume.voxels, rtol=1e-3)


def test_a_thousand_times_the_input_gives_a_thousand_times_the_output(result, volume, bundle):
    scaled, _ = run(volume.with_voxels(volume.voxels * 1000), bundle)
    for once, thousand in zip(result[0], scaled, strict=True):
        scale = once.volume.voxels.max()
        assert np.abs(thousand.volume.voxels / 1000 - once.volume.voxels).max() < 1e-4 * scale


@pytest.mark.parametrize("tile", [24, 64])
def test_the_result_does_not_depend_on_the_tile(result, volume, bundle, tile):
    body = body_mask(volume.voxels, volume.spacing_mm)
    tiled, _ = run(volume, bundle, replace(GIVEN, tile=tile))
    for whole, part in zip(result[0], tiled, strict=True):
        difference = np.abs(part.volume.voxels - whole.volume.voxels)[body]
        assert difference.max() < 1e-3 * volume.voxels[body].mean()


def test_the_uncertainty_is_the_scaled_spread_of_the_samples(volume, bundle, result):
    single, ending = run(volume, bundle, replace(GIVEN, samples=1))
    assert ending.uncertainty is None and len(single) == 4
    _, twice = run(volume, sampled(bundle, uncertainty_scales=(4.0, 4.0)))
    assert np.allclose(twice.uncertainty.voxels, 2 * result[1].uncertainty.voxels, rtol=1e-5, atol=0)
    assert result[1].uncertainty.voxels.max() > 0


def test_what_a_restoration_ends_with_is_asked_for_after_its_last_dose(volume, bundle):
    restoration = restore(volume, bundle, replace(GIVEN, samples=1))
    next(restoration)
    for name in ("report", "uncertainty"):
        with pytest.raises(RuntimeError, match="iterate over its doses first"):
            getattr(restoration, name)
    assert [dose.dose for dose in restoration] == [0.25, 0.5, 1.0] and next(restoration, None) is None
    assert restoration.uncertainty is None and set(restoration.report["doses"]) == {"0.1", "0.25", "0.5", "1"}


def test_cancel_is_noticed_between_two_doses(volume, bundle):
    made = []
    with pytest.raises(Cancelled):
        for dose in restore(volume, bundle, GIVEN, cancelled=lambda: len(made) == 2):
            made.append(dose.dose)
    assert made == [0.1, 0.25]


def test_progress_rises_to_one_and_names_the_dose_that_comes_next(volume, bundle):
    events = []
    run(volume, bundle, report=events.append)
    progress = [event for event in events if event["type"] == "progress"]
    fractions = [event["fraction"] for event in progress]
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1)
    assert {event["stage"] for event in progress} == {"1/10 dose"}
    assert all(event["remaining_s"] >= 0 for event in progress)


def test_cancel_stops_between_two_evaluations(volume, bundle):
    seen = []
    steps = restore(volume, bundle, GIVEN, report=seen.append, cancelled=lambda: len(seen) >= 3)
    with pytest.raises(Cancelled):
        list(steps)
    assert len(seen) == 3


def test_the_report_names_everything_that_made_the_result(result, volume):
    report = result[1].report
    assert report["bundle"] == {"name": "shaken", "sha256": "0" * 64}
    assert report["sampling"] == {"samples": 2, "strength": 1.0, "seed": 3}
    assert report["noise"] == asdict(measure_noise(volume.voxels, volume.body, volume.spacing_mm))
    assert report["input"]["dose_used"] == 0.05 and report["input"]["units"] == "BQML"
    assert 0 < report["input"]["dose_estimated"]["low"] < report["input"]["dose_estimated"]["high"] <= 1
    assert set(report["doses"]) == {"0.1", "0.25", "0.5", "1"}
    assert "Research use only" in report["notice"]


def with_noise_like(bundle: Bundle, dose: float) -> Bundle:
    """The bundle with a calibration by which every noise there is looks like this dose."""
    return saying(bundle, dose_calibration=DoseCalibration((dose, 1.001 * dose), (0.2, 0.1), 0.1))


@pytest.mark.parametrize(("looks_like", "taken_for"), [(0.003, 1 / 33), (0.05, 0.05), (0.3, 0.05), (0.99, 0.1)])
def test_a_dose_that_nobody_says_is_an_assumption_told_as_one_whatever_the_noise(volume, bundle, looks_like, taken_for):
    heard = []
    noisy = with_noise_like(bundle, looks_like)
    doses, ending = run(volume, noisy, RestoreOptions(doses=(1.0,), samples=1), report=heard.append)
    facts, (told,) = ending.report["input"], [event for event in heard if event["type"] == "input"]
    assert facts["dose_used"] == told["dose_used"] == doses[0].input_dose == pytest.approx(taken_for)
    assert facts["dose_assumed"] is told["dose_assumed"] is doses[0].dose_assumed is True
    assert facts["dose_hint"] == told["dose_hint"] and facts["dose_hint"].startswith("the noise looks like ")
    assert "an assumption" in told["message"] and "--input-dose" in told["message"]


def test_a_scan_whose_noise_cannot_be_measured_is_restored_as_an_assumed_dose(volume, bundle):
    doses, ending = run(volume, saying(bundle, dose_calibration=None), RestoreOptions(samples=1))
    assert [dose.dose for dose in doses] == [0.1, 0.25, 0.5, 1.0]
    facts = ending.report["input"]
    assert (facts["dose_used"], facts["dose_assumed"], facts["dose_hint"]) == (0.05, True, None)


def test_an_assumption_never_stands_against_the_doses_asked_for(volume, bundle):
    doses, ending = run(volume, bundle, RestoreOptions(doses=(0.04, 1.0), samples=1))
    assert [dose.dose for dose in doses] == [0.04, 1.0]
    assert (ending.report["input"]["dose_used"], ending.report["input"]["dose_assumed"]) == (0.02, True)


def test_a_given_dose_is_no_assumption_and_noise_that_looks_otherwise_is_a_hint(volume, bundle):
    heard = []
    next(restore(volume, with_noise_like(bundle, 0.9), GIVEN, report=heard.append))
    (told,) = [event for event in heard if event["type"] == "input"]
    assert (told["dose_used"], told["dose_assumed"]) == (0.05, False) and told["message"].endswith("as given.")
    hints = [event["message"] for event in heard if "The dose given is 1/20" in event.get("message", "")]
    assert len(hints) == 1 and "the noise looks like" in hints[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_dose": 0.99}, "no higher dose"),
        ({"input_dose": 0.3, "doses": (0.25,)}, "only higher doses"),
        ({"device": "cuda:99"}, "CUDA devices"),
    ],
)
def test_options_that_this_scan_or_machine_cannot_serve_are_refused_before_any_network_runs(
    volume, bundle, options, message
):
    events = []
    with pytest.raises(InputError, match=message):
        next(restore(volume, bundle, replace(GIVEN, **options), report=events.append))
    assert not [event for event in events if event["type"] == "progress"]


def test_a_scan_outside_what_the_model_was_trained_for_is_restored_with_a_caution(volume, bundle):
    events = []
    far = replace(volume, spacing_mm=(2.0, 2.0, 2.0), warnings=("The reader found it odd.",))
    _, restoration = run(far, bundle, replace(GIVEN, samples=1), report=events.append)
    warnings = [event["message"] for event in events if event["type"] == "warning"]
    assert warnings[0] == "The reader found it odd." and restoration.report["warnings"] == warnings
    assert any("2.00 x 2.00 x 2.00 mm" in text for text in warnings)


def test_the_estimate_does_not_depend_on_the_dose_that_the_scan_is_taken_for(result, volume, bundle):
    """What the label changes is how much of the result the scan itself is, and nothing else."""
    inside, scan = volume.body, volume.voxels

    def full(own_dose):
        doses, _ = run(volume, bundle, replace(GIVEN, input_dose=own_dose, doses=(1.0,)))
        return doses[0].volume.voxels

    estimate = (full(0.05).astype(float) - 0.05 * scan) / 0.95
    for own_dose in (0.02, 0.2, 0.5):
        expected = own_dose * scan + (1 - own_dose) * estimate
        assert np.allclose(full(own_dose)[inside], expected[inside], rtol=1e-4, atol=1e-4)


def test_labels_of_a_twentieth_and_of_a_fifth_give_the_same_estimate_to_the_bit(volume, bundle, monkeypatch):
    """By default options: what goes into the arithmetic of the doses, and what is told of the whole restoration."""
    arithmetic, estimates = restoring.at_dose, []

    def kept(scan, estimate, *doses):
        estimates.append(estimate.clone())
        return arithmetic(scan, estimate, *doses)

    monkeypatch.setattr(restoring, "at_dose", kept)
    (_, twentieth), (_, fifth) = (run(volume, bundle, RestoreOptions(input_dose=dose)) for dose in (0.05, 0.2))
    assert len(estimates) == 4 + 3 and all(torch.equal(estimates[0], estimate) for estimate in estimates)
    assert np.array_equal(twentieth.uncertainty.voxels, fifth.uncertainty.voxels)
    assert np.array_equal(twentieth.consistency.voxels, fifth.consistency.voxels)


def test_every_dose_is_the_scan_s_own_counts_and_the_rest_of_the_estimate(result, volume, bundle):
    """A dose is the same whatever else is asked for; each is linear in 1 / dose between scan and estimate."""
    doses = {dose.dose: dose.volume.voxels for dose in result[0]}
    alone, _ = run(volume, bundle, replace(GIVEN, doses=(0.25,)))
    assert len(alone) == 1 and np.array_equal(alone[0].volume.voxels, doses[0.25])
    estimate = (doses[1.0] - 0.05 * volume.voxels) / 0.95
    for dose in (0.1, 0.25, 0.5):
        expected = at_dose(volume.voxels, estimate, 0.05, dose)
        assert np.allclose(doses[dose], expected, rtol=1e-4, atol=1e-4)
    between, _ = run(volume, bundle, replace(GIVEN, doses=(0.15,)))
    interpolated = mix(doses[0.1], doses[0.25], 0.1, 0.15, 0.25)
    assert np.allclose(between[0].volume.voxels, interpolated, rtol=1e-4, atol=1e-4)


def test_only_doses_above_the_inputs_own_are_made(volume, bundle):
    doses, _ = run(volume, bundle, replace(GIVEN, input_dose=0.25))
    assert [dose.dose for dose in doses] == [0.5, 1.0]


def test_strength_is_how_many_times_the_measured_noise_the_network_is_told(volume, bundle):
    noise = measure_noise(volume.voxels, volume.body, volume.spacing_mm)
    plan = make_plan(measure(volume), bundle.manifest, replace(GIVEN, strength=1.5))
    level, axial, plane = plan.told(volume.spacing_mm)
    assert level == pytest.approx(1.5 * noise.level)
    assert (axial, plane) == pytest.approx((noise.axial_mm / 4.5, noise.in_plane_mm / 4.0))
    assert make_plan(measure(volume), sampled(bundle, strength=2.0).manifest, GIVEN).strength == 2.0
    usual, strong = (run(volume, bundle, replace(GIVEN, strength=s, samples=1))[0][-1] for s in (1.0, 3.0))
    assert not np.array_equal(usual.volume.voxels, strong.volume.voxels)


def test_each_dose_can_be_had_as_its_mean_as_a_scan_or_as_both(bundle, volume):
    doses, _ = run(volume, bundle, replace(GIVEN, doses=(0.25, 1.0), doses_as="both"))
    assert [(dose.dose, dose.drawn) for dose in doses] == [(0.25, False), (0.25, True), (1.0, False), (1.0, True)]
    mean, scan, _, full_scan = (dose.volume.voxels for dose in doses)
    assert (scan - mean)[volume.body].std() > 0.02 * mean[volume.body].mean()
    lower, higher = 0.05 * volume.voxels[volume.body], 0.25 * scan[volume.body]
    assert (higher - lower).min() > -1e-4 and (full_scan[volume.body] - higher).min() > -1e-4  # nested counts
    alone, ending = run(volume, bundle, replace(GIVEN, doses=(0.25, 1.0), doses_as="scan"))
    assert all(np.array_equal(one.volume.voxels, same) for one, same in zip(alone, (scan, full_scan), strict=True))
    assert list(ending.report["doses"]) == ["0.25 scan", "1 scan"]


def test_the_guard_is_an_option_and_its_effect_is_in_the_report_per_dose(bundle, volume):
    lost = ndimage.gaussian_filter(volume.voxels, 2)
    lost[30:34, 28:32, 28:32] += 60  # a place that an untrained network cannot keep
    marked = volume.with_voxels(np.where(volume.body, lost, volume.voxels))
    reports = {
        guard: run(marked, bundle, replace(GIVEN, doses=(0.25, 1.0), guard=guard))[1].report
        for guard in ("off", "normal", "strong")
    }
    back = {guard: report["doses"]["1"]["guard_put_back"] for guard, report in reports.items()}
    assert back["off"] == 0 <= back["normal"] <= back["strong"]
    quarter, full = (reports["strong"]["doses"][dose]["guard_put_back"] for dose in ("0.25", "1"))
    assert quarter == pytest.approx(full * (1 - (4 - 1) / (20 - 1)))
    assert reports["normal"]["guard"] == "normal"


def test_consistency_lies_on_the_scans_grid_in_units_of_its_noise_and_knows_the_places(bundle, volume):
    _, ending = run(volume, bundle, replace(GIVEN, doses=(1.0,)))
    z = ending.consistency
    assert z.units == "z" and z.voxels.shape == volume.voxels.shape and z.direction == volume.direction
    assert not z.voxels[~volume.body].any() and 0.5 < z.voxels[volume.body].std() < 2
    assert z.metadata == {} and all(
        logit(place["probability"]) > ending.report["fidelity"]["place"] for place in ending.report["places"]
    )


def test_the_uncertainty_s_scale_goes_by_the_measured_noise():
    sampling = Sampling(2, 1.0, (0.1, 0.4), (2.0, 8.0))
    found = [uncertainty_scale(sampling, level) for level in (0.01, 0.1, 0.2, 0.4, 3.0)]
    assert found == pytest.approx([2, 2, 4, 8, 8])


def test_a_scan_noisier_or_quieter_than_any_in_training_is_restored_with_a_caution(volume, bundle):
    for levels in ((0.5, 0.6), (0.001, 0.002)):
        events = []
        strange = saying(bundle, noise_levels=levels)
        next(restore(volume, strange, replace(GIVEN, samples=1), report=events.append))
        assert any("The scan's noise is" in event.get("message", "") for event in events)


def test_noise_that_cannot_be_measured_counts_as_usual(volume, bundle):
    plan = make_plan(replace(measure(volume), noise=None), bundle.manifest, GIVEN)
    assert plan.noise == UNKNOWN_NOISE
