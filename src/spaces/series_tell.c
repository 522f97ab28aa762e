/* SPDX-License-Identifier: BSD-3-Clause */
/* The series of labels and partners as a table in the log and as JSON. */
#include <math.h>
#include <stdio.h>

#include "series.h"
#include "syzygy/json.h"

static double r2_of(const series *x, int label, int space, int step)
{
  return x->r2[(label * SERIES_SPACES + space) * SERIES_STEPS + step];
}

/* "       r" and one column a step. */
static void print_line(const char *name, const series *x, double (*value)(const series *, int, int, int), int a, int b)
{
  char text[512];
  int n = snprintf(text, sizeof text, "  %-36.36s", name);
  for (int step = 0; step < x->steps && n < (int)sizeof text - 16; step++)
    n += snprintf(text + n, sizeof text - (size_t)n, " %8.4g", value(x, a, b, step));
  syz_info("%s", text);
}

static double r_of(const series *x, int a, int b, int step)
{
  (void)a;
  (void)b;
  return (double)x->r[step];
}

static double recall_of(const series *x, int from, int b, int step)
{
  (void)b;
  return x->r[step] <= x->found[0] ? x->partner[from][step].recall[0] : NAN;
}

void series_print(const table *t, const series *x)
{
  char name[160], space[96];
  print_line("first r coordinates", x, r_of, 0, 0);
  for (int l = 0; l < x->n_labels && x->neighbours; l++)
    for (int k = 0; k < SERIES_SPACES; k++) {
      series_space_name(t, k, space, sizeof space);
      snprintf(name, sizeof name, "R2 %s, %s", x->label[l], space);
      print_line(name, x, r2_of, l, k);
    }
  for (int from = 0; from < 2; from++) {
    snprintf(name, sizeof name, "recall@1 %s to %s", t->column[from].name, t->column[1 - from].name);
    print_line(name, x, recall_of, from, 0);
    if (x->has_raw) syz_info("  %-36.36s %8.4g", "  by the embeddings themselves", x->raw[from].recall[0]);
  }
}

static void add_figures(cJSON *list, double r, const syz_pair_figures *f)
{
  cJSON *o = cJSON_CreateObject(), *recall = cJSON_AddObjectToObject(o, "recall");
  syz_json_add_number(o, "r", r);
  cJSON_AddNumberToObject(o, "pairs", (double)f->pairs);
  cJSON_AddNumberToObject(o, "candidates", (double)f->candidates);
  for (int i = 0; i < SYZ_RECALLS; i++) {
    char k[16];
    snprintf(k, sizeof k, "%d", syz_recall_at[i]);
    syz_json_add_number(recall, k, f->recall[i]);
  }
  syz_json_add_number(o, "median_rank", f->median_rank);
  syz_json_add_number(o, "chance_median_rank", f->chance_median_rank);
  cJSON_AddItemToArray(list, o);
}

static void add_labels(cJSON *o, const table *t, const series *x)
{
  cJSON *list = cJSON_AddArrayToObject(o, "labels");
  double r2[SERIES_STEPS];
  char name[96];
  for (int l = 0; l < x->n_labels && x->neighbours; l++) {
    cJSON *entry = cJSON_CreateObject(), *of = cJSON_AddObjectToObject(entry, "r2");
    cJSON_AddStringToObject(entry, "label", x->label[l]);
    cJSON_AddNumberToObject(entry, "train", (double)x->train[l]);
    cJSON_AddNumberToObject(entry, "test", (double)x->test[l]);
    for (int k = 0; k < SERIES_SPACES; k++) {
      for (int step = 0; step < x->steps; step++) r2[step] = r2_of(x, l, k, step);
      series_space_name(t, k, name, sizeof name);
      syz_json_add_numbers(of, name, x->steps, r2);
    }
    cJSON_AddItemToArray(list, entry);
  }
}

void series_add_json(cJSON *o, const table *t, const series *x)
{
  cJSON *s = cJSON_AddObjectToObject(o, "series");
  double r[SERIES_STEPS];
  for (int step = 0; step < x->steps; step++) r[step] = (double)x->r[step];
  syz_json_add_numbers(s, "r", x->steps, r);
  cJSON_AddStringToObject(s, "method",
                          "fitted on one half of the objects, judged on the other; labels by nearest neighbours, "
                          "weights 1/distance, standardised coordinates; partners by cosine of variates times the root "
                          "of their held-out correlation");
  cJSON_AddNumberToObject(s, "k", (double)x->neighbours);
  add_labels(s, t, x);
  cJSON *partners = cJSON_AddArrayToObject(s, "partners");
  for (int from = 0; from < 2; from++) {
    cJSON *d = cJSON_CreateObject(), *list;
    cJSON_AddStringToObject(d, "query", t->column[from].name);
    cJSON_AddStringToObject(d, "index", t->column[1 - from].name);
    list = cJSON_AddArrayToObject(d, "variates");
    for (int step = 0; step < x->steps && x->r[step] <= x->found[0]; step++)
      add_figures(list, (double)x->r[step], &x->partner[from][step]);
    list = cJSON_AddArrayToObject(d, "embeddings");
    if (x->has_raw) add_figures(list, (double)t->column[0].width, &x->raw[from]);
    cJSON_AddItemToArray(partners, d);
  }
}
