/* SPDX-License-Identifier: BSD-3-Clause */
/** reconstruction.h5: some held-out spectra, and their hidden runs as filled by the network and by interpolation. Every
 * validation writes it anew, so that at the end it belongs to the weights in model.h5. */
#include <limits.h>
#include <math.h>
#include <stdio.h>

#include "masked.h"

/* One value per picture. */
typedef struct record {
  int64_t object_id[16], step[16];
  double ra[16], dec[16];
  float redshift[16], loss[16], pixel_loss[16], interpolation_loss[16];
} record;

static void fill(const masked *k, int64_t step, record *r)
{
  const syz_object *table = syz_shardset_objects(k->test.shards);
  SYZ_ASSERT(k->pictures <= (int64_t)(sizeof r->ra / sizeof *r->ra));
  for (int64_t i = 0; i < k->pictures; i++) {
    const int64_t place = masked_picture_object(k, i), object = k->test.object[place];
    const double *sums = k->test_sums + place * MASKED_SUMS;
    r->object_id[i] = table[object].object_id;
    r->step[i] = step;
    r->ra[i] = table[object].ra;
    r->dec[i] = table[object].dec;
    r->redshift[i] = k->redshift ? k->redshift[object] : NAN;
    r->loss[i] = (float)(sums[SUM_SQUARES] / sums[SUM_WEIGHT]);
    r->pixel_loss[i] = (float)(sums[SUM_PIXEL_SQUARES] / sums[SUM_PIXEL_WEIGHT]);
    r->interpolation_loss[i] = (float)(sums[SUM_INTERPOLATION] / sums[SUM_PIXEL_WEIGHT]);
  }
}

/* hidden [pictures, pixels], zero before the call: 1 where there is an interpolation. */
static void fill_hidden(const masked *k, uint8_t *hidden)
{
  for (int64_t i = 0; i < k->pictures * SYZ_TOWER_PIXELS; i++)
    if (!isnan(k->picture.interpolation[i])) hidden[i] = 1;
}

syz_status masked_write(masked *k, int64_t step)
{
  syz_status st = SYZ_OK, local = SYZ_OK;
  char path[PATH_MAX];
  syz_h5 *file = NULL;
  uint8_t *hidden = NULL;
  double *wave = NULL;
  record r = {.step = {0}};
  const int64_t n = k->pictures, all = n * SYZ_TOWER_PIXELS, pixels = SYZ_TOWER_PIXELS;
  const bool is_first = syz_comm_rank(k->world) == 0;
  const int64_t mine = is_first ? n : 0;
  float *const picture[] = {k->picture.flux, k->picture.ivar, k->picture.reconstruction, k->picture.interpolation};
  for (int i = 0; i < 4; i++) syz_allreduce_f32(k->world, picture[i], (size_t)all, SYZ_SUM); /* others hold zeros */
  hidden = syz_alloc("hidden pixels", (size_t)all, 1);
  wave = syz_alloc("wavelengths", (size_t)pixels, sizeof *wave);
  if (!hidden || !wave) local = SYZ_ERR_MEMORY;
  if (local == SYZ_OK && snprintf(path, sizeof path, "%s/reconstruction.h5", k->options.folder) >= (int)sizeof path)
    local = syz_error_set(SYZ_ERR_WRITE, __FILE__, __LINE__, "%s: the name is too long", k->options.folder);
  SYZ_TRY_ALL(k->world, local);
  fill(k, step, &r);
  fill_hidden(k, hidden);
  for (int64_t p = 0; p < pixels; p++) wave[p] = syz_wave_grid(p);
  static const char *const flux_units = "1e-17 erg/s/cm2/Angstrom", *const loss_units = "deviations^2";
  const struct {
    const char *name;
    syz_h5_type type;
    bool is_per_pixel;
    const void *data;
    const char *units, *description;
  } column[] = {
      {"object_id", SYZ_H5_I64, false, r.object_id, "", "identifier of the held-out object"},
      {"ra", SYZ_H5_F64, false, r.ra, "degrees", "right ascension (ICRS)"},
      {"dec", SYZ_H5_F64, false, r.dec, "degrees", "declination (ICRS)"},
      {"redshift", SYZ_H5_F32, false, r.redshift, "", "redshift label of the data set; NaN where unknown"},
      {"step", SYZ_H5_I64, false, r.step, "steps", "optimiser steps that the network had made"},
      {"loss", SYZ_H5_F32, false, r.loss, loss_units,
       "mean squared error of all scored numbers of the spectrum, in its own normalisation"},
      {"pixel_loss", SYZ_H5_F32, false, r.pixel_loss, loss_units, "the same over the pixels among them"},
      {"interpolation_loss", SYZ_H5_F32, false, r.interpolation_loss, loss_units,
       "the same of linear interpolation across the hidden runs"},
      {"flux", SYZ_H5_F32, true, k->picture.flux, flux_units,
       "the whole spectrum; where mask is 1 the network did not see it"},
      {"ivar", SYZ_H5_F32, true, k->picture.ivar, "1e34 s2 cm4 Angstrom2 / erg2",
       "inverse variance of flux; all 0 when the data hold none"},
      {"mask", SYZ_H5_U8, true, hidden, "", "1: hidden from the network, 0: seen"},
      {"reconstruction", SYZ_H5_F32, true, k->picture.reconstruction, flux_units,
       "flux as the network reconstructs it; NaN where it was seen"},
      {"interpolation", SYZ_H5_F32, true, k->picture.interpolation, flux_units,
       "flux by linear interpolation between the last and the first pixel seen; NaN where it was seen"},
  };
  SYZ_TRY(syz_h5_create(k->world, path, "reconstruction", k->options.created_by, k->options.input_yaml, &file));
  SYZ_TRY(syz_h5_write(file, "wavelength", SYZ_H5_F64, pixels, 0, NULL, 0, is_first ? pixels : 0, wave, "Angstrom",
                       "vacuum wavelength of the pixels"));
  for (size_t i = 0; i < sizeof column / sizeof *column; i++)
    SYZ_TRY(syz_h5_write(file, column[i].name, column[i].type, n, column[i].is_per_pixel, &pixels, 0, mine,
                         column[i].data, column[i].units, column[i].description));
  SYZ_TRY(syz_h5_publish(&file));
cleanup:
  syz_h5_close(&file);
  syz_free(&hidden);
  syz_free(&wave);
  return st;
}
