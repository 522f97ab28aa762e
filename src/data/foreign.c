/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Other people's HDF5 files of galaxies, row by row in syzygy's terms. Facts and traps: src/sky/README.md "HDF5 files of others".
 *
 * - AstroCLIP: images have the axes (x, y, band).
 * - ssl-legacysurvey: `inds` repeats, so objects are known by RELEASE, BRICKID, OBJID; a column of another length than the images is not used.
 * - Multimodal Universe, desi: spectrum_mask True = bad. legacysurvey: image_mask True = clean, four bands g, r, i, z of 160 x 160 pixels,
 *   identifiers as text without the release.
 * - Identifiers exceed 2^53: a float column of them is refused.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "shardset.h"

enum { BLOCK = 16, LABELS = 512, SIZE_MAX_PIXELS = 4096, ID_TEXT = 80 };
static const double wave_tolerance_A = 0.01; /* float32 at 9824 A resolves 0.001 */

typedef struct label {
  char name[SYZ_LABEL_NAME], dataset[SYZ_LABEL_NAME];
  int item; /* of a (n,3) column, -1: the column has one axis */
} label;

typedef enum id_source { ID_COLUMN, ID_TRIPLE, ID_TEXT_COLUMN } id_source;

struct syz_foreign {
  syz_h5 *f;
  syz_foreign_kind kind;
  int64_t n;
  struct {
    char group[4];
    int64_t first, rows;
  } part[10]; /* AstroCLIP; otherwise one with an empty group */
  int parts;
  id_source id;
  char id_column[SYZ_LABEL_NAME], triple[3][SYZ_LABEL_NAME], ra[SYZ_LABEL_NAME], dec[SYZ_LABEL_NAME]; /* "" = none */
  int64_t bands, size; /* of the stored images */
  int band[SYZ_BANDS]; /* where g, r, z are */
  char image_name[16];
  bool has_ivar, has_mask, has_lambda, has_clean;
  label *label;
  const char **label_name;
  int labels;
  float *pixels; /* BLOCK rows as stored */
  int32_t *mask;
  size_t pixels_room, mask_room;
};

const char *syz_foreign_kind_text(syz_foreign_kind kind)
{
  switch (kind) {
  case SYZ_FOREIGN_NONE: return "not a known survey file";
  case SYZ_FOREIGN_ASTROCLIP: return "AstroCLIP pairs";
  case SYZ_FOREIGN_SSL: return "ssl-legacysurvey images";
  case SYZ_FOREIGN_MMU_DESI: return "Multimodal Universe desi spectra";
  case SYZ_FOREIGN_MMU_LEGACY: return "Multimodal Universe legacysurvey images";
  case SYZ_FOREIGN_MMU_SSL: return "Multimodal Universe ssl_legacysurvey images";
  }
  return "?";
}

/* -------------------------------------------------------------------- open */

static syz_status expect_shape(syz_h5 *f, const char *name, int64_t rows, int n, const int64_t *shape)
{
  syz_status st = SYZ_OK;
  int ndim;
  int64_t found[8];
  SYZ_TRY(syz_h5_shape(f, name, &ndim, found));
  SYZ_REQUIRE(ndim >= 1 && found[0] == rows, SYZ_ERR_DATA, "%s: dataset %s has %lld rows where the others have %lld", syz_h5_path(f), name,
              ndim ? (long long)found[0] : 0LL, (long long)rows);
  bool is_right = ndim == n + 1;
  for (int i = 0; is_right && i < n; i++) is_right = found[i + 1] == shape[i];
  SYZ_REQUIRE(is_right, SYZ_ERR_DATA, "%s: dataset %s has %d axes (last %lld), %d axes (last %lld) are wanted", syz_h5_path(f), name, ndim,
              (long long)found[ndim - 1], n + 1, (long long)shape[n - 1]);
cleanup:
  return st;
}

