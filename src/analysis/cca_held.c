/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Canonical correlations that are not fitted to the rows that they are of: in any rows, and of each half with the
 * weights of the other one. How many of these stand out of chance is the number of shared dimensions; in the rows of
 * the fit itself every pair correlates.
 */
#include <math.h>
#include <string.h>

#include "cca.h"
#include "rows.h"

/* Sums of u, v, u^2, v^2, uv over rows: of variates that are nearly centred. */
enum { SUM_U, SUM_V, SUM_UU, SUM_VV, SUM_UV, SUMS };

typedef struct correlate {
  float *raw;
  double *centred, *variate[2];
  double *sum; /* [SUMS, pairs] */
} correlate;

static syz_status allocate(const syz_cca *a, int64_t block, correlate *w)
{
  syz_status st = SYZ_OK;
  const int64_t width = a->width[0] > a->width[1] ? a->width[0] : a->width[1];
  SYZ_ALLOC(w->raw, "rows", block * width);
  SYZ_ALLOC(w->centred, "rows", block * width);
  for (int s = 0; s < 2; s++) SYZ_ALLOC(w->variate[s], "variates", block * a->pairs);
  SYZ_ALLOC(w->sum, "correlations", SUMS * a->pairs);
cleanup:
  return st;
}

static void add_rows(const syz_cca *a, int64_t n, correlate *w)
{
  const int64_t pairs = a->pairs;
  for (int64_t i = 0; i < n; i++)
    for (int64_t k = 0; k < pairs; k++) {
      const double u = w->variate[0][i * pairs + k], v = w->variate[1][i * pairs + k];
      w->sum[SUM_U * pairs + k] += u;
      w->sum[SUM_V * pairs + k] += v;
      w->sum[SUM_UU * pairs + k] += u * u;
      w->sum[SUM_VV * pairs + k] += v * v;
      w->sum[SUM_UV * pairs + k] += u * v;
    }
}

syz_status syz_cca_correlate(syz_comm *c, const syz_cca *a, const syz_rows *x, const syz_rows *y, double *correlation)
{
  syz_status st = SYZ_OK;
  correlate w = {0};
  const syz_rows *rows[2] = {x, y};
  const int64_t block = rows_block(a->width[0] > a->width[1] ? a->width[0] : a->width[1]), pairs = a->pairs;
  int64_t total = x->n;
  SYZ_TRY_ALL(c, allocate(a, block, &w));
  for (int64_t at = 0; at < x->n; at += block) {
    const int64_t n = x->n - at < block ? x->n - at : block;
    for (int s = 0; s < 2; s++) {
      rows[s]->read(rows[s]->context, at, n, w.raw);
      cca_variates(a, s, n, w.raw, w.centred, w.variate[s]);
    }
    add_rows(a, n, &w);
  }
  syz_allreduce_f64(c, w.sum, (size_t)(SUMS * pairs), SYZ_SUM);
  syz_allreduce_i64(c, &total, 1, SYZ_SUM);
  for (int64_t k = 0; k < pairs; k++) {
    const double n = (double)total, u = w.sum[SUM_U * pairs + k], v = w.sum[SUM_V * pairs + k];
    const double uu = w.sum[SUM_UU * pairs + k] - u * u / n, vv = w.sum[SUM_VV * pairs + k] - v * v / n;
    correlation[k] = uu > 0 && vv > 0 ? (w.sum[SUM_UV * pairs + k] - u * v / n) / sqrt(uu * vv) : NAN;
  }
cleanup:
  syz_free(&w.raw);
  syz_free(&w.centred);
  for (int s = 0; s < 2; s++) syz_free(&w.variate[s]);
  syz_free(&w.sum);
  return st;
}

/* ----------------------------------------------------------------- two halves */

/* Rows of one half. */
static syz_status choose(const syz_rows *x, const uint8_t *half, int which, int64_t **row, int64_t *n)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(*row, "rows of a half", x->n + 1);
  for (int64_t i = 0; i < x->n; i++)
    if (half[i] == which) (*row)[(*n)++] = i;
cleanup:
  return st;
}

typedef struct halves {
  int64_t *row[2], n[2];
  double *correlation[2];
} halves;

static syz_status hold_out(syz_comm *c, const syz_rows *x, const syz_rows *y, const syz_cca_options *options, halves *h,
                           syz_cca_held *out)
{
  syz_status st = SYZ_OK;
  const syz_cca_options alone = {
      .tolerance = options->tolerance, .scalapack_from = options->scalapack_from, .seed = options->seed};
  syz_chosen_rows cx[2], cy[2];
  syz_rows part[2][2];
  for (int k = 0; k < 2; k++) {
    cx[k] = (syz_chosen_rows){x, h->row[k]};
    cy[k] = (syz_chosen_rows){y, h->row[k]};
    part[k][0] = (syz_rows){h->n[k], x->width, &cx[k], syz_chosen_rows_read};
    part[k][1] = (syz_rows){h->n[k], y->width, &cy[k], syz_chosen_rows_read};
    SYZ_TRY(syz_cca_fit(c, &part[k][0], &part[k][1], &alone, &out->fit[k]));
  }
  out->pairs = out->fit[0]->pairs < out->fit[1]->pairs ? out->fit[0]->pairs : out->fit[1]->pairs;
  for (int k = 0; k < 2; k++) {
    h->correlation[k] = syz_alloc("correlations", (size_t)out->fit[k]->pairs, sizeof(double));
    SYZ_TRY_ALL(c, h->correlation[k] ? SYZ_OK : SYZ_ERR_MEMORY);
    SYZ_TRY(syz_cca_correlate(c, out->fit[k], &part[1 - k][0], &part[1 - k][1], h->correlation[k]));
  }
cleanup:
  return st;
}

syz_status syz_cca_hold_out(syz_comm *c, const syz_rows *x, const syz_rows *y, const uint8_t *half,
                            const syz_cca_options *options, syz_cca_held **out)
{
  syz_status st = SYZ_OK;
  halves h = {0};
  *out = NULL;
  syz_cca_held *r = syz_alloc("held-out correlations", 1, sizeof *r);
  SYZ_TRY_ALL(c, r ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int k = 0; k < 2; k++) SYZ_TRY_ALL(c, choose(x, half, k, &h.row[k], &h.n[k]));
  SYZ_TRY(hold_out(c, x, y, options, &h, r));
  r->correlation = syz_alloc("correlations", (size_t)r->pairs, sizeof(double));
  SYZ_TRY_ALL(c, r->correlation ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t k = 0; k < r->pairs; k++) r->correlation[k] = (h.correlation[0][k] + h.correlation[1][k]) / 2;
  r->error = 1 / sqrt((double)(r->fit[0]->rows + r->fit[1]->rows));
  while (r->shared < r->pairs && r->correlation[r->shared] > 3 * r->error) r->shared++;
  *out = r;
  r = NULL;
cleanup:
  for (int k = 0; k < 2; k++) {
    syz_free(&h.row[k]);
    syz_free(&h.correlation[k]);
  }
  syz_cca_held_destroy(&r);
  return st;
}

void syz_cca_held_destroy(syz_cca_held **hp)
{
  syz_cca_held *h = *hp;
  if (!h) return;
  for (int k = 0; k < 2; k++) syz_cca_destroy(&h->fit[k]);
  syz_free(&h->correlation);
  syz_free(hp);
}

double syz_gaussian_information(const double *rho, int64_t n)
{
  double sum = 0;
  for (int64_t k = 0; k < n; k++)
    if (rho[k] > 0) sum -= log1p(-rho[k] * rho[k]) / 2;
  return sum;
}
