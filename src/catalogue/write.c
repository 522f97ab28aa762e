/* SPDX-License-Identifier: BSD-3-Clause */
/* Writes partial results to their final files. Each rank writes its share of the rows in pieces, so that memory does
 * not grow with the survey. */
#include "write.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "syzygy/files.h"
#include "syzygy/fits.h"

enum { PIECE_ROWS = 2048, OWN_COLUMNS = 5 };

/* This rank's rows, cut into the same number of pieces on every rank (some empty). */
typedef struct pieces {
  int64_t first, n, count;
} pieces;

static pieces cut(const syz_embed_result *r)
{
  pieces p;
  int64_t rows = syz_shardset_size(r->data), most, ignored;
  syz_share(rows, syz_comm_size(r->comm), 0, &ignored, &most);
  syz_share(rows, syz_comm_size(r->comm), syz_comm_rank(r->comm), &p.first, &p.n);
  p.count = (most + PIECE_ROWS - 1) / PIECE_ROWS;
  return p;
}

static int64_t piece_rows(const pieces *p, int64_t i, int64_t *first)
{
  int64_t offset = i * PIECE_ROWS < p->n ? i * PIECE_ROWS : p->n;
  *first = p->first + offset;
  return p->n - offset < PIECE_ROWS ? p->n - offset : PIECE_ROWS;
}

/* Columns of one piece. */
typedef struct columns {
  float *raw;                       /* [rows, towers, E] */
  float *embedding[SYZ_MODALITIES]; /* [rows, E] */
  int64_t *id;
  double *ra, *dec;
  uint8_t *has[SYZ_MODALITIES];
} columns;

static int tower_count(const syz_embed_result *r) { return r->has_tower[SYZ_IMAGE] + r->has_tower[SYZ_SPECTRUM]; }

static syz_status columns_allocate(const syz_embed_result *r, columns *k)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(k->raw, "result rows", PIECE_ROWS * r->width * tower_count(r));
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    SYZ_ALLOC(k->embedding[m], "embeddings", PIECE_ROWS * r->width);
    SYZ_ALLOC(k->has[m], "flags", PIECE_ROWS);
  }
  SYZ_ALLOC(k->id, "ids", PIECE_ROWS);
  SYZ_ALLOC(k->ra, "positions", PIECE_ROWS);
  SYZ_ALLOC(k->dec, "positions", PIECE_ROWS);
cleanup:
  return st;
}

static void columns_free(columns *k)
{
  syz_free(&k->raw);
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    syz_free(&k->embedding[m]);
    syz_free(&k->has[m]);
  }
  syz_free(&k->id);
  syz_free(&k->ra);
  syz_free(&k->dec);
}

bool syz_embed_has(const syz_embed_result *r, syz_modality m, const syz_object *o)
{
  return r->has_tower[m] && syz_object_has(o, m);
}

static syz_status columns_load(const syz_embed_result *r, int64_t first, int64_t n, columns *k)
{
  syz_status st = SYZ_OK;
  const syz_object *object = syz_shardset_objects(r->data) + first;
  size_t bytes = (size_t)r->width * sizeof(float);
  int towers = tower_count(r);
  if (n) SYZ_TRY(syz_embed_part_get(r->part, first, n, k->raw));
  for (int64_t i = 0; i < n; i++) {
    int t = 0;
    k->id[i] = object[i].object_id;
    k->ra[i] = object[i].ra;
    k->dec[i] = object[i].dec;
    for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++) {
      k->has[m][i] = syz_embed_has(r, m, &object[i]);
      if (r->has_tower[m]) memcpy(k->embedding[m] + i * r->width, k->raw + (i * towers + t++) * r->width, bytes);
    }
  }
cleanup:
  return st;
}

static const char *embedding_name(syz_modality m) { return m == SYZ_IMAGE ? "image_embedding" : "spectrum_embedding"; }