static syz_status open_astroclip(syz_foreign *o)
{
  syz_status st = SYZ_OK;
  set_scan *scan = NULL;
  SYZ_ALLOC(scan, "file scan", 1);
  SYZ_ALLOC(scan->label, "label names", SYZ_LABELS_MAX);
  SYZ_TRY(syz_shardset_scan(syz_h5_path(o->f), 0, SYZ_SPLIT_ALL, scan)); /* checks every shape */
  for (int i = 0; i < scan->parts; i++) {
    snprintf(o->part[i].group, sizeof o->part[i].group, "%.3s", scan->part[i].group);
    o->part[i].first = o->n;
    o->part[i].rows = scan->part[i].rows;
    o->n += scan->part[i].rows;
  }
  o->parts = scan->parts;
  if (scan->labels) {
    SYZ_ALLOC(o->label, "labels", 1);
    snprintf(o->label[0].name, SYZ_LABEL_NAME, "redshift");
    snprintf(o->label[0].dataset, SYZ_LABEL_NAME, "redshifts");
    o->label[0].item = -1;
    o->labels = 1;
  }
cleanup:
  if (scan) syz_free(&scan->label);
  syz_free(&scan);
  return st;
}

static syz_status find_bands(syz_foreign *o)
{
  syz_status st = SYZ_OK;
  char *text = NULL;
  const char letter[] = "grz";
  for (int b = 0; b < SYZ_BANDS; b++) o->band[b] = b;
  if (o->bands == 4) o->band[2] = 3; /* g, r, i, z */
  SYZ_REQUIRE(o->bands == 3 || o->bands == 4, SYZ_ERR_DATA, "%s: dataset %s has %lld bands; g, r, z or g, r, i, z are read", syz_h5_path(o->f),
              o->image_name, (long long)o->bands);
  if (!syz_h5_has(o->f, "image_band") || o->n == 0) goto cleanup;
  SYZ_TRY(expect_shape(o->f, "image_band", o->n, 1, &o->bands));
  text = syz_alloc("band names", (size_t)(BLOCK * o->bands), 16);
  SYZ_REQUIRE(text, SYZ_ERR_MEMORY, "no memory for band names");
  for (int64_t first = 0; first < o->n; first += BLOCK) { /* every row says so for itself */
    int64_t rows = o->n - first < BLOCK ? o->n - first : BLOCK;
    SYZ_TRY(syz_h5_read_strings(o->f, "image_band", first, rows, 16, text));
    for (int b = 0; b < SYZ_BANDS; b++)
      for (int64_t r = 0; r < rows; r++) {
        int at = -1;
        for (int64_t k = 0; k < o->bands; k++) {
          const char *name = text + (r * o->bands + k) * 16;
          size_t length = strlen(name);
          if (length && name[length - 1] == letter[b] && (length == 1 || name[length - 2] == '-')) at = (int)k;
        }
        SYZ_REQUIRE(at >= 0, SYZ_ERR_DATA, "%s: image_band, row %lld: no band %c", syz_h5_path(o->f), (long long)(first + r), letter[b]);
        if (first + r == 0) o->band[b] = at;
        SYZ_REQUIRE(at == o->band[b], SYZ_ERR_DATA, "%s: image_band, row %lld: the bands are in another order than before", syz_h5_path(o->f),
                    (long long)(first + r));
      }
  }
cleanup:
  syz_free(&text);
  return st;
}

static syz_status open_images(syz_foreign *o, const char *name)
{
  syz_status st = SYZ_OK;
  int ndim;
  int64_t shape[8];
  SYZ_TRY(syz_h5_shape(o->f, name, &ndim, shape));
  SYZ_REQUIRE(ndim == 4 && shape[2] == shape[3] && shape[2] >= SYZ_IMAGE_SIZE && shape[2] <= SIZE_MAX_PIXELS && (shape[2] - SYZ_IMAGE_SIZE) % 2 == 0,
              SYZ_ERR_DATA, "%s: dataset %s has %d axes, the last two of %lld x %lld; (n, band, y, x) with an even number of pixels from 152 up is wanted",
              syz_h5_path(o->f), name, ndim, ndim > 1 ? (long long)shape[ndim - 2] : 0LL, ndim ? (long long)shape[ndim - 1] : 0LL);
  snprintf(o->image_name, sizeof o->image_name, "%s", name);
  o->n = shape[0];
  o->bands = shape[1];
  o->size = shape[2];
  SYZ_TRY(find_bands(o));
  if (o->kind == SYZ_FOREIGN_MMU_LEGACY && syz_h5_has(o->f, "image_mask")) {
    SYZ_TRY(expect_shape(o->f, "image_mask", o->n, 2, shape + 2));
    o->has_clean = true;
  }
  o->pixels_room = (size_t)(BLOCK * o->bands * o->size * o->size);
  o->mask_room = (size_t)(BLOCK * o->size * o->size);
cleanup:
  return st;
}

