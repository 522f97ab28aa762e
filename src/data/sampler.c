/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The order of training: an endless sequence of places, divided into global batches and, independently of that, into
 * epochs of n objects. Each epoch is its own permutation (a keyed bijection, no table), so nothing is stored or sent.
 */
#include "syzygy/data.h"
#include "syzygy/numbers.h"

int64_t syz_sampler_index(const syz_sampler *s, int64_t step, int64_t place)
{
  int64_t at = step * s->global_batch + place;
  if (!s->shuffles) return at % s->n;
  syz_random r = syz_random_make(s->seed, SYZ_RANDOM_SHUFFLE, (uint64_t)(at / s->n), 0);
  return (int64_t)syz_random_permute(&r, (uint64_t)s->n, (uint64_t)(at % s->n));
}
