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
  void **owned;   /* [n] data made here; NULL: borrowed */
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

static syz_status table_make(table *t, int most)
{
  syz_status st = SYZ_OK;
  t->most = most;
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

/* What of a posterior is a column for each label. */
typedef struct part {
  const char *prefix, *what;
  int64_t repeat;
  const double *at; /* of the first label of the first object */
  int64_t of_label, of_object;
} part;

enum { PARTS = 8 };
static void list_parts(const posterior *q, part out[PARTS])
{
  const int64_t one = sizeof *q->summary / sizeof(double), all = one * q->labels, ends = 2 * POSTERIOR_CONFORMAL;
  const syz_flow_summary *s = q->summary;
  const part parts[PARTS] = {
      {"quantiles", "5, 16, 50, 84, 95 % of the posterior of", SYZ_FLOW_LEVELS, s->quantile, one, all},
      {"mean", "mean of the posterior of", 1, &s->mean, one, all},
      {"deviation", "standard deviation of the posterior of", 1, &s->deviation, one, all},
      {"mode", "mode of the posterior of", 1, &s->mode, one, all},
      {"joint_mode", "where the joint density is largest,", 1, q->mode, 1, q->labels},
      {"shortest_68", "shortest interval with 68.27 % of", 2, &s->low_68, one, all},
      {"shortest_95", "shortest interval with 95.45 % of", 2, &s->low_95, one, all},
      {"conformal", "ends of the conformal intervals of 50, 68, 90 % of", ends, q->interval, ends, ends * q->labels}};
  memcpy(out, parts, sizeof parts);
}

static syz_status add_part(const job *p, table *t, const posterior *q, const part *c, int k)
{
  syz_status st = SYZ_OK;
  const sample_label *l = &p->sample.label[q->column[k]];
  const char *source = p->sample.source[q->source].name;
  double *x = NULL;
  SYZ_ALLOC(x, "posteriors", p->sample.test * c->repeat);
  for (int64_t i = 0; i < p->sample.test * c->repeat; i++) x[i] = NAN;
  for (int64_t i = 0; i < q->n; i++)
    memcpy(x + q->place[i] * c->repeat, c->at + i * c->of_object + k * c->of_label, (size_t)c->repeat * sizeof *x);
  name_column(t, c->prefix, source, l->name);
  t->owned[t->n] = x;
  SYZ_TRY(describe(t, c->what, l->name, source, ""));
  add(t, 'D', c->repeat, l->unit, t->comment[t->n], x);
cleanup:
  return st;
}

static syz_status add_posterior(const job *p, table *t, const posterior *q)
{
  syz_status st = SYZ_OK;
  part parts[PARTS];
  list_parts(q, parts);
  for (int k = 0; k < q->labels; k++)
    for (int i = 0; i < PARTS; i++) SYZ_TRY(add_part(p, t, q, &parts[i], k));
cleanup:
  return st;
}

static int columns_of(const job *p)
{
  int n = 3 + p->sample.n_labels + p->n_outcomes;
  for (int k = 0; k < p->n_posteriors; k++) n += PARTS * p->posterior[k].labels;
  return n;
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
  for (int k = 0; k < p->n_posteriors; k++) SYZ_TRY(add_posterior(p, t, &p->posterior[k]));
cleanup:
  return st;
}

/* ------------------------------------------------------------ densities */

static bool has_densities(const job *p)
{
  for (int k = 0; k < p->n_posteriors; k++)
    if (p->posterior[k].pdf) return true;
  return false;
}

static syz_status add_density(const job *p, table *t, const posterior *q, int k, table *grids)
{
  syz_status st = SYZ_OK;
  const sample_label *l = &p->sample.label[q->column[k]];
  const char *source = p->sample.source[q->source].name;
  name_column(t, "pdf", source, l->name);
  name_column(grids, "pdf", source, l->name);
  SYZ_TRY(describe(t, "probability density in cells of", l->name, source, ""));
  SYZ_TRY(describe(grids, "middles of the cells of", l->name, source, ""));
  t->owned[t->n] = posterior_rows(p, q, q->cells, q->pdf + k * q->cells, q->labels * q->cells);
  SYZ_REQUIRE(t->owned[t->n], SYZ_ERR_MEMORY, "no memory for densities on a grid");
  add(t, 'E', q->cells, "", t->comment[t->n], t->owned[t->n]); /* 1 by the unit of the grid */
  add(grids, 'D', q->cells, l->unit, grids->comment[grids->n], q->grid + k * q->cells);
cleanup:
  return st;
}

/* Two more tables: PDF with a row for each test object, and PDF_GRID with one row and the same columns. */
static syz_status put_densities(const job *p, syz_fits_out *out, const int64_t *id)
{
  syz_status st = SYZ_OK;
  table t = {0}, grids = {0};
  int most = 1;
  for (int k = 0; k < p->n_posteriors; k++) most += p->posterior[k].labels;
  SYZ_TRY(table_make(&t, most));
  SYZ_TRY(table_make(&grids, most));
  name_column(&t, "", "", "OBJECT_ID");
  add(&t, 'K', 1, "", "identifier of the test object", id);
  for (int k = 0; k < p->n_posteriors; k++)
    for (int d = 0; p->posterior[k].pdf && d < p->posterior[k].labels; d++)
      SYZ_TRY(add_density(p, &t, &p->posterior[k], d, &grids));
  SYZ_TRY(syz_fits_out_table(out, "PDF", p->sample.test, t.column, t.n, NULL, 0));
  SYZ_TRY(syz_fits_out_table(out, "PDF_GRID", 1, grids.column, grids.n, NULL, 0));
cleanup:
  table_free(&t);
  table_free(&grids);
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
  SYZ_TRY(table_make(&t, columns_of(p)));
  SYZ_TRY(fill(p, &t, id));
  SYZ_TRY(syz_fits_create(path, &out));
  SYZ_TRY(syz_fits_out_table(out, "PREDICTIONS", p->sample.test, t.column, t.n, &card, 1));
  if (has_densities(p)) SYZ_TRY(put_densities(p, out, id));
  SYZ_TRY(syz_fits_out_finish(&out));
cleanup:
  syz_fits_out_destroy(&out);
  table_free(&t);
  syz_free(&id);
  return st;
}
