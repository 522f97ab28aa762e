/* SPDX-License-Identifier: BSD-3-Clause */
/* Several embedding files as one table. Files of other programs are accepted if they hold the datasets that are read
 * here. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "syzygy/catalogue.h"

enum { VECTORS_NAME = 256 };

static void dataset_name(syz_modality m, char name[32]) { snprintf(name, 32, "%s_embedding", syz_modality_name(m)); }
static void flag_name(syz_modality m, char name[32]) { snprintf(name, 32, "has_%s", syz_modality_name(m)); }
static void label_dataset(const char *name, char *dataset, size_t room) { snprintf(dataset, room, "label/%s", name); }

static syz_status check_format(syz_h5 *f, const char *key)
{
  syz_status st = SYZ_OK;
  char *format = NULL;
  SYZ_TRY(syz_h5_read_text(f, "", "syzygy_format", &format));
  SYZ_REQUIRE(!format || strcmp(format, "embedding") == 0, SYZ_ERR_DATA,
              "%s: %s is a %s file; an embedding file is required (made by `syzygy embed`)", key, syz_h5_path(f),
              format);
cleanup:
  syz_free(&format);
  return st;
}

/* Require one number per row: another program's file may hold more under that name than the buffer has room for. */
static syz_status check_column(syz_h5 *f, const char *key, const char *name, int64_t rows)
{
  syz_status st = SYZ_OK;
  int ndim;
  int64_t shape[8];
  if (!syz_h5_has(f, name)) return SYZ_OK;
  SYZ_TRY(syz_h5_shape(f, name, &ndim, shape));
  SYZ_REQUIRE(ndim == 1 && shape[0] == rows, SYZ_ERR_DATA, "%s: %s: %s has %d axes and %lld rows, wanted 1 and %lld",
              key, syz_h5_path(f), name, ndim, ndim ? (long long)shape[0] : 0LL, (long long)rows);
cleanup:
  return st;
}

/* Check the shapes of one file against the files before it. */
static syz_status check_file(syz_embedding_set *s, int i, const char *key)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = s->file[i];
  int ndim;
  int64_t shape[8];
  bool has_any = false;
  SYZ_TRY(check_format(f, key));
  SYZ_REQUIRE(syz_h5_has(f, "object_id"), SYZ_ERR_DATA,
              "%s: %s has no dataset object_id; an embedding file is required (made by `syzygy embed`)", key,
              s->path[i]);
  SYZ_TRY(syz_h5_shape(f, "object_id", &ndim, shape));
  SYZ_REQUIRE(ndim == 1, SYZ_ERR_DATA, "%s: %s: object_id has %d axes, wanted 1", key, s->path[i], ndim);
  int64_t n = shape[0];
  for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++) {
    char name[32];
    flag_name(m, name);
    SYZ_TRY(check_column(f, key, name, n));
    dataset_name(m, name);
    if (!syz_h5_has(f, name)) continue;
    SYZ_TRY(syz_h5_shape(f, name, &ndim, shape));
    SYZ_REQUIRE(ndim == 2 && shape[0] == n && shape[1] >= 1 && shape[1] <= 65536, SYZ_ERR_DATA,
                "%s: %s: %s has %d axes and shape (%lld, %lld); wanted (%lld, E) with E in 1 .. 65536", key, s->path[i],
                name, ndim, (long long)shape[0], ndim > 1 ? (long long)shape[1] : 0LL, (long long)n);
    SYZ_REQUIRE(!s->width[m] || s->width[m] == shape[1], SYZ_ERR_DATA,
                "%s: %s: %s is %lld wide, but %lld in the files before it: embeddings of one model are wanted", key,
                s->path[i], name, (long long)shape[1], (long long)s->width[m]);
    s->width[m] = shape[1];
    has_any = true;
  }
  SYZ_REQUIRE(has_any, SYZ_ERR_DATA, "%s: %s has neither image_embedding nor spectrum_embedding", key, s->path[i]);
  s->begin[i + 1] = s->begin[i] + n;
