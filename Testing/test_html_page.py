"""The HTML report: what is embedded, how large it is, and what a real headless Chromium makes of it."""

import base64
import gzip
import json
import re
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from MAPDiffLib.__main__ import main
from MAPDiffLib.errors import InputError
from MAPDiffLib.report import html_page
from MAPDiffLib.report.html_page import write_html
from MAPDiffLib.scan.volume import Volume, read_volume, write_volume
from Testing import tiny
from Testing.waiting import PATIENCE_S, wait_until

HOT_Z, HOT_X = 16, 8  # of the tiny scan's ball, in its own axes: to the patient's left and head


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A restored tiny scan, with its report as a page."""
    folder = tmp_path_factory.mktemp("results")
    bundle = tiny.tiny_bundle(folder / "tiny")
    scan = tiny.tiny_scan(folder / "scan <b>.mha")
    arguments = ["restore", str(scan), "--output", str(folder / "out"), "--bundle", str(bundle)]
    assert main([*arguments, "--input-dose", "1/20", "--doses", "1/4,full", "--report"]) == 0
    return folder


@pytest.fixture(scope="module")
def page(results):
    return (results / "out" / "report.html").read_text(encoding="utf-8")


def setting_of(page):
    return json.loads(re.search(r'id="setting">(.*?)</script>', page, re.S).group(1))


def embedded(page, index):
    """A volume of the page as a NIfTI file would hold it: header and 16-bit values."""
    setting = setting_of(page)
    text = re.search(rf'id="volume-{index}">([^<]*)<', page).group(1)
    low_high = np.frombuffer(gzip.decompress(base64.b64decode(text)), np.uint8).reshape(2, -1)
    return base64.b64decode(setting["header"]) + np.ascontiguousarray(low_high.T).tobytes()


def test_each_volume_is_embedded_in_its_place_to_half_a_step(results, page, tmp_path):
    report = json.loads((results / "out" / "report.json").read_text())
    names = [report["job"]["input"], *(entry["file"] for entry in report["files"]), report["uncertainty_file"]]
    step = setting_of(page)["step"]
    for index, name in enumerate(names):
        (tmp_path / "volume.nii").write_bytes(embedded(page, index))
        seen = sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / "volume.nii")), "LPS")
        given = read_volume(results / "out" / name)
        assert np.abs(sitk.GetArrayFromImage(seen) - given.voxels).max() <= step / 2 * 1.001
        assert np.allclose(seen.GetOrigin(), given.origin_mm) and np.allclose(seen.GetSpacing(), given.spacing_mm)
    assert index == 3 and len({embedded(page, index) for index in range(4)}) == 4


def test_the_page_names_nothing_outside_itself_and_escapes_what_it_is_given(page):
    before_scripts = page[: page.index('<script type="application/json"')]
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", before_scripts)
    assert "default-src 'none'" in before_scripts
    assert "scan &lt;b&gt;.mha, restored from 1/20 dose" in page and "<b>.mha" not in before_scripts
    assert "{{" not in before_scripts and "Research use only. Not for diagnosis." in before_scripts


def fake_results(folder, shape, voxels):
    """A report.json of an input and five more volumes of the same voxels, units Bq/mL with a known SUV factor."""
    scan = Volume(voxels, (4.0, 4.0, 3.0), units="BQML", metadata={"suv_factor": "0.0005"})
    write_volume(scan, folder / "scan.nrrd")
    doses = {0.1: "1/10", 0.25: "1/4", 0.5: "1/2", 1.0: "full"}
    figures = {"mean_in_body": 2000.0, "noise": 0.1, "guard_drift": -0.01, "seconds": 3.0}
    report = {
        "notice": "Research use only. </script>",
        "job": {"input": str(folder / "scan.nrrd"), "input_dose": None},
        "files": [{"dose": dose, "as": "mean", "label": label, "file": "scan.nrrd"} for dose, label in doses.items()],
        "uncertainty_file": "scan.nrrd",
        "places": [
            {"position_mm_lps": [40.0, 80.0, 60.0], "z": 4.5, "probability": 0.55, "scan": 4000.0, "restored": 2000.0},
            {"position_mm_lps": [0.0, 0.0, 0.0], "z": -4.0, "scan": 1000.0, "restored": 2000.0},
        ],
        "input": {
            "shape_zyx": shape, "spacing_mm": [4.0, 4.0, 3.0], "units": "BQML", "mean_in_body": 2000.0,
            "dose_used": 0.05, "dose_assumed": True, "dose_hint": "the noise looks like 1/3",
            "metadata": {"model": "<Model>"},
        },
        "doses": {f"{dose:g}": figures for dose in doses},
        "bundle": {"name": "none", "sha256": "0" * 64},
        "sampling": {"samples": 2, "strength": 1.0, "seed": 0},
        "seconds": {"prepare": 1.0}, "warnings": ["40 slices are announced."],
        "device": "cpu", "precision": "float32", "mapdiff": "0", "torch": "0",
    }  # fmt: skip
    (folder / "report.json").write_text(json.dumps(report))
    return folder / "report.json"


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The page of a 128 x 128 x 256 scan whose every voxel is noisy, air included."""
    folder = tmp_path_factory.mktemp("large")
    random, shape = np.random.default_rng(0), (256, 128, 128)
    y, x = np.mgrid[:128, :128] - 64
    voxels = random.standard_normal(shape, np.float32) * 150
    voxels[:, (x / 50) ** 2 + (y / 30) ** 2 < 1] += 2000
    return write_html(fake_results(folder, shape, voxels), folder / "report.html")


