"""A condition is rows: cut, moved, repeated and joined with what it goes away from; tokens are padded."""

import pytest
import torch

from diffexp.condition import Asked, Condition

LABEL = torch.tensor([4, 5, 6])


def tokens(lengths, seed=0, longest=None):
    """Tokens (B, L, 2) of that many words each."""
    longest = longest or max(lengths)
    values = torch.randn(len(lengths), longest, 2, generator=torch.Generator().manual_seed(seed))
    return Condition(tokens=values, mask=torch.arange(longest) < torch.tensor(lengths)[:, None])


def test_rows_are_taken_of_all_fields_and_of_what_guidance_goes_away_from():
    away = Condition(label=torch.full((3,), 9), vector=torch.zeros(3, 2))
    whole = Condition(label=LABEL, vector=torch.arange(6.0).view(3, 2), null=away)
    for rows in (torch.tensor([2, 0]), slice(1, 3), torch.tensor([False, True, True])):
        part = whole[rows]
        assert torch.equal(part.label, LABEL[rows]) and torch.equal(part.vector, whole.vector[rows])
        assert part.null.label.tolist() == [9, 9] and len(part) == len(part.null) == 2
    assert whole.repeat_interleave(2).label.tolist() == [4, 4, 5, 5, 6, 6]
    assert whole.repeat_interleave(2).null.vector.shape == (6, 2)
    assert Condition(label=torch.tensor([7])).expand(3).label.tolist() == [7, 7, 7]
    assert whole.to("meta").null.vector.device.type == "meta"


def test_joining_pads_tokens_to_the_longest_and_the_mask_says_so():
    a, b = tokens([2, 1]), tokens([5], seed=1)
    both = Condition.cat(a, b)
    assert both.tokens.shape == (3, 5, 2) and both.mask.sum(1).tolist() == [2, 1, 5]
    assert torch.equal(both.tokens[:2, :2], a.tokens) and both.tokens[:2, 2:].abs().max() == 0
    assert both.null is None and Condition.cat(a, a).tokens.shape == (4, 2, 2)


def test_where_takes_each_row_from_one_of_two():
    keep = torch.tensor([True, False, True])
    kept = Condition(label=LABEL).where(keep, Condition(label=torch.full((3,), 9)))
    assert kept.label.tolist() == [4, 9, 6] and kept.label.dtype == torch.int64
    a, b = tokens([2, 1, 2]), tokens([4, 4, 4], seed=1)
    mixed = a.where(keep, b)
    assert mixed.mask.sum(1).tolist() == [2, 4, 2] and torch.equal(mixed.tokens[1], b.tokens[1])


def test_conditions_of_different_kinds_are_not_joined():
    with pytest.raises(ValueError, match=r"different kinds: \('label',\), \('tokens', 'mask'\)"):
        Condition.cat(Condition(label=LABEL), tokens([1]))
    bare = Condition(tokens=torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="tokens of different lengths need a mask"):
        Condition.cat(bare, Condition(tokens=torch.zeros(1, 4, 3)))


def test_what_is_asked_is_taken_by_number():
    asked = Asked(3, LABEL, ("a", "b", "c"), ("x", "y", "z"), torch.arange(6).view(3, 2))
    part = asked[torch.tensor([2, 0])]
    assert len(part) == 2 and part.label.tolist() == [6, 4] and part.text == ("c", "a")
    assert part.negative == ("z", "x") and part.size.tolist() == [[4, 5], [0, 1]]
    assert Asked(5)[torch.tensor([1])].label is None