static syz_status open_spectra(syz_foreign *o)
{
  syz_status st = SYZ_OK;
  const int64_t pixels = SYZ_SPECTRUM_PIXELS;
  int ndim;
  int64_t shape[8];
  SYZ_TRY(syz_h5_shape(o->f, "spectrum_flux", &ndim, shape));
  o->n = ndim ? shape[0] : 0;
  SYZ_TRY(expect_shape(o->f, "spectrum_flux", o->n, 1, &pixels));
  o->has_ivar = syz_h5_has(o->f, "spectrum_ivar");
  o->has_mask = syz_h5_has(o->f, "spectrum_mask");
  o->has_lambda = syz_h5_has(o->f, "spectrum_lambda");
  if (o->has_ivar) SYZ_TRY(expect_shape(o->f, "spectrum_ivar", o->n, 1, &pixels));
  if (o->has_mask) SYZ_TRY(expect_shape(o->f, "spectrum_mask", o->n, 1, &pixels));
  if (o->has_lambda) SYZ_TRY(expect_shape(o->f, "spectrum_lambda", o->n, 1, &pixels));
  o->pixels_room = o->mask_room = (size_t)(BLOCK * pixels);
cleanup:
  return st;
}

/* Looks at every dataset of the root once: identifiers and positions by name in any case, the other numbers as labels. */
static syz_status take_column(void *context, const char *name)
{
  syz_status st = SYZ_OK;
  syz_foreign *o = context;
  static const char *const triple[] = {"release", "brickid", "objid"};
  static const char *const not_labels[] = {"object_id", "targetid", "inds", "healpix", "ra", "dec", "target_ra", "target_dec"};
  int ndim, bits;
  int64_t shape[8];
  char kind;
  if (strchr(name, '/') || strlen(name) + 3 > SYZ_LABEL_NAME) return SYZ_OK;
  SYZ_TRY(syz_h5_shape(o->f, name, &ndim, shape));
  SYZ_TRY(syz_h5_class(o->f, name, &kind, &bits));
  bool is_column = ndim == 1 && shape[0] == o->n, is_number = strchr("fiub", kind) != NULL;
  for (int i = 0; i < 3; i++)
    if (is_column && !strcasecmp(name, triple[i])) snprintf(o->triple[i], SYZ_LABEL_NAME, "%s", name);
  if (is_column && kind == 'f' && (!strcasecmp(name, "ra") || (!*o->ra && !strcasecmp(name, "target_ra")))) snprintf(o->ra, SYZ_LABEL_NAME, "%s", name);
  if (is_column && kind == 'f' && (!strcasecmp(name, "dec") || (!*o->dec && !strcasecmp(name, "target_dec"))))
    snprintf(o->dec, SYZ_LABEL_NAME, "%s", name);
  if (!is_number) return SYZ_OK;
  for (size_t i = 0; i < sizeof not_labels / sizeof *not_labels; i++)
    if (!strcasecmp(name, not_labels[i])) return SYZ_OK;
  int items = is_column ? 1 : ndim == 2 && shape[0] == o->n && shape[1] == SYZ_BANDS ? SYZ_BANDS : 0;
  for (int i = 0; i < items && o->labels < LABELS; i++) {
    label *l = &o->label[o->labels++];
    snprintf(l->dataset, sizeof l->dataset, "%s", name);
    snprintf(l->name, sizeof l->name, items > 1 ? "%.60s_%c" : "%.60s", name, "grz"[i]);
    l->item = items > 1 ? i : -1;
  }
cleanup:
  return st;
}

