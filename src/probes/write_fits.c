/* SPDX-License-Identifier: BSD-3-Clause */
/* predictions.fits: what predictions.h5 says of each test object, as columns of one table for TOPCAT and astropy. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "syzygy/fits.h"
#include "predictions.h"
#include "write.h"

enum { COLUMN_NAME = 68 /* characters of a TTYPE */ };

typedef struct table {
  int n;
  syz_fits_column *column;
  char (*name)[COLUMN_NAME + 1];
  double **owned; /* [n] data made here; NULL: borrowed */
} table;

static void table_free(table *t)
{
  for (int i = 0; i < t->n; i++) syz_free(&t->owned[i]);
  syz_free(&t->column);
  syz_free(&t->name);
  syz_free(&t->owned);
}

static syz_status table_make(const job *p, table *t)
{
  syz_status st = SYZ_OK;
  int most = 3 + p->sample.n_labels + p->n_outcomes;
  for (int k = 0; k < p->n_posteriors; k++) most += p->posterior[k].labels;
  SYZ_ALLOC(t->column, "columns", most);
  SYZ_ALLOC(t->name, "columns", most);
  SYZ_ALLOC(t->owned, "columns", most);
cleanup:
  return st;
}

/* Letters, digits and _ of up to three texts; a name that is there already gets a number. */
static void name_column(table *t, const char *prefix, const char *source, const char *label)
{
  char text[3 * 128];
  char *name = t->name[t->n];
  snprintf(text, sizeof text, "%s%s%s%s%.100s", prefix, prefix[0] ? "_" : "", source, source[0] ? "_" : "", label);
  int n = 0;
  for (const char *c = text; *c && n < COLUMN_NAME - 4; c++)
    if (isalnum((unsigned char)*c) || (n > 0 && name[n - 1] != '_')) name[n++] = isalnum((unsigned char)*c) ? *c : '_';
  while (n > 0 && name[n - 1] == '_') n--;
  name[n] = '\0';
  for (int i = 0; i < t->n; i++)
    if (strcmp(t->name[i], name) == 0) {
      snprintf(name + n, 5, "_%03d", t->n % 1000);
      break;
    }
}

static syz_fits_column *add(table *t, char type, int64_t repeat, const char *unit, const char *comment,
                            const void *data)
{
  syz_fits_column *c = &t->column[t->n];
  *c = (syz_fits_column){t->name[t->n], type, repeat, unit[0] ? unit : NULL, comment, data};
  t->n++;
  return c;
}

/* Values of the test objects out of an array of all objects. */
static syz_status add_chosen(const job *p, table *t, const double *all, const char *name, const char *unit,
                             const char *comment)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  double *x = NULL;
  SYZ_ALLOC(x, "column", s->test);
  for (int64_t i = 0; i < s->test; i++) x[i] = all[s->test_row[i]];
  name_column(t, "", "", name);
  t->owned[t->n] = x;
  add(t, 'D', 1, unit, comment, x);
cleanup:
  return st;
}

static syz_status add_quantiles(const job *p, table *t, const posterior *q)
{
  syz_status st = SYZ_OK;
  for (int k = 0; k < q->labels; k++) {
    const sample_label *l = &p->sample.label[q->column[k]];
    double *x = NULL;
    SYZ_ALLOC(x, "quantiles", p->sample.test * SYZ_FLOW_LEVELS);
    for (int64_t i = 0; i < p->sample.test * SYZ_FLOW_LEVELS; i++) x[i] = NAN;
    for (int64_t i = 0; i < q->n; i++)
      memcpy(x + q->place[i] * SYZ_FLOW_LEVELS, q->summary[i * q->labels + k].quantile, SYZ_FLOW_LEVELS * sizeof *x);
    name_column(t, "quantiles", p->sample.source[q->source].name, l->name);
    t->owned[t->n] = x;
    add(t, 'D', SYZ_FLOW_LEVELS, l->unit, "5, 16, 50, 84, 95 % of the posterior", x);
  }
cleanup:
  return st;
}

static syz_status fill(const job *p, table *t, int64_t *id)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  for (int64_t i = 0; i < s->test; i++) id[i] = s->id[s->test_row[i]];
  name_column(t, "", "", "OBJECT_ID");
  add(t, 'K', 1, "", "identifier of the test object", id);
  SYZ_TRY(add_chosen(p, t, s->ra, "RA", "deg", "right ascension, ICRS"));
  SYZ_TRY(add_chosen(p, t, s->dec, "DEC", "deg", "declination, ICRS"));
  for (int k = 0; k < s->n_labels; k++)
    SYZ_TRY(add_chosen(p, t, s->label[k].value, s->label[k].name, s->label[k].unit, "true value"));
  for (int k = 0; k < p->n_outcomes; k++) {
    const outcome *o = &p->outcome[k];
    name_column(t, p->method[o->method]->name, s->source[o->source].name, s->label[o->label].name);
    add(t, 'D', 1, s->label[o->label].unit, s->label[o->label].classes ? "predicted class" : "predicted value",
        o->said.prediction);
  }
  for (int k = 0; k < p->n_posteriors; k++) SYZ_TRY(add_quantiles(p, t, &p->posterior[k]));
cleanup:
  return st;
}

syz_status predictions_write_fits(const job *p, const char *path)
{
  syz_status st = SYZ_OK;
  table t = {0};
  syz_fits_out *out = NULL;
  const syz_fits_card card = SYZ_CARD_TEXT("CREATOR", p->run->created_by, "program");
  int64_t *id = syz_alloc("identifiers", (size_t)p->sample.test, sizeof *id);
  if (!id) return SYZ_ERR_MEMORY;
  SYZ_TRY(table_make(p, &t));
  SYZ_TRY(fill(p, &t, id));
  SYZ_TRY(syz_fits_create(path, &out));
  SYZ_TRY(syz_fits_out_table(out, "PREDICTIONS", p->sample.test, t.column, t.n, &card, 1));
  SYZ_TRY(syz_fits_out_finish(&out));
cleanup:
  syz_fits_out_destroy(&out);
  table_free(&t);
  syz_free(&id);
  return st;
}
