/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rows of the table: figures of merit with their bootstrap over test objects, and which of a label's rows are best.
 *
 * All rows of a label are judged on the objects that every one of them predicts, with the same bootstrap draws, so
 * that the difference of two rows has an error of its own.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "method.h"

static const double TIE = 0.05; /* share of draws in which the other one leads: less tells two rows apart */

syz_status answer_make(const job *p, answer *a)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(a->prediction, "predictions", p->sample.test);
  for (int64_t i = 0; i < p->sample.test; i++) a->prediction[i] = NAN;
cleanup:
  return st;
}

/* The test objects that count for a label: it is known, and each row of the label predicts it. Returns how many. */
static int64_t judged(const job *p, int label, double *y, int64_t *place)
{
  const sample *s = &p->sample;
  int64_t n = 0;
  for (int64_t i = 0; i < s->test; i++) {
    bool counts = !isnan(s->label[label].value[s->test_row[i]]);
    for (int k = 0; counts && k < p->n_outcomes; k++)
      counts = p->outcome[k].label != label || !isnan(p->outcome[k].said.prediction[i]);
    if (!counts) continue;
    y[n] = s->label[label].value[s->test_row[i]];
    place[n++] = i;
  }
  return n;
}

/* Scratch of one row. */
typedef struct scratch {
  double *y, *x, *drawn; /* [test], [test], [figures, draws] */
  int64_t *place;
  int32_t *truth, *class;
  int64_t draws;
} scratch;

static void scratch_free(scratch *w)
{
  syz_free(&w->y);
  syz_free(&w->x);
  syz_free(&w->drawn);
  syz_free(&w->place);
  syz_free(&w->truth);
  syz_free(&w->class);
}

static syz_status scratch_make(const job *p, scratch *w)
{
  syz_status st = SYZ_OK;
  w->draws = p->options->draws;
  SYZ_ALLOC(w->y, "truths", p->sample.test);
  SYZ_ALLOC(w->x, "predictions", p->sample.test);
  SYZ_ALLOC(w->place, "objects", p->sample.test);
  SYZ_ALLOC(w->truth, "classes", p->sample.test);
  SYZ_ALLOC(w->class, "classes", p->sample.test);
  SYZ_ALLOC(w->drawn, "bootstrap", FIGURES_MAX * w->draws);
cleanup:
  return st;
}

static syz_status add_figures(outcome *o, const scratch *w, int n, const char *const *name, const double *value)
{
  syz_status st = SYZ_OK;
  for (int k = 0; k < n; k++) {
    merit *f = &o->figure[o->figures++];
    f->name = name[k];
    SYZ_TRY(syz_bootstrap_estimate(value[k], w->draws, w->drawn + k * w->draws, &f->of));
  }
  if (o->drawn) goto cleanup;
  SYZ_ALLOC(o->drawn, "bootstrap", w->draws);
  memcpy(o->drawn, w->drawn, (size_t)w->draws * sizeof *w->drawn);
cleanup:
  return st;
}

bool is_redshift(const char *name)
{
  return strcmp(name, "redshift") == 0 || strcmp(name, "z") == 0 || strcmp(name, "Z") == 0 || strcmp(name, "Z_HP") == 0;
}

static syz_status judge_number(const job *p, outcome *o, scratch *w)
{
  syz_status st = SYZ_OK;
  const syz_bootstrap b = {p->options->seed, 0, w->draws};
  static const char *const photoz[SYZ_PHOTOZ_FIGURES] = {"sigma_NMAD",      "mean bias",         "outliers (0.15)",
                                                         "sigma_IQR, LSST", "median bias, LSST", "outliers, LSST"};
  double value[SYZ_PHOTOZ_FIGURES];
  SYZ_TRY(syz_bootstrap_r_squared(&b, o->n, w->y, w->x, value, w->drawn));
  SYZ_TRY(add_figures(o, w, 1, (const char *const[]){"R2"}, value));
  if (!is_redshift(p->sample.label[o->label].name)) goto cleanup;
  SYZ_TRY(syz_bootstrap_photoz(&b, o->n, w->y, w->x, value, w->drawn));
  SYZ_TRY(add_figures(o, w, SYZ_PHOTOZ_FIGURES, photoz, value));
cleanup:
  return st;
}

