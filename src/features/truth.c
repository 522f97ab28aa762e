/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Truth per patch: the simulator's segment maps by majority of pixels; the surface brightness of the observed image in
 * units of its noise; the distance from the galaxy in units of its size. The galaxy is assumed at the centre of its
 * stamp, which is right to half a pixel.
 */
#include "truth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const syz_segment_name[SYZ_SEGMENTS] = {"background", "bulge",     "disk",      "bar",
                                                    "arms",       "companion", "neighbour", "artefact"};
const unsigned char syz_segment_colour[SYZ_SEGMENTS][3] = {{38, 40, 48},   {255, 176, 59}, {78, 132, 240},
                                                           {235, 84, 84},  {74, 214, 208}, {190, 110, 245},
                                                           {122, 190, 84}, {250, 250, 250}};
const char *const syz_truth_name[SYZ_TRUTH_TARGETS] = {"surface_brightness", "distance", "log_distance"};
const char *const syz_truth_help[SYZ_TRUTH_TARGETS] = {
    "asinh of the mean r flux of a patch's pixels over the noise of a pixel",
    "distance of a patch from the galaxy's centre in half-light radii", "ln(1 + distance), in half-light radii"};

enum { STAMP = SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE };

static int ascending(const void *a, const void *b)
{
  const float x = *(const float *)a, y = *(const float *)b;
  return x < y ? -1 : x > y;
}

/* Sky noise from the pixels: 1.4826 median |x - median|, the standard deviation for a normal distribution, which a
 * galaxy hardly changes. */
static double noise_of(const float *image, float *scratch)
{
  memcpy(scratch, image, STAMP * sizeof *scratch);
  qsort(scratch, STAMP, sizeof *scratch, ascending);
  const float median = scratch[STAMP / 2];
  for (int i = 0; i < STAMP; i++) scratch[i] = fabsf(image[i] - median);
  qsort(scratch, STAMP, sizeof *scratch, ascending);
  return 1.4826 * (double)scratch[STAMP / 2];
}

typedef struct reader {
  syz_shardset *data;
  const syz_patches *patches;
  int64_t patch, edge; /* pixels per side of a patch; pixels cropped on each side of the stamp */
  float *image, *scratch;
  uint8_t *segment;
  float *noise, *radius; /* [objects of the set] labels or NULL */
} reader;

static void count_segments(const reader *r, const uint8_t *pixel, int64_t size, int8_t *label)
{
  for (int64_t y = 0; y < r->patches->side; y++)
    for (int64_t x = 0; x < r->patches->side; x++) {
      int count[SYZ_SEGMENTS] = {0}, best = 0;
      for (int64_t v = 0; v < r->patch; v++)
        for (int64_t u = 0; u < r->patch; u++) count[pixel[(y * r->patch + v) * size + x * r->patch + u]]++;
      for (int k = 1; k < SYZ_SEGMENTS; k++)
        if (count[k] > count[best]) best = k;
      label[y * r->patches->side + x] = (int8_t)best;
    }
}

static void measure(const reader *r, double noise, double radius, int targets, float *target)
{
  const int64_t side = r->patches->side;
  const float *red = r->image + STAMP; /* bands g, r, z */
  for (int64_t y = 0; y < side; y++)
    for (int64_t x = 0; x < side; x++, target += targets) {
      double sum = 0;
      for (int64_t v = 0; v < r->patch; v++)
        for (int64_t u = 0; u < r->patch; u++)
          sum += (double)red[(r->edge + y * r->patch + v) * SYZ_IMAGE_SIZE + r->edge + x * r->patch + u];
      target[0] = (float)asinh(sum / (double)(r->patch * r->patch) / noise);
      if (targets == 1) continue;
      const double half = 0.5 * (double)r->patch, middle = 0.5 * SYZ_IMAGE_SIZE;
      const double dx = (double)(r->edge + x * r->patch) + half - middle,
                   dy = (double)(r->edge + y * r->patch) + half - middle;
      const double distance = sqrt(dx * dx + dy * dy) * SYZ_PIXEL_ARCSEC / radius;
      target[1] = (float)distance;
      target[2] = (float)log1p(distance);
    }
}