static int by_name(const void *a, const void *b) { return strcmp(((const label *)a)->name, ((const label *)b)->name); }

static bool is_column(syz_foreign *o, const char *name, char *kind)
{
  int ndim, bits;
  int64_t shape[8];
  return syz_h5_has(o->f, name) && syz_h5_shape(o->f, name, &ndim, shape) == SYZ_OK && ndim == 1 && shape[0] == o->n &&
         syz_h5_class(o->f, name, kind, &bits) == SYZ_OK;
}

static syz_status choose_identifier(syz_foreign *o)
{
  syz_status st = SYZ_OK;
  static const char *const columns[] = {"object_id", "TARGETID", "targetid", "inds"};
  char kind = '?';
  if (o->kind != SYZ_FOREIGN_MMU_DESI && *o->triple[0] && *o->triple[1] && *o->triple[2]) {
    o->id = ID_TRIPLE;
    return SYZ_OK;
  }
  for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
    if (!is_column(o, columns[i], &kind)) continue;
    SYZ_REQUIRE(strchr("ius", kind), SYZ_ERR_DATA, "%s: dataset %s holds identifiers as floats, which lose digits", syz_h5_path(o->f), columns[i]);
    snprintf(o->id_column, sizeof o->id_column, "%s", columns[i]);
    o->id = kind == 's' ? ID_TEXT_COLUMN : ID_COLUMN;
    return SYZ_OK;
  }
  SYZ_REQUIRE(false, SYZ_ERR_DATA, "%s: no identifiers of length %lld: release, brickid, objid or object_id or inds are looked for", syz_h5_path(o->f),
              (long long)o->n);
cleanup:
  return st;
}

static syz_status list_columns(syz_foreign *o)
{
  syz_status st = SYZ_OK;
  static const char *const redshifts[] = {"redshift", "z_spec", "Z", "Z_HP"};
  SYZ_ALLOC(o->label, "labels", LABELS + 1);
  SYZ_TRY(syz_h5_visit(o->f, "", take_column, o));
  SYZ_TRY(choose_identifier(o));
  if (o->labels) qsort(o->label, (size_t)o->labels, sizeof *o->label, by_name);
  for (size_t k = 0; k < sizeof redshifts / sizeof *redshifts; k++)
    for (int i = 0; i < o->labels; i++)
      if (o->label[i].item < 0 && !strcmp(o->label[i].name, redshifts[k])) {
        label found = o->label[i];
        snprintf(found.name, sizeof found.name, "redshift");
        bool is_itself = k == 0; /* already under that name: only moved to the front */
        memmove(o->label + 1, o->label, (size_t)(is_itself ? i : o->labels) * sizeof *o->label);
        o->label[0] = found;
        o->labels += !is_itself;
        return SYZ_OK;
      }
cleanup:
  return st;
}

static syz_foreign_kind recognise(syz_h5 *f)
{
  char name[32];
  int ndim;
  int64_t shape[8];
  for (int g = 0; g < 10; g++) {
    snprintf(name, sizeof name, "%d/images", g);
    if (syz_h5_has(f, name)) return SYZ_FOREIGN_ASTROCLIP;
  }
  if (syz_h5_has(f, "spectrum_flux")) return SYZ_FOREIGN_MMU_DESI;
  if (syz_h5_has(f, "image_array") && syz_h5_shape(f, "image_array", &ndim, shape) == SYZ_OK && ndim == 4)
    return shape[1] == SYZ_BANDS && shape[2] == SYZ_IMAGE_SIZE ? SYZ_FOREIGN_MMU_SSL : SYZ_FOREIGN_MMU_LEGACY;
  if (syz_h5_has(f, "images") && syz_h5_shape(f, "images", &ndim, shape) == SYZ_OK && ndim == 4) return SYZ_FOREIGN_SSL;
  return SYZ_FOREIGN_NONE;
}

