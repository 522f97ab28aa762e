/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Validation of masked modelling: held-out spectra under masks that are the same in every validation, compared with
 * linear interpolation across the same hidden runs, scored on the same numbers. Each rank has a contiguous share; the
 * sums of every spectrum go to all ranks and are added in the order of the set, so the figures do not depend on the
 * number of ranks.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "masked.h"

enum { PICTURES = 8 };

size_t masked_validate_bytes(const masked_shape *s, int64_t chunk)
{
  return masked_room_bytes(s, chunk) + (size_t)((2 * chunk + 4 * PICTURES + 1) * SYZ_TOWER_PIXELS) * sizeof(float);
}

syz_status masked_validate_plan(masked *k)
{
  syz_status st = SYZ_OK;
  if (k->test.n < 1) return st;
  SYZ_TRY(masked_room_create(&k->shape, k->chunk, &k->test_room));
  SYZ_ALLOC(k->flux, "held-out spectra", k->chunk * SYZ_TOWER_PIXELS);
  if (k->has_ivar) SYZ_ALLOC(k->ivar, "held-out inverse variances", k->chunk * SYZ_TOWER_PIXELS);
  SYZ_ALLOC(k->value, "interpolated spectrum", SYZ_TOWER_PIXELS);
  SYZ_ALLOC(k->hidden, "hidden pixels", SYZ_TOWER_PIXELS);
  SYZ_ALLOC(k->test_sums, "sums of held-out spectra", k->test.n * MASKED_SUMS);
  if (!k->options.folder) goto cleanup;
  k->pictures = k->test.n < PICTURES ? k->test.n : PICTURES;
  SYZ_ALLOC(k->picture.flux, "reconstructions", k->pictures * SYZ_TOWER_PIXELS);
  SYZ_ALLOC(k->picture.ivar, "reconstructions", k->pictures * SYZ_TOWER_PIXELS);
  SYZ_ALLOC(k->picture.reconstruction, "reconstructions", k->pictures * SYZ_TOWER_PIXELS);
  SYZ_ALLOC(k->picture.interpolation, "reconstructions", k->pictures * SYZ_TOWER_PIXELS);
cleanup:
  return st;
}

