/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Which parts of a spectrum are masked, which numbers are scored, and their values by linear interpolation.
 *
 * A masked token is scored where its numbers were changed by masking (`locs = input != target` in the published
 * program): so the two zeros in front of each section never count, and neither does a pixel that equals the mean, which
 * is what a bad pixel is set to when bad pixels are hidden.
 *
 * Sections overlap: with sections of 20 pixels every 10, a run of 50 masked sections spans 510 pixels, of which the
 * outermost 10 on each side are also in a neighbouring section that is not masked. They are scored nevertheless, as
 * published; a pixel is hidden only when all sections with it are masked (490 of the 510).
 */
#include <math.h>
#include <string.h>

#include "masked.h"

masked_shape masked_shape_of(const syz_masked_options *o, const syz_model_config *config)
{
  return (masked_shape){.config = config,
                        .tokens = syz_model_tokens(config, SYZ_SPECTRUM),
                        .width = config->spectrum.section + 2,
                        .section = config->spectrum.section,
                        .step = config->spectrum.section - config->spectrum.overlap,
                        .runs = o->runs,
                        .run_tokens = o->run_tokens,
                        .rows = o->runs * o->run_tokens,
                        .weighs_ivar = o->weighs_ivar,
                        .hides_bad = o->hides_bad};
}

/* ---------------------------------------------------------------- room */

syz_status masked_room_create(const masked_shape *s, int64_t n, masked_room *room)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(room->piece, "spectrum pieces", n * s->tokens * s->width + 1);
  SYZ_ALLOC(room->token, "masked tokens", n * s->rows + 1);
  SYZ_ALLOC(room->weight, "weights of masked numbers", n * s->rows * s->width + 1);
  SYZ_ALLOC(room->deviation, "deviations", n + 1);
cleanup:
  return st;
}

void masked_room_destroy(masked_room *room)
{
  syz_free(&room->piece);
  syz_free(&room->token);
  syz_free(&room->weight);
  syz_free(&room->deviation);
}

size_t masked_room_bytes(const masked_shape *s, int64_t n)
{
  return (size_t)n *
         ((size_t)(s->tokens * s->width + s->rows * s->width + 1) * sizeof(float) + (size_t)s->rows * sizeof(int64_t));
}

static const float *piece_of(const masked_shape *s, const masked_room *room, int64_t i, int64_t token)
{
  return room->piece + (i * s->tokens + token) * s->width;
}

/* -------------------------------------------------------------- prepare */

static double mean_of_good(const float *ivar)
{
  double sum = 0;
  int64_t n = 0;
  for (int64_t p = 0; p < SYZ_TOWER_PIXELS; p++)
    if (ivar[p] > 0) {
      sum += ivar[p];
      n++;
    }
  return n ? sum / (double)n : 1;
}

/* Weights of one masked token; adds to the sums. scale NULL: all ones. */
static void weigh(const masked_shape *s, const float *piece, int64_t token, const float *ivar, double mean_ivar,
                  float *weight, masked_sums *sums)
{
  for (int64_t j = 0; j < s->width; j++) {
    float w = piece[j] != 0 ? 1.0f : 0.0f;
    if (w > 0 && ivar && token > 0 && j >= 2) w = (float)(fmax(ivar[(token - 1) * s->step + j - 2], 0) / mean_ivar);
    weight[j] = w;
    sums->numbers += w > 0;
    sums->weight += w;
  }
}

void masked_prepare(const masked_shape *s, masked_room *room, int64_t i, const float *flux, const float *ivar,
                    uint64_t seed, int64_t step, int64_t place, masked_sums *sums)
{
  uint8_t good[SYZ_TOWER_PIXELS], mask[SYZ_TOWER_PIXELS + 1];
  int64_t *token = room->token + i * s->rows, n = 0;
  const bool hides = s->hides_bad && ivar;
  for (int64_t p = 0; hides && p < SYZ_TOWER_PIXELS; p++) good[p] = ivar[p] > 0;
  syz_masked_pieces(s->config, flux, hides ? good : NULL, room->piece + i * s->tokens * s->width, &room->deviation[i]);
  syz_run_mask(s->tokens, s->runs, s->run_tokens, seed, step, place, mask);
  for (int64_t t = 0; t < s->tokens; t++) {
    if (!mask[t]) continue;
    SYZ_ASSERT(n < s->rows);
    token[n++] = t;
  }
  SYZ_ASSERT(n == s->rows);
  const float *scale = s->weighs_ivar ? ivar : NULL;
  const double mean_ivar = scale ? mean_of_good(scale) : 1;
  *sums = (masked_sums){0};
  for (int64_t r = 0; r < s->rows; r++)
    weigh(s, piece_of(s, room, i, token[r]), token[r], scale, mean_ivar, room->weight + (i * s->rows + r) * s->width,
          sums);
}