cleanup:
  return st;
}

typedef struct verify_share {
  syz_h5 *f;
  int number, rank, size;
} verify_share;

/* The ranks verify the datasets in turn. */
static syz_status verify_dataset(void *context, const char *name)
{
  verify_share *v = context;
  bool has;
  return v->number++ % v->size == v->rank ? syz_h5_verify(v->f, name, &has) : SYZ_OK;
}

/* Rank-local. */
static syz_status verify_file(const syz_embedding_set *s, int i, const char *key)
{
  verify_share v = {s->file[i], 0, s->comm ? syz_comm_rank(s->comm) : 0, s->comm ? syz_comm_size(s->comm) : 1};
  syz_status st = syz_h5_visit(s->file[i], "", verify_dataset, &v);
  return st == SYZ_OK ? st : syz_error_prefix(st, key);
}

static syz_status allocate(syz_embedding_set *s, int n, const char *const *path)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(s->path, "embedding paths", n);
  SYZ_ALLOC(s->file, "embedding files", n);
  SYZ_ALLOC(s->begin, "embedding rows", n + 1);
  for (int i = 0; i < n; i++) {
    struct stat info;
    bool is_folder = stat(path[i], &info) == 0 && S_ISDIR(info.st_mode);
    size_t room = strlen(path[i]) + sizeof "/embedding.h5";
    SYZ_ALLOC(s->path[i], "embedding path", room);
    s->n_files = i + 1;
    snprintf(s->path[i], room, "%s%s", path[i], is_folder ? "/embedding.h5" : "");
  }
cleanup:
  return st;
}

syz_status syz_embedding_set_open(syz_comm *c, const char *key, int n, const char *const *path, syz_embedding_set **out)
{
  syz_status st = SYZ_OK;
  syz_embedding_set *s = syz_alloc("embedding set", 1, sizeof *s);
  *out = NULL;
  st = s ? allocate(s, n, path) : SYZ_ERR_MEMORY;
  if (c) st = syz_agree(c, st);
  SYZ_TRY(st);
  s->comm = c;
  for (int i = 0; i < n; i++) {
    st = syz_h5_open(c, s->path[i], &s->file[i]);
    if (st != SYZ_OK) {
      st = syz_error_prefix(st, key);
      goto cleanup;
    }
    st = check_file(s, i, key);
    if (st == SYZ_OK) st = verify_file(s, i, key);
    if (st == SYZ_OK && syz_h5_lacks_seal(s->file[i]))
      syz_warn("%s has no checksum of its attributes (written by an older version or another program), so damage there "
               "is not "
               "noticed",
               s->path[i]);
    if (c) st = syz_agree(c, st);
    SYZ_TRY(st);
  }
  s->rows = s->begin[n];
  *out = s;
  s = NULL;
cleanup:
  syz_embedding_set_close(&s);
  return st;
}

void syz_embedding_set_close(syz_embedding_set **sp)
{
  syz_embedding_set *s = *sp;
  if (!s) return;
  for (int i = 0; i < s->n_files; i++) {
    if (s->file[i]) syz_h5_close(&s->file[i]);
    syz_free(&s->path[i]);
  }
  syz_free(&s->path);
  syz_free(&s->file);
  syz_free(&s->begin);
  syz_free(sp);
}

/* The part of rows [first, first + n) in file i: its rows in the file, and their place in the output. */
static int64_t overlap(const syz_embedding_set *s, int i, int64_t first, int64_t n, int64_t *in_file, int64_t *at)
{
  int64_t low = first > s->begin[i] ? first : s->begin[i];
  int64_t high = first + n < s->begin[i + 1] ? first + n : s->begin[i + 1];
  *in_file = low - s->begin[i];
  *at = low - first;
  return high > low ? high - low : 0;
}

/* The dataset of vectors by this name, and the flag of rows that have them ("": none). */
static void vectors_dataset(const char *name, char *dataset, size_t room, char flag[32])
{
  snprintf(dataset, room, "%s", name);
  flag[0] = 0;
  for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++)
    if (strcmp(name, syz_modality_name(m)) == 0) {
      dataset_name(m, dataset);
      flag_name(m, flag);
    }
}

