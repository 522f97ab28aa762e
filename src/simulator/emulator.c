/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stellar-population emulator behind PROVABGS (Hahn & Tinker 2022, AJ 165, 11; changhoonhahn/provabgs, models.py):
 * per wavelength bin, nine parameters go through a small network to principal-component coefficients of the ln
 * luminosity of FSPS. Activation of Alsing et al. 2020 (speculator): y = (beta + (1 - beta) sigmoid(alpha x)) x.
 */
#include <math.h>

#include "emulator.h"

void syz_emulator_destroy(syz_emulator **e)
{
  if (!*e) return;
  for (int k = 0; k < SYZ_EMULATOR_BINS; k++) {
    syz_emulator_bin *b = &(*e)->bin[k];
    for (int l = 0; l < SYZ_EMULATOR_LAYERS_MAX; l++) {
      syz_free(&b->weight[l]);
      syz_free(&b->bias[l]);
      syz_free(&b->alpha[l]);
      syz_free(&b->beta[l]);
    }
    syz_free(&b->input_shift);
    syz_free(&b->input_scale);
    syz_free(&b->pca_shift);
    syz_free(&b->pca_scale);
    syz_free(&b->pca);
    syz_free(&b->spectrum_shift);
    syz_free(&b->spectrum_scale);
    syz_free(&b->wave_A);
  }
  syz_free(e);
}

int syz_emulator_waves(const syz_emulator *e)
{
  int n = 0;
  for (int k = 0; k < SYZ_EMULATOR_BINS; k++) n += e->bin[k].n_wave;
  return n;
}

int syz_emulator_width(const syz_emulator *e)
{
  int widest = SYZ_EMULATOR_INPUTS;
  for (int k = 0; k < SYZ_EMULATOR_BINS; k++)
    for (int l = 0; l <= e->bin[k].n_layers; l++)
      if (e->bin[k].width[l] > widest) widest = e->bin[k].width[l];
  return widest;
}

/* y[n] += sum over m of x[m] w[m, n]. */
static void product(float *restrict y, const float *restrict x, const float *restrict w, int m, int n)
{
  for (int i = 0; i < m; i++) {
    const float *row = w + (size_t)i * (size_t)n;
    float a = x[i];
    for (int j = 0; j < n; j++) y[j] += a * row[j];
  }
}

void syz_emulator_evaluate(const syz_emulator *e, const double theta[SYZ_EMULATOR_INPUTS], float *scratch,
                           float *ln_luminosity)
{
  int widest = syz_emulator_width(e);
  float *out = ln_luminosity;
  for (int k = 0; k < SYZ_EMULATOR_BINS; k++) {
    const syz_emulator_bin *b = &e->bin[k];
    float *x = scratch, *y = scratch + widest;
    for (int i = 0; i < SYZ_EMULATOR_INPUTS; i++) x[i] = (float)((theta[i] - b->input_shift[i]) / b->input_scale[i]);
    for (int l = 0; l < b->n_layers; l++) {
      int n = b->width[l + 1];
      for (int j = 0; j < n; j++) y[j] = b->bias[l][j];
      product(y, x, b->weight[l], b->width[l], n);
      if (l < b->n_layers - 1)
        for (int j = 0; j < n; j++)
          y[j] *= b->beta[l][j] + (1.0f - b->beta[l][j]) / (1.0f + expf(-b->alpha[l][j] * y[j]));
      float *swap = x;
      x = y;
      y = swap;
    }
    int pcs = b->width[b->n_layers];
    for (int j = 0; j < pcs; j++) x[j] = x[j] * b->pca_scale[j] + b->pca_shift[j];
    for (int i = 0; i < b->n_wave; i++) out[i] = 0.0f;
    product(out, x, b->pca, pcs, b->n_wave);
    for (int i = 0; i < b->n_wave; i++) out[i] = out[i] * b->spectrum_scale[i] + b->spectrum_shift[i];
    out += b->n_wave;
  }
}
