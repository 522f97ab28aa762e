/* SPDX-License-Identifier: BSD-3-Clause */
/* predictions.fits: what predictions.h5 says of each test object, as columns of one table for TOPCAT and astropy. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "syzygy/fits.h"
#include "predictions.h"
#include "write.h"

enum { COLUMN_NAME = 68 /* characters of a TTYPE */, WHOLE_NAME = 64 /* of them without a number at the end */ };

typedef struct table {
  int n, most;
  syz_fits_column *column;
  char (*name)[COLUMN_NAME + 1];
  char **comment; /* [n] made here; NULL: a constant */
  double **owned; /* [n] data made here; NULL: borrowed */
} table;

static void table_free(table *t)
{
  for (int i = 0; i < t->most; i++) {
    if (t->owned) syz_free(&t->owned[i]);
    if (t->comment) syz_free(&t->comment[i]);
  }
  syz_free(&t->comment);
  syz_free(&t->column);
  syz_free(&t->name);
  syz_free(&t->owned);
}

static syz_status table_make(const job *p, table *t)
{
  syz_status st = SYZ_OK;
  t->most = 3 + p->sample.n_labels + p->n_outcomes;
  for (int k = 0; k < p->n_posteriors; k++) t->most += p->posterior[k].labels;
  SYZ_ALLOC(t->column, "columns", t->most);
  SYZ_ALLOC(t->name, "columns", t->most);
  SYZ_ALLOC(t->comment, "columns", t->most);
  SYZ_ALLOC(t->owned, "columns", t->most);
cleanup:
  return st;
}

/* Letters and digits of a text, with one _ for whatever is between them, cut to `room` characters; returns how many. */
static int plain_name(const char *text, int room, char out[COLUMN_NAME + 1])
{
  int n = 0;
  for (const char *c = text; *c && n < room; c++)
    if (isalnum((unsigned char)*c) || (n > 0 && out[n - 1] != '_')) out[n++] = isalnum((unsigned char)*c) ? *c : '_';
  while (n > 0 && out[n - 1] == '_') n--;
  out[n] = '\0';
  return n;
}

/* Names of columns in FITS are the same in capitals. */
static bool is_taken(const table *t, const char *name)
{
  for (int i = 0; i < t->n; i++)
    if (strcasecmp(t->name[i], name) == 0) return true;
  return false;
}

/* prefix_source_label. Of a long name the source is cut, because the label is what one looks for; a name that is there
 * already gets a number. */
static void name_column(table *t, const char *prefix, const char *source, const char *label)
{
  char a[COLUMN_NAME + 1], b[COLUMN_NAME + 1], c[COLUMN_NAME + 1], name[4 * COLUMN_NAME];
  const int before = plain_name(prefix, WHOLE_NAME / 2, a);
  const int end = plain_name(label, before ? WHOLE_NAME - before - 1 : WHOLE_NAME, c);
  const int between = plain_name(source, WHOLE_NAME - before - end - 2, b);
  snprintf(name, sizeof name, "%s%s%s%s%s", a, before ? "_" : "", b, between ? "_" : "", c);
  snprintf(t->name[t->n], COLUMN_NAME + 1, "%.*s", WHOLE_NAME, name);
  for (int k = 0; k < 1000 && is_taken(t, t->name[t->n]); k++)
    snprintf(t->name[t->n], COLUMN_NAME + 1, "%.*s_%03u", WHOLE_NAME, name, (unsigned)(t->n + k) % 1000u);
}

/* "what label from source by method" for the comment of the column, whose name may be cut; the table's. "": without. */
static syz_status describe(table *t, const char *what, const char *label, const char *source, const char *method)
{
  syz_status st = SYZ_OK;
  const size_t room = strlen(what) + strlen(label) + strlen(source) + strlen(method) + 16;
  char *text = NULL;
  SYZ_ALLOC(text, "comment", room);
  snprintf(text, room, "%s %s%s%s%s%s", what, label, source[0] ? " from " : "", source, method[0] ? " by " : "",
           method);
  t->comment[t->n] = text;
cleanup:
  return st;
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

static syz_status add_outcome(const job *p, table *t, const outcome *o)
{
  syz_status st = SYZ_OK;
  const sample_label *l = &p->sample.label[o->label];
  const char *source = p->sample.source[o->source].name, *method = p->method[o->method]->name;
  name_column(t, method, source, l->name);
  SYZ_TRY(describe(t, l->classes ? "predicted class of" : "predicted value of", l->name, source, method));
  add(t, 'D', 1, l->unit, t->comment[t->n], o->said.prediction);
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
    SYZ_TRY(describe(t, "5, 16, 50, 84, 95 % of the posterior of", l->name, p->sample.source[q->source].name, ""));
    add(t, 'D', SYZ_FLOW_LEVELS, l->unit, t->comment[t->n], x);
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
  for (int k = 0; k < s->n_labels; k++) {
    SYZ_TRY(describe(t, "true value of", s->label[k].name, "", ""));
    SYZ_TRY(add_chosen(p, t, s->label[k].value, s->label[k].name, s->label[k].unit, t->comment[t->n]));
  }
  for (int k = 0; k < p->n_outcomes; k++) SYZ_TRY(add_outcome(p, t, &p->outcome[k]));
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