/* NaN for objects whose flag says that they have no such data: their numbers mean nothing. */
static syz_status blank_missing(syz_h5 *f, const char *flag, int64_t first, int64_t n, int64_t width, float *x)
{
  syz_status st = SYZ_OK;
  uint8_t *has = NULL;
  if (!flag[0] || !syz_h5_has(f, flag)) return SYZ_OK;
  SYZ_ALLOC(has, "flags", n);
  SYZ_TRY(syz_h5_read(f, flag, SYZ_H5_U8, first, n, has));
  for (int64_t i = 0; i < n; i++)
    for (int64_t e = 0; !has[i] && e < width; e++) x[i * width + e] = NAN;
cleanup:
  syz_free(&has);
  return st;
}

syz_status syz_embedding_set_read_vectors(syz_embedding_set *s, const char *name, int64_t width, int64_t first,
                                          int64_t n, float *x)
{
  syz_status st = SYZ_OK;
  char dataset[VECTORS_NAME], flag[32];
  vectors_dataset(name, dataset, sizeof dataset, flag);
  for (int i = 0; i < s->n_files; i++) {
    int64_t row, at, count = overlap(s, i, first, n, &row, &at);
    if (!count) continue;
    if (!syz_h5_has(s->file[i], dataset)) {
      for (int64_t e = 0; e < count * width; e++) x[at * width + e] = NAN;
      continue;
    }
    SYZ_TRY(syz_h5_read(s->file[i], dataset, SYZ_H5_F32, row, count, x + at * width));
    SYZ_TRY(blank_missing(s->file[i], flag, row, count, width, x + at * width));
  }
cleanup:
  return st;
}

syz_status syz_embedding_set_read(syz_embedding_set *s, syz_modality m, int64_t first, int64_t n, float *x)
{
  return syz_embedding_set_read_vectors(s, syz_modality_name(m), s->width[m], first, n, x);
}

syz_status syz_embedding_set_vectors(syz_embedding_set *s, const char *key, const char *name, int64_t *width)
{
  syz_status st = SYZ_OK;
  char dataset[VECTORS_NAME], flag[32];
  int ndim;
  int64_t shape[8];
  *width = 0;
  SYZ_REQUIRE(strlen(name) < VECTORS_NAME, SYZ_ERR_INPUT, "%s: \"%s\" is longer than %d characters", key, name,
              VECTORS_NAME - 1);
  vectors_dataset(name, dataset, sizeof dataset, flag);
  for (int i = 0; i < s->n_files; i++) {
    if (!syz_h5_has(s->file[i], dataset)) continue;
    SYZ_TRY(syz_h5_shape(s->file[i], dataset, &ndim, shape));
    SYZ_REQUIRE(ndim == 2 && shape[0] == s->begin[i + 1] - s->begin[i] && shape[1] >= 1 && shape[1] <= 65536,
                SYZ_ERR_DATA,
                "%s: %s: %s has %d axes; a row of 1 .. 65536 numbers for each of the %lld objects is wanted", key,
                s->path[i], dataset, ndim, (long long)(s->begin[i + 1] - s->begin[i]));
    SYZ_REQUIRE(!*width || *width == shape[1], SYZ_ERR_DATA, "%s: %s: %s is %lld wide, but %lld in the files before it",
                key, s->path[i], dataset, (long long)shape[1], (long long)*width);
    *width = shape[1];
  }
  SYZ_REQUIRE(*width, SYZ_ERR_DATA, "%s: %s%s has no %s", key, s->path[0], s->n_files > 1 ? " and the others" : "",
              dataset);
cleanup:
  return st;
}

