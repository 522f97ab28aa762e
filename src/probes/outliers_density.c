/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The density of objects: a flow of their first principal components, which has nothing to be conditioned on and so
 * takes a column of ones as context. Components and flow are fitted on the training side, and all objects are scored.
 *
 * The components are found by each rank alone from the same training objects, at most PCA_ROWS of them, evenly
 * spread: a sum over ranks would depend in its last bits on how many there are.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "outliers.h"

enum { PCA_ROWS = 32768 };

typedef struct work {
  job *job;
  strangeness *s;
  int64_t width, components;
  syz_pca *pca;
  float *z;     /* [rows, components] */
  double *y;    /* [train + validation, components] */
  float *ones;  /* [rows] */
  double *list; /* [share, components] of the objects that this rank scores */
  syz_flow *flow;
} work;

static void work_free(work *w)
{
  syz_pca_destroy(&w->pca);
  syz_flow_destroy(&w->flow);
  syz_free(&w->z);
  syz_free(&w->y);
  syz_free(&w->ones);
  syz_free(&w->list);
}

static bool is_training(const work *w, int64_t row)
{
  return w->job->sample.role[row] == SYZ_ROLE_TRAIN && w->s->is_usable[row];
}

static syz_status fit_components(work *w)
{
  syz_status st = SYZ_OK;
  const sample *s = &w->job->sample;
  const int64_t train = w->s->train + w->s->validation, n = train < PCA_ROWS ? train : PCA_ROWS;
  const syz_pca_options options = {.components = w->job->options->outliers.components, .scalapack_from = INT64_MAX};
  syz_comm *alone = NULL;
  int64_t *row = syz_alloc("training objects", (size_t)n, sizeof *row), k = 0, t = 0;
  float *x = syz_alloc("features of training objects", (size_t)(n * w->width), sizeof *x);
  SYZ_TRY_ALL(s->comm, row && x ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < s->rows && k < n; i++) {
    if (!is_training(w, i)) continue;
    if (t++ >= k * train / n) row[k++] = i;
  }
  sample_gather(s, w->s->source, n, row, x);
  syz_array_rows array = {SYZ_F32, x, w->width};
  const syz_rows rows = {n, w->width, &array, syz_array_rows_read};
  SYZ_TRY(syz_comm_split(s->comm, syz_comm_rank(s->comm), &alone));
  SYZ_TRY_ALL(s->comm, syz_pca_fit(alone, &rows, &options, &w->pca));
  /* On machines of several kinds of processors the ranks' components may differ by rounding, and in number too. */
  int64_t least = -w->pca->components;
  syz_allreduce_i64(s->comm, &least, 1, SYZ_MAX);
  w->components = w->s->components = w->pca->components = -least;
  SYZ_REQUIRE(w->components > 0, SYZ_ERR_DATA, "outliers: the features of %s do not vary over the training objects",
              s->source[w->s->source].name);
  w->s->explained = 0;
  for (int64_t c = 0; c < w->components; c++) w->s->explained += w->pca->variance[c] / w->pca->total_variance;
  syz_bcast(s->comm, &w->s->explained, sizeof w->s->explained, 0);
  syz_bcast(s->comm, w->pca->mean, (size_t)w->width * sizeof(double), 0);
  syz_bcast(s->comm, w->pca->direction, (size_t)(w->components * w->width) * sizeof(double), 0);
cleanup:
  syz_comm_destroy(&alone);
  syz_free(&row);
  syz_free(&x);
  return st;
}

/* Components of all objects, on every rank: zeros elsewhere make the sums exact. */
static void project(work *w)
{
  const sample *s = &w->job->sample;
  const float *x = s->source[w->s->source].x;
  for (int64_t i = 0; i < s->n; i++)
    if (w->s->is_usable[s->first + i])
      syz_pca_project(w->pca, 1, x + i * w->width, w->z + (s->first + i) * w->components);
  syz_allreduce_f32(s->comm, w->z, (size_t)(s->rows * w->components), SYZ_SUM);
}