syz_status masked_read_redshift(masked *k)
{
  syz_status st = SYZ_OK;
  const char *const *name;
  bool is_known = false;
  if (k->pictures < 1) return st;
  const int n = syz_shardset_labels(k->test.shards, &name);
  for (int i = 0; i < n; i++) is_known = is_known || strcmp(name[i], "redshift") == 0;
  if (!is_known) return st;
  k->redshift = syz_alloc("redshifts", (size_t)syz_shardset_size(k->test.shards) + 1, sizeof *k->redshift);
  SYZ_TRY_ALL(k->world, k->redshift ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(syz_shardset_read_label(k->test.shards, "redshift", k->redshift));
cleanup:
  return st;
}

/* --------------------------------------------------------------- figures */

/* Mean of the predictions of all masked sections with a pixel, back in flux units. */
static void reconstruct(masked *k, int64_t i, const float *prediction, float *out)
{
  const masked_shape *s = &k->shape;
  const int64_t *token = k->test_room.token + i * s->rows;
  const double mean = 2.0 * k->test_room.piece[i * s->tokens * s->width] + 2, deviation = k->test_room.deviation[i];
  int16_t times[SYZ_TOWER_PIXELS] = {0};
  for (int64_t p = 0; p < SYZ_TOWER_PIXELS; p++) out[p] = 0;
  for (int64_t r = 0; r < s->rows; r++)
    for (int64_t j = 0; token[r] > 0 && j < s->section; j++) {
      const int64_t p = (token[r] - 1) * s->step + j;
      out[p] += prediction[r * s->width + 2 + j];
      times[p]++;
    }
  for (int64_t p = 0; p < SYZ_TOWER_PIXELS; p++)
    out[p] = k->hidden[p] && times[p] ? (float)(mean + deviation * (out[p] / (float)times[p])) : NAN;
}

static void take_picture(masked *k, int64_t picture, int64_t i, const float *prediction)
{
  const int64_t to = picture * SYZ_TOWER_PIXELS, from = i * SYZ_TOWER_PIXELS;
  const size_t bytes = SYZ_TOWER_PIXELS * sizeof(float);
  const double mean = 2.0 * k->test_room.piece[i * k->shape.tokens * k->shape.width] + 2,
               deviation = k->test_room.deviation[i];
  float *line = k->picture.interpolation + to;
  memcpy(k->picture.flux + to, k->flux + from, bytes);
  if (k->has_ivar) memcpy(k->picture.ivar + to, k->ivar + from, bytes);
  for (int64_t p = 0; p < SYZ_TOWER_PIXELS; p++) line[p] = k->hidden[p] ? (float)(mean + deviation * k->value[p]) : NAN;
  reconstruct(k, i, prediction, k->picture.reconstruction + to);
}

/* Spectrum i of the pass, object number `place` of the held-out ones. */
static void judge_one(masked *k, int64_t i, int64_t place, double weight)
{
  const masked_shape *s = &k->shape;
  const float *flux = k->flux + i * SYZ_TOWER_PIXELS, *ivar = k->has_ivar ? k->ivar + i * SYZ_TOWER_PIXELS : NULL;
  const float *prediction = k->prediction + i * s->rows * s->width;
  double *sums = k->test_sums + place * MASKED_SUMS;
  masked_hidden(s, &k->test_room, i, k->hidden);
  masked_interpolate(s, &k->test_room, i, k->hidden, flux, ivar, k->value);
  const masked_sums pixels = masked_pixel_sums(s, &k->test_room, i, prediction, false);
  sums[SUM_WEIGHT] = weight;
  sums[SUM_SQUARES] = masked_squares(s, &k->test_room, i, prediction);
  sums[SUM_PIXEL_WEIGHT] = pixels.weight;
  sums[SUM_PIXEL_SQUARES] = pixels.squares;
  sums[SUM_INTERPOLATION] = masked_pixel_sums(s, &k->test_room, i, k->value, true).squares;
  sums[SUM_NOISE] = ivar ? masked_noise(s, &k->test_room, i, ivar) : 0;
  for (int64_t q = 0; q < k->pictures; q++)
    if (masked_picture_object(k, q) == place) take_picture(k, q, i, prediction);
}

/* One pass: held-out spectra [first, first + n). Collective over a tensor group, also after a failure of this rank
 * alone. */
static syz_status run_pass(masked *k, int64_t first, int64_t n)
{
  syz_status st = SYZ_OK;
  masked_sums sums;
  if (n > 0) st = syz_shardset_read(k->test.shards, n, k->test.object + first, NULL, k->flux, k->ivar);
  if (st != SYZ_OK) n = 0;
  for (int64_t i = 0; i < n; i++) {
    const int64_t at = i * SYZ_TOWER_PIXELS;
    masked_prepare(&k->shape, &k->test_room, i, k->flux + at, k->has_ivar ? k->ivar + at : NULL, k->options.seed,
                   MASKED_VALIDATION_STEP, first + i, &sums);
    k->test_sums[(first + i) * MASKED_SUMS + SUM_WEIGHT] = sums.weight;
  }
  masked_forward_pass(k, &k->test_room, 0, n);
  for (int64_t i = 0; i < n; i++) judge_one(k, i, first + i, k->test_sums[(first + i) * MASKED_SUMS + SUM_WEIGHT]);
  return st;
}

static void add(syz_validation *v, const char *name, double value)
{
  if (v->n >= SYZ_FIGURES_MAX) return;
  snprintf(v->name[v->n], sizeof v->name[0], "%s", name);
  v->value[v->n++] = value;
}

static double quotient(double a, double b) { return b > 0 ? a / b : 0; }

syz_status masked_validate(void *self, int64_t step, const double *scalar, syz_validation *out)
{
  syz_status st = SYZ_OK, local = SYZ_OK;
  masked *k = self;
  double sum[MASKED_SUMS] = {0};
  int64_t first, count;
  (void)scalar;
  out->n = 0;
  if (k->test.n < 1) return st;
  syz_share(k->test.n, syz_comm_size(k->world), syz_comm_rank(k->world), &first, &count);
  memset(k->test_sums, 0, (size_t)(k->test.n * MASKED_SUMS) * sizeof(double));
  float *const picture[] = {k->picture.flux, k->picture.ivar, k->picture.reconstruction, k->picture.interpolation};
  for (int i = 0; i < 4 && k->pictures > 0; i++)
    memset(picture[i], 0, (size_t)(k->pictures * SYZ_TOWER_PIXELS) * sizeof(float));
  /* All ranks of a tensor group make as many passes as the rank with most spectra, and continue when one of them fails.
   */
  const int64_t most = k->grid->tensor ? (k->test.n + syz_comm_size(k->world) - 1) / syz_comm_size(k->world) : count;
  for (int64_t at = 0; at < most && (local == SYZ_OK || k->grid->tensor); at += k->chunk) {
    const int64_t left = local == SYZ_OK && count > at ? count - at : 0;
    const syz_status got = run_pass(k, first + at, left < k->chunk ? left : k->chunk);
    if (local == SYZ_OK) local = got;
  }
  SYZ_TRY_ALL(k->world, local);
  syz_allreduce_f64(k->world, k->test_sums, (size_t)(k->test.n * MASKED_SUMS), SYZ_SUM);
  for (int64_t i = 0; i < k->test.n * MASKED_SUMS; i++) sum[i % MASKED_SUMS] += k->test_sums[i];
  SYZ_REQUIRE(isfinite(sum[SUM_SQUARES]), SYZ_ERR_NUMERIC, "validation: the loss is %g", sum[SUM_SQUARES]);
  add(out, "loss", quotient(sum[SUM_SQUARES], sum[SUM_WEIGHT]));
  add(out, "pixel_loss", quotient(sum[SUM_PIXEL_SQUARES], sum[SUM_PIXEL_WEIGHT]));
  add(out, "interpolation_loss", quotient(sum[SUM_INTERPOLATION], sum[SUM_PIXEL_WEIGHT]));
  add(out, "ratio", quotient(sum[SUM_INTERPOLATION], sum[SUM_PIXEL_SQUARES]));
  if (k->has_ivar) add(out, "noise_loss", quotient(sum[SUM_NOISE], sum[SUM_PIXEL_WEIGHT]));
  add(out, "objects", (double)k->test.n);
  if (k->pictures > 0) SYZ_TRY(masked_write(k, step));
  if (k->judge) SYZ_TRY(k->judge->judge(k->judge->context, step, out));
cleanup:
  return st;
}
