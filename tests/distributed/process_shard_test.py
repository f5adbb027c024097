"""Shares of a list of views."""

import pytest

from pnerf_jax.distributed.process_shard import ProcessShard


@pytest.mark.parametrize('total, count', [(1, 1), (2, 2), (5, 2), (7, 4), (128, 3), (3, 5)])
def test_shares_follow_each_other_cover_all_and_are_even(total, count):
  parts = [list(ProcessShard(index, count).range_of(total)) for index in range(count)]
  assert sum(parts, []) == list(range(total))
  assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_alone_is_all():
  assert list(ProcessShard().range_of(4)) == [0, 1, 2, 3]