/* ---------------------------------------------------------------- score */

double masked_squares(const masked_shape *s, const masked_room *room, int64_t i, const float *prediction)
{
  double sum = 0;
  for (int64_t r = 0; r < s->rows; r++) {
    const float *target = piece_of(s, room, i, room->token[i * s->rows + r]),
                *weight = room->weight + (i * s->rows + r) * s->width;
    const float *found = prediction + r * s->width;
    for (int64_t j = 0; j < s->width; j++) {
      const double difference = (double)found[j] - target[j];
      /* The gradient of a number that is not scored must not be NaN, because a NaN would spread through the layers. */
      sum += weight[j] > 0 ? weight[j] * difference * difference : isfinite(found[j]) ? 0 : (double)NAN;
    }
  }
  return sum;
}

void masked_slope(const masked_shape *s, const masked_room *room, int64_t i, double total, float *prediction)
{
  const double scale = total > 0 ? 2 / total : 0;
  for (int64_t r = 0; r < s->rows; r++) {
    const float *target = piece_of(s, room, i, room->token[i * s->rows + r]),
                *weight = room->weight + (i * s->rows + r) * s->width;
    float *slope = prediction + r * s->width;
    for (int64_t j = 0; j < s->width; j++) slope[j] = (float)(scale * weight[j] * ((double)slope[j] - target[j]));
  }
}

/* -------------------------------------------------------- interpolation */

void masked_hidden(const masked_shape *s, const masked_room *room, int64_t i, uint8_t *hidden)
{
  const int64_t *token = room->token + i * s->rows;
  int64_t next = 0;
  memset(hidden, 1, SYZ_TOWER_PIXELS);
  for (int64_t t = 0; t < s->tokens; t++) {
    if (next < s->rows && token[next] == t) {
      next++;
      continue;
    }
    if (t > 0) memset(hidden + (t - 1) * s->step, 0, (size_t)s->section);
  }
}

void masked_interpolate(const masked_shape *s, const masked_room *room, int64_t i, const uint8_t *hidden,
                        const float *flux, const float *ivar, float *value)
{
  const double mean = 2.0 * room->piece[i * s->tokens * s->width] + 2, scale = 1.0 / room->deviation[i];
  int64_t left = -1;
  for (int64_t p = 0; p <= SYZ_TOWER_PIXELS; p++) {
    const bool is_end = p == SYZ_TOWER_PIXELS;
    if (!is_end) value[p] = 0;
    if (!is_end && (hidden[p] || (s->hides_bad && ivar && !(ivar[p] > 0)))) continue;
    if (!is_end) value[p] = (float)((flux[p] - mean) * scale);
    const float a = left >= 0 ? value[left] : is_end ? 0 : value[p], b = is_end ? a : value[p];
    for (int64_t q = left + 1; q < p; q++)
      value[q] = left >= 0 ? a + (b - a) * ((float)(q - left) / (float)(p - left)) : a;
    left = p;
  }
}

masked_sums masked_pixel_sums(const masked_shape *s, const masked_room *room, int64_t i, const float *value,
                              bool is_by_pixel)
{
  masked_sums sums = {0};
  for (int64_t r = 0; r < s->rows; r++) {
    const int64_t token = room->token[i * s->rows + r], at = is_by_pixel ? (token - 1) * s->step - 2 : r * s->width;
    const float *target = piece_of(s, room, i, token), *weight = room->weight + (i * s->rows + r) * s->width;
    for (int64_t j = 2; token > 0 && j < s->width; j++) {
      if (!(weight[j] > 0)) continue;
      const double difference = (double)value[at + j] - target[j];
      sums.numbers += 1;
      sums.weight += weight[j];
      sums.squares += weight[j] * difference * difference;
    }
  }
  return sums;
}

double masked_noise(const masked_shape *s, const masked_room *room, int64_t i, const float *ivar)
{
  const double variance = (double)room->deviation[i] * room->deviation[i];
  double sum = 0;
  for (int64_t r = 0; r < s->rows; r++) {
    const int64_t token = room->token[i * s->rows + r];
    const float *weight = room->weight + (i * s->rows + r) * s->width;
    for (int64_t j = 2; token > 0 && j < s->width; j++) {
      const float one = ivar[(token - 1) * s->step + j - 2];
      if (weight[j] > 0 && one > 0) sum += weight[j] / (one * variance);
    }
  }
  return sum;
}