def test_a_scan_of_128_by_128_by_256_stays_under_25_mb_and_says_its_precision_and_suv(large):
    page = large.read_text(encoding="utf-8")
    assert 5e6 < large.stat().st_size < 25e6
    assert "all 128 x 128 x 256 voxels" in page and setting_of(page)["window"] == [0, 8.0]
    assert "<td>1</td>" in page  # 2000 Bq/mL times 0.0005
    assert "1/20 dose (assumed); the noise looks like 1/3" in page
    assert "<td>1/4 (5 x the scan&#x27;s counts)</td>" in page
    assert "&lt;/script&gt;" in page and "&lt;Model&gt;" in page and "40 slices are announced." in page


def test_the_places_to_check_stand_in_a_table_in_suv_with_the_crosshair_that_shows_them(large):
    page = large.read_text(encoding="utf-8")
    assert "<td>40 80 60</td><td>+4.5</td><td>55 %</td><td>2</td><td>1</td>" in page
    assert "<td>0 0 0</td><td>-4.0</td><td>-</td><td>0.5</td><td>1</td>" in page  # of an earlier version
    right, front, head = setting_of(page)["places"][0]  # of 128 x 128 x 256 voxels of 4 x 4 x 3 mm from the origin
    assert (1 - right) * 128 == pytest.approx(10.5) and (1 - front) * 128 == pytest.approx(20.5)
    assert head * 256 == pytest.approx(20.5)


def test_a_larger_scan_is_shown_in_larger_voxels(tmp_path, monkeypatch):
    monkeypatch.setattr(html_page, "MOST_VOXELS", 40 * 30 * 20 // 8)
    voxels = np.random.default_rng(0).random((40, 30, 20), np.float32)
    path = write_html(fake_results(tmp_path, voxels.shape, voxels), tmp_path / "report.html")
    page = path.read_text(encoding="utf-8")
    assert setting_of(page)["size"] == [10, 15, 20] and "means of 2 x 2 x 2 voxels, 10 x 15 x 20 in all" in page
    (tmp_path / "volume.nii").write_bytes(embedded(page, 0))
    seen = sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / "volume.nii")), "LPS"))
    means = voxels.reshape(20, 2, 15, 2, 10, 2).mean(axis=(1, 3, 5)) * 0.0005
    assert np.abs(seen - means).max() <= setting_of(page)["step"]


def test_what_does_not_fit_gets_coarser_and_then_is_refused(tmp_path, monkeypatch):
    voxels = np.random.default_rng(0).random((16, 40, 40), np.float32) * 16000
    report = fake_results(tmp_path, voxels.shape, voxels)
    steps, sizes = [], []
    for limit in (24_000_000, None, 2_000_000):
        monkeypatch.setattr(html_page, "SIZE_LIMIT", limit or sizes[0] - 20_000)
        if limit == 2_000_000:  # less than the viewer alone
            before = sorted(tmp_path.iterdir())
            with pytest.raises(InputError, match="leave --report out"):
                write_html(report, tmp_path / "other.html")
            assert sorted(tmp_path.iterdir()) == before
            continue
        path = write_html(report, tmp_path / "report.html")
        steps.append(setting_of(path.read_text())["step"])
        sizes.append(path.stat().st_size)
    assert steps[1] == 2 * steps[0] and sizes[1] < sizes[0]


