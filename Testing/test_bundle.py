"""A bundle: what is saved loads as it was; whatever is wrong with one is named, and nothing is left or executed."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from dataclasses import asdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save

from MAPDiffLib.errors import BundleError
from MAPDiffLib.model.bundle import WEIGHTS_LIMIT_BYTES, list_bundles, load_bundle, save_bundle
from MAPDiffLib.model.fidelity import Fidelity
from MAPDiffLib.model.loss_odds import LossOdds
from MAPDiffLib.model.manifest import FORMAT_VERSION, Sampling, parse_manifest
from MAPDiffLib.model.network import DenoisingUNet
from MAPDiffLib.model.quantisation import pack, rounded
from Testing import tiny


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny.tiny_bundle(tmp_path_factory.mktemp("made") / "tiny")


@pytest.fixture
def folder(made, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(made, tmp_path / "tiny")


def set_weights(folder, content: bytes):
    """Other weights, with a manifest that vouches for them: only what is inside can then be refused."""
    (folder / "weights.safetensors").write_bytes(content)
    change(folder, lambda manifest: manifest.update(weights_sha256=hashlib.sha256(content).hexdigest()))


def change(folder, edit):
    path = folder / "bundle.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))


def test_a_saved_bundle_loads_with_the_same_weights_ready_for_inference(made):
    saved = tiny.tiny_weights()
    bundle = load_bundle(made)
    assert (bundle.manifest.name, bundle.folder, bundle.network.config) == ("tiny", made, tiny.CONFIG)
    assert bundle.manifest.weights_sha256 == hashlib.sha256((made / "weights.safetensors").read_bytes()).hexdigest()
    assert not bundle.network.training and not any(p.requires_grad for p in bundle.network.parameters())
    assert all(torch.equal(tensor, saved[name]) for name, tensor in bundle.network.state_dict().items())


def test_half_precision_weights_load_as_float32(tmp_path):
    half = {name: tensor.half() for name, tensor in DenoisingUNet(tiny.CONFIG).state_dict().items()}
    bundle = load_bundle(save_bundle(tmp_path / "half", tiny.CONFIG, half, tiny.manifest_fields()))
    for name, tensor in bundle.network.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, half[name].float())


def test_weights_in_whole_numbers_load_as_the_network_rounded(tmp_path):
    packed = pack(tiny.tiny_weights())
    bundle = load_bundle(save_bundle(tmp_path / "packed", tiny.CONFIG, packed, tiny.manifest_fields()))
    for name, tensor in bundle.network.state_dict().items():
        exact = tiny.tiny_weights()[name]
        assert torch.equal(tensor, rounded(exact) if exact.ndim > 1 else exact.half().float())


def test_whole_numbers_with_one_step_in_all_rows_load_too(folder):
    packed = pack(tiny.tiny_weights())
    set_weights(folder, save(packed | {"stem.weight.step": torch.tensor(0.5)}))
    assert torch.equal(load_bundle(folder).network.stem.weight, packed["stem.weight"] / 2)


@pytest.mark.parametrize(
    "spoil, seen",
    [
        (lambda t: t.pop("stem.weight.step"), "lacks 1 tensors.*'stem.weight.step'"),
        (
            lambda t: t.update({"stem.weight.step": torch.ones(32)}),
            r"stem.weight.step has shape \[32\]; its network needs \[\d+, 1, 1, 1, 1\]",
        ),
        (lambda t: t.update({"stem.weight.step": torch.tensor(torch.inf)}), "stem.weight holds numbers.*not finite"),
        (lambda t: t.update({"stem.weight.step": torch.tensor(1, dtype=torch.int8)}), "lacks.*stem.weight.step.step"),
        (lambda t: t.update({"stem.weight": t["stem.weight"].float()}), "its network lacks.*'stem.weight.step'"),
    ],
)
def test_whole_numbers_without_a_usable_step_are_refused(folder, spoil, seen):
    packed = pack(tiny.tiny_weights())
    spoil(packed)
    set_weights(folder, save(packed))
    with pytest.raises(BundleError, match=seen):
        load_bundle(folder)


def test_saving_over_an_existing_folder_is_refused(made):
    with pytest.raises(BundleError, match="exists"):
        save_bundle(made, tiny.CONFIG, {}, tiny.manifest_fields())


@pytest.mark.parametrize("spoil", ["field", "tensor"])
def test_a_bundle_that_would_not_load_is_not_saved_and_leaves_nothing(tmp_path, spoil):
    state = DenoisingUNet(tiny.CONFIG).state_dict()
    fields = tiny.manifest_fields()
    if spoil == "field":
        del fields["anchors"]
    else:
        state["head.bias"] = torch.full_like(state["head.bias"], torch.nan)
    with pytest.raises(BundleError, match="anchors" if spoil == "field" else "not finite"):
        save_bundle(tmp_path / "new", tiny.CONFIG, state, fields)
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_looked_up_in_the_users_folder_and_listed(made, monkeypatch):
    monkeypatch.setenv("MAPDIFF_BUNDLES", str(made.parent))
    assert load_bundle("tiny").folder == made
    listed = {bundle["name"]: bundle for bundle in list_bundles()}["tiny"]
    assert (listed["problem"], listed["description"]) == ("", "random weights for tests")
    assert listed["bytes"] == (made / "weights.safetensors").stat().st_size


def test_an_unknown_name_is_answered_with_the_names_there_are(made, monkeypatch):
    monkeypatch.setenv("MAPDIFF_BUNDLES", str(made.parent))
    with pytest.raises(BundleError, match="no bundle is called 'tinny'.*tiny"):
        load_bundle("tinny")


def test_a_broken_bundle_is_listed_with_its_problem(folder):
    (folder / "weights.safetensors").unlink()
    assert "missing" in list_bundles([folder.parent])[0]["problem"]


@pytest.mark.parametrize("name", ["..", ".", "../tiny", "a/b", "", "tiny\n"])
def test_a_name_never_reaches_outside_the_search_path(name, made, monkeypatch):
    monkeypatch.setenv("MAPDIFF_BUNDLES", str(made))  # ../tiny from there is a real bundle
    monkeypatch.chdir("/")
    with pytest.raises(BundleError):
        load_bundle(name)


def test_a_path_that_is_no_bundle_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path, words in (("none", "does not exist"), ("file", "is not a folder"), ("", "bundle.json is missing")):
        with pytest.raises(BundleError, match=words):
            load_bundle(tmp_path / path)


EDITS = {
    f"format_version is {FORMAT_VERSION + 1}.*update MAPDiff": lambda m: m.update(format_version=FORMAT_VERSION + 1),
    "format_version is 1.*export its run again": lambda m: m.update(format_version=1),
    "format_version is '5'": lambda m: m.update(format_version="5"),
    "lacks .'sampling'": lambda m: m.pop("sampling"),
    "unknown keys .'script'": lambda m: m.update(script="import os"),
    "name is '../x'": lambda m: m.update(name="../x"),
    "description is ''": lambda m: m.update(description=""),
    "weights_sha256 is 'abc'": lambda m: m.update(weights_sha256="abc"),
    "network lacks .'blocks'": lambda m: m["network"].pop("blocks"),
    "network has unknown keys .'class'": lambda m: m["network"].update({"class": "os.system"}),
    "network.blocks is True": lambda m: m["network"].update(blocks=True),
    "network.widths is 8": lambda m: m["network"].update(widths=8),
    "network: widths are": lambda m: m["network"].update(widths=[10**9]),
    "network: blocks is 1000000": lambda m: m["network"].update(blocks=10**6),
    "diffusion: schedule is 'steep'": lambda m: m["diffusion"].update(schedule="steep"),
    "diffusion.timesteps is 1.5": lambda m: m["diffusion"].update(timesteps=1.5),
    "anchors is .]": lambda m: m.update(anchors=[]),
    "anchors.0..tau is 1000": lambda m: m["anchors"][0].update(tau=1000),
    "anchors' doses are .* must rise": lambda m: m["anchors"][0].update(dose=0.3),
    "last anchor's dose is 0.9": lambda m: m["anchors"][3].update(dose=0.9),
    "anchors' tau are .* must fall": lambda m: m["anchors"][1].update(tau=700),
    "sampling has unknown keys .'timesteps'": lambda m: m["sampling"].update(timesteps=[999]),
    "sampling lacks .'strength'": lambda m: m["sampling"].pop("strength"),
    "sampling.samples is 0": lambda m: m["sampling"].update(samples=0),
    "sampling.strength is 9": lambda m: m["sampling"].update(strength=9),
    "uncertainty_levels is 7": lambda m: m["sampling"].update(uncertainty_levels=7),
    "uncertainty_levels are .0.5, 0.1.*rise": lambda m: m["sampling"].update(uncertainty_levels=[0.5, 0.1]),
    "uncertainty_scales are .1.0.; one for each of 2": lambda m: m["sampling"].update(uncertainty_scales=[1.0]),
    "uncertainty_scales is -1": lambda m: m["sampling"].update(uncertainty_scales=[1.0, -1]),
    "noise_levels is .0.1.; .lowest, highest": lambda m: m.update(noise_levels=[0.1]),
    "noise_levels are .0.2, 0.1.*rise": lambda m: m.update(noise_levels=[0.2, 0.1]),
    "intensity.transform is 'exec'": lambda m: m["intensity"].update(transform="exec"),
    "intensity.body_mean is 0": lambda m: m["intensity"].update(body_mean=0),
    "input_doses is .]": lambda m: m.update(input_doses=[]),
    "spacing_range_mm is .4.": lambda m: m.update(spacing_range_mm=[4]),
    "spacing_range_mm is .8, 2.": lambda m: m.update(spacing_range_mm=[8, 2]),
    "dose_estimate lacks .'noise'": lambda m: m["dose_estimate"].pop("noise"),
    "noise is .*one number for each": lambda m: m["dose_estimate"].update(noise=[0.1]),
    "scores is .]": lambda m: m.update(scores=[]),
}


@pytest.mark.parametrize("seen", EDITS)
def test_a_wrong_manifest_is_refused_with_the_file_the_value_and_the_rule(folder, seen):
    change(folder, EDITS[seen])
    with pytest.raises(BundleError, match=r"bundle\.json: .*" + seen):
        load_bundle(folder)


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000, '{"a": NaN}', "\0" * 10, " " * 1_000_001])
def test_a_bundle_json_that_is_none_is_refused(folder, content):
    (folder / "bundle.json").write_text(content)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        load_bundle(folder)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(content, path=()):
    """Every place in a manifest, as a path of keys."""
    if path:
        yield path
    for key in content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ():
        yield from places(content[key], (*path, key))


WHOLE = {
    **tiny.manifest_fields(),
    "format_version": FORMAT_VERSION,
    "network": {"widths": [4, 8], "blocks": 1, "embedding": 8},
    "weights_sha256": "0" * 64,
    "fidelity": json.loads(json.dumps(asdict(Fidelity(place=4.0)))),
    "loss_odds": json.loads(json.dumps(asdict(LossOdds(output=(-5.0, 1.0))))),
}


@settings(max_examples=300)
@given(st.sampled_from(list(places(WHOLE))), JSON_VALUES)
def test_no_value_anywhere_in_a_manifest_causes_anything_but_a_clear_refusal(path, value):
    manifest = copy.deepcopy(WHOLE)
    part = manifest
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    try:
        parse_manifest(manifest, "bundle.json")
    except BundleError as error:
        assert str(error).startswith("bundle.json: ")


def test_a_manifest_is_parsed_once_into_what_it_says_and_written_back_the_same():
    content = copy.deepcopy(WHOLE)
    manifest = parse_manifest(content, "bundle.json")
    assert manifest.sampling == Sampling(2, 1.0, (0.1, 0.5), (1.0, 1.0))
    assert (manifest.network, manifest.anchors[1].tau) == (tiny.CONFIG, 400)
    assert manifest.dose_calibration.scatter == 0.1
    assert parse_manifest(json.loads(json.dumps(manifest.to_dict())), "bundle.json") == manifest
    assert json.loads(json.dumps(manifest.to_dict())) == content
    del content["fidelity"], content["loss_odds"]  # as in bundles that were never fitted
    unfitted = parse_manifest(content, "bundle.json")
    assert manifest.fidelity.place == 4.0 and unfitted.fidelity == Fidelity()
    assert manifest.loss_odds.output == (-5.0, 1.0) and unfitted.loss_odds == LossOdds()


@pytest.mark.parametrize(
    "spoilt",
    [
        {"place": "4"}, {"tails": 0.0}, {"colour": 1.0}, {"bias": None}, {"drawn_gain": 1.0},
        {"drawn_gain": [1.0, 1.0]}, {"drawn_kept": [0, 0, 0, 0, 2]}, {"drawn_detail": [0.5]}, {"drawn_detail": 2.5},
    ],
)  # fmt: skip
def test_what_a_bundle_says_of_its_errors_is_checked(spoilt):
    with pytest.raises(BundleError, match=f"fidelity.*{next(iter(spoilt))}"):
        parse_manifest(WHOLE | {"fidelity": WHOLE["fidelity"] | spoilt}, "bundle.json")


def test_weights_that_were_cut_or_altered_are_refused(folder):
    path = folder / "weights.safetensors"
    content = path.read_bytes()
    for spoiled in (content[:-100], content[:-1] + b"\1", b""):
        path.write_bytes(spoiled)
        with pytest.raises(BundleError, match="incomplete or altered"):
            load_bundle(folder)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -100])
def test_a_truncated_weights_file_is_refused_even_with_a_matching_sha256(folder, keep):
    set_weights(folder, (folder / "weights.safetensors").read_bytes()[:keep])
    with pytest.raises(BundleError, match="safetensors file"):
        load_bundle(folder)


def spoiled(tensors, how):
    first = next(iter(tensors))
    if how == "missing":
        del tensors[first]
    elif how == "unexpected":
        tensors["extra.weight"] = torch.zeros(3)
    elif how == "shape":
        tensors[first] = torch.zeros(3)
    elif how == "dtype":
        tensors[first] = tensors[first].double()
    else:
        tensors[first].flatten()[0] = torch.inf
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})


@pytest.mark.parametrize(
    "how, seen",
    [
        ("missing", "lacks 1 tensors"),
        ("unexpected", "'extra.weight'"),
        ("shape", r"has shape \[3\]"),
        ("dtype", "stored as F64"),
        ("value", "not finite"),
    ],
)
def test_tensors_that_do_not_fit_the_network_are_refused_by_name(folder, how, seen):
    set_weights(folder, spoiled(load_file(folder / "weights.safetensors"), how))
    with pytest.raises(BundleError, match=seen):
        load_bundle(folder)


def test_a_network_larger_than_its_weights_is_refused_before_it_is_built(folder):
    change(folder, lambda m: m["network"].update(widths=[512] * 5, blocks=8))  # 4.5 GB, were it built
    with pytest.raises(BundleError, match="lacks .* tensors"):
        load_bundle(folder)


def test_a_header_that_announces_more_than_the_limit_is_refused_before_anything_is_built(folder):
    config = {"widths": [512, 512], "blocks": 8, "embedding": 8}
    change(folder, lambda m: m.update(network=config))
    with torch.device("meta"):
        shapes = {name: list(t.shape) for name, t in DenoisingUNet(tiny.NetworkConfig(**config)).state_dict().items()}
    header = json.dumps({n: {"dtype": "F32", "shape": s, "data_offsets": [0, 0]} for n, s in shapes.items()}).encode()
    set_weights(folder, len(header).to_bytes(8, "little") + header)
    with pytest.raises(BundleError, match="announces"):
        load_bundle(folder)


def test_a_weights_file_over_the_limit_is_refused_unread(folder):
    with (folder / "weights.safetensors").open("r+b") as file:
        file.truncate(WEIGHTS_LIMIT_BYTES + 1)  # sparse: costs no disk
    with pytest.raises(BundleError, match="at most 200000000"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["bundle.json", "weights.safetensors"])
def test_a_link_out_of_the_bundle_is_refused(folder, name):
    outside = folder.parent / name
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    with pytest.raises(BundleError, match="outside the bundle"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["bundle.json", "weights.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load_bundle(folder)