syz_status syz_foreign_open(const char *path, syz_foreign **out)
{
  syz_status st = SYZ_OK;
  syz_foreign *o = NULL;
  *out = NULL;
  SYZ_ALLOC(o, "survey file", 1);
  SYZ_TRY(syz_h5_open(NULL, path, &o->f));
  o->kind = recognise(o->f);
  SYZ_REQUIRE(o->kind != SYZ_FOREIGN_NONE, SYZ_ERR_DATA,
              "%s: HDF5, but neither AstroCLIP's (0 .. 9/images), ssl-legacysurvey's (images) nor the Multimodal Universe's (image_array, spectrum_flux)",
              path);
  if (o->kind == SYZ_FOREIGN_ASTROCLIP) {
    SYZ_TRY(open_astroclip(o));
  } else {
    if (o->kind == SYZ_FOREIGN_MMU_DESI) SYZ_TRY(open_spectra(o));
    else SYZ_TRY(open_images(o, o->kind == SYZ_FOREIGN_SSL ? "images" : "image_array"));
    o->parts = 1;
    o->part[0].rows = o->n;
    SYZ_TRY(list_columns(o));
    SYZ_ALLOC(o->pixels, "pixels as stored", o->pixels_room);
    SYZ_ALLOC(o->mask, "mask as stored", o->mask_room);
  }
  SYZ_ALLOC(o->label_name, "label names", o->labels + 1);
  for (int i = 0; i < o->labels; i++) o->label_name[i] = o->label[i].name;
  *out = o;
  o = NULL;
cleanup:
  syz_foreign_close(&o);
  return st;
}

void syz_foreign_close(syz_foreign **foreign)
{
  syz_foreign *o = *foreign;
  if (!o) return;
  syz_h5_close(&o->f);
  syz_free(&o->label);
  syz_free(&o->label_name);
  syz_free(&o->pixels);
  syz_free(&o->mask);
  syz_free(foreign);
}

syz_foreign_kind syz_foreign_get_kind(const syz_foreign *o) { return o->kind; }
int64_t syz_foreign_size(const syz_foreign *o) { return o->n; }

int syz_foreign_labels(const syz_foreign *o, const char *const **name)
{
  *name = o->label_name;
  return o->labels;
}

/* ----------------------------------------------------------------- objects */

static syz_status check_range(const syz_foreign *o, int64_t first, int64_t n)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(first >= 0 && n >= 0 && first <= o->n && n <= o->n - first, SYZ_ERR_INTERNAL, "%s: rows %lld .. %lld of %lld", syz_h5_path(o->f),
              (long long)first, (long long)(first + n), (long long)o->n);
cleanup:
  return st;
}

/* The next stretch of rows [*row, *row + return) within one group, beginning at object `at`; at most `most`. */
static int64_t stretch(const syz_foreign *o, int64_t at, int64_t most, int *part, int64_t *row)
{
  int p = 0;
  while (p + 1 < o->parts && at >= o->part[p].first + o->part[p].rows) p++;
  *part = p;
  *row = at - o->part[p].first;
  int64_t left = o->part[p].rows - *row;
  return left < most ? left : most;
}

static syz_status read_triple(syz_foreign *o, int64_t row, int64_t n, syz_object *object)
{
  static const int bits[] = {16, 20, 22}, shift[] = {42, 22, 0}; /* src/sky/README.md "Identifiers" */
  syz_status st = SYZ_OK;
  int64_t column[BLOCK];
  for (int64_t i = 0; i < n; i++) object[i].object_id = 0;
  for (int k = 0; k < 3; k++) {
    SYZ_TRY(syz_h5_read(o->f, o->triple[k], SYZ_H5_I64, row, n, column));
    for (int64_t i = 0; i < n; i++) {
      SYZ_REQUIRE(column[i] >= 0 && column[i] < INT64_C(1) << bits[k], SYZ_ERR_DATA, "%s: %s of row %lld is %lld, outside 0 .. %lld", syz_h5_path(o->f),
                  o->triple[k], (long long)(row + i), (long long)column[i], (long long)(INT64_C(1) << bits[k]) - 1);
      object[i].object_id |= column[i] << shift[k];
    }
  }
cleanup:
  return st;
}

