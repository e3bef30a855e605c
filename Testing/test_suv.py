"""SUV factors: published cases of several vendors, decay worked by hand, and what is refused."""

import math

import pytest

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.suv import suv_factor

pydicom = pytest.importorskip("pydicom")

HALF_LIFE_S = 6588.0
# Clinical headers and factors published with cornerstonejs/calculate-suv (test/metadata, MIT licence): clock times of
# series, acquisition and injection; frame reference time and duration in ms; weight, dose, half-life; Philips's
# units and factors; the factor.
PUBLISHED = {
    "GE": ("095621", "095621", "084500", 0, 120000, 52, 152022720, 6586.2, (), 0.0005367387681819742),
    "Siemens": ("104829", "104830.351370", "083045", 38513, 74324, 67, 374e6, 6586.2, (), 0.00042748316187197236),
    "Siemens, series 5 us after the acquisition": (
        "123515", "123514.999995", "114100", 59937, 120000, 65, 225e6, 6586.2, (), 0.0004069156854009332,
    ),
    "Siemens, bed by bed": (
        "135431.843", "141555.687", "125000", 1372858, 180000, 102, 412e6, 6586.2, (), 0.0003721089202818729,
    ),
    "CPS, processed later": (
        "134918", "130348.234", "120037", 0, 180000, 69, 388e6, 6586.2, (), 0.00026503312764157046,
    ),
    "Philips, Bq/mL: its factors are not for these values": (
        "110155", "110156", "100058", 1328700, 120700, 64, 126e6, 6586.2, ("BQML", "0.003515736", "4.709921"),
        0.0007463747013889488,
    ),
    "Philips, counts": (
        "134551", "141336", "123000", 1755000, 180000, 47, 208.23e6, 6588, ("CNTS", "0.000728", None), 0.000728,
    ),
    "Philips, counts, both factors": (
        "093556", "095439", "083000", 1183000, 120000, 54, 238e6, 6588, ("CNTS", "0.000551", "1.602563"), 0.000551,
    ),
}  # fmt: skip


def header(**changes):
    """FDG, 70 kg, 350 MBq at 10:00:00, corrected to a scan at 11:00:00; None takes an attribute out."""
    item, data = pydicom.Dataset(), pydicom.Dataset()
    data.RadiopharmaceuticalInformationSequence = [item]
    values = {
        "Units": "BQML", "DecayCorrection": "START", "CorrectedImage": ["ATTN", "DECY"], "PatientWeight": "70",
        "SeriesDate": "20200301", "SeriesTime": "110000", "AcquisitionDate": "20200301", "AcquisitionTime": "110000.00",
        "RadiopharmaceuticalStartTime": "100000.00", "RadionuclideTotalDose": "350000000",
        "RadionuclideHalfLife": "6588",
    }  # fmt: skip
    for name, value in (values | changes).items():
        if value is not None:
            setattr(item if name.startswith("Radio") else data, name, value)
    return data


def with_philips(data, suv, bqml):
    block = data.private_block(0x7053, "Philips PET Private Group", create=True)
    for element, value in ((0x00, suv), (0x09, bqml)):
        if value is not None:
            block.add_new(element, "DS", value)
    return data


def with_nuclide(data, name):
    code = pydicom.Dataset()
    code.CodeMeaning = name
    data.RadiopharmaceuticalInformationSequence[0].RadionuclideCodeSequence = [code]
    return data


def refusal(data):
    with pytest.raises(InputError) as caught:
        suv_factor(data)
    return str(caught.value)


ONE_HOUR = 70_000 / (350e6 * 2 ** (-3600 / HALF_LIFE_S))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cases(name):
    series, acquired, injected, frame_ms, duration_ms, weight, dose, half_life, philips, expected = PUBLISHED[name]
    data = header(
        SeriesTime=series, AcquisitionTime=acquired, RadiopharmaceuticalStartTime=injected, PatientWeight=str(weight),
        FrameReferenceTime=str(frame_ms), ActualFrameDuration=str(duration_ms), RadionuclideTotalDose=str(dose),
        RadionuclideHalfLife=str(half_life),
    )  # fmt: skip
    if philips:
        data.Units = philips[0]
        with_philips(data, *philips[1:])
    assert suv_factor(data) == pytest.approx(expected, rel=1e-6)


def test_start_decays_the_dose_to_the_scan_and_admin_does_not():
    assert suv_factor(header()) == pytest.approx(ONE_HOUR, rel=1e-12)
    assert suv_factor(header(DecayCorrection="ADMIN")) == 70_000 / 350e6
    assert suv_factor(header(DecayCorrection="ADMIN", SeriesTime=None, RadiopharmaceuticalStartTime=None)) == 2e-4


