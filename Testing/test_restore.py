"""Restoring a small volume with a small, untrained but shaken network: the promises that hold for any weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from MAPDiffLib.errors import Cancelled, InputError
from MAPDiffLib.model.bundle import Bundle
from MAPDiffLib.model.network import DenoisingUNet, NetworkConfig
from MAPDiffLib.restoration.doses import mix
from MAPDiffLib.restoration.noise import noise_volume_mm3, noise_widths
from MAPDiffLib.restoration.plan import Plan, make_plan
from MAPDiffLib.restoration.restore import RESULT_S_PER_VOXEL, RestoreOptions, _Progress, restore
from MAPDiffLib.scan.volume import Volume, body_mask

MANIFEST = {
    "diffusion": {"timesteps": 1000, "schedule": "cosine", "prediction": "x0"},
    "anchors": [{"dose": d, "tau": t} for d, t in ((0.1, 150), (0.25, 90), (0.5, 50), (1.0, 0))],
    "sampling": {
        "timesteps": [999, 150, 90, 50, 25],
        "fits": [{"input_dose": 0.05, "samples": 2, "combine": {}, "uncertainty_scale": 2.0}],
    },
    "input_doses": [0.02, 0.05],
    "spacing_range_mm": [3.0, 5.0],
    "intensity": {"transform": "log1p", "body_mean": 0.85},
    "dose_estimate": {"doses": [0.01, 0.05, 0.25, 1.0], "noise": [0.4, 0.2, 0.1, 0.05], "scatter": 0.2},
}
GIVEN = RestoreOptions(input_dose=0.05, seed=3)


def fitted(bundle: Bundle, **fit) -> Bundle:
    """The bundle with another fit for 1/20 dose."""
    sampling = bundle.manifest["sampling"]
    manifest = bundle.manifest | {"sampling": sampling | {"fits": [sampling["fits"][0] | fit]}}
    return Bundle(bundle.name, bundle.folder, bundle.network, manifest, "0" * 64)


NARROW = {"noise_voxels": [0.5, 0.5], "wide_noise": {"mm3": 100.0, "power": 0.5}}


@pytest.fixture(scope="module", params=[{}, NARROW], ids=["own grid", "coarser grid"])
def bundle(tmp_path_factory, request):
    """Twice: a bundle that leaves a scan its grid, and one that has only seen narrower noise."""
    torch.manual_seed(0)
    network = DenoisingUNet(NetworkConfig(widths=(8, 16), embedding=16))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    shaken = Bundle("shaken", tmp_path_factory.mktemp("bundle"), network.eval(), MANIFEST, "0" * 64)
    return fitted(shaken, **request.param)


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
    steps = restore(volume, bundle, options, **hooks)
    doses = []
    while True:
        try:
            doses.append(next(steps))
        except StopIteration as end:
            return doses, end.value


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


def test_the_report_says_on_which_voxels_the_network_worked(result, volume, bundle):
    coarser = "noise_voxels" in bundle.manifest["sampling"]["fits"][0]
    worked = result[1].report["working_spacing_mm"]
    assert worked == (pytest.approx([5.0, 5.0, 4.5], abs=0.1) if coarser else list(volume.spacing_mm))


def test_the_report_says_what_dose_the_network_was_told(result, volume, bundle):
    """The volume of the noise, in units of training's, to the power that the bundle says; never below training's."""
    wide = "wide_noise" in bundle.manifest["sampling"]["fits"][0]
    excess = noise_volume_mm3(noise_widths(volume.voxels, volume.body, volume.spacing_mm)) / 100
    expected = max(min(MANIFEST["input_doses"]), 0.05 / excess**0.5) if wide else 0.05
    assert excess > 1.5
    assert result[1].report["told_dose"] == pytest.approx(expected)
    assert result[1].report["input"]["dose_used"] == 0.05  # the doses between stay mixes from the scan's own


def test_a_user_hears_of_noise_wider_than_any_in_training(volume, bundle):
    heard = []
    next(restore(volume, bundle, GIVEN, report=heard.append))
    said = [event["message"] for event in heard if event["type"] == "warning" and "wider than any" in event["message"]]
    assert len(said) == ("wide_noise" in bundle.manifest["sampling"]["fits"][0])


def test_wide_noise_alone_changes_the_restoration(result, volume, bundle):
    without = fitted(bundle, wide_noise={"mm3": 1e5, "power": 0.5})
    same = np.array_equal(run(volume, without)[0][-1].volume.voxels, result[0][-1].volume.voxels)
    assert same == ("wide_noise" not in bundle.manifest["sampling"]["fits"][0])


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
        assert second.volume.voxels == pytest.approx(first.volume.voxels, rel=1e-5)
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
    _, twice = run(volume, fitted(bundle, uncertainty_scale=4.0))
    assert twice.uncertainty.voxels == pytest.approx(2 * result[1].uncertainty.voxels, rel=1e-5)
    assert result[1].uncertainty.voxels.max() > 0


def test_every_dose_knows_all_evaluations(result, volume, bundle):
    """A dose is the same whatever else is asked for, and the closed-form mix of the scan and the final full dose."""
    doses = {dose.dose: dose.volume.voxels for dose in result[0]}
    alone, _ = run(volume, bundle, replace(GIVEN, doses=(0.25,)))
    assert len(alone) == 1 and np.array_equal(alone[0].volume.voxels, doses[0.25])
    for dose in (0.1, 0.25, 0.5):
        assert doses[dose] == pytest.approx(mix(volume.voxels, doses[1.0], 0.05, dose), rel=1e-4, abs=1e-4)


def test_an_anchored_share_moves_a_dose_towards_the_estimate_at_its_own_timestep(result, volume, bundle):
    def with_share(share):
        return fitted(bundle, combine={"0.5": {"anchored": share}})

    none, half, whole = (run(volume, with_share(share))[0] for share in (0.0, 0.5, 1.0))
    mixed, between, anchored = (doses[2].volume.voxels for doses in (none, half, whole))
    assert np.abs(anchored - mixed).max() > 1e-3 * mixed.max()
    assert between == pytest.approx((mixed + anchored) / 2, rel=1e-4, abs=1e-4)
    for k in (0, 1, 3):
        assert np.array_equal(whole[k].volume.voxels, none[k].volume.voxels)


def test_cancel_is_noticed_between_two_doses(volume, bundle):
    made = []
    with pytest.raises(Cancelled):
        for dose in restore(volume, bundle, GIVEN, cancelled=lambda: len(made) == 2):
            made.append(dose.dose)
    assert made == [0.1, 0.25]


def test_progress_rises_to_one_and_names_the_dose(volume, bundle):
    events = []
    run(volume, bundle, report=events.append)
    progress = [event for event in events if event["type"] == "progress"]
    fractions = [event["fraction"] for event in progress]
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1)
    assert progress[0]["stage"] == "1/10 dose" and progress[-1]["stage"] == "full dose"
    assert all(event["remaining_s"] >= 0 for event in progress)


def played(monkeypatch, tile_s, result_s, first_s, samples=2):
    """[(remaining said, truly remaining)] of five evaluations of four tiles, by a clock that only this test moves."""
    now = [1000.0]
    monkeypatch.setattr("MAPDiffLib.restoration.restore.time.monotonic", lambda: now[0])
    way = Plan(0.05, (0.1, 1.0), (999, 150, 90, 50, 25), {150: 0.1, 25: 1.0}, samples, {}, 1.0)
    said = []
    progress = _Progress(lambda event: said.append((event["remaining_s"], now[0])), way, voxels=1_000_000)
    now[0] += first_s
    for t in way.timesteps:
        for _ in range(4):
            now[0] += tile_s
            progress.add(1 / 20)
        if t in way.anchors:
            progress.next_stage()
    now[0] += result_s * (len(way.doses) + (samples > 1))
    return [(remaining, now[0] - at) for remaining, at in said]


@pytest.mark.parametrize("first_s", [0.0, 5.0, 30.0])
def test_the_remaining_time_is_right_from_the_second_tile_on(monkeypatch, first_s):
    """Also where the first tile is slow."""
    after_two = played(monkeypatch, 1.0, RESULT_S_PER_VOXEL * 1_000_000, first_s)[1:]
    assert all(said == pytest.approx(truly, abs=0.06) for said, truly in after_two)


@pytest.mark.parametrize("result_s", [0.02, 0.1, 0.3])
def test_the_remaining_time_is_right_to_a_quarter_where_writing_is_faster_or_slower(monkeypatch, result_s):
    before = played(monkeypatch, tile_s=0.2, result_s=result_s, first_s=1.0)[6:8]
    assert all(said == pytest.approx(truly, rel=0.25) for said, truly in before)


def test_cancel_stops_between_two_evaluations(volume, bundle):
    seen = []
    steps = restore(volume, bundle, GIVEN, report=seen.append, cancelled=lambda: len(seen) >= 3)
    with pytest.raises(Cancelled):
        list(steps)
    assert len(seen) == 3


def test_only_doses_above_the_inputs_own_are_made_and_their_anchors_skipped(volume, bundle):
    doses, ending = run(volume, bundle, replace(GIVEN, input_dose=0.25))
    assert [dose.dose for dose in doses] == [0.5, 1.0]
    assert ending.report["sampling"]["timesteps"] == [999, 50, 25]


def test_a_dose_between_two_anchors_is_their_mix(result, volume, bundle):
    doses, _ = run(volume, bundle, replace(GIVEN, doses=(0.1, 0.15, 0.25)))
    by_dose = {dose.dose: dose.volume.voxels for dose in doses}
    body = body_mask(volume.voxels, volume.spacing_mm)
    expected = mix(by_dose[0.1], by_dose[0.25], 0.1, 0.15, 0.25)
    assert by_dose[0.15][body] == pytest.approx(expected[body], rel=1e-4, abs=1e-5)
    assert by_dose[0.25] == pytest.approx(result[0][1].volume.voxels, rel=1e-5, abs=1e-6)


def test_the_report_names_everything_that_made_the_result(result, volume):
    report = result[1].report
    assert report["bundle"] == {"name": "shaken", "sha256": "0" * 64}
    assert report["sampling"] == {"timesteps": [999, 150, 90, 50, 25], "samples": 2, "evaluations": 6, "seed": 3}
    assert report["input"]["dose_used"] == 0.05 and report["input"]["units"] == "BQML"
    assert 0 < report["input"]["dose_estimated"]["low"] < report["input"]["dose_estimated"]["high"] <= 1
    assert set(report["doses"]) == {"0.1", "0.25", "0.5", "1"}
    assert "Research use only" in report["notice"]


def with_noise_like(bundle: Bundle, dose: float) -> Bundle:
    """The bundle with a calibration by which every noise there is looks like this dose."""
    curve = {"doses": [dose, 1.001 * dose], "noise": [0.2, 0.1], "scatter": 0.1}
    return replace(bundle, manifest=bundle.manifest | {"dose_estimate": curve})


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
    outside = [event for event in heard if event["type"] == "warning" and "The noise looks like" in event["message"]]
    assert len(outside) == (looks_like in (0.003, 0.3, 0.99))  # trained on 1/50 to 1/20


def test_a_scan_whose_noise_cannot_be_measured_is_restored_as_an_assumed_dose(volume, bundle):
    uncalibrated = replace(bundle, manifest=bundle.manifest | {"dose_estimate": {}})
    doses, ending = run(volume, uncalibrated, RestoreOptions(samples=1))
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
        (RestoreOptions(input_dose=0.0), "in \\(0, 1\\)"),
        (RestoreOptions(input_dose=0.99), "no higher dose"),
        (RestoreOptions(input_dose=0.3, doses=(0.25,)), "only higher doses"),
        (RestoreOptions(input_dose=0.05, doses=(1.5,)), "fractions of full dose"),
        (RestoreOptions(input_dose=0.05, doses=()), "no dose is asked for"),
        (RestoreOptions(input_dose=0.05, samples=0), "samples is 0"),
        (RestoreOptions(input_dose=0.05, steps=2), "steps is 2"),
        (RestoreOptions(input_dose=0.05, seed=-1), "seed is -1"),
        (RestoreOptions(input_dose=0.05, device="cuda:99"), "CUDA devices"),
        (RestoreOptions(input_dose=0.05, device="tpu"), "auto, cpu, cuda"),
        (RestoreOptions(input_dose=0.05, precision="float8"), "float32 or bfloat16"),
        (RestoreOptions(input_dose=0.05, tile=2), "tile is 2"),
    ],
)
def test_options_that_cannot_work_are_refused_before_any_network_runs(volume, bundle, options, message):
    events = []
    with pytest.raises(InputError, match=message):
        next(restore(volume, bundle, options, report=events.append))
    assert not [event for event in events if event["type"] == "progress"]


def test_more_steps_are_put_into_the_widest_gaps_and_keep_the_anchors(bundle):
    way = make_plan(bundle, replace(GIVEN, steps=7), None)
    assert way.timesteps == (999, 786, 574, 150, 90, 50, 25)
    assert way.anchor_doses == [0.1, 0.25, 0.5, 1.0]
    assert way.estimate_weights() == pytest.approx([0, 0, 0, 0, 1 / 3, 1 / 3, 1 / 3])


def test_weights_are_the_bundles_and_sum_to_one_when_evaluations_are_skipped():
    weights = {"1": {"estimate": {"999": 0.5, "150": 0.25, "50": 0.25}}}
    way = Plan(0.05, (1.0,), (999, 50), {50: 1.0}, 1, weights, 1.0)
    assert way.estimate_weights() == pytest.approx([2 / 3, 1 / 3])
    assert replace(way, timesteps=(999,)).estimate_weights() == [1.0]
    assert replace(way, timesteps=(700, 50)).estimate_weights() == [0.5, 0.5]


def test_a_scan_outside_what_the_model_was_trained_for_is_restored_with_a_caution(volume, bundle):
    events = []
    far = replace(volume, spacing_mm=(2.0, 2.0, 2.0), warnings=("The reader found it odd.",))
    _, restoration = run(far, bundle, replace(GIVEN, input_dose=0.2, samples=1), report=events.append)
    warnings = [event["message"] for event in events if event["type"] == "warning"]
    assert warnings[0] == "The reader found it odd." and restoration.report["warnings"] == warnings
    assert any("2.00 x 2.00 x 2.00 mm" in text for text in warnings)
    assert any("taken for 1/5" in text for text in warnings)


def with_fits(bundle: Bundle, *fits: dict) -> Bundle:
    manifest = bundle.manifest | {"sampling": MANIFEST["sampling"] | {"fits": list(fits)}}
    return Bundle("fits", bundle.folder, bundle.network, manifest, "0" * 64)


def fit(dose: float, estimate: dict, samples: int = 1, **shares: dict) -> dict:
    """A fit whose estimate of full dose has these weights by timestep."""
    weights = {str(t): weight for t, weight in estimate.items()}
    combine = {"1": {"estimate": weights}} | shares
    return {"input_dose": dose, "samples": samples, "combine": combine, "uncertainty_scale": dose}


def test_the_fit_of_the_nearest_input_dose_decides_stops_samples_and_scale(bundle):
    known = with_fits(
        bundle, fit(0.02, {999: 0.2, 150: 0.2, 25: 0.6}, 6), fit(0.05, {999: 0.5, 90: 0.25, 25: 0.25}, 4),
        fit(0.1, {999: 0.5, 25: 0.5}, 3),
    )  # fmt: skip

    def taken(input_dose):
        way = make_plan(known, replace(GIVEN, input_dose=input_dose), None)
        return way.timesteps, way.samples, way.uncertainty_scale

    for dose in (0.01, 0.03):
        assert taken(dose) == ((999, 150, 25), 6, 0.02)
    assert taken(0.04) == ((999, 90, 25), 4, 0.05)
    for dose in (0.08, 0.1, 0.3):
        assert taken(dose) == ((999, 25), 3, 0.1)
    # Given samples win; further steps go into the gaps between the stops.
    way = make_plan(known, replace(GIVEN, steps=5, samples=2), None)
    assert (way.timesteps, way.samples, way.uncertainty_scale) == ((999, 771, 544, 90, 25), 2, 0.05)


def test_an_anchor_at_or_below_the_inputs_own_dose_is_no_stop_even_if_the_fit_names_it(bundle):
    known = with_fits(bundle, fit(0.05, {999: 0.4, 150: 0.2, 90: 0.2, 25: 0.2}))
    assert make_plan(known, replace(GIVEN, input_dose=0.05), None).timesteps == (999, 150, 90, 25)
    way = make_plan(known, replace(GIVEN, input_dose=0.095), None)
    assert way.timesteps == (999, 90, 25)
    assert way.estimate_weights() == pytest.approx([0.5, 0.25, 0.25])


def test_a_dose_that_the_path_does_not_stop_for_is_made_all_the_same_and_progress_names_only_stops(bundle, volume):
    """All the weight on the last stop: every dose but 1/4, which has a share, is the mix with it."""
    stops = fit(0.05, {999: 0.0, 90: 0.0, 25: 1.0}, 2, **{"0.25": {"anchored": 1.0}, "0.1": {"anchored": 0.0}})
    events = []
    doses, ending = run(volume, with_fits(bundle, stops), report=events.append)
    assert ending.report["sampling"] == {"timesteps": [999, 90, 25], "samples": 2, "evaluations": 4, "seed": 3}
    images = {dose.dose: dose.volume.voxels for dose in doses}
    assert list(images) == [0.1, 0.25, 0.5, 1.0]
    for dose in (0.1, 0.5):
        assert images[dose] == pytest.approx(mix(volume.voxels, images[1.0], 0.05, dose), rel=1e-4, abs=1e-4)
    mixed = mix(volume.voxels, images[1.0], 0.05, 0.25)
    assert np.abs(images[0.25] - mixed).max() > 1e-3 * mixed.max()
    stages = [event["stage"] for event in events if event["type"] == "progress"]
    assert list(dict.fromkeys(stages)) == ["1/4 dose", "full dose"]
