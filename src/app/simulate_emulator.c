/* SPDX-License-Identifier: BSD-3-Clause */
/** Reads the emulator's file. Every shape is checked against the layers before it, and only then memory is allocated.
 */
#include "simulate_emulator.h"

#include <math.h>
#include <stdio.h>

#include "syzygy/data.h"
#include "syzygy/h5.h"

enum { WIDTH_MAX = 4096, WAVES_MAX = 100000 };

/* Shape of bin<k>/<name>, which must have this many axes; -1 in `want` allows any size up to `most`. */
static syz_status shape_of(syz_h5 *f, const char *name, int axes, int64_t want0, int64_t want1, int64_t most,
                           int64_t shape[8])
{
  syz_status st = SYZ_OK;
  int found = 0;
  SYZ_TRY(syz_h5_shape(f, name, &found, shape));
  SYZ_REQUIRE(found == axes, SYZ_ERR_DATA, "%s: %s has %d axes, an emulator has %d", syz_h5_path(f), name, found, axes);
  for (int i = 0; i < axes; i++) {
    int64_t want = i == 0 ? want0 : want1;
    SYZ_REQUIRE(shape[i] > 0 && shape[i] <= most && (want < 0 || shape[i] == want), SYZ_ERR_DATA,
                "%s: axis %d of %s is %lld, wanted %lld (at most %lld)", syz_h5_path(f), i, name, (long long)shape[i],
                (long long)want, (long long)most);
  }
cleanup:
  return st;
}

/* Read an array of known shape; refuse numbers that are not finite. */
static syz_status read_f32(syz_h5 *f, int bin, const char *what, int axes, int64_t rows, int64_t columns, float **out)
{
  syz_status st = SYZ_OK;
  char name[64];
  int64_t shape[8];
  snprintf(name, sizeof name, "bin%d/%s", bin, what);
  SYZ_TRY(shape_of(f, name, axes, rows, columns, WAVES_MAX, shape));
  int64_t n = rows * (axes == 2 ? columns : 1);
  SYZ_ALLOC(*out, "emulator", n);
  SYZ_TRY(syz_h5_read(f, name, SYZ_H5_F32, 0, rows, *out));
  for (int64_t i = 0; i < n; i++)
    SYZ_REQUIRE(isfinite((*out)[i]), SYZ_ERR_DATA, "%s: %s holds %g at %lld", syz_h5_path(f), name, (double)(*out)[i],
                (long long)i);
cleanup:
  return st;
}

static syz_status read_layers(syz_h5 *f, int k, syz_emulator_bin *b)
{
  syz_status st = SYZ_OK;
  char name[64];
  int64_t shape[8];
  b->width[0] = SYZ_EMULATOR_INPUTS;
  for (int l = 0;; l++) {
    snprintf(name, sizeof name, "bin%d/W%d", k, l);
    if (!syz_h5_has(f, name)) break;
    SYZ_REQUIRE(l < SYZ_EMULATOR_LAYERS_MAX, SYZ_ERR_DATA, "%s: bin%d has more than %d layers", syz_h5_path(f), k,
                SYZ_EMULATOR_LAYERS_MAX);
    SYZ_TRY(shape_of(f, name, 2, b->width[l], -1, WIDTH_MAX, shape));
    b->width[l + 1] = (int)shape[1];
    b->n_layers = l + 1;
  }
  SYZ_REQUIRE(b->n_layers > 0, SYZ_ERR_DATA, "%s: no bin%d/W0; this is not a stellar-population emulator",
              syz_h5_path(f), k);
  for (int l = 0; l < b->n_layers; l++) {
    snprintf(name, sizeof name, "W%d", l);
    SYZ_TRY(read_f32(f, k, name, 2, b->width[l], b->width[l + 1], &b->weight[l]));
    snprintf(name, sizeof name, "b%d", l);
    SYZ_TRY(read_f32(f, k, name, 1, b->width[l + 1], 0, &b->bias[l]));
    if (l == b->n_layers - 1) continue;
    snprintf(name, sizeof name, "alphas%d", l);
    SYZ_TRY(read_f32(f, k, name, 1, b->width[l + 1], 0, &b->alpha[l]));
    snprintf(name, sizeof name, "betas%d", l);
    SYZ_TRY(read_f32(f, k, name, 1, b->width[l + 1], 0, &b->beta[l]));
  }
cleanup:
  return st;
}

static syz_status read_bin(syz_h5 *f, int k, syz_emulator_bin *b)
{
  syz_status st = SYZ_OK;
  char name[64];
  int64_t shape[8];
  SYZ_TRY(read_layers(f, k, b));
  snprintf(name, sizeof name, "bin%d/wave", k);
  SYZ_TRY(shape_of(f, name, 1, -1, 0, WAVES_MAX, shape));
  b->n_wave = (int)shape[0];
  int pcs = b->width[b->n_layers];
  SYZ_ALLOC(b->wave_A, "emulator", b->n_wave);
  SYZ_TRY(syz_h5_read(f, name, SYZ_H5_F64, 0, b->n_wave, b->wave_A));
  SYZ_TRY(read_f32(f, k, "parameters_shift", 1, SYZ_EMULATOR_INPUTS, 0, &b->input_shift));
  SYZ_TRY(read_f32(f, k, "parameters_scale", 1, SYZ_EMULATOR_INPUTS, 0, &b->input_scale));
  for (int i = 0; i < SYZ_EMULATOR_INPUTS; i++)
    SYZ_REQUIRE(b->input_scale[i] > 0.0f, SYZ_ERR_DATA, "%s: bin%d/parameters_scale[%d] = %g is not positive",
                syz_h5_path(f), k, i, (double)b->input_scale[i]);
  SYZ_TRY(read_f32(f, k, "pca_shift", 1, pcs, 0, &b->pca_shift));
  SYZ_TRY(read_f32(f, k, "pca_scale", 1, pcs, 0, &b->pca_scale));
  SYZ_TRY(read_f32(f, k, "pca_transform_matrix", 2, pcs, b->n_wave, &b->pca));
  SYZ_TRY(read_f32(f, k, "spectrum_shift", 1, b->n_wave, 0, &b->spectrum_shift));
  SYZ_TRY(read_f32(f, k, "spectrum_scale", 1, b->n_wave, 0, &b->spectrum_scale));
cleanup:
  return st;
}

syz_status syz_emulator_read(const char *path, syz_emulator **out)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  syz_emulator *e = NULL;
  *out = NULL;
  SYZ_ALLOC(e, "emulator", 1);
  SYZ_TRY(syz_h5_open(NULL, path, &f));
  for (int k = 0; k < SYZ_EMULATOR_BINS; k++) SYZ_TRY(read_bin(f, k, &e->bin[k]));
  *out = e;
  e = NULL;
cleanup:
  syz_h5_close(&f);
  syz_emulator_destroy(&e);
  return st;
}
