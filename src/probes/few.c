/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Curves over few labels (Desmons et al. 2023, arXiv:2308.07962): frozen features, 10 to 2,000 labelled objects drawn
 * again and again, a linear head on each draw, judged by its ranking of all test objects.
 *
 * Features are standardised once by all training objects, which needs no label. Every rank has the features of the
 * training and test objects and does whole draws by itself: draw d of a size belongs to rank d mod ranks, and its
 * objects are a function of seed, size and draw.
 */
#include "few.h"

#include <math.h>
#include <string.h>

#include "syzygy/numbers.h"

const char *const few_kind_name[FEW_KINDS] = {"balanced", "natural", "examples"};

typedef struct work {
  job *job;
  few_curves *few;
  syz_comm *alone; /* this rank */
  int64_t width, n_train, n_test;
  int64_t *row;    /* [n_train + n_test] of the sample */
  float *x;        /* [n_train + n_test, width], standardised */
  uint8_t *is_one; /* [n_train + n_test] */
  int64_t *of[2];  /* training objects of class 0 and 1, by number */
  int64_t n_of[2];
  int64_t *chosen; /* [most objects of a draw] */
  float *picked;   /* [the same, width] of the chosen ones */
  int8_t *label;   /* [the same] */
  double *score;   /* [n_test] */
} work;

static void work_free(work *w)
{
  syz_comm_destroy(&w->alone);
  syz_free(&w->row);
  syz_free(&w->x);
  syz_free(&w->is_one);
  syz_free(&w->of[0]);
  syz_free(&w->of[1]);
  syz_free(&w->chosen);
  syz_free(&w->picked);
  syz_free(&w->label);
  syz_free(&w->score);
}

/* Most objects of a draw; sizes that the training objects do not have are never drawn. */
static int64_t largest_size(const job *p, int64_t train)
{
  int64_t most = 0;
  for (int i = 0; i < p->options->few.n_sizes; i++)
    if (p->options->few.size[i] > most) most = p->options->few.size[i];
  return most < train ? most : train;
}

static syz_status list_rows(work *w)
{
  syz_status st = SYZ_OK;
  const sample *s = &w->job->sample;
  const sample_label *l = &s->label[w->few->label];
  const int64_t most = largest_size(w->job, l->train);
  w->n_train = l->train;
  w->n_test = l->test;
  SYZ_ALLOC(w->row, "objects", w->n_train + w->n_test);
  SYZ_ALLOC(w->is_one, "classes", w->n_train + w->n_test);
  SYZ_ALLOC(w->x, "features of all objects", (w->n_train + w->n_test) * w->width);
  for (int c = 0; c < 2; c++) SYZ_ALLOC(w->of[c], "objects", w->n_train);
  SYZ_ALLOC(w->chosen, "labelled objects", most);
  SYZ_ALLOC(w->picked, "features of labelled objects", most * w->width);
  SYZ_ALLOC(w->label, "labels", most);
  SYZ_ALLOC(w->score, "scores", w->n_test);
  int64_t at[2] = {0, w->n_train};
  for (int64_t i = 0; i < s->rows; i++) {
    if (s->role[i] == SYZ_ROLE_NONE || isnan(l->value[i])) continue;
    const bool is_train = s->role[i] == SYZ_ROLE_TRAIN;
    const int64_t k = at[is_train ? 0 : 1]++;
    w->row[k] = i;
    w->is_one[k] = l->value[i] == 1;
    if (is_train) w->of[w->is_one[k]][w->n_of[w->is_one[k]]++] = k;
    if (!is_train) w->few->positives += w->is_one[k];
  }
  w->few->test = w->n_test;
cleanup:
  return st;
}

/* By the mean and deviation of the training objects, sums in their order: the same bits on every rank. */
static void standardise(work *w)
{
  for (int64_t e = 0; e < w->width; e++) {
    double mean = 0, square = 0;
    for (int64_t i = 0; i < w->n_train; i++) mean += (double)w->x[i * w->width + e];
    mean /= (double)w->n_train;
    for (int64_t i = 0; i < w->n_train; i++) {
      const double d = (double)w->x[i * w->width + e] - mean;
      square += d * d;
    }
    const double deviation = sqrt(square / (double)w->n_train);
    const double scale = deviation > 1e-10 * fabs(mean) ? 1 / deviation : 1;
    for (int64_t i = 0; i < w->n_train + w->n_test; i++)
      w->x[i * w->width + e] = (float)(((double)w->x[i * w->width + e] - mean) * scale);
  }
}