static syz_status list_components(work *w)
{
  syz_status st = SYZ_OK;
  const sample *s = &w->job->sample;
  int64_t at[2] = {0, w->s->train};
  SYZ_ALLOC(w->y, "components of training objects", (w->s->train + w->s->validation) * w->components);
  SYZ_ALLOC(w->ones, "context", s->rows);
  for (int64_t i = 0; i < s->rows; i++) {
    w->ones[i] = 1;
    if (!is_training(w, i)) continue;
    double *y =
        w->y +
        at[sample_is_validation(&w->job->sample, w->job->options->seed, w->job->options->validation_share, i)]++ *
            w->components;
    for (int64_t c = 0; c < w->components; c++) y[c] = (double)w->z[i * w->components + c];
  }
cleanup:
  return st;
}

static syz_status make_flow(work *w)
{
  syz_status st = SYZ_OK;
  const int labels = (int)w->components;
  syz_flow_label label[SYZ_FLOW_LABELS];
  syz_flow_options f = syz_flow_options_default(labels, 1);
  memset(label, 0, sizeof label); /* linear ones */
  for (int c = 0; c < labels; c++) snprintf(label[c].name, sizeof label[c].name, "component %d", c + 1);
  SYZ_TRY(syz_flow_labels_fit(label, labels, w->s->train, w->y, 0, NULL, NULL));
  f.seed = w->job->options->seed;
  f.label = label;
  f.members = w->job->options->members;
  f.threads = syz_compute_threads(w->job->compute);
  SYZ_TRY(syz_flow_create(&f, &w->flow));
cleanup:
  return st;
}

static syz_status train(work *w)
{
  syz_flow_training_options options = syz_flow_training_default();
  const strangeness *s = w->s;
  const syz_flow_rows rows = {s->train, w->ones, w->y},
                      valid = {s->validation, w->ones, w->y + s->train * w->components};
  options.epochs = w->job->options->flow.epochs;
  return probe_flow_train(w->job, w->flow, &options, &rows, &valid);
}

/* -ln density of the standardised components, for this rank's share of the objects. */
static syz_status score_share(work *w)
{
  syz_status st = SYZ_OK;
  const sample *s = &w->job->sample;
  double *log_q = NULL, *jacobian = NULL;
  int64_t n = 0;
  SYZ_ALLOC(w->list, "components", s->n * w->components);
  SYZ_ALLOC(log_q, "densities", s->n);
  SYZ_ALLOC(jacobian, "densities", s->n);
  for (int64_t i = s->first; i < s->first + s->n; i++) {
    if (!w->s->is_usable[i]) continue;
    for (int64_t c = 0; c < w->components; c++) w->list[n * w->components + c] = (double)w->z[i * w->components + c];
    n++;
  }
  SYZ_TRY(syz_flow_log_density(w->flow, n, w->ones, w->list, log_q, jacobian, NULL));
  n = 0;
  for (int64_t i = s->first; i < s->first + s->n; i++) {
    if (!w->s->is_usable[i]) continue;
    w->s->surprise[i] = jacobian[n] - log_q[n];
    n++;
  }
cleanup:
  syz_free(&log_q);
  syz_free(&jacobian);
  return st;
}

syz_status outliers_density(job *p, strangeness *out)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  work w = {.job = p, .s = out, .width = s->source[out->source].width};
  SYZ_TRY(fit_components(&w));
  w.z = syz_alloc("components of all objects", (size_t)(s->rows * w.components), sizeof *w.z);
  SYZ_TRY_ALL(s->comm, w.z ? SYZ_OK : SYZ_ERR_MEMORY);
  project(&w);
  SYZ_TRY_ALL(s->comm, list_components(&w));
  SYZ_TRY_ALL(s->comm, make_flow(&w));
  SYZ_TRY_ALL(s->comm, syz_flow_scale_context(w.flow, SYZ_FLOW_COLUMNS, out->train, w.ones));
  SYZ_TRY(train(&w));
  SYZ_TRY_ALL(s->comm, score_share(&w));
  syz_allreduce_f64(s->comm, out->surprise, (size_t)s->rows, SYZ_SUM);
cleanup:
  work_free(&w);
  return st;
}
