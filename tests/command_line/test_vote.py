"""task=vote and task=votes: what the page says and does not say, what is refused, and the way from answers to
the table.
"""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from commands import QUICK, composed
from PIL import Image
from wandb_file import read

from diffexp.comparison import ballot
from diffexp.errors import ConfigError, DataError
from diffexp.tasks.run import run_job

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)> {{7*7}} $title \u202e"


def do(folder, *typed):
    line = ["logger=none", f"dir={folder}", *typed]
    cfg, choices = composed(line)
    return run_job(cfg, folder, line, choices)


def paint(folder, n=12, bright=0, prompts=None, seed=0, mode="L"):
    """A folder as task=sample writes it: image i has one value, `bright` + 10 i."""
    folder.mkdir(parents=True)
    rows = []
    for i in range(n):
        name = f"{i:05d}_seed{seed}.png"
        Image.new("L", (8, 8), bright + 10 * i).convert(mode).save(folder / name)
        rows.append(
            {"file_name": name, "text": prompts[i % len(prompts)]} if prompts else {"file_name": name}
        )
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(folder)


def vote(folder, *runs, **options):
    typed = [f"task.{k}={v}" for k, v in options.items()]
    return do(folder, "task=vote", f"task.runs=[{','.join(runs)}]", *typed)


def shown(folder):
    """(data of the page, key, value of an image by its data URI)."""
    html = (folder / "vote.html").read_text()
    data = json.loads(re.search(r"id=questions>(.*?)</script>", html, re.S)[1])
    value = lambda uri: np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))  # noqa: E731
    return data, json.loads((folder / "vote.json").read_text()), value


def answered(folder, name, choose, page=None, session=None, turned=None):
    """A file of answers. choose: of a question of vote.json and its real answer, where it has one; turned:
    which of the questions are the other way for this voter, for format 2.
    """
    key, given = json.loads((folder / "vote.json").read_text()), {}
    other = {q["id"] for i, q in enumerate(key["questions"]) if turned is not None and turned(i)}
    for q in key["questions"]:
        q["shown"] = q["shown"][::-1] if q["id"] in other else q["shown"]
        right = {"same": "tie", "noise": 1}.get(q["check"])
        right = ("left", "right")[q["shown"].index(ballot.REAL)] if q["check"] == "real" else right
        if (answer := choose(q, right)) is not None:
            given[q["id"]] = answer
    file = folder / f"{name}.json"
    told = {"format": 1, "page": page or key["page"], "kind": key["kind"], "voter": name, "answers": given}
    told |= {} if turned is None else {"format": 2, "turned": sorted(other)}
    file.write_text(json.dumps(told | {"session": session or name}))
    return str(file)


def prefers(run):
    """Whoever prefers one run, and sees the checks."""
    return lambda q, right: (
        right or (("left", "right")[q["shown"].index(run)] if run in q["shown"] else "tie")
    )