/* `n` different objects of a list, appended to the chosen ones. */
static void choose(work *w, few_kind kind, int size, int64_t draw, int part, const int64_t *list, int64_t of, int64_t n,
                   int64_t *chosen)
{
  const uint64_t stream = ((uint64_t)kind * 64 + (uint64_t)size) * 4 + (uint64_t)part;
  const syz_random r = syz_random_make(w->job->options->seed, SYZ_RANDOM_PROBE, (uint64_t)draw + 2, stream);
  for (int64_t i = 0; i < n; i++) {
    const int64_t k = (int64_t)syz_random_permute(&r, (uint64_t)of, (uint64_t)i);
    chosen[i] = list ? list[k] : k;
  }
}

/* The labelled objects of a draw; false where there are not so many. */
static bool choose_objects(work *w, few_kind kind, int size, int64_t draw, int64_t *n)
{
  const int64_t wanted = w->job->options->few.size[size], half = wanted / 2;
  *n = kind == FEW_BALANCED ? 2 * half : wanted;
  if (kind == FEW_BALANCED) {
    if (half < 1 || w->n_of[0] < half || w->n_of[1] < half) return false;
    for (int c = 0; c < 2; c++) choose(w, kind, size, draw, c, w->of[c], w->n_of[c], half, w->chosen + c * half);
  } else if (kind == FEW_NATURAL) {
    if (w->n_train < wanted) return false;
    choose(w, kind, size, draw, 0, NULL, w->n_train, wanted, w->chosen);
  } else {
    if (w->n_of[1] < wanted) return false;
    choose(w, kind, size, draw, 1, w->of[1], w->n_of[1], wanted, w->chosen);
  }
  int64_t ones = 0;
  for (int64_t i = 0; i < *n; i++) ones += w->is_one[w->chosen[i]];
  return kind == FEW_EXAMPLES || (ones > 0 && ones < *n); /* a natural draw may hold one class only */
}

/* Scores of the test objects: the logit of class 1. */
static syz_status score_by_head(work *w, int64_t n)
{
  syz_status st = SYZ_OK;
  syz_linear_head *h = NULL;
  syz_softmax_result result;
  const syz_softmax_options options = {
      .classes = 2, .l2 = w->job->options->few.penalty, .is_as_it_is = true, .iterations = 200, .tolerance = 1e-5};
  syz_array_rows array = {SYZ_F32, w->picked, w->width};
  const syz_rows rows = {n, w->width, &array, syz_array_rows_read};
  for (int64_t i = 0; i < n; i++) {
    memcpy(w->picked + i * w->width, w->x + w->chosen[i] * w->width, (size_t)w->width * sizeof *w->x);
    w->label[i] = (int8_t)w->is_one[w->chosen[i]];
  }
  SYZ_TRY(syz_softmax_fit(w->alone, &rows, w->label, &options, &h, &result));
  for (int64_t i = 0; i < w->n_test; i++) {
    float logit[2];
    syz_linear_head_apply(h, 1, w->x + (w->n_train + i) * w->width, logit);
    w->score[i] = (double)logit[1] - (double)logit[0];
  }
cleanup:
  syz_linear_head_destroy(&h);
  return st;
}

/* Scores of the test objects: cosine to the mean of the examples. */
static void score_by_examples(work *w, int64_t n)
{
  float *mean = w->picked;
  memset(mean, 0, (size_t)w->width * sizeof *mean);
  for (int64_t i = 0; i < n; i++)
    for (int64_t e = 0; e < w->width; e++) mean[e] += w->x[w->chosen[i] * w->width + e];
  for (int64_t i = 0; i < w->n_test; i++) {
    const float *x = w->x + (w->n_train + i) * w->width;
    double dot = 0, square = 0;
    for (int64_t e = 0; e < w->width; e++) {
      dot += (double)x[e] * (double)mean[e];
      square += (double)x[e] * (double)x[e];
    }
    w->score[i] = square > 0 ? dot / sqrt(square) : 0;
  }
}

static syz_status one_draw(work *w, few_kind kind, int size, int64_t draw, double *figure)
{
  syz_status st = SYZ_OK;
  syz_ranking_figures f;
  int64_t n;
  for (int k = 0; k < FEW_FIGURES; k++) figure[k] = NAN;
  if (!choose_objects(w, kind, size, draw, &n)) return SYZ_OK;
  if (kind == FEW_EXAMPLES)
    score_by_examples(w, n);
  else
    SYZ_TRY(score_by_head(w, n));
  SYZ_TRY(syz_ranking_score(w->n_test, w->score, w->is_one + w->n_train, w->job->options->few.contamination, &f));
  figure[0] = f.auc;
  figure[1] = f.average_precision;
  figure[2] = f.completeness;
cleanup:
  return st;
}