static syz_status describe(const syz_embed_result *r, syz_h5 *f)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_h5_write_text(f, "embed_key", r->key));
  SYZ_TRY(syz_h5_write_text(f, "model_file", r->model_file));
  SYZ_TRY(syz_h5_write_text(f, "model_digest", r->model_digest));
  SYZ_TRY(syz_h5_write_text(f, "data_digest", r->data_digest));
  SYZ_TRY(syz_h5_write_text(f, "data_path", r->data_path));
  SYZ_TRY(syz_h5_write_text(f, "data_split", r->split));
  SYZ_TRY(syz_h5_write_text(f, "precision", r->precision));
  SYZ_TRY(syz_h5_write_text(f, "engine", r->engine));
  if (r->pooling) SYZ_TRY(syz_h5_write_text(f, "pooling", r->pooling));
  if (r->int8) SYZ_TRY(syz_h5_write_text(f, "int8_calibration", r->int8));
cleanup:
  return st;
}

static syz_status create_datasets(const syz_embed_result *r, syz_h5 *f)
{
  syz_status st = SYZ_OK;
  int64_t rows = syz_shardset_size(r->data), width = r->width;
  const char *const *label;
  char(*unit)[SYZ_UNIT_TEXT] = NULL;
  int n;
  if (r->has_tower[SYZ_IMAGE])
    SYZ_TRY(syz_h5_dataset(f, "image_embedding", SYZ_H5_F32, rows, 1, &width, "",
                           "image tower's embedding, not normalised; NaN without an image"));
  if (r->has_tower[SYZ_SPECTRUM])
    SYZ_TRY(syz_h5_dataset(f, "spectrum_embedding", SYZ_H5_F32, rows, 1, &width, "",
                           "spectrum tower's embedding, not normalised; NaN without a spectrum"));
  SYZ_TRY(
      syz_h5_dataset(f, "object_id", SYZ_H5_I64, rows, 0, NULL, "", "identifier of the object, as in the data set"));
  SYZ_TRY(syz_h5_dataset(f, "ra", SYZ_H5_F64, rows, 0, NULL, "deg", "right ascension, ICRS; NaN when unknown"));
  SYZ_TRY(syz_h5_dataset(f, "dec", SYZ_H5_F64, rows, 0, NULL, "deg", "declination, ICRS; NaN when unknown"));
  SYZ_TRY(syz_h5_dataset(f, "has_image", SYZ_H5_U8, rows, 0, NULL, "", "1 where there is an image embedding"));
  SYZ_TRY(syz_h5_dataset(f, "has_spectrum", SYZ_H5_U8, rows, 0, NULL, "", "1 where there is a spectrum embedding"));
  n = syz_shardset_labels(r->data, &label);
  SYZ_TRY(syz_shardset_label_units(r->data, &unit));
  for (int i = 0; i < n; i++) {
    char dataset[SYZ_LABEL_NAME + 8];
    snprintf(dataset, sizeof dataset, "label/%s", label[i]);
    SYZ_TRY(syz_h5_dataset(f, dataset, SYZ_H5_F32, rows, 0, NULL, unit[i],
                           "label carried over from the data set; NaN where unknown"));
  }
cleanup:
  syz_free(&unit);
  return st;
}

static syz_status write_labels(const syz_embed_result *r, syz_h5 *f)
{
  syz_status st = SYZ_OK;
  const char *const *name;
  int n = syz_shardset_labels(r->data, &name);
  int64_t rows = syz_shardset_size(r->data), first, count;
  syz_share(rows, syz_comm_size(r->comm), syz_comm_rank(r->comm), &first, &count);
  float *value = syz_alloc("label", (size_t)count + 1, sizeof *value);
  SYZ_TRY_ALL(r->comm, value ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int i = 0; i < n; i++) {
    char dataset[SYZ_LABEL_NAME + 8];
    snprintf(dataset, sizeof dataset, "label/%s", name[i]);
    SYZ_TRY(syz_shardset_read_label_rows(r->data, name[i], first, count, value));
    SYZ_TRY(syz_h5_write_rows(f, dataset, first, count, value));
  }
cleanup:
  syz_free(&value);
  return st;
}