static syz_status read_text_ids(syz_foreign *o, int64_t row, int64_t n, syz_object *object)
{
  syz_status st = SYZ_OK;
  char text[BLOCK * ID_TEXT], *end;
  SYZ_TRY(syz_h5_read_strings(o->f, o->id_column, row, n, ID_TEXT, text));
  for (int64_t i = 0; i < n; i++) {
    const char *id = text + i * ID_TEXT;
    errno = 0;
    long long number = strtoll(id, &end, 10);
    bool is_number = *id && !*end && !errno && (*id == '-' || (*id >= '0' && *id <= '9'));
    SYZ_REQUIRE(*id, SYZ_ERR_DATA, "%s: %s of row %lld is empty", syz_h5_path(o->f), o->id_column, (long long)(row + i));
    object[i].object_id = is_number ? number : (int64_t)(syz_checksum(id, strlen(id), 0) >> 2);
  }
cleanup:
  return st;
}

syz_status syz_foreign_objects(syz_foreign *o, int64_t first, int64_t n, syz_object *object)
{
  syz_status st = SYZ_OK;
  char name[32];
  int part;
  int64_t row, some, ids[BLOCK];
  double degrees[BLOCK];
  SYZ_TRY(check_range(o, first, n));
  for (int64_t done = 0; done < n; done += some) {
    syz_object *to = object + done;
    some = stretch(o, first + done, n - done < BLOCK ? n - done : BLOCK, &part, &row);
    for (int64_t i = 0; i < some; i++)
      to[i] = (syz_object){.ra = NAN, .dec = NAN, .has_image = o->kind != SYZ_FOREIGN_MMU_DESI,
                           .has_spectrum = o->kind == SYZ_FOREIGN_ASTROCLIP || o->kind == SYZ_FOREIGN_MMU_DESI};
    if (o->kind == SYZ_FOREIGN_ASTROCLIP) {
      snprintf(name, sizeof name, "%stargetids", o->part[part].group);
      SYZ_TRY(syz_h5_read(o->f, name, SYZ_H5_I64, row, some, ids));
      for (int64_t i = 0; i < some; i++) to[i].object_id = ids[i];
      continue;
    }
    if (o->id == ID_TRIPLE) {
      SYZ_TRY(read_triple(o, row, some, to));
    } else if (o->id == ID_TEXT_COLUMN) {
      SYZ_TRY(read_text_ids(o, row, some, to));
    } else {
      SYZ_TRY(syz_h5_read(o->f, o->id_column, SYZ_H5_I64, row, some, ids));
      for (int64_t i = 0; i < some; i++) to[i].object_id = ids[i];
    }
    if (!*o->ra || !*o->dec) continue;
    SYZ_TRY(syz_h5_read(o->f, o->ra, SYZ_H5_F64, row, some, degrees));
    for (int64_t i = 0; i < some; i++) to[i].ra = degrees[i];
    SYZ_TRY(syz_h5_read(o->f, o->dec, SYZ_H5_F64, row, some, degrees));
    for (int64_t i = 0; i < some; i++) to[i].dec = degrees[i];
  }
cleanup:
  return st;
}

/* ------------------------------------------------------------------ pixels */

static syz_status read_astroclip(syz_foreign *o, int part, int64_t row, int64_t n, float *image, float *flux, float *ivar)
{
  syz_status st = SYZ_OK;
  char name[32];
  float *xyb = NULL;
  if (image) {
    SYZ_ALLOC(xyb, "image of another axis order", SET_IMAGE);
    snprintf(name, sizeof name, "%simages", o->part[part].group);
    for (int64_t i = 0; i < n; i++) {
      SYZ_TRY(syz_h5_read(o->f, name, SYZ_H5_F32, row + i, 1, xyb));
      syz_transpose_xyb(xyb, image + i * SET_IMAGE);
    }
  }
  snprintf(name, sizeof name, "%sspectra", o->part[part].group);
  if (flux) SYZ_TRY(syz_h5_read(o->f, name, SYZ_H5_F32, row, n, flux));
  for (int64_t i = 0; ivar && i < n * SYZ_SPECTRUM_PIXELS; i++) ivar[i] = 1.0f;
cleanup:
  syz_free(&xyb);
  return st;
}