/* This rank's draws; the others stay 0, so that a sum over ranks gathers them. */
static syz_status my_draws(work *w)
{
  syz_status st = SYZ_OK;
  const syz_few_probe *o = &w->job->options->few;
  const int ranks = syz_comm_size(w->job->run->world), rank = syz_comm_rank(w->job->run->world);
  for (int kind = 0; kind < FEW_KINDS; kind++)
    for (int size = 0; size < o->n_sizes; size++)
      for (int64_t draw = 0; draw < o->draws; draw++) {
        if (draw % ranks != rank) continue;
        syz_pulse();
        SYZ_TRY(one_draw(w, (few_kind)kind, size, draw,
                         w->few->figure + ((kind * o->n_sizes + size) * o->draws + draw) * FEW_FIGURES));
      }
cleanup:
  return st;
}

static syz_status few_of_label(job *p, int source, int label)
{
  syz_status st = SYZ_OK;
  const syz_few_probe *o = &p->options->few;
  const size_t figures = (size_t)(FEW_KINDS * o->n_sizes * o->draws * FEW_FIGURES);
  few_curves *f = &p->few[p->n_few++];
  *f = (few_curves){.source = source, .label = label};
  work w = {.job = p, .few = f, .width = p->sample.source[source].width};
  f->figure = syz_alloc("figures", figures, sizeof *f->figure);
  SYZ_TRY_ALL(p->run->world, f->figure ? list_rows(&w) : SYZ_ERR_MEMORY);
  sample_gather(&p->sample, source, w.n_train + w.n_test, w.row, w.x);
  standardise(&w);
  SYZ_TRY(syz_comm_split(p->run->world, syz_comm_rank(p->run->world), &w.alone));
  SYZ_TRY_ALL(p->run->world, my_draws(&w));
  syz_allreduce_f64(p->run->world, f->figure, figures, SYZ_SUM);
cleanup:
  work_free(&w);
  return st;
}

syz_status few_predict(job *p, int source, answer *out)
{
  syz_status st = SYZ_OK;
  (void)out;
  for (int t = 0; t < p->sample.n_labels; t++)
    if (p->sample.label[t].classes == 2) /* as probe_methods says */
      SYZ_TRY(few_of_label(p, source, t));
cleanup:
  return st;
}

syz_estimate few_mean(const job *p, const few_curves *f, few_kind kind, int size, int figure)
{
  const int64_t draws = p->options->few.draws;
  const double *x = f->figure + ((int64_t)kind * p->options->few.n_sizes + size) * draws * FEW_FIGURES + figure;
  syz_estimate e = {.value = NAN, .mean = NAN, .deviation = NAN};
  double sum = 0, square = 0;
  for (int64_t d = 0; d < draws; d++) {
    if (isnan(x[d * FEW_FIGURES])) continue;
    sum += x[d * FEW_FIGURES];
    e.draws++;
  }
  if (e.draws < 1) return e;
  e.value = e.mean = sum / (double)e.draws;
  for (int64_t d = 0; d < draws; d++)
    if (!isnan(x[d * FEW_FIGURES])) square += (x[d * FEW_FIGURES] - e.mean) * (x[d * FEW_FIGURES] - e.mean);
  if (e.draws > 1) e.deviation = sqrt(square / (double)(e.draws - 1));
  return e;
}

void few_print(const job *p, const few_curves *f)
{
  const sample *s = &p->sample;
  syz_info("%s from few labels, %s: %lld of %lld test objects are of the class; mean and deviation over %lld draws",
           s->label[f->label].name, s->source[f->source].name, (long long)f->positives, (long long)f->test,
           (long long)p->options->few.draws);
  for (int kind = 0; kind < FEW_KINDS; kind++)
    for (int size = 0; size < p->options->few.n_sizes; size++) {
      const syz_estimate auc = few_mean(p, f, (few_kind)kind, size, 0), ap = few_mean(p, f, (few_kind)kind, size, 1),
                         found = few_mean(p, f, (few_kind)kind, size, 2);
      if (!auc.draws) continue;
      syz_info("  %5lld %-9s AUC %.3f +- %.3f   average precision %.3f +- %.3f   found at %.0f %% false positives %.3f "
               "+- %.3f",
               (long long)p->options->few.size[size], few_kind_name[kind], auc.value, auc.deviation, ap.value,
               ap.deviation, 100 * p->options->few.contamination, found.value, found.deviation);
    }
}
