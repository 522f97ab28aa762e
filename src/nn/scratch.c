/* SPDX-License-Identifier: BSD-3-Clause */
/** Memory that the layers of a compute context share: it grows while they are created. */
#include "engine.h"

static syz_status reserve(syz_scratch *s, size_t bytes)
{
  syz_status st = SYZ_OK;
  if (bytes > s->size) {
    unsigned char *larger;
    SYZ_ALLOC(larger, "compute scratch", bytes);
    syz_free(&s->bytes);
    s->bytes = larger;
    s->size = bytes;
  }
cleanup:
  return st;
}

syz_status syz_compute_reserve(const syz_compute *c, size_t bytes) { return reserve(c->scratch, bytes); }
syz_status syz_compute_reserve_products(const syz_compute *c, size_t bytes) { return reserve(c->products, bytes); }