static syz_status judge_class(const job *p, outcome *o, scratch *w)
{
  syz_status st = SYZ_OK;
  const syz_bootstrap b = {p->options->seed, 0, w->draws};
  static const char *const name[SYZ_CLASS_FIGURES] = {"accuracy", "balanced accuracy", "macro F1", "weighted F1"};
  double value[SYZ_CLASS_FIGURES];
  for (int64_t i = 0; i < o->n; i++) {
    w->truth[i] = (int32_t)w->y[i];
    w->class[i] = (int32_t)w->x[i];
  }
  SYZ_TRY(syz_bootstrap_classes(&b, o->n, w->truth, w->class, p->sample.label[o->label].classes, value, w->drawn));
  SYZ_TRY(add_figures(o, w, SYZ_CLASS_FIGURES, name, value));
cleanup:
  return st;
}

syz_status outcome_judge(const job *p, outcome *o)
{
  syz_status st = SYZ_OK;
  scratch w = {0};
  SYZ_TRY(scratch_make(p, &w));
  o->n = judged(p, o->label, w.y, w.place);
  for (int64_t i = 0; i < o->n; i++) w.x[i] = o->said.prediction[w.place[i]];
  SYZ_TRY(p->sample.label[o->label].classes ? judge_class(p, o, &w) : judge_number(p, o, &w));
cleanup:
  scratch_free(&w);
  return st;
}

syz_status outcomes_compare(job *p)
{
  syz_status st = SYZ_OK;
  for (int t = 0; t < p->sample.n_labels; t++) {
    outcome *best = NULL;
    for (int k = 0; k < p->n_outcomes; k++) {
      outcome *o = &p->outcome[k];
      if (o->label != t || isnan(o->figure[0].of.value)) continue;
      if (!best || o->figure[0].of.value > best->figure[0].of.value) best = o;
    }
    if (!best) continue;
    best->is_best = true;
    for (int k = 0; k < p->n_outcomes; k++) {
      outcome *o = &p->outcome[k];
      double flips = 0;
      if (o->label != t || o == best || isnan(o->figure[0].of.value)) continue;
      syz_estimate difference;
      SYZ_TRY(syz_bootstrap_difference(best->figure[0].of.value, o->figure[0].of.value, p->options->draws, best->drawn,
                                       o->drawn, &difference, &flips));
      o->is_tied = flips > TIE;
    }
  }
cleanup:
  return st;
}

static void print_label(const job *p, int t)
{
  const sample *s = &p->sample;
  const sample_label *l = &s->label[t];
  syz_info("%s%s%s%s: %lld training objects", l->name, l->unit[0] ? " [" : "", l->unit, l->unit[0] ? "]" : "",
           (long long)l->train);
  for (int k = 0; k < p->n_outcomes; k++) {
    const outcome *o = &p->outcome[k];
    char more[128] = "";
    if (o->label != t) continue;
    if (o->figures > 1)
      snprintf(more, sizeof more, "   %s %.4f +- %.4f", o->figure[1].name, o->figure[1].of.value,
               o->figure[1].of.deviation);
    syz_info("  %-24s %-8s %s %8.4f +- %.4f%s  n %lld, %s%s", s->source[o->source].name, p->method[o->method]->name,
             o->figure[0].name, o->figure[0].of.value, o->figure[0].of.deviation,
             o->is_best   ? " best"
             : o->is_tied ? " ="
                          : "     ",
             (long long)o->n, o->said.note, more);
  }
}

void outcomes_print(const job *p)
{
  for (int t = 0; t < p->sample.n_labels; t++) print_label(p, t);
  syz_info("errors: %lld bootstrap draws over test objects; \"=\": the paired draws do not tell it from the best",
           (long long)p->options->draws);
}
