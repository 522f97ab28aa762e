/* SPDX-License-Identifier: BSD-3-Clause */
#include "fixture.h"
#include "syzygy/files.h"
#include "syzygy/numbers.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>

enum { SIZE = SYZ_IMAGE_SIZE, PLANE = SIZE * SIZE, PIXELS = SYZ_SPECTRUM_PIXELS };

typedef struct galaxy {
  double redshift, colour, flux, radius, axis_ratio, angle;
} galaxy;

static galaxy draw(uint64_t seed, int64_t object)
{
  syz_random r = syz_random_make(seed, SYZ_RANDOM_TEST, 0, (uint64_t)object);
  galaxy g;
  g.redshift = 0.02 + 0.48 * syz_random_uniform(&r, 0);
  g.colour = syz_random_uniform(&r, 1);
  g.flux = 20.0 * exp(1.2 * syz_random_uniform(&r, 2)); /* nanomaggy in r */
  g.radius = 4.0 / (0.3 + g.redshift) * (0.8 + 0.4 * syz_random_uniform(&r, 3));
  g.axis_ratio = 0.4 + 0.6 * syz_random_uniform(&r, 4);
  g.angle = 3.14159265358979 * syz_random_uniform(&r, 5);
  return g;
}

static void draw_image(uint64_t seed, int64_t object, const galaxy *g, float *image)
{
  const double band[3] = {exp(-0.3 - 0.9 * g->colour - 1.5 * g->redshift), 1.0,
                          exp(0.2 + 0.6 * g->colour + 0.8 * g->redshift)};
  const double sigma[3] = {0.003, 0.005, 0.015}; /* nanomaggy a pixel */
  syz_random r = syz_random_make(seed, SYZ_RANDOM_TEST, 1, (uint64_t)object);
  syz_random_fill_normal(&r, image, 3 * PLANE);
  double c = cos(g->angle), s = sin(g->angle), centre = 0.5 * (SIZE - 1),
         norm = g->flux / (6.28318530718 * g->radius * g->radius * g->axis_ratio);
  for (int y = 0; y < SIZE; y++)
    for (int x = 0; x < SIZE; x++) {
      double u = c * (x - centre) + s * (y - centre), v = (c * (y - centre) - s * (x - centre)) / g->axis_ratio;
      double light = norm * exp(-sqrt(u * u + v * v) / g->radius);
      for (int b = 0; b < 3; b++) {
        float *p = &image[b * PLANE + y * SIZE + x];
        *p = (float)(sigma[b] * (double)*p + light * band[b]);
      }
    }
}

static void draw_spectrum(uint64_t seed, int64_t object, const galaxy *g, float *flux, float *ivar)
{
  const double line_A[3] = {3728.0, 5008.0, 6565.0}, strength[3] = {4.0, 3.0, 6.0};
  for (int i = 0; i < PIXELS; i++) {
    double wave = syz_wave_grid(i), rest = wave / (1.0 + g->redshift);
    double f = 0.1 * g->flux * (1.0 + (2.0 * g->colour - 0.7) * (wave - 6500.0) / 3500.0) *
               (rest > 4000.0 ? 1.0 : 1.0 - 0.5 * g->colour);
    for (int k = 0; k < 3; k++) {
      double d = (rest - line_A[k]) / 6.0;
      if (fabs(d) < 6.0) f += strength[k] * (1.2 - g->colour) * exp(-0.5 * d * d);
    }
    if (flux) flux[i] += (float)f;
    if (ivar) ivar[i] = 4.0f;
  }
  if (ivar) /* one bad stretch, as a cosmic ray leaves it */
    for (int i = 100 + (int)(object % 7000); i < 104 + (int)(object % 7000); i++) ivar[i] = 0.0f;
  (void)seed;
}

void syz_fixture_object(uint64_t seed, int64_t object, syz_object *o, float *image, float *flux, float *ivar,
                        float *label)
{
  galaxy g = draw(seed, object);
  if (o) {
    syz_random r = syz_random_make(seed, SYZ_RANDOM_TEST, 2, (uint64_t)object);
    *o = (syz_object){.object_id = INT64_C(39000000000000000) + object, .has_image = 1, .has_spectrum = 1};
    o->ra = 360.0 * syz_random_uniform(&r, 0);
    o->dec = 180.0 / 3.14159265358979 * asin(2.0 * syz_random_uniform(&r, 1) - 1.0);
  }
  if (image) draw_image(seed, object, &g, image);
  if (flux) {
    syz_random r = syz_random_make(seed, SYZ_RANDOM_TEST, 3, (uint64_t)object);
    syz_random_fill_normal(&r, flux, PIXELS);
    for (int i = 0; i < PIXELS; i++) flux[i] *= 0.5f; /* 1 / sqrt(ivar) */
  }
  if (flux || ivar) draw_spectrum(seed, object, &g, flux, ivar);
  if (label) {
    label[0] = (float)g.redshift;
    label[1] = (float)g.colour;
  }
}

syz_status syz_fixture_shard(const char *path, uint64_t seed, int64_t first, int64_t n)
{
  syz_status st = SYZ_OK;
  syz_shard_writer *w = NULL;
  const char *const label[SYZ_FIXTURE_LABELS] = {"redshift", "colour"}, *const units[SYZ_FIXTURE_LABELS] = {"", ""};
  float *image = NULL, *flux = NULL, *ivar = NULL;
  SYZ_ALLOC(image, "fixture image", 3 * PLANE);
  SYZ_ALLOC(flux, "fixture flux", PIXELS);
  SYZ_ALLOC(ivar, "fixture ivar", PIXELS);
  SYZ_TRY(syz_shard_writer_create(path, n, SYZ_FIXTURE_LABELS, label, units, false, "syzygy tests", "", &w));
  for (int64_t i = 0; i < n; i++) {
    syz_object o;
    float labels[SYZ_FIXTURE_LABELS];
    syz_fixture_object(seed, first + i, &o, image, flux, ivar, labels);
    SYZ_TRY(syz_shard_writer_put(w, i, 1, &o, image, flux, ivar, labels, NULL));
  }
  SYZ_TRY(syz_shard_writer_publish(&w));
cleanup:
  syz_shard_writer_discard(&w);
  syz_free(&image);
  syz_free(&flux);
  syz_free(&ivar);
  return st;
}

syz_status syz_fixture_shards(const char *folder, uint64_t seed, int64_t n, int64_t per_shard)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  SYZ_TRY(syz_make_folder(folder));
  for (int64_t first = 0, k = 0; first < n; first += per_shard, k++) {
    SYZ_REQUIRE(snprintf(path, sizeof path, "%s/shard-%04lld.h5", folder, (long long)k) < (int)sizeof path,
                SYZ_ERR_WRITE, "%s: name too long", folder);
    SYZ_TRY(syz_fixture_shard(path, seed, first, n - first < per_shard ? n - first : per_shard));
  }
cleanup:
  return st;
}