def test_over_midnight():
    late = {"SeriesTime": "003000", "AcquisitionTime": "003000", "RadiopharmaceuticalStartTime": "233000"}
    assert suv_factor(header(**late)) == pytest.approx(ONE_HOUR, rel=1e-12)
    dated = {"RadiopharmaceuticalStartDateTime": "20200229233000.00"}
    assert suv_factor(header(**late, **dated)) == pytest.approx(ONE_HOUR, rel=1e-12)
    beds = {"SeriesTime": "235950", "AcquisitionDate": "20200302", "AcquisitionTime": "000210"}
    assert suv_factor(header(RadiopharmaceuticalStartTime="225950", **beds)) == pytest.approx(ONE_HOUR, rel=1e-12)


@pytest.mark.parametrize("as_bytes", [False, True], ids=["DT", "unknown to the reader"])
def test_a_ge_series_processed_later_is_corrected_to_ges_own_scan_time(as_bytes):
    data = header(SeriesTime="153000", AcquisitionTime="110400", FrameReferenceTime="9999000")
    block = data.private_block(0x0009, "GEMS_PETD_01", create=True)
    block.add_new(0x0D, "UN" if as_bytes else "DT", b"20200301110000.00" if as_bytes else "20200301110000.00")
    assert suv_factor(data) == pytest.approx(ONE_HOUR, rel=1e-12)


def test_a_series_processed_later_is_traced_back_from_its_frame_reference_time():
    # Flat decay in a short frame: the mean count rate lies at its middle. Bed 3 began 400 s after the scan.
    data = header(
        SeriesTime="153000", AcquisitionTime="110640", FrameReferenceTime="430000", ActualFrameDuration="60000"
    )
    assert suv_factor(data) == pytest.approx(ONE_HOUR, rel=1e-5)
    assert suv_factor(data) != pytest.approx(ONE_HOUR, rel=1e-7)  # the logarithmic mean is not quite the middle


def test_grams_per_ml_is_suv_already():
    assert suv_factor(header(Units="GML", PatientWeight=None)) == 1.0
    assert "by LBM, not by body weight" in refusal(header(Units="GML", SUVType="LBM"))


def test_philips_counts_without_the_suv_factor_go_through_activity():
    data = with_philips(header(Units="CNTS"), "0", "2.5")
    assert suv_factor(data) == pytest.approx(2.5 * ONE_HOUR, rel=1e-12)
    assert "(7053,1000)" in refusal(header(Units="CNTS"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Units": None}, "no units"),
        ({"Units": "PROPCPS"}, "PROPCPS"),
        ({"PatientWeight": None}, "PatientWeight is missing"),
        ({"PatientWeight": "0"}, "PatientWeight is 0"),
        ({"PatientWeight": "71000"}, "0.005 to 700 kg"),
        ({"RadionuclideTotalDose": None}, "RadionuclideTotalDose is missing"),
        ({"RadionuclideTotalDose": "388.7"}, "MBq?"),
        ({"RadionuclideTotalDose": "350000"}, "kBq"),
        ({"RadionuclideTotalDose": "1100000"}, "kBq"),
        ({"PatientWeight": "0.07"}, "for 0.07 kg"),
        ({"RadionuclideHalfLife": "109.8"}, "written in minutes?"),
        ({"RadionuclideHalfLife": "0"}, "RadionuclideHalfLife is 0"),
        ({"CorrectedImage": ["DECY", "SCAT"]}, "ATTN and DECY"),
        ({"CorrectedImage": "ATTN"}, "ATTN and DECY"),
        ({"CorrectedImage": None}, "ATTN and DECY"),
        ({"DecayCorrection": "NONE"}, "is NONE; START or ADMIN"),
        ({"DecayCorrection": None}, "is missing; START or ADMIN"),
        ({"SeriesTime": None}, "SeriesTime is missing"),
        ({"AcquisitionDate": None}, "AcquisitionDate is missing"),
        ({"RadiopharmaceuticalStartTime": None}, "time of injection is missing"),
        ({"RadiopharmaceuticalStartTime": "110500"}, "23.9 h"),  # five minutes after the scan is no day before it
        ({"RadiopharmaceuticalStartDateTime": "20200303100000"}, "dates shifted apart"),
        ({"RadiopharmaceuticalStartDateTime": "20200301090000"}, "different times of day"),
        ({"RadiopharmaceuticalStartDateTime": "20200301000000.000000"}, "midnight"),
        ({"RadiopharmaceuticalStartDateTime": "20200301", "RadiopharmaceuticalStartTime": None}, "a date alone"),
        ({"RadiopharmaceuticalStartTime": "000000"}, "midnight"),
        ({"RadiopharmaceuticalStartTime": "10"}, "no minutes"),
        ({"SeriesTime": "000000.000", "AcquisitionTime": "000000.000"}, "SeriesTime is midnight"),
        ({"RadiopharmaceuticalStartTime": "000001"}, "11.0 h, not within 0 to 5 half-lives"),
        ({"SeriesTime": "150000"}, "FrameReferenceTime is missing"),
    ],
)
def test_what_is_missing_or_does_not_agree_is_refused_by_name(changes, words):
    assert words in refusal(header(**changes))