def count(folder, vote, *answers, **options):
    typed = [f"task.{k}={v}" for k, v in options.items()]
    return do(folder, "task=votes", f"task.path={vote}", f"task.answers=[{','.join(answers)}]", *typed)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A vote on two folders, whose names tell which is which."""
    root = tmp_path_factory.mktemp("two")
    a = paint(root / "secret_one", prompts=["a red three", HOSTILE])
    b = paint(root / "secret_two", bright=5, prompts=["a red three", HOSTILE], mode="RGB")
    vote(root / "vote", a, b, n=12, checks=4)
    return root / "vote"


def test_the_images_stand_where_the_key_says_and_pairs_belong_together(two):
    data, key, value = shown(two)
    assert len(data["questions"]) == 16 and [q["id"] for q in data["questions"]] == [
        q["id"] for q in key["questions"]
    ]
    seen = []
    for q, of in zip(data["questions"], key["questions"], strict=True):
        for uri, run in zip(q["images"], of["shown"], strict=True):
            pixels = value(uri)
            assert pixels.shape == (8, 8, 3) and (pixels == 5 * run + 10 * of["image"]).all()
        assert q["prompt"].startswith(("a red three", "</script>")[of["image"] % 2])
        seen += [of["image"]] if not of["check"] else []
    assert sorted(seen) == list(range(12)) and seen != sorted(seen)
    assert sum(q["check"] == "same" for q in key["questions"]) == 4  # of folders nothing real is known
    sides = [q["shown"] for q in key["questions"] if not q["check"]]
    assert sides.count([0, 1]) == sides.count([1, 0]) == 6


def test_a_page_does_not_say_which_run_is_which(two):
    html, (data, _, _) = (two / "vote.html").read_text(), shown(two)
    assert not re.search("secret|seed0|shown|same|00000", json.dumps(data) + html.partition("<style>")[0])
    assert all(set(q) == {"id", "prompt", "images"} for q in data["questions"])
    assert all(re.fullmatch("[0-9a-f]{12}", q["id"]) for q in data["questions"])
    assert {uri[:22] for q in data["questions"] for uri in q["images"]} == {"data:image/png;base64,"}


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_a_page_loads_nothing_and_prompts_are_text(two):
    html, (data, _, _) = (two / "vote.html").read_text(), shown(two)
    tags = Tags(html).tags
    assert [tag for tag, _ in tags].count("script") == 2
    assert not [a for _, a in tags for k, v in a.items() if k in ("src", "srcset") or k.startswith("on")]
    assert not re.search(r"https?://|//\w+\.|@import|url\(", html)
    assert "alert(1)</script>" not in html and "alert(1)" in json.dumps(data) and "\u202e" not in html
    policy = next(a["content"] for tag, a in tags if tag == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'; img-src data:") and "script-src 'sha256-" in policy


def test_the_same_command_makes_the_same_page_and_another_seed_another(two, tmp_path):
    runs = [str(two.parent / name) for name in ("secret_one", "secret_two")]
    vote(tmp_path / "again", *runs, n=12, checks=4)
    assert (tmp_path / "again" / "vote.html").read_bytes() == (two / "vote.html").read_bytes()
    do(tmp_path / "b", "task=vote", f"task.runs=[{','.join(runs)}]", "task.n=12", "task.checks=4", "seed=1")
    assert shown(tmp_path / "b")[0]["page"] != shown(two)[0]["page"]


def test_from_answers_to_the_table(two, tmp_path, capsys):
    """Two of three prefer one run; the third presses what is left."""
    ann, bob = (answered(two, name, prefers(1)) for name in ("Ann", "Bob"))
    cy = answered(two, "Cy", lambda q, right: "left")
    of = count(tmp_path / "of", two, ann, bob, cy)
    # 24 of 24, and of the third the 6 that stood left
    assert of["win_rate/secret_two"] == pytest.approx(30 / 36) and of["answers"] == 36
    assert of["between"][0] | {"interval": 0, "interval_by": 0} == {
        "run": "secret_one", "against": "secret_two", "value": pytest.approx(6 / 36), "better": 6, "same": 0,
        "worse": 30, "n": 36, "interval": 0, "interval_by": 0,
    }  # fmt: skip
    low, high = of["cards"]["win_rate/secret_two"]["interval"]
    assert 0.3 < low < 30 / 36 < high <= 1 and of["left"] == pytest.approx((6 + 6 + 12) / 36)
    assert [p["failed"] for p in of["people"]] == [0, 0, 4] and of["failed_checks"] == 4
    without = count(tmp_path / "without", two, ann, bob, cy, most_failed=1)
    assert without["win_rate/secret_two"] == 1 and without["same"] == 1 and without["left_out"] == 1
    assert "left out, for they failed more than 1 checks: Cy (4 of 4)" in capsys.readouterr().out
    md, html = ((tmp_path / "without" / f"votes.{end}").read_text() for end in ("md", "html"))
    assert "| secret_two | 1.000 | 0.758 to 1.000 | Wilson | 24 |" in md and "<svg" in html and "Cy" in html


def test_sides_of_each_voter_cancel_and_older_answers_are_read(two, tmp_path):
    """The same likings on other sides give the same table; whoever presses left prefers nobody."""
    ann = [
        answered(two, f"Ann{k}", prefers(1), turned=t) for k, t in enumerate((None, lambda i: i % 2, bool))
    ]
    of = [count(tmp_path / f"of{k}", two, file) for k, file in enumerate(ann)]
    assert [o["win_rate/secret_two"] for o in of] == [1, 1, 1] and [o["failed_checks"] for o in of] == [0] * 3
    assert of[0]["left"] == 0.5
    both = [answered(two, f"L{k}", lambda q, right: "left", turned=lambda i, k=k: k) for k in (0, 1)]
    of = count(tmp_path / "both", two, *both)
    assert of["win_rate/secret_two"] == 0.5 and of["left"] == 1
    told = json.loads(Path(both[0]).read_text())
    for k, wrong in enumerate(([["x"]], ["nobody"], None)):
        file = tmp_path / f"w{k}.json"
        file.write_text(json.dumps(told | {"turned": wrong}))
        with pytest.raises(DataError, match="do not say on which sides"):
            count(tmp_path / "w", two, str(file))


@pytest.mark.slow
def test_the_outcome_is_a_row_of_wandb(two, tmp_path):
    folder, answers = tmp_path / "of", ",".join(answered(two, f"W{k}", prefers(1)) for k in range(2))
    line = ["task=votes", f"task.path={two}", f"task.answers=[{answers}]", "logger=wandb", f"dir={folder}"]
    cfg, choices = composed(line)
    run_job(cfg, folder, line, choices)
    told = read(folder)
    assert told["run"].job_type == "votes" and told["exit"] == 0
    assert {"win_rate/secret_two": 1, "answers": 24, "voters": 2}.items() <= told["summary"].items()
    card = told["summary"]["cards"]["win_rate/secret_two"]
    assert card["interval"][1] == 1 and card["n"] == 24
    assert told["summary"]["curves"]["_type"] == "html-file"


def test_three_runs_have_bradley_terry_scores(tmp_path):
    runs = [paint(tmp_path / f"r{k}", n=60, bright=k) for k in range(3)]
    vote(tmp_path / "vote", *runs, n=60, checks=0)
    best = lambda q, right: ("left", "right")[q["shown"].index(max(q["shown"]))]  # noqa: E731
    turned = lambda q, right: "tie" if q["image"] < 15 else best(q, right)  # noqa: E731
    of = count(tmp_path / "of", tmp_path / "vote", answered(tmp_path / "vote", "A", turned))
    scores = [of[f"bradley_terry/r{k}"] for k in range(3)]
    assert scores == sorted(scores) and sum(scores) == pytest.approx(0, abs=1e-9)
    assert len(of["between"]) == 3 and {b["n"] for b in of["between"]} == {20}
    low, high = of["cards"]["bradley_terry/r2"]["interval"]
    assert 0 < low < scores[2] < high and "agreement" not in of  # of one voter


def test_marks_of_single_images(tmp_path):
    runs = [paint(tmp_path / f"r{k}", bright=k) for k in range(2)]
    vote(tmp_path / "vote", *runs, n=24, kind="mos", checks=3)
    data, key, value = shown(tmp_path / "vote")
    assert {len(q["images"]) for q in data["questions"]} == {1}
    assert [len(np.unique(value(data["questions"][i]["images"][0]))) > 1 for i in range(27)] == [
        q["check"] == "noise" for q in key["questions"]
    ]
    by = lambda q, right: right or 2 + 2 * q["shown"][0] + (q["image"] % 2)  # noqa: E731
    of = count(tmp_path / "of", tmp_path / "vote", answered(tmp_path / "vote", "A", by))
    assert (of["mos/r0"], of["mos/r1"]) == (2.5, 4.5) and of["between"][0]["value"] == -2
    assert of["between"][0]["interval"] is None and of["people"][0]["failed"] == 0


def test_runs_are_sampled_with_the_noise_of_task_sample(tmp_path):
    for k in (0, 1):
        do(tmp_path / f"run{k}", *QUICK, "network.channels=4", f"trainer.max_steps={1 + k}")
    run = str(tmp_path / "run1")
    steps = ["sampler=ddim", "sampler.steps=2"]
    do(tmp_path / "s", "task=sample", f"task.ckpt={run}", "task.n=10", *steps)
    runs = f"task.runs=[{tmp_path / 'run0'},{run},{tmp_path / 's'}]"
    do(tmp_path / "vote", "task=vote", runs, "task.n=10", "task.checks=4", *steps)
    data, key, value = shown(tmp_path / "vote")
    assert [row["prompt"] for row in key["images"]] == [str(i) for i in range(10)]
    of = {name: [] for name in ("", "same", "real")}
    for q, at in zip(data["questions"], key["questions"], strict=True):
        of[at["check"]].append((at, [value(uri) for uri in q["images"]], q["prompt"]))
        for run, image in zip(at["shown"], of[at["check"]][-1][1], strict=True):
            if run > 0:  # of the same weights and the same noise, both
                files = sorted((tmp_path / "s" / "samples").glob("0*.png"))
                assert (np.asarray(Image.open(files[at["image"]]).convert("RGB")) == image).all()
    assert [len(v) for v in of.values()] == [10, 2, 2] and key["runs"][0]["step"] == 1
    assert all((a == b).all() for _, (a, b), _ in of["same"])
    for at, images, prompt in of["real"]:
        real, noise = images if at["shown"] == [ballot.REAL, ballot.NOISE] else reversed(images)
        assert prompt in map(str, range(10)) and np.ptp(noise, axis=2).max() > 0 == np.ptp(real, axis=2).max()


def test_folders_of_other_seeds_are_paired_by_number_and_it_is_said(tmp_path, capsys):
    runs = [paint(tmp_path / f"r{k}", seed=k) for k in range(2)]
    vote(tmp_path / "vote", *runs, n=12)
    assert "paired by number, and not from the same seed" in capsys.readouterr().err
    assert {tuple(n[:5] for n in row["names"]) for row in shown(tmp_path / "vote")[1]["images"]} == {
        (f"{i:05d}", f"{i:05d}") for i in range(12)
    }


def test_what_cannot_be_voted_on_is_said(tmp_path):
    a, b = paint(tmp_path / "a"), paint(tmp_path / "b", n=5)
    other = paint(tmp_path / "c", prompts=["another"])
    words = paint(tmp_path / "d", prompts=["a word"])
    (tmp_path / "e").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "e" / "x.png")
    cases = (
        ([a], {}, ConfigError, "there are not two runs"),
        ([a, a], {}, ConfigError, "a run is named twice"),
        ([a, b], {"n": 12}, ConfigError, r"(?s)5 images are in all of these.*task.n=5"),
        ([a, str(tmp_path / "e")], {}, DataError, "no image is in all of these"),
        ([other, words], {"n": 12}, DataError, "c shows 'another', and d 'a word'"),
        ([a, str(tmp_path)], {"size": 0, "n": 0}, ConfigError, "2 problems"),
    )
    for k, (runs, options, kind, text) in enumerate(cases):
        with pytest.raises(kind, match=text):
            vote(tmp_path / f"v{k}", *runs, **options)
        assert not (tmp_path / f"v{k}").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no checkpoint and no image"):
        vote(tmp_path / "v", a, str(tmp_path / "empty"))


def test_answers_that_are_none_are_refused_by_a_line_each(two, tmp_path):
    good = answered(two, "good", prefers(0))
    other = answered(two, "other", prefers(0), page="f" * 32)
    twice = answered(two, "twice", prefers(0), session="good")
    namesake = json.loads(Path(good).read_text())
    for name, change in {
        "unknown": {"answers": {"abc": "left"}, "voter": "u", "session": "u"},
        "value": {"answers": {next(iter(namesake["answers"])): "up"}, "session": "v", "voter": "v"},
        "empty": {"answers": {}},
        "list": {"answers": []},
        "same_name": {"voter": "GOOD", "session": "n"},
    }.items():
        (two / f"{name}.json").write_text(json.dumps(namesake | change))
    (two / "damaged.json").write_text(Path(good).read_text()[:100])
    cases = {
        other: "answers of another page", twice: "twice has voted twice, also in",
        str(two / "gone.json"): "cannot be read", str(two / "empty.json"): "there is no answer",
        str(two / "unknown.json"): r"1 of the answers are to no question of this page \(abc\)",
        str(two / "value.json"): "'up' is no answer: left, right, tie are",
        str(two / "list.json"): "no answers of a vote", str(two / "damaged.json"): "answers are damaged",
        str(two / "same_name.json"): "GOOD has voted twice",
    }  # fmt: skip
    for file, text in cases.items():
        with pytest.raises(DataError, match=text) as error:
            count(tmp_path / "of", two, good, file)
        assert error.value.code == 3 and not (tmp_path / "of").exists()
    with pytest.raises(DataError, match="3 files of answers cannot be used") as error:
        count(tmp_path / "of", two, good, other, str(two / "damaged.json"), str(two / "unknown.json"))
    assert len(str(error.value).split("\n")) == 5
    with pytest.raises(ConfigError, match="all voters failed more checks"):
        count(tmp_path / "of", two, answered(two, "L", lambda q, right: "left"), most_failed=0)
    with pytest.raises(DataError, match=r"there is no vote\.json here"):
        count(tmp_path / "of", tmp_path, good)


@pytest.mark.parametrize("change", [{"format": 2}, {"questions": 3}, {"runs": []}, {"kind": "x"}])
def test_a_key_that_is_damaged_is_refused(two, tmp_path, change):
    key = json.loads((two / "vote.json").read_text())
    (tmp_path / "vote.json").write_text(json.dumps(key | change))
    with pytest.raises(DataError, match="this key of a vote cannot be read"):
        count(tmp_path / "of", tmp_path, answered(two, "good", prefers(0)))