syz_status syz_embed_write_h5(const syz_embed_result *r)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  syz_h5 *f = NULL;
  columns k = {0};
  pieces p = cut(r);
  SYZ_TRY_ALL(r->comm, columns_allocate(r, &k));
  snprintf(path, sizeof path, "%s/embedding.h5", r->folder);
  SYZ_TRY(syz_h5_create(r->comm, path, "embedding", r->created_by, r->input_yaml, &f));
  SYZ_TRY(describe(r, f));
  SYZ_TRY(create_datasets(r, f));
  for (int64_t i = 0; i < p.count; i++) {
    int64_t first, n = piece_rows(&p, i, &first);
    SYZ_TRY_ALL(r->comm, columns_load(r, first, n, &k));
    for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++)
      if (r->has_tower[m]) SYZ_TRY(syz_h5_write_rows(f, embedding_name(m), first, n, k.embedding[m]));
    SYZ_TRY(syz_h5_write_rows(f, "object_id", first, n, k.id));
    SYZ_TRY(syz_h5_write_rows(f, "ra", first, n, k.ra));
    SYZ_TRY(syz_h5_write_rows(f, "dec", first, n, k.dec));
    SYZ_TRY(syz_h5_write_rows(f, "has_image", first, n, k.has[SYZ_IMAGE]));
    SYZ_TRY(syz_h5_write_rows(f, "has_spectrum", first, n, k.has[SYZ_SPECTRUM]));
  }
  SYZ_TRY(write_labels(r, f));
  SYZ_TRY(syz_h5_publish(&f));
cleanup:
  syz_h5_close(&f);
  columns_free(&k);
  return st;
}

/* ------------------------------------------------------------------ FITS */

/* The columns of the catalogue: the object's own, then every label. */
typedef struct catalogue {
  int n, own; /* columns; those that are not labels */
  syz_fits_column *column;
  char (*name)[SYZ_LABEL_NAME + 8], (*unit)[SYZ_UNIT_TEXT]; /* of the labels */
  const char *const *label;
  float *value;      /* [labels, PIECE_ROWS] */
  const void **data; /* [n] of a piece */
} catalogue;

static void catalogue_free(catalogue *t)
{
  syz_free(&t->column);
  syz_free(&t->name);
  syz_free(&t->unit);
  syz_free(&t->value);
  syz_free(&t->data);
}

static void add_column(catalogue *t, const char *name, char type, int64_t repeat, const char *unit, const char *comment)
{
  t->column[t->n++] = (syz_fits_column){.name = name, .type = type, .repeat = repeat, .unit = unit, .comment = comment};
}

/* TOPCAT and others do not tell names apart by case, so a label RA gets another name. */
static void name_label(const catalogue *t, const char *label, char name[SYZ_LABEL_NAME + 8])
{
  bool is_taken = false;
  for (int i = 0; i < t->own; i++) is_taken = is_taken || strcasecmp(t->column[i].name, label) == 0;
  snprintf(name, SYZ_LABEL_NAME + 8, "%s%s", is_taken ? "label_" : "", label);
}

static syz_status catalogue_make(const syz_embed_result *r, catalogue *t)
{
  syz_status st = SYZ_OK;
  const int labels = syz_shardset_labels(r->data, &t->label);
  SYZ_ALLOC(t->column, "columns", OWN_COLUMNS + labels);
  SYZ_ALLOC(t->data, "columns", OWN_COLUMNS + labels);
  SYZ_ALLOC(t->name, "columns", labels + 1);
  SYZ_ALLOC(t->value, "labels", (int64_t)labels * PIECE_ROWS + 1);
  SYZ_TRY(syz_shardset_label_units(r->data, &t->unit));
  add_column(t, "TARGETID", 'K', 1, NULL, "object identifier");
  add_column(t, "RA", 'D', 1, "deg", "right ascension, ICRS");
  add_column(t, "DEC", 'D', 1, "deg", "declination, ICRS");
  if (r->has_tower[SYZ_IMAGE])
    add_column(t, "IMAGE_EMBEDDING", 'E', r->width, NULL, "image tower, NaN without an image");
  if (r->has_tower[SYZ_SPECTRUM])
    add_column(t, "SPECTRUM_EMBEDDING", 'E', r->width, NULL, "spectrum tower, NaN without a spectrum");
  t->own = t->n;
  for (int i = 0; i < labels; i++) {
    name_label(t, t->label[i], t->name[i]);
    add_column(t, t->name[i], 'E', 1, t->unit[i][0] ? t->unit[i] : NULL, "label, NaN where unknown");
  }
cleanup:
  return st;
}

