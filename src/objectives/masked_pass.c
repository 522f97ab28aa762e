/* SPDX-License-Identifier: BSD-3-Clause */
/** The forward pass of masked modelling, for spectra of a step and for held-out ones. */
#include "masked.h"

void masked_forward_pass(masked *k, const masked_room *room, int64_t at, int64_t n)
{
  const masked_shape *s = &k->shape;
  for (int64_t i = 0; i < n; i++)
    for (int64_t r = 0; r < s->rows; r++) k->row[i * s->rows + r] = i * s->tokens + room->token[(at + i) * s->rows + r];
  syz_masked_forward(k->network, n, room->piece + at * s->tokens * s->width, n * s->rows, k->row, k->prediction);
}
