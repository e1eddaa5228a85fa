"""What is not typed of a training that adapts another run, and has to fit it, is as in that run."""

import re

import pytest
from adapters.concepts import NEW, base, folder
from adapters.conftest import LINE, go, held
from commands import composed

import diffexp
from diffexp.errors import ConfigError, DataError
from diffexp.sweep.compose import cell_of

LEAST = [text for text in LINE if not text.startswith("network")]


def config(path):
    return held(path)["diffexp"]["config"]


def images(runs):
    return [f"data.path={folder(runs.folder / 'few', NEW)}", "data=folder", "data.label=none", *LEAST]


def test_a_word_is_learned_over_a_base_without_its_options(runs, tmp_path, capsys):
    """The network, the captions and the size of the images are those of the base, and said in a line."""
    below = base(runs)
    typed = [*images(runs), f"init={below}", "tune=concept", "tune.word='<thing>'", "tune.init=three"]
    capsys.readouterr()
    go(tmp_path / "a", *typed, "trainer.max_steps=1", "lr.steps=2")
    said = capsys.readouterr().out
    wanted = "network=unet_tiny, conditioning=text, text_encoder=words, data.size=8, as in"
    assert f"chosen: {wanted} {below}, the base\n" in said
    made, known = config(tmp_path / "a"), config(below)
    for group in ("network", "conditioning", "text_encoder", "prediction", "schedule", "snr", "codec"):
        assert made[group] == known[group], group
    assert made["model"]["network"] == known["network"] and made["loader"]["data"]["size"] == 8
    assert made["choices"]["conditioning"] == "text"
    go(tmp_path / "a", *typed, "trainer.max_steps=2", "lr.steps=2")
    assert held(tmp_path / "a")["global_step"] == 2
    assert diffexp.load(tmp_path / "a").conditioning.asks == ("text",)


def test_prediction_schedule_and_shape_are_those_of_the_base(runs, tmp_path):
    typed = ["prediction=eps", "schedule=linear", "snr.shift=2", "variance=learned", "objective=hybrid"]
    below = runs.base(*typed, "trainer.max_steps=1")
    few = [*LEAST, "trainer.max_steps=1", f"init={below}", "tune=lora", "objective=hybrid"]
    go(tmp_path / "a", *few)
    made, known = config(tmp_path / "a"), config(below)
    assert [made[key] for key in ("prediction", "snr", "variance")] == [
        known[key] for key in ("prediction", "snr", "variance")
    ]
    go(tmp_path / "b", *few, "snr.shift=1", "schedule=cosine")
    told = config(tmp_path / "b")["snr"]
    assert told["shift"] == 1 and told["schedule"] != known["schedule"]
    assert diffexp.load(tmp_path / "a").shape == (1, 8, 8)


def test_pictures_have_the_colours_of_the_base(runs, tmp_path):
    below = base(runs, "data.mode=L", "trainer.max_steps=1")
    go(tmp_path / "a", *images(runs), "trainer.max_steps=1", f"init={below}", "tune=lora")
    assert config(tmp_path / "a")["data"]["mode"] == "L"


def test_images_without_what_the_base_is_told_are_refused(runs, tmp_path):
    with pytest.raises(ConfigError, match=r"has no classes\n  at: data\n  do: give .* classes, which .*run"):
        go(tmp_path / "x", *images(runs), f"init={runs.base()}", "tune=lora")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["network.channels=4"], r"network.channels=8 there, 4 here\n.*\n  do: type network.channels=8"),
        (["network=unet_digits"], "network.channels=8 there, 32 here"),
        (["prediction=eps"], "prediction._target_=diffexp.diffusion.V there, diffexp.diffusion.Eps here"),
    ],
)
def test_what_is_typed_wins_and_is_checked(runs, tmp_path, typed, said):
    with pytest.raises(ConfigError, match=said):
        go(tmp_path / "x", *LEAST, f"init={runs.base()}", "tune=lora", *typed)


def test_a_base_that_is_not_there_is_told_by_the_key_that_was_typed(runs, tmp_path):
    for typed, where in ((["init=nowhere"], "init"), ([f"init={runs.base()}", "tune.base=no"], "tune.base")):
        with pytest.raises(DataError, match=rf"there is no checkpoint no.*\n  at: {re.escape(where)}\n"):
            go(tmp_path / "x", *LEAST, "tune=lora", *typed)


def test_a_job_of_a_sweep_has_them_too(runs, tmp_path):
    typed = [*images(runs), f"init={base(runs)}", "tune=lora"]
    cfg, choices = composed(typed)
    cell = cell_of(tmp_path, cfg, choices, typed)
    assert cell.config["loader"]["data"]["size"] == 8 and cell.choices["conditioning"] == "text"
    assert cell.config["model"]["network"] == config(base(runs))["network"]


def test_a_full_training_keeps_what_is_composed(runs):
    cfg, choices = composed([*LEAST, f"init={base(runs)}"])
    assert cell_of(runs.folder, cfg, choices, []).choices["conditioning"] == "class"


def test_metrics_that_do_not_fit_offer_those_of_the_data(tmp_path):
    with pytest.raises(
        ConfigError, match=r"digits64 measures.*\n  at: metrics\n  do: type metrics=digits_text"
    ):
        go(tmp_path / "x", "data=digits_text", "conditioning=text", "network=unet_digits_text")
