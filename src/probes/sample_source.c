/* SPDX-License-Identifier: BSD-3-Clause */
/* The features of a source, for this rank's share of the objects. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "id_rows.h"
#include "sample.h"

enum { READ_ROWS = 4096 };

/* A row that is not finite, or all zero, means nothing. */
static bool is_usable(int64_t n, const float *x)
{
  bool is_finite = true, is_zero = true;
  for (int64_t e = 0; e < n; e++) {
    is_finite = is_finite && isfinite(x[e]);
    is_zero = is_zero && x[e] == 0;
  }
  return is_finite && !is_zero;
}

/* The first number of rows that mean nothing becomes NaN. */
static void mark_unusable(const sample *s, sample_source *f)
{
  for (int64_t i = 0; i < s->n; i++) {
    float *x = f->x + i * f->width;
    if (is_usable(f->width, x)) continue;
    x[0] = NAN;
    f->missing++;
  }
  syz_allreduce_i64(s->comm, &f->missing, 1, SYZ_SUM);
}

/* Columns at .. at + width - 1 of the rows from an embedding of the set itself. Rank-local. */
static syz_status read_beside(const sample *s, syz_embedding_set *set, syz_modality m, int64_t at, sample_source *f)
{
  syz_status st = SYZ_OK;
  const int64_t width = set->width[m];
  float *part = NULL;
  SYZ_ALLOC(part, "features", READ_ROWS * width);
  for (int64_t i = 0; i < s->n; i += READ_ROWS) {
    const int64_t n = s->n - i < READ_ROWS ? s->n - i : READ_ROWS;
    SYZ_TRY(syz_embedding_set_read(set, m, s->first + i, n, part));
    for (int64_t k = 0; k < n; k++) {
      if (!is_usable(width, part + k * width)) part[k * width] = NAN; /* of "both" one half may be zeros */
      memcpy(f->x + (i + k) * f->width + at, part + k * width, (size_t)width * sizeof *part);
    }
  }
cleanup:
  syz_free(&part);
  return st;
}

static syz_status allocate(const sample *s, sample_source *f)
{
  f->x = syz_alloc("features", (size_t)(s->n * f->width) + 1, sizeof *f->x);
  return syz_agree(s->comm, f->x ? SYZ_OK : SYZ_ERR_MEMORY);
}

/* ------------------------------------------------------------ another file, by object_id */

/* Rows of the file whose objects are among this rank's are copied to their places. Identifiers that are 0 or negative
 * stand for none, as in the split. Rank-local. */
static syz_status read_by_id(const sample *s, syz_embedding_set *set, syz_modality m, sample_source *f)
{
  syz_status st = SYZ_OK;
  id_row *mine = NULL;
  int64_t *id = NULL;
  float *part = NULL;
  SYZ_ALLOC(mine, "identifiers", s->n + 1);
  SYZ_ALLOC(id, "identifiers", READ_ROWS);
  SYZ_ALLOC(part, "features", READ_ROWS * f->width);
  for (int64_t i = 0; i < s->n; i++) {
    mine[i] = (id_row){s->id[s->first + i], i};
    f->x[i * f->width] = NAN;
  }
  id_rows_sort(mine, s->n);
  for (int64_t at = 0; at < set->rows; at += READ_ROWS) {
    const int64_t n = set->rows - at < READ_ROWS ? set->rows - at : READ_ROWS;
    bool is_read = false;
    SYZ_TRY(syz_embedding_set_ids(set, at, n, id));
    for (int64_t k = 0; k < n; k++) {
      if (id[k] <= 0) continue;
      int64_t low = id_rows_find(mine, s->n, id[k]);
      for (; low < s->n && mine[low].id == id[k]; low++) {
        float *x = f->x + mine[low].row * f->width;
        if (!isnan(x[0])) continue; /* the first row of an object that means something counts */
        if (!is_read) SYZ_TRY(syz_embedding_set_read(set, m, at, n, part));
        is_read = true;
        if (!is_usable(f->width, part + k * f->width)) continue;
        memcpy(x, part + k * f->width, (size_t)f->width * sizeof *x);
      }
    }
  }
cleanup:
  syz_free(&mine);
  syz_free(&id);
  syz_free(&part);
  return st;
}

/* "FILE", "FILE:image", "FILE:spectrum": which embeddings of it. */
static syz_status choose_modality(const syz_embedding_set *set, const char *name, const char *suffix, syz_modality *m)
{
  syz_status st = SYZ_OK;
  if (suffix) {
    *m = strcmp(suffix, syz_modality_name(SYZ_IMAGE)) == 0 ? SYZ_IMAGE : SYZ_SPECTRUM;
    SYZ_REQUIRE(set->width[*m], SYZ_ERR_DATA, "probe.sources: %s: the file has no %s_embedding", name, suffix);
    goto cleanup;
  }
  SYZ_REQUIRE(!set->width[SYZ_IMAGE] || !set->width[SYZ_SPECTRUM], SYZ_ERR_INPUT,
              "probe.sources: %s holds two embeddings; write %s:image or %s:spectrum", name, name, name);
  *m = set->width[SYZ_IMAGE] ? SYZ_IMAGE : SYZ_SPECTRUM;
cleanup:
  return st;
}

