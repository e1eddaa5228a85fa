"""Train, sample, evaluate: the whole way, on the real digits with a small network."""

import json
import re

import numpy as np
import pytest
import torch
import yaml
from commands import QUICK
from PIL import Image

import diffexp
from diffexp.data import Digits, Npz
from diffexp.errors import ConfigError, DataError, DiffexpError, DivergedError
from diffexp.model.restore import restore
from diffexp.run import ready as ready_module
from diffexp.samplers import DDIM
from diffexp.tasks import evaluate


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder."""
    from commands import composed

    from diffexp.tasks.run import run_job

    folder = tmp_path_factory.mktemp("trained") / "run"
    overrides = [*QUICK, f"dir={folder}", "sampler.eta=0.5"]
    cfg, choices = composed(overrides)
    run_job(cfg, folder, overrides, choices)
    return folder


def results(folder):
    return json.loads((folder / "run.json").read_text())


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["trained"]


def test_run_folder_tells_everything(trained):
    names = {p.name for p in trained.iterdir()} - {".lock"}
    assert names == {
        "checkpoints", "config.yaml", "overrides.yaml", "run.json", "log", "metrics.jsonl", "samples",
        "evidence.npz", "result.json",
    }  # fmt: skip
    told = results(trained)
    assert told["state"] == "done" and told["seed"] == 0 and told["packages"]["torch"]
    card = told["results"]["cards"]["fid_digits64"]
    assert card["n"] == 20 and card["nfe"] == 3 and "eta=0.5" in card["sampler"] and card["floor"] > 0
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["sampler"]["eta"] == 0.5 and config["choices"]["network"] == "unet_tiny"
    assert "sampler.eta=0.5" in yaml.safe_load((trained / "overrides.yaml").read_text())
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["final/fid_digits64"] == told["results"]["fid_digits64"]
    with Image.open(trained / "samples" / "step_00000006.png") as picture:
        assert picture.width > 150 and picture.height > 800  # ten rows


def test_same_seed_same_weights_and_samples(trained, job):
    again = job(*QUICK, "sampler.eta=0.5", folder="again")
    other = job(*QUICK, "sampler.eta=0.5", "seed=1", folder="other")
    a, b, c = weights(trained), weights(again), weights(other)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not all(torch.equal(a[k], c[k]) for k in a)
    pictures = [(f / "samples" / "step_00000006.png").read_bytes() for f in (trained, again, other)]
    assert pictures[0] == pictures[1] != pictures[2]


def test_sample_takes_the_model_and_its_sampler_from_the_run(trained, job):
    out = job("task=sample", f"task.ckpt={trained}", "task.n=6", "task.classes=[3,8]", "task.npz=true")
    assert sorted(p.name for p in (out / "samples").iterdir()) == [
        *(f"0000{i}_seed0.png" for i in range(6)), "grid.png", "metadata.jsonl", "samples.npz",
    ]  # fmt: skip
    assert "steps=3" in results(out)["results"]["sampler"] and "eta=0.5" in results(out)["results"]["sampler"]
    with np.load(out / "samples" / "samples.npz") as arrays:
        assert arrays["labels"].tolist() == [3, 8] * 3 and arrays["images"].shape == (6, 8, 8, 1)
        single = np.asarray(Image.open(out / "samples" / "00004_seed0.png"))
        assert (arrays["images"][4, :, :, 0] == single).all()
    assert Npz(str(out / "samples" / "samples.npz")).shape == (1, 8, 8)
    model = diffexp.load(trained)
    images = diffexp.sample(model, 6, DDIM(steps=3, eta=0.5), classes=[3, 8])
    assert (images[4, 0].numpy() == single).all()
    assert diffexp.grid(images).width > 100


def test_values_change_the_sampler_of_the_run_and_options_replace_it(trained, job):
    out = job("task=sample", f"task.ckpt={trained}", "task.n=2", "sampler.steps=2", folder="values")
    assert "steps=2" in results(out)["results"]["sampler"] and "eta=0.5" in results(out)["results"]["sampler"]
    out = job(
        "task=sample", f"task.ckpt={trained}", "task.n=2", "sampler=ddpm", "sampler.steps=4", folder="option"
    )
    assert results(out)["results"]["sampler"].startswith("DDPM(steps=4")


def test_evaluate_measures_the_run_again(trained, job):
    same = job("task=evaluate", f"task.ckpt={trained}", folder="same")
    assert results(same)["results"]["fid_digits64"] == pytest.approx(
        results(trained)["results"]["fid_digits64"], rel=1e-3
    )
    other = job("task=evaluate", f"task.ckpt={trained}", "sampler.steps=5", "guidance.scale=2", folder="o")
    card = results(other)["results"]["cards"]["fid_digits64"]
    assert card["nfe"] == 10 and "scale=2" in card["guidance"]
    raw = job("task=evaluate", f"task.ckpt={trained}", "task.ema=false", folder="raw")
    assert results(raw)["results"]["fid_digits64"] != results(same)["results"]["fid_digits64"]


def test_what_is_kept_between_jobs_changes_no_number(trained, job):
    """A process of a sweep keeps the model, the extractor and the real statistics."""

    def measured(folder, *typed):
        told = results(job("task=evaluate", f"task.ckpt={trained}", *typed, folder=folder))["results"]
        return {key: told[key] for key in ("fid_digits64", "accuracy_svm", "cards")}

    first = measured("a")
    other = measured("b", "seed=1", "sampler.steps=2", "precision=bf16", "metrics.n=40")
    assert other["fid_digits64"] != first["fid_digits64"] and other["cards"]["fid_digits64"]["n"] == 40
    assert measured("c") == first
    evaluate._prepared.cache_clear()
    ready_module._restored.cache_clear()
    assert measured("d") == first


def test_a_checkpoint_that_was_replaced_is_read_again(job, tmp_path):
    first = job(*QUICK, folder="run")
    before = results(job("task=evaluate", f"task.ckpt={first}", folder="a"))["results"]["fid_digits64"]
    other = job(*QUICK, "seed=1", folder="other")
    for name in ("last.ckpt.json", "last.ckpt"):
        (other / "checkpoints" / name).replace(first / "checkpoints" / name)
    after = results(job("task=evaluate", f"task.ckpt={first}", folder="b"))["results"]["fid_digits64"]
    assert after != before


@pytest.mark.parametrize("typed", ["+trainer.max_stesp=3", "loader.batch_size=x", "+callbacks.best.modee=1"])
def test_training_is_checked_where_something_is_typed_for_it(job, typed):
    with pytest.raises(ConfigError, match=typed.lstrip("+").split("=")[0]):
        job("task=sample", "network=gaussian", typed, folder="no")


@pytest.mark.parametrize("typed", ["network.channels=16", "prediction=eps", "snr.shift=2", "optimizer.lr=1"])
def test_what_the_checkpoint_holds_cannot_be_typed(trained, job, typed):
    with pytest.raises(ConfigError, match="is of the training run"):
        job("task=sample", f"task.ckpt={trained}", typed, folder="no")


def test_sample_refuses_before_it_writes(trained, job, tmp_path):
    with pytest.raises(ConfigError, match="choose from 0 to 9"):
        job("task=sample", f"task.ckpt={trained}", "task.classes=[11]", folder="no")
    with pytest.raises(ConfigError, match="exceeds the 1000-step chain"):
        job("task=sample", f"task.ckpt={trained}", "sampler.steps=1001", folder="no")
    with pytest.raises(DataError, match=r"no checkpoints/last\.ckpt"):
        job("task=sample", f"task.ckpt={tmp_path}", folder="no")
    assert not (tmp_path / "no").exists()


def test_checkpoint_of_a_stranger_builds_only_ours(trained, tmp_path):
    path = trained / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["diffexp"]["config"]["model"]["network"]["_target_"] = "os.system"
    torch.save(checkpoint, tmp_path / "evil.ckpt")
    with pytest.raises(ConfigError, match=r"os\.system may not be built"):
        restore(tmp_path / "evil.ckpt")


def test_without_averages_the_weights_themselves_are_sampled(job):
    out = job(*QUICK, "ema=none", folder="raw")
    with pytest.raises(DataError, match=r"no averaged weights[\s\S]*task\.ema=false"):
        restore(out)
    assert restore(out, None).step == 6


def test_failed_run_says_so_in_run_json(job, tmp_path):
    with pytest.raises(DivergedError, match="not finite at step"):
        job(*QUICK, "optimizer.lr=1e30", "trainer.log_every_n_steps=1", "model.clip_norm=null", folder="nan")
    told = json.loads((tmp_path / "nan" / "run.json").read_text())
    assert told["state"].startswith("DivergedError")


def test_encode_goes_there_and_back(trained, job):
    errors = []
    for steps in (5, 100):
        out = job(
            "task=encode",
            f"task.ckpt={trained}",
            f"sampler.steps={steps}",
            "sampler.eta=0",
            folder=f"e{steps}",
        )
        errors.append(results(out)["results"]["mse"])
        assert (out / "samples" / "reconstructed.png").stat().st_size > 1000
    assert errors[1] < errors[0] / 10
    with pytest.raises(ConfigError, match=r"ODE of DDIM[\s\S]*sampler=ddim sampler\.eta=0"):
        job("task=encode", f"task.ckpt={trained}", folder="no")


def test_interpolation_ends_at_its_noises(trained, job):
    out = job("task=interpolate", f"task.ckpt={trained}", "task.n=3", "task.points=4", "task.classes=[3]")
    with Image.open(out / "samples" / "interpolated.png") as picture:
        assert picture.height == pytest.approx(3 * 80, abs=60) and picture.width > 4 * 80


def test_likelihood_adds_up(trained, job):
    out = job("task=likelihood", f"task.ckpt={trained}", "task.n=20", "task.steps=30", folder="bits")
    told = results(out)["results"]
    assert told["bpd"] == pytest.approx(told["L_T"] + told["L_t"] + told["L_0"], rel=1e-6)
    assert told["n"] == 20 and told["bpd_half_width"] > 0 and told["L_T"] < 1e-3
    lines = (out / "likelihood.csv").read_text().splitlines()
    errors = "fixed_small_error,fixed_large_error"
    assert lines[0] == f"t,bits_per_dim,standard_error,fixed_small,fixed_large,{errors}"
    assert len(lines) == told["terms"] + 1 and lines[1].startswith("0.001,")
    page = (out / "likelihood.html").read_text()
    assert "fixed small" in page and "learned" not in page
    assert "bits/dim of a step, with one standard error over t" in page and page.count("class=band") == 2
    for key, value in (("data", "digits, test images"), ("images", "20"), ("weights", "averaged"),
                       ("terms", f"{told['terms']} of 1000"), ("decoder", "erf")):  # fmt: skip
        assert f"<dt>{key}</dt><dd>{value}</dd>" in page
    assert "last.ckpt, step 6</dd>" in page and f"<td>{told['bpd']:.4f}</td>" in page
    rows = [
        [float(v) for v in re.findall(r"<data value='(.*?)'>", r)] for r in page.split("<tr>") if "<data" in r
    ]
    written = [[float(v) for v in line.split(",")] for line in lines[1:]]
    wanted = [[t, small, a, large, b] for t, _, _, small, large, a, b in written]
    assert len(rows) == told["terms"] and np.allclose(rows, wanted, rtol=1e-6)


def test_likelihood_of_one_image_has_no_interval(trained, job, tmp_path, capsys):
    """And no standard error: there is nothing to take it from."""
    for i in range(10):  # of which one is held out
        (tmp_path / "images" / str(i)).mkdir(parents=True)
        Image.new("L", (8, 8), 25 * i).save(tmp_path / "images" / str(i) / "a.png")
    of = ["task=likelihood", f"task.ckpt={trained}", "data=folder", f"data.path={tmp_path / 'images'}"]
    out = job(*of, "data.size=8", "data.mode=L", "task.steps=10", folder="one")
    told = results(out)["results"]
    assert told["n"] == 1 and "bpd_half_width" not in told
    assert "unknown: one image" in capsys.readouterr().out
    first = (out / "likelihood.csv").read_text().splitlines()[1].split(",")
    assert [bool(text) for text in first] == [True, True, False, True, True, False, False]
    page = (out / "likelihood.html").read_text()
    assert "nan" not in page and "±" not in page and "standard error" not in page and "band" not in page
    more = ["task.method=flow", "task.probes=1", "task.tolerance=1e-2", f"task.against={out}"]
    told = results(job(*of, "data.size=8", "data.mode=L", *more, folder="flow"))["results"]
    assert told["difference"] == pytest.approx(told["bpd"] - results(out)["results"]["bpd"], abs=1e-6)
    assert "difference_half_width" not in told


def test_difference_of_likelihoods_is_taken_image_by_image(trained, job):
    of = ["task=likelihood", f"task.ckpt={trained}", "task.n=20", "task.steps=20"]
    first = job(*of, folder="first")
    rows = (first / "likelihood_images.csv").read_text().splitlines()
    bits = [float(row.split(",")[1]) for row in rows[1:]]
    told = results(first)["results"]
    assert rows[0] == "index,bits_per_dim" and sum(bits) / 20 == pytest.approx(told["bpd"], rel=1e-6)
    raw = results(job(*of, "task.ema=false", f"task.against={first}", folder="raw"))["results"]
    assert raw["difference"] == pytest.approx(raw["bpd"] - told["bpd"], abs=1e-6) and raw["difference"] != 0
    assert 0 < raw["difference_half_width"] < raw["bpd_half_width"]
    with pytest.raises(DataError, match="no bits of images here"):
        job(*of, f"task.against={trained}", folder="none")


def test_likelihood_by_the_flow(trained, job):
    """With the exact trace, and with probes: within the error that the probes have."""
    of = ["task=likelihood", f"task.ckpt={trained}", "task.n=4", "task.method=flow"]
    exact = results(job(*of, "task.probes=0", "task.tolerance=1e-3", folder="exact"))["results"]
    probed = results(job(*of, "task.probes=4", "task.tolerance=1e-3", folder="probed"))["results"]
    assert exact["method"] == "flow" and exact["probes"] == 0 and 0 < exact["bpd"] < 12
    assert probed["bpd"] == pytest.approx(exact["bpd"], rel=0.1) and probed["bpd"] != exact["bpd"]


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("task.method=odd", "give bound or flow"),
        ("task.decoder=odd", "give erf"),
        ("task.probes=-1", "probes=0"),
    ],
)
def test_likelihood_refuses(trained, job, typed, text):
    with pytest.raises(ConfigError, match=text):
        job("task=likelihood", f"task.ckpt={trained}", typed)


@pytest.mark.parametrize("network", ["ideal", "gaussian", "mixture"])
def test_closed_forms_are_sampled_without_training(job, network):
    few = ["task=sample", f"network={network}", "task.n=20", "task.npz=true", "task.files=false"]
    folder = job(*few, "sampler=dpm_solver_pp_2m", "sampler.steps=10", "schedule=linear", folder=network)
    with np.load(folder / "samples" / "samples.npz") as arrays:
        images = torch.from_numpy(arrays["images"]).float() / 127.5 - 1
    if network == "gaussian":
        assert float(images.mean()) == pytest.approx(0.2, abs=0.1)
    if network == "mixture":
        # labels 0 and 1 set the component, the others leave it open
        assert float((images > 0).float().mean()) == pytest.approx(0.1 + 0.8 * 0.7, abs=0.05)
    if network == "ideal":
        train = torch.cat([b.image for b in Digits().batches("train", 500)]).permute(0, 2, 3, 1) / 127.5 - 1
        assert float((images[:, None] - train).abs().flatten(2).amax(2).amin(1).max()) < 0.3


def test_closed_forms_have_nothing_to_train(job):
    with pytest.raises(ConfigError, match=r"nothing to train[\s\S]*task=sample"):
        job("network=ideal")
    told = results(job("task=evaluate", "network=ideal", "sampler.steps=5", "metrics.n=50"))
    assert told["results"]["accuracy_svm"] > 0.9


@pytest.mark.parametrize("task", ["task=sample", "task=evaluate"])
def test_closed_forms_are_told_no_captions(job, task):
    with pytest.raises(ConfigError, match="in closed form knows classes, and is told no captions") as error:
        job(task, "network=ideal", "data=digits_text", "conditioning=text", "metrics=none")
    assert error.value.do.startswith("type conditioning=class or none")


@pytest.mark.slow
def test_autoguidance_is_led_by_another_checkpoint(trained, job):
    """By itself it changes nothing; by its own trained weights it does, and costs a second call."""
    base = ["task=sample", f"task.ckpt={trained}", "task.n=10", "task.npz=true", "task.files=false"]
    same = ["guidance=auto", "guidance.scale=2", "guidance.ema=0"]
    plain, itself = (images_of(job(*base, *more, folder=f)) for more, f in (([], "p"), (same, "s")))
    assert np.array_equal(plain, itself)
    worse = images_of(job(*base, "guidance=auto", "guidance.scale=2", folder="w"))
    assert not np.array_equal(plain, worse)
    told = results(
        job("task=evaluate", f"task.ckpt={trained}", "guidance=auto", "guidance.scale=2", folder="e")
    )
    assert told["results"]["cards"]["fid_digits64"]["nfe"] == 6
    other = job(*QUICK, "schedule=linear", folder="other")
    with pytest.raises(ConfigError, match="another schedule"):
        job(*base, "guidance=auto", "guidance.scale=2", f"guidance.ckpt={other}", folder="no")
    with pytest.raises(ConfigError, match=r"worse model[\s\S]*guidance\.ckpt"):
        job(*QUICK, "guidance=auto", "guidance.scale=2", folder="t")


def images_of(folder):
    with np.load(folder / "samples" / "samples.npz") as arrays:
        return arrays["images"]


def test_selftest_is_good_and_would_say_what_is_wrong(job, capsys, monkeypatch):
    out = job("task=selftest", folder="good")
    told = results(out)["results"]
    assert told["good"] == len(told["checks"]) > 30 and "all" in capsys.readouterr().out
    monkeypatch.setattr("diffexp.tasks.selftest.STD", 0.51)  # of the data, not of what is wanted
    with pytest.raises(DiffexpError, match=r"checks are wrong: .*bound of a Gaussian"):
        job("task=selftest", folder="bad")


@pytest.mark.slow
def test_times_and_variances_are_measured_on_the_checkpoint_once(trained, job, tmp_path, monkeypatch):
    monkeypatch.setattr("diffexp.run.calibrate.CACHE", str(tmp_path / "cache"))
    base = ["task=sample", f"task.ckpt={trained}", "task.n=4", "task.files=false"]
    told = results(job(*base, "sampler=ddim", "sampler.spacing=optimal", "sampler.steps=4", folder="o"))
    assert "spacing=(1000" in told["results"]["sampler"] and "steps=4" in told["results"]["sampler"]
    told = results(job(*base, "sampler=ddpm", "sampler.variance=analytic", "sampler.steps=4", folder="a"))
    assert "gammas=(" in told["results"]["sampler"]
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()}
    assert len(kept) == 2
    job(*base, "sampler=unipc", "sampler.spacing=optimal", "sampler.steps=6", folder="u")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()} == kept


@pytest.mark.slow
def test_a_classifier_is_trained_on_noise_and_guides(trained, job):
    few = ["task=classifier", f"task.ckpt={trained}", "task.steps=150", "task.channels=16", "logger=none"]
    folder = job(*few, folder="c")
    told = results(folder)["results"]
    assert told["accuracy_q1"] > 0.7 > told["accuracy_q4"]
    base = ["task=sample", f"task.ckpt={trained}", "task.n=10", "task.npz=true", "task.files=false"]
    guide = ["guidance=classifier", f"guidance.ckpt={folder}"]
    plain = images_of(job(*base, folder="cp"))
    assert np.array_equal(plain, images_of(job(*base, *guide, "guidance.scale=1", folder="c1")))
    assert not np.array_equal(plain, images_of(job(*base, *guide, "guidance.scale=3", folder="c3")))
    with pytest.raises(ConfigError, match=r"no run of task=classifier"):
        job(*base, "guidance=classifier", f"guidance.ckpt={trained}", folder="no")
    with pytest.raises(DataError, match=r"holds no model of images"):
        job("task=sample", f"task.ckpt={folder}", folder="no")
    with pytest.raises(ConfigError, match=r"type guidance\.ckpt=RUN"):
        job(*base, "guidance=classifier", folder="no")


def test_calls_of_an_adaptive_sampler_are_those_that_were_made(trained, job):
    told = results(job("task=evaluate", f"task.ckpt={trained}", "sampler=dpm_solver_adaptive", folder="ad"))
    guided = ["guidance.scale=2", "sampler=dpm_solver_adaptive"]
    twice = results(job("task=evaluate", f"task.ckpt={trained}", *guided, folder="ad2"))
    alone, both = told["results"]["nfe"], twice["results"]["nfe"]
    assert 10 < alone < 400 and both > 1.5 * alone


def test_evaluating_leaves_the_scales_of_a_training_aside(job):
    """The recipe has 1 and 2; a model without classes cannot be guided, and is measured at 1 all the same."""
    small = [*(text for text in QUICK if "scales" not in text), "metrics=none", "trainer.max_steps=1"]
    plain = ["conditioning=none", "guidance.scale=1"]
    with pytest.raises(
        ConfigError, match=r"at: evaluator\.scales=\[1\.0, 2\.0\]\n  do: type evaluator\.scales=\[1\]"
    ):
        job(*small, *plain, folder="refused")
    folder = job(*small, *plain, "evaluator.scales=[1]")
    assert results(job("task=evaluate", f"task.ckpt={folder}", "logger=none", folder="e"))["state"] == "done"