@pytest.mark.parametrize(
    ("half_life", "dose"), [("282276", "37e6"), ("230400", "2e9"), ("360806", "74e6"), ("45720", "200e6")],
    ids=["Zr-89", "Y-90", "I-124", "Cu-64"],
)  # fmt: skip
def test_a_time_of_day_alone_serves_for_no_nuclide_that_lives_for_days(half_life, dose):
    slow = {"RadionuclideHalfLife": half_life, "RadionuclideTotalDose": dose}
    assert "it may have been days ago" in refusal(header(**slow))
    four_days_before = header(**slow, RadiopharmaceuticalStartDateTime="20200226100000")
    decayed = float(dose) * 2 ** (-97 * 3600 / float(half_life))
    if 97 * 3600 < 5 * float(half_life):
        assert suv_factor(four_days_before) == pytest.approx(70_000 / decayed, rel=1e-12)
    else:
        assert "97.0 h, not within 0 to 5 half-lives" in refusal(four_days_before)


@pytest.mark.parametrize("half_life", ["6588", "4057.7", "14292"], ids=["F-18", "Ga-68", "Sc-44"])
def test_a_time_of_day_alone_serves_where_the_day_before_would_be_too_long_ago(half_life):
    expected = 70_000 / (350e6 * 2 ** (-3600 / float(half_life)))
    assert suv_factor(header(RadionuclideHalfLife=half_life)) == pytest.approx(expected, rel=1e-12)


def test_a_date_and_time_in_another_zone_is_taken_into_the_headers():
    in_utc = {"RadiopharmaceuticalStartDateTime": "20200301090000.00+0000", "RadiopharmaceuticalStartTime": None}
    assert suv_factor(header(**in_utc, TimezoneOffsetFromUTC="+0100")) == pytest.approx(ONE_HOUR, rel=1e-12)
    in_tokyo = in_utc | {"RadiopharmaceuticalStartDateTime": "20200301233000+0900"}
    over_midnight = {"SeriesTime": "103000", "AcquisitionTime": "103000", "TimezoneOffsetFromUTC": "-0500"}
    assert suv_factor(header(**in_tokyo, **over_midnight)) == pytest.approx(ONE_HOUR, rel=1e-12)
    both = in_utc | {"RadiopharmaceuticalStartTime": "100000"}
    assert suv_factor(header(**both, TimezoneOffsetFromUTC="+0100")) == pytest.approx(ONE_HOUR, rel=1e-12)
    assert "different times of day" in refusal(header(**both, TimezoneOffsetFromUTC="+0200"))


def test_an_offset_that_the_headers_other_times_do_not_have_is_taken_only_where_the_clocks_agree():
    own = {"RadiopharmaceuticalStartDateTime": "20200301100000+0100"}
    assert suv_factor(header(**own)) == pytest.approx(ONE_HOUR, rel=1e-12)
    assert "they cannot be compared" in refusal(header(**own, RadiopharmaceuticalStartTime=None))
    assert "different times of day" in refusal(header(RadiopharmaceuticalStartDateTime="20200301090000+0000"))


def test_a_mouse_has_a_factor():
    mouse = header(PatientWeight="0.025", RadionuclideTotalDose="5000000")
    assert suv_factor(mouse) == pytest.approx(25 / (5e6 * 2 ** (-3600 / HALF_LIFE_S)), rel=1e-12)


def test_a_time_that_is_none_is_refused():
    data = header()
    data.RadiopharmaceuticalInformationSequence[0].add_new("RadiopharmaceuticalStartTime", "LO", "ten")
    assert "'ten', which cannot be read" in refusal(data)


def test_a_series_without_a_radiopharmaceutical_is_refused():
    data = header()
    del data.RadiopharmaceuticalInformationSequence
    assert "no Radiopharmaceutical Information Sequence" in refusal(data)


@pytest.mark.parametrize("name", ["^68^Gallium", "68Ga", "Ga-68"])
def test_a_half_life_that_is_not_the_nuclides_is_refused(name):
    assert "half-life of 6588 s, where 4057.7 s is that of 68Ga" in refusal(with_nuclide(header(), name))


@pytest.mark.parametrize("name", ["^18^Fluorine", "18F", "F-18", "F^18^", "a nuclide", ""])
def test_fluorine_is_fluorine_in_every_spelling(name):
    assert math.isclose(suv_factor(with_nuclide(header(), name)), ONE_HOUR)
