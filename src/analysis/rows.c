/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Means and deviations of the columns of rows distributed over ranks, in any type. Sums are float64, over rows in order
 * and then over ranks, so that another number of ranks changes only the last bits.
 */
#include "rows.h"

#include <math.h>
#include <string.h>

void syz_array_rows_read(void *context, int64_t first, int64_t n, float *out)
{
  const syz_array_rows *a = context;
  const unsigned char *x = a->x;
  syz_convert_to_f32(a->type, out, x + (size_t)(first * a->width) * syz_dtype_size(a->type), n * a->width);
}

void syz_chosen_rows_read(void *context, int64_t first, int64_t n, float *out)
{
  const syz_chosen_rows *c = context;
  for (int64_t i = 0, run; i < n; i += run) {
    const int64_t from = c->row[first + i];
    for (run = 1; i + run < n && c->row[first + i + run] == from + run;) run++;
    c->of->read(c->of->context, from, run, out + i * c->of->width);
  }
}

int64_t rows_block(int64_t width)
{
  const int64_t n = (INT64_C(40) << 20) / (12 * (width > 0 ? width : 1));
  return n < 16 ? 16 : n > 512 ? 512 : n;
}

syz_status rows_means(syz_comm *c, const syz_rows *rows, int64_t least, const char *what, double *mean, int64_t *total)
{
  syz_status st = SYZ_OK;
  const int64_t block = rows_block(rows->width);
  float *raw = syz_alloc("rows", (size_t)(block * rows->width), sizeof *raw);
  SYZ_TRY_ALL(c, raw ? SYZ_OK : SYZ_ERR_MEMORY);
  *total = rows->n;
  syz_allreduce_i64(c, total, 1, SYZ_SUM);
  SYZ_REQUIRE(*total >= least, SYZ_ERR_INPUT, "%s needs at least %lld rows: there are %lld", what, (long long)least,
              (long long)*total);
  memset(mean, 0, (size_t)rows->width * sizeof *mean);
  for (int64_t at = 0; at < rows->n; at += block) {
    const int64_t n = rows->n - at < block ? rows->n - at : block;
    rows->read(rows->context, at, n, raw);
    for (int64_t i = 0; i < n; i++)
      for (int64_t e = 0; e < rows->width; e++) mean[e] += (double)raw[i * rows->width + e];
  }
  syz_allreduce_f64(c, mean, (size_t)rows->width, SYZ_SUM);
  for (int64_t e = 0; e < rows->width; e++) {
    mean[e] /= (double)*total;
    SYZ_REQUIRE(isfinite(mean[e]), SYZ_ERR_NUMERIC, "%s: column %lld of the features is not finite", what,
                (long long)e);
  }
cleanup:
  syz_free(&raw);
  return st;
}

void rows_read_centred(const syz_rows *rows, int64_t first, int64_t n, const double *mean, const double *scale,
                       float *raw, double *x)
{
  const int64_t width = rows->width;
  rows->read(rows->context, first, n, raw);
  for (int64_t i = 0; i < n; i++)
    for (int64_t e = 0; e < width; e++)
      x[i * width + e] = ((double)raw[i * width + e] - mean[e]) * (scale ? scale[e] : 1);
}

syz_status syz_column_moments(syz_comm *c, const syz_rows *rows, double *mean, double *deviation, int64_t *total)
{
  syz_status st = SYZ_OK;
  const int64_t block = rows_block(rows->width);
  int64_t count = 0;
  float *raw = syz_alloc("rows", (size_t)(block * rows->width), sizeof *raw);
  SYZ_TRY_ALL(c, raw ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(rows_means(c, rows, 1, "standardisation", mean, &count));
  memset(deviation, 0, (size_t)rows->width * sizeof *deviation);
  for (int64_t at = 0; at < rows->n; at += block) {
    const int64_t n = rows->n - at < block ? rows->n - at : block;
    rows->read(rows->context, at, n, raw);
    for (int64_t i = 0; i < n; i++)
      for (int64_t e = 0; e < rows->width; e++) {
        const double d = (double)raw[i * rows->width + e] - mean[e];
        deviation[e] += d * d;
      }
  }
  syz_allreduce_f64(c, deviation, (size_t)rows->width, SYZ_SUM);
  for (int64_t e = 0; e < rows->width; e++) {
    deviation[e] = sqrt(deviation[e] / (double)count);
    if (!(deviation[e] > 1e-10 * fabs(mean[e]))) deviation[e] = 1; /* constant but for the rounding of the mean */
  }
  if (total) *total = count;
cleanup:
  syz_free(&raw);
  return st;
}