static syz_status read_images(syz_foreign *o, int64_t row, int64_t n, float *image)
{
  syz_status st = SYZ_OK;
  int64_t edge = (o->size - SYZ_IMAGE_SIZE) / 2;
  SYZ_TRY(syz_h5_read(o->f, o->image_name, SYZ_H5_F32, row, n, o->pixels));
  for (int64_t i = 0; i < n; i++)
    for (int64_t b = 0; b < SYZ_BANDS; b++)
      for (int64_t y = 0; y < SYZ_IMAGE_SIZE; y++)
        memcpy(image + i * SET_IMAGE + b * SET_PLANE + y * SYZ_IMAGE_SIZE,
               o->pixels + (((i * o->bands + o->band[b]) * o->size) + y + edge) * o->size + edge, SYZ_IMAGE_SIZE * sizeof *image);
cleanup:
  return st;
}

static syz_status check_wavelengths(syz_foreign *o, int64_t row, int64_t n)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_h5_read(o->f, "spectrum_lambda", SYZ_H5_F32, row, n, o->pixels));
  for (int64_t i = 0; i < n; i++)
    for (int64_t k = 0; k < SYZ_SPECTRUM_PIXELS; k++) {
      double wave_A = o->pixels[i * SYZ_SPECTRUM_PIXELS + k];
      SYZ_REQUIRE(fabs(wave_A - syz_wave_grid(k)) <= wave_tolerance_A, SYZ_ERR_DATA,
                  "%s: spectrum_lambda, row %lld: pixel %lld is at %.4f Angstrom, the grid says %.1f", syz_h5_path(o->f), (long long)(row + i),
                  (long long)k, wave_A, syz_wave_grid(k));
    }
cleanup:
  return st;
}

static syz_status read_spectra(syz_foreign *o, int64_t row, int64_t n, float *flux, float *ivar)
{
  syz_status st = SYZ_OK;
  int64_t pixels = n * SYZ_SPECTRUM_PIXELS;
  float *weight = ivar ? ivar : o->pixels; /* what is masked is needed for the flux, too */
  if (o->has_lambda) SYZ_TRY(check_wavelengths(o, row, n));
  if (o->has_ivar) SYZ_TRY(syz_h5_read(o->f, "spectrum_ivar", SYZ_H5_F32, row, n, weight));
  for (int64_t i = 0; !o->has_ivar && i < pixels; i++) weight[i] = 1.0f;
  if (o->has_mask) {
    SYZ_TRY(syz_h5_read(o->f, "spectrum_mask", SYZ_H5_I32, row, n, o->mask));
    for (int64_t i = 0; i < pixels; i++)
      if (o->mask[i]) weight[i] = 0.0f; /* True = bad */
  }
  if (!flux) goto cleanup;
  SYZ_TRY(syz_h5_read(o->f, "spectrum_flux", SYZ_H5_F32, row, n, flux));
  for (int64_t i = 0; i < pixels; i++)
    if (weight[i] == 0.0f && !isfinite(flux[i])) flux[i] = 0.0f;
cleanup:
  return st;
}