def test_an_existing_page_is_refused_before_any_work(results, capsys):
    scan, out = str(results / "scan <b>.mha"), results / "other"
    out.mkdir()
    (out / "report.html").write_text("mine")
    assert main(["restore", scan, "--output", str(out), "--bundle", "nobody", "--report"]) == 2
    assert "report.html exists" in capsys.readouterr().err and (out / "report.html").read_text() == "mine"


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium that draws by software."""
    playwright = pytest.importorskip("playwright.sync_api", reason="not installed: playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    if not (program := next(filter(None, map(shutil.which, names)), None)):
        pytest.skip(f"not installed: a browser ({', '.join(names)})")
    switches = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=program, args=switches, timeout=1000 * PATIENCE_S)
        yield opened
        opened.close()


class Opened:
    """A page in the browser, with all that it said and asked for."""

    def __init__(self, browser, path):
        self.said, self.asked = [], []
        self.page = browser.new_page(viewport={"width": 1280, "height": 1150})
        self.page.set_default_timeout(1000 * PATIENCE_S)
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("body[data-ready]", state="attached")

    def first_picture_ms(self):
        return int(self.page.evaluate("document.body.dataset.firstPictureMs"))

    def set(self, name, value):
        """Moves the slider or fills in a number, and waits for the picture."""
        self.page.evaluate(
            "([name, value]) => { const found = document.getElementById(name); found.value = value;"
            " found.dispatchEvent(new Event(found.type === 'range' ? 'input' : 'change')); }",
            [name, value],
        )
        self.settle()

    def settle(self):
        """Waits until what was asked for is drawn and on the screen."""
        self.page.wait_for_selector("body:not([data-drawing])", state="attached")
        self.page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")

    def pictures(self):
        return [self.page.locator(name).screenshot() for name in ("#planes", "#mip")]

    def here(self):
        return [float(text) for text in self.page.locator("#numbers .here").all_text_contents()]

    def shown(self):
        return self.page.evaluate("document.getElementById('shown').value")


@pytest.fixture
def opened(browser, results):
    found = Opened(browser, results / "out" / "report.html")
    yield found
    found.page.close()


def test_the_page_opens_without_a_word_on_the_console_and_without_any_request(opened):
    assert opened.said == [] and len(opened.asked) == 1 and opened.asked[0].startswith("file:")
    assert opened.page.locator("#problem").is_hidden()
    assert opened.shown() == "input"


def test_the_uncertainty_is_offered_only_where_there_is_one(opened, browser, page, tmp_path):
    assert opened.page.locator("#uncertainty").is_visible()
    changed = page.replace('"uncertainty": true', '"uncertainty": false').replace('"volumes": 4', '"volumes": 3')
    (tmp_path / "without.html").write_text(changed, encoding="utf-8")
    without = Opened(browser, tmp_path / "without.html")
    assert without.page.locator("#uncertainty").is_hidden() and without.said == []
    without.page.close()


def test_the_slider_changes_planes_and_mip_and_the_window_does_too(opened):
    seen = [opened.pictures()]
    for position, label in ((1, "1/4 dose"), (2, "full dose"), (1.5, "50.0 % dose, mixed")):
        opened.set("dose", position)
        assert opened.shown() == label
        seen.append(opened.pictures())
    opened.set("high", 2)
    seen.append(opened.pictures())
    opened.page.check("#uncertainty")
    opened.settle()
    assert opened.shown() == "uncertainty (1 SD of full dose)"
    seen.append(opened.pictures())
    for planes_or_mip in zip(*seen, strict=True):
        assert len(set(planes_or_mip)) == len(seen)
    assert opened.said == []


def test_a_click_on_the_mip_takes_the_crosshair_to_the_brightest_voxel_and_shows_its_numbers(opened, results, page):
    scan = read_volume(results / "scan <b>.mha")
    depth, _, width = scan.voxels.shape
    row = depth - 1 - HOT_Z  # head up; in a picture of the scan alone, the patient's left stands on the right
    opened.page.evaluate(
        """([fromLeft, row, width]) => {
          const mip = document.getElementById("mip"), box = mip.getBoundingClientRect();
          const scale = Math.min(box.width / mip.width, box.height / mip.height);
          const x = box.left + box.width / 2 + scale * (fromLeft - (width - 1) / 2);
          const y = box.top + (box.height - scale * mip.height) / 2 + scale * (row + 0.5);
          for (const kind of ["pointerdown", "pointerup"])
            mip.dispatchEvent(new PointerEvent(kind, { clientX: x, clientY: y, pointerId: 1 }));
        }""",
        [HOT_X, row, width],
    )
    ray = scan.voxels[HOT_Z, :, HOT_X]
    step = setting_of(page)["step"]
    wait_until(lambda: opened.here()[0] == pytest.approx(ray.max(), abs=step / 2 + 0.005))
    full = read_volume(results / "out" / "dose-1.000.mha").voxels[HOT_Z, int(ray.argmax()), HOT_X]
    wait_until(lambda: opened.here()[2] == pytest.approx(full, abs=step / 2 + 0.005))
    assert opened.said == []


def test_a_click_on_a_place_to_check_takes_the_crosshair_there(browser, large):
    opened = Opened(browser, large)
    opened.page.click("#places tbody tr")
    wait_until(lambda: opened.page.evaluate("document.querySelector('#places').dataset.at === '0'"))
    assert opened.said == []
    opened.page.close()


def test_the_first_picture_of_a_large_scan_says_when_it_came(browser, large):
    found = Opened(browser, large)
    assert found.first_picture_ms() > 0 and found.said == []
    found.page.close()