static syz_status put_rows(const syz_embed_result *r, const pieces *p, columns *k, catalogue *c, syz_fits_table *t)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0; i < p->count; i++) {
    int64_t first, n = piece_rows(p, i, &first);
    int at = 0;
    if (!n) break;
    SYZ_TRY(columns_load(r, first, n, k));
    c->data[at++] = k->id;
    c->data[at++] = k->ra;
    c->data[at++] = k->dec;
    for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++)
      if (r->has_tower[m]) c->data[at++] = k->embedding[m];
    for (int l = 0; at < c->n; l++) {
      float *value = c->value + (int64_t)l * PIECE_ROWS;
      SYZ_TRY(syz_shardset_read_label_rows(r->data, c->label[l], first, n, value));
      c->data[at++] = value;
    }
    SYZ_TRY(syz_fits_table_put(t, first, n, c->data));
  }
cleanup:
  return st;
}

syz_status syz_embed_write_fits(const syz_embed_result *r)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX], temporary[PATH_MAX];
  syz_fits_table *t = NULL;
  catalogue c = {0};
  columns k = {0};
  pieces p = cut(r);
  int64_t rows = syz_shardset_size(r->data);
  bool is_first = syz_comm_rank(r->comm) == 0, has_begun = false;
  const syz_fits_card cards[] = {
      SYZ_CARD_TEXT("CREATOR", r->created_by, "program, version, commit"),
      SYZ_CARD_TEXT("MODELDIG", r->model_digest, "digest of the model's weights"),
      SYZ_CARD_TEXT("DATADIG", r->data_digest, "digest of the data set"),
      SYZ_CARD_TEXT("EMBEDKEY", r->key, "digest of all that the numbers depend on"),
      SYZ_CARD_TEXT("PRECISIO", r->precision, "inputs of matrix products"),
  };
  int n_cards = (int)(sizeof cards / sizeof *cards);
  snprintf(path, sizeof path, "%s/embedding.fits", r->folder);
  SYZ_TRY_ALL(r->comm, snprintf(temporary, sizeof temporary, "%s.tmp", path) < (int)sizeof temporary
                           ? columns_allocate(r, &k)
                           : syz_error_set(SYZ_ERR_WRITE, __FILE__, __LINE__, "%s: name too long", path));
  SYZ_TRY_ALL(r->comm, catalogue_make(r, &c));
  SYZ_TRY_ALL(r->comm, is_first ? syz_refuse_link(path) : SYZ_OK); /* the finished file gets this name */
  SYZ_TRY_ALL(r->comm, is_first ? syz_refuse_link(temporary) : SYZ_OK);
  has_begun = true;
  SYZ_TRY_ALL(r->comm, is_first ? syz_fits_table_create(temporary, "EMBEDDING", rows, c.column, c.n, cards, n_cards, &t)
                                : SYZ_OK);
  SYZ_TRY_ALL(r->comm, is_first
                           ? SYZ_OK
                           : syz_fits_table_attach(temporary, "EMBEDDING", rows, c.column, c.n, cards, n_cards, &t));
  SYZ_TRY_ALL(r->comm, put_rows(r, &p, &k, &c, t));
  uint64_t sum = syz_fits_table_sum(t);
  syz_allreduce_u64(r->comm, &sum, 1, SYZ_SUM);
  if (!is_first) syz_fits_table_close(&t);
  syz_barrier(r->comm);
  SYZ_TRY_ALL(r->comm, is_first ? syz_fits_table_finish(&t, sum) : SYZ_OK);
  SYZ_TRY_ALL(r->comm, is_first ? syz_file_publish(temporary, path) : SYZ_OK);
cleanup:
  if (t) syz_fits_table_close(&t);
  if (st != SYZ_OK && has_begun && is_first) (void)unlink(temporary);
  columns_free(&k);
  catalogue_free(&c);
  return st;
}