static syz_status read_object(const reader *r, int64_t i, syz_truth *t)
{
  syz_status st = SYZ_OK;
  const int64_t number = r->patches->number[r->patches->first + i];
  uint8_t *pixel = t->pixel + i * t->size * t->size;
  SYZ_TRY(syz_shardset_read(r->data, 1, &number, r->image, NULL, NULL));
  SYZ_TRY(syz_shardset_read_segment(r->data, 1, &number, r->segment));
  for (int64_t y = 0; y < t->size; y++)
    memcpy(pixel + y * t->size, r->segment + (r->edge + y) * SYZ_IMAGE_SIZE + r->edge, (size_t)t->size);
  for (int64_t k = 0; k < t->size * t->size; k++)
    SYZ_REQUIRE(pixel[k] < SYZ_SEGMENTS, SYZ_ERR_DATA, "object %lld: its segment map holds %d, expected 0 to %d",
                (long long)syz_shardset_objects(r->data)[number].object_id, pixel[k], SYZ_SEGMENTS - 1);
  count_segments(r, pixel, t->size, t->label + i * t->cells);
  double noise = r->noise ? (double)r->noise[number] : (double)NAN;
  if (!(noise > 0) || !isfinite(noise)) noise = noise_of(r->image + STAMP, r->scratch);
  const double radius = r->radius && r->radius[number] > 0 ? (double)r->radius[number] : (double)NAN;
  measure(r, noise > 0 ? noise : (double)NAN, radius, t->targets, t->target + i * t->cells * t->targets);
cleanup:
  return st;
}

static syz_status allocate(reader *r, syz_truth *t, bool has_noise, bool has_radius)
{
  syz_status st = SYZ_OK;
  const int64_t objects = syz_shardset_size(r->data);
  SYZ_ALLOC(t->pixel, "segments", t->n * t->size * t->size + 1);
  SYZ_ALLOC(t->label, "segments", t->n * t->cells + 1);
  SYZ_ALLOC(t->target, "targets", t->n * t->cells * t->targets + 1);
  SYZ_ALLOC(r->image, "image", SYZ_BANDS * STAMP);
  SYZ_ALLOC(r->scratch, "image", STAMP);
  SYZ_ALLOC(r->segment, "segments", STAMP);
  if (has_noise) SYZ_ALLOC(r->noise, "label", objects);
  if (has_radius) SYZ_ALLOC(r->radius, "label", objects);
cleanup:
  return st;
}

static syz_status read_objects(const reader *r, syz_truth *t)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0; i < t->n; i++) SYZ_TRY(read_object(r, i, t));
cleanup:
  return st;
}

syz_status syz_truth_read(syz_comm *c, syz_shardset *data, const syz_patches *patches, int64_t size, bool has_radius,
                          syz_truth *out)
{
  syz_status st = SYZ_OK;
  reader r = {.data = data, .patches = patches, .patch = size / patches->side, .edge = (SYZ_IMAGE_SIZE - size) / 2};
  const bool has_noise = syz_shardset_has_label(data, "noise_r");
  int64_t marked = 0;
  *out = (syz_truth){.n = patches->n,
                     .cells = patches->side * patches->side,
                     .size = size,
                     .targets = has_radius ? SYZ_TRUTH_TARGETS : 1};
  SYZ_TRY_ALL(c, allocate(&r, out, has_noise, has_radius));
  if (has_noise) SYZ_TRY(syz_shardset_read_label(data, "noise_r", r.noise));
  if (has_radius) SYZ_TRY(syz_shardset_read_label(data, "half_light_radius", r.radius));
  SYZ_TRY_ALL(c, read_objects(&r, out));
  for (int64_t i = 0; i < out->n * size * size; i++) marked += out->pixel[i] != SYZ_SEGMENT_BACKGROUND;
  syz_allreduce_i64(c, &marked, 1, SYZ_SUM);
  SYZ_REQUIRE(marked > 0, SYZ_ERR_DATA,
              "data.path: no segment maps (syzygy simulate writes them with simulate.segments: true)");
cleanup:
  syz_free(&r.image);
  syz_free(&r.scratch);
  syz_free(&r.segment);
  syz_free(&r.noise);
  syz_free(&r.radius);
  if (st != SYZ_OK) syz_truth_free(out);
  return st;
}

void syz_truth_free(syz_truth *t)
{
  syz_free(&t->pixel);
  syz_free(&t->label);
  syz_free(&t->target);
}
