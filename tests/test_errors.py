"""A message is what, where, what to do; each kind has its exit code."""

from diffexp.errors import ConfigError, DataError, DiffexpError, DivergedError, ResourceError


def test_a_message_has_three_lines_and_omits_what_is_not_given():
    assert str(ConfigError("T=1", "schedule.T", "give 2")) == "T=1\n  at: schedule.T\n  do: give 2"
    assert str(DataError("no images", do="see data.path")) == "no images\n  do: see data.path"
    assert str(DivergedError("the loss is nan")) == "the loss is nan"


def test_each_kind_has_its_exit_code():
    kinds = DiffexpError, ConfigError, DataError, DivergedError, ResourceError
    assert [kind.code for kind in kinds] == [1, 2, 3, 4, 5]
    assert issubclass(ConfigError, ValueError)  # so libraries that validate may treat it as one
