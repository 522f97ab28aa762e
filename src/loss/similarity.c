/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Tiles of cosines.
 *
 * All tiles have one shape, and the last of a row or column is filled up with zero rows: each element of a tile is then
 * one product of the same engine at the same shape, whichever rank forms it and however few rows that rank holds. Tiles
 * are at most 64 x 512 (128 KiB): they stay in the second-level cache between the product and the exponentials.
 */
#include "similarity.h"

static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

similarity similarity_shape(const syz_compute *compute, int64_t n, int64_t width)
{
  const int64_t least = round_up(n < 1 ? 1 : n, 8);
  return (similarity){.rows = least < TILE_ROWS ? least : TILE_ROWS,
                      .columns = least < TILE_COLUMNS ? least : TILE_COLUMNS,
                      .width = width,
                      .threads = syz_compute_threads(compute)};
}

size_t similarity_bytes(const similarity *s) { return (size_t)(s->rows * s->columns) * sizeof(float); }

syz_status similarity_create(const syz_compute *compute, int64_t n, int64_t width, bool trains, similarity *out)
{
  syz_status st = SYZ_OK;
  *out = similarity_shape(compute, n, width);
  const syz_gemm_shape forward = {.m = out->rows,
                                  .n = out->columns,
                                  .k = width,
                                  .transpose_b = true,
                                  .batch = 1,
                                  .type_ab = SYZ_F32,
                                  .type_c = SYZ_F32};
  const syz_gemm_shape backward = {.m = out->rows,
                                   .n = width,
                                   .k = out->columns,
                                   .batch = 1,
                                   .type_ab = SYZ_F32,
                                   .type_c = SYZ_F32,
                                   .accumulate = true};
  SYZ_TRY(syz_gemm_create(compute, &forward, &out->forward));
  if (trains) SYZ_TRY(syz_gemm_create(compute, &backward, &out->backward));
  SYZ_ALLOC(out->tile, "similarity tile", out->rows * out->columns);
cleanup:
  if (st != SYZ_OK) similarity_destroy(out);
  return st;
}

void similarity_destroy(similarity *s)
{
  syz_gemm_destroy(&s->forward);
  syz_gemm_destroy(&s->backward);
  syz_free(&s->tile);
}

int64_t similarity_padded_rows(const similarity *s, int64_t n) { return round_up(n, s->rows); }

int64_t similarity_padded_columns(const similarity *s, int64_t n) { return round_up(n, s->columns); }