syz_status syz_embedding_set_ids(syz_embedding_set *s, int64_t first, int64_t n, int64_t *id)
{
  syz_status st = SYZ_OK;
  for (int i = 0; i < s->n_files; i++) {
    int64_t row, at, count = overlap(s, i, first, n, &row, &at);
    if (count) SYZ_TRY(syz_h5_read(s->file[i], "object_id", SYZ_H5_I64, row, count, id + at));
  }
cleanup:
  return st;
}

/* Rows of files without positions are NaN. */
static syz_status read_places(syz_embedding_set *s, int i, const char *name, int64_t row, int64_t n, double *value)
{
  syz_status st = SYZ_OK;
  for (int64_t k = 0; k < n; k++) value[k] = NAN;
  if (!syz_h5_has(s->file[i], name)) return SYZ_OK;
  SYZ_TRY(check_column(s->file[i], s->path[i], name, s->begin[i + 1] - s->begin[i]));
  SYZ_TRY(syz_h5_read(s->file[i], name, SYZ_H5_F64, row, n, value));
cleanup:
  return st;
}

syz_status syz_embedding_set_places(syz_embedding_set *s, int64_t first, int64_t n, double *ra, double *dec)
{
  syz_status st = SYZ_OK;
  for (int i = 0; i < s->n_files; i++) {
    int64_t row, at, count = overlap(s, i, first, n, &row, &at);
    if (!count) continue;
    SYZ_TRY(read_places(s, i, "ra", row, count, ra + at));
    SYZ_TRY(read_places(s, i, "dec", row, count, dec + at));
  }
cleanup:
  return st;
}

/* Text attribute of an object of the first file that has one. */
static syz_status first_text(syz_embedding_set *s, const char *object, const char *attribute, size_t room, char *out)
{
  syz_status st = SYZ_OK;
  out[0] = '\0';
  for (int i = 0; i < s->n_files && !out[0]; i++) {
    char *text = NULL;
    if (object[0] && !syz_h5_has(s->file[i], object)) continue;
    SYZ_TRY(syz_h5_read_text(s->file[i], object, attribute, &text));
    if (text) snprintf(out, room, "%s", text);
    syz_free(&text);
  }
cleanup:
  return st;
}

syz_status syz_embedding_set_label_unit(syz_embedding_set *s, const char *name, char unit[72])
{
  char dataset[SYZ_LABEL_NAME + 8];
  label_dataset(name, dataset, sizeof dataset);
  return first_text(s, dataset, "units", 72, unit);
}

syz_status syz_embedding_set_model(syz_embedding_set *s, char digest[80])
{
  return first_text(s, "", "model_digest", 80, digest);
}

syz_status syz_embedding_set_check_label(syz_embedding_set *s, const char *key, const char *name)
{
  syz_status st = SYZ_OK;
  char dataset[SYZ_LABEL_NAME + 8];
  label_dataset(name, dataset, sizeof dataset);
  for (int i = 0; i < s->n_files; i++) SYZ_TRY(check_column(s->file[i], key, dataset, s->begin[i + 1] - s->begin[i]));
cleanup:
  return st;
}

bool syz_embedding_set_has_label(syz_embedding_set *s, const char *name)
{
  char dataset[SYZ_LABEL_NAME + 8];
  label_dataset(name, dataset, sizeof dataset);
  for (int i = 0; i < s->n_files; i++)
    if (syz_h5_has(s->file[i], dataset)) return true;
  return false;
}

syz_status syz_embedding_set_label(syz_embedding_set *s, const char *name, int64_t first, int64_t n, float *value)
{
  syz_status st = SYZ_OK;
  char dataset[SYZ_LABEL_NAME + 8];
  label_dataset(name, dataset, sizeof dataset);
  for (int i = 0; i < s->n_files; i++) {
    int64_t row, at, count = overlap(s, i, first, n, &row, &at);
    if (!count) continue;
    if (!syz_h5_has(s->file[i], dataset)) {
      for (int64_t j = 0; j < count; j++) value[at + j] = NAN;
      continue;
    }
    SYZ_TRY(syz_h5_read(s->file[i], dataset, SYZ_H5_F32, row, count, value + at));
  }
cleanup:
  return st;
}