static syz_status load_file(sample *s, const char *name, sample_source *f)
{
  syz_status st = SYZ_OK;
  syz_embedding_set *set = NULL;
  syz_modality m = SYZ_IMAGE;
  char path[4096];
  const char *colon = strrchr(name, ':'), *suffix = NULL;
  for (syz_modality k = SYZ_IMAGE; colon && k < SYZ_MODALITIES; k++)
    if (strcmp(colon + 1, syz_modality_name(k)) == 0) suffix = colon + 1;
  const int length = snprintf(path, sizeof path, "%.*s", suffix ? (int)(colon - name) : (int)strlen(name), name);
  SYZ_REQUIRE(length < (int)sizeof path, SYZ_ERR_INPUT, "probe.sources: name too long");
  SYZ_TRY(syz_embedding_set_open(s->comm, "probe.sources", 1, &(const char *){path}, &set));
  SYZ_TRY_ALL(s->comm, choose_modality(set, name, suffix, &m));
  f->width = set->width[m];
  SYZ_TRY(allocate(s, f));
  SYZ_TRY_ALL(s->comm, read_by_id(s, set, m, f));
  SYZ_TRY_ALL(s->comm, syz_embedding_set_model(set, f->digest));
cleanup:
  syz_embedding_set_close(&set);
  return st;
}

/* ------------------------------------------------------------ the set's own, and photometry */

/* Files whose embeddings are those of different models hold different spaces. */
static syz_status one_model(syz_embedding_set *set, syz_modality m)
{
  syz_status st = SYZ_OK;
  char name[32], *digest = NULL, *text = NULL;
  int first = 0;
  snprintf(name, sizeof name, "%s_embedding", syz_modality_name(m));
  for (int i = 0; i < set->n_files; i++) {
    if (!syz_h5_has(set->file[i], name)) continue;
    SYZ_TRY(syz_h5_read_text(set->file[i], "", "model_digest", &text));
    SYZ_REQUIRE(!text || !digest || strcmp(text, digest) == 0, SYZ_ERR_DATA,
                "probe.embeddings: %s is of model %s, %s of model %s: embeddings of one model are wanted",
                set->path[first], digest, set->path[i], text);
    if (!digest) {
      digest = text;
      text = NULL;
      first = i;
    }
    syz_free(&text);
  }
cleanup:
  syz_free(&digest);
  syz_free(&text);
  return st;
}

static syz_status load_own(sample *s, syz_embedding_set *set, const char *name, sample_source *f)
{
  syz_status st = SYZ_OK;
  int64_t at = 0;
  for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++) {
    const bool is_wanted = strcmp(name, "both") == 0 || strcmp(name, syz_modality_name(m)) == 0;
    SYZ_REQUIRE(!is_wanted || set->width[m], SYZ_ERR_DATA, "probe.sources: %s, but %s%s has no %s_embedding", name,
                set->path[0], set->n_files > 1 ? " and the others" : "", syz_modality_name(m));
    if (is_wanted) f->width += set->width[m];
    if (is_wanted) SYZ_TRY_ALL(s->comm, one_model(set, m));
  }
  SYZ_TRY(allocate(s, f));
  for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++) {
    if (strcmp(name, "both") != 0 && strcmp(name, syz_modality_name(m)) != 0) continue;
    SYZ_TRY_ALL(s->comm, read_beside(s, set, m, at, f));
    at += set->width[m];
  }
  SYZ_TRY_ALL(s->comm, syz_embedding_set_model(set, f->digest));
cleanup:
  return st;
}

static syz_status load_photometry(sample *s, sample_columns *c, const syz_probe_data *d, sample_source *f)
{
  syz_status st = SYZ_OK;
  double *value = syz_alloc("photometry", (size_t)s->rows, sizeof *value);
  SYZ_TRY_ALL(s->comm, value ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_REQUIRE(d->photometry.n > 0, SYZ_ERR_INPUT, "probe.sources: photometry, but probe.photometry names no columns");
  f->width = d->photometry.n;
  SYZ_TRY(allocate(s, f));
  for (int k = 0; k < d->photometry.n; k++) {
    SYZ_TRY(sample_columns_evaluate(c, "probe.photometry", d->photometry.item[k], value, NULL, NULL));
    for (int64_t i = 0; i < s->n; i++) f->x[i * f->width + k] = (float)value[s->first + i];
  }
cleanup:
  syz_free(&value);
  return st;
}

syz_status sample_source_load(sample *s, syz_embedding_set *set, sample_columns *c, const syz_probe_data *d,
                              const char *name, sample_source *f)
{
  syz_status st = SYZ_OK;
  *f = (sample_source){.name = name};
  if (strcmp(name, "photometry") == 0)
    SYZ_TRY(load_photometry(s, c, d, f));
  else if (strcmp(name, "image") == 0 || strcmp(name, "spectrum") == 0 || strcmp(name, "both") == 0)
    SYZ_TRY(load_own(s, set, name, f));
  else
    SYZ_TRY(load_file(s, name, f));
  mark_unusable(s, f);
cleanup:
  return st;
}