syz_status syz_foreign_read(syz_foreign *o, int64_t first, int64_t n, float *image, float *flux, float *ivar)
{
  syz_status st = SYZ_OK;
  int part;
  int64_t row, some;
  SYZ_TRY(check_range(o, first, n));
  for (int64_t done = 0; done < n; done += some) {
    some = stretch(o, first + done, n - done < BLOCK ? n - done : BLOCK, &part, &row);
    float *to_image = image ? image + done * SET_IMAGE : NULL;
    float *to_flux = flux ? flux + done * SYZ_SPECTRUM_PIXELS : NULL, *to_ivar = ivar ? ivar + done * SYZ_SPECTRUM_PIXELS : NULL;
    if (o->kind == SYZ_FOREIGN_ASTROCLIP) {
      SYZ_TRY(read_astroclip(o, part, row, some, to_image, to_flux, to_ivar));
    } else if (o->kind == SYZ_FOREIGN_MMU_DESI) {
      if (to_image) memset(to_image, 0, (size_t)some * SET_IMAGE * sizeof *image);
      if (flux || ivar) SYZ_TRY(read_spectra(o, row, some, to_flux, to_ivar));
    } else {
      if (to_image) SYZ_TRY(read_images(o, row, some, to_image));
      if (to_flux) memset(to_flux, 0, (size_t)some * SYZ_SPECTRUM_PIXELS * sizeof *flux);
      if (to_ivar) memset(to_ivar, 0, (size_t)some * SYZ_SPECTRUM_PIXELS * sizeof *ivar);
    }
  }
cleanup:
  return st;
}

syz_status syz_foreign_read_clean(syz_foreign *o, int64_t first, int64_t n, uint8_t *clean)
{
  syz_status st = SYZ_OK;
  int64_t some, edge = (o->size - SYZ_IMAGE_SIZE) / 2;
  SYZ_TRY(check_range(o, first, n));
  memset(clean, 1, (size_t)n * SET_PLANE);
  for (int64_t done = 0; o->has_clean && done < n; done += some) {
    some = n - done < BLOCK ? n - done : BLOCK;
    SYZ_TRY(syz_h5_read(o->f, "image_mask", SYZ_H5_I32, first + done, some, o->mask)); /* True = clean */
    for (int64_t i = 0; i < some; i++)
      for (int64_t y = 0; y < SYZ_IMAGE_SIZE; y++)
        for (int64_t x = 0; x < SYZ_IMAGE_SIZE; x++)
          clean[(done + i) * SET_PLANE + y * SYZ_IMAGE_SIZE + x] = o->mask[(i * o->size + y + edge) * o->size + x + edge] != 0;
  }
cleanup:
  return st;
}

/* ------------------------------------------------------------------ labels */

syz_status syz_foreign_read_label(syz_foreign *o, const char *name, int64_t first, int64_t n, float *value)
{
  syz_status st = SYZ_OK;
  const label *l = NULL;
  char dataset[SYZ_LABEL_NAME + 8];
  float bands[BLOCK * SYZ_BANDS];
  int part;
  int64_t row, some;
  for (int i = 0; i < o->labels; i++)
    if (!strcmp(o->label[i].name, name)) l = &o->label[i];
  SYZ_REQUIRE(l, SYZ_ERR_INPUT, "%s: no column \"%s\" that could be a label", syz_h5_path(o->f), name);
  SYZ_TRY(check_range(o, first, n));
  for (int64_t done = 0; done < n; done += some) {
    some = stretch(o, first + done, n - done < BLOCK ? n - done : BLOCK, &part, &row);
    snprintf(dataset, sizeof dataset, "%s%s", o->part[part].group, l->dataset);
    if (o->kind == SYZ_FOREIGN_ASTROCLIP && !syz_h5_has(o->f, dataset)) {
      for (int64_t i = 0; i < some; i++) value[done + i] = NAN;
    } else if (l->item < 0) {
      SYZ_TRY(syz_h5_read(o->f, dataset, SYZ_H5_F32, row, some, value + done));
    } else {
      SYZ_TRY(syz_h5_read(o->f, dataset, SYZ_H5_F32, row, some, bands));
      for (int64_t i = 0; i < some; i++) value[done + i] = bands[i * SYZ_BANDS + l->item];
    }
  }
  for (int64_t i = 0; !strcmp(name, "redshift") && i < n; i++)
    if (value[i] < -90.0f) value[i] = NAN; /* -99: not known */
cleanup:
  return st;
}
