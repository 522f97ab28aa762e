/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Other people's HDF5 files of galaxies, row by row in syzygy's terms. Facts and traps: src/sky/README.md "HDF5 files
 * of others".
 *
 * - AstroCLIP: images have the axes (x, y, band).
 * - ssl-legacysurvey: `inds` repeats, so objects are known by RELEASE, BRICKID, OBJID; a column of another length than
 * the images is not used.
 * - Multimodal Universe, desi: spectrum_mask True = bad. legacysurvey: image_mask True = clean, four bands g, r, i, z
 * of 160 x 160 pixels, identifiers as text without the release. sdss: rows padded with wavelength -1, identifiers as
 * text. hsc: five bands of 0.168 arcsec.
 * - Identifiers exceed 2^53: a float column of them is refused.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "foreign.h"

const char *syz_foreign_kind_text(syz_foreign_kind kind)
{
  switch (kind) {
  case SYZ_FOREIGN_NONE:
    return "not a known survey file";
  case SYZ_FOREIGN_ASTROCLIP:
    return "AstroCLIP pairs";
  case SYZ_FOREIGN_SSL:
    return "ssl-legacysurvey images";
  case SYZ_FOREIGN_MMU_DESI:
    return "Multimodal Universe desi spectra";
  case SYZ_FOREIGN_MMU_SDSS:
    return "Multimodal Universe sdss spectra";
  case SYZ_FOREIGN_MMU_HSC:
    return "Multimodal Universe hsc images";
  case SYZ_FOREIGN_MMU_LEGACY:
    return "Multimodal Universe legacysurvey images";
  case SYZ_FOREIGN_MMU_SSL:
    return "Multimodal Universe ssl_legacysurvey images";
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
  SYZ_REQUIRE(ndim >= 1 && found[0] == rows, SYZ_ERR_DATA, "%s: dataset %s has %lld rows where the others have %lld",
              syz_h5_path(f), name, ndim ? (long long)found[0] : 0LL, (long long)rows);
  bool is_right = ndim == n + 1;
  for (int i = 0; is_right && i < n; i++) is_right = found[i + 1] == shape[i];
  SYZ_REQUIRE(is_right, SYZ_ERR_DATA, "%s: dataset %s has %d axes (last %lld), %d axes (last %lld) are wanted",
              syz_h5_path(f), name, ndim, (long long)found[ndim - 1], n + 1, (long long)shape[n - 1]);
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
  if (o->bands >= 4) o->band[2] = 3; /* g, r, i, z, and y of hsc */
  SYZ_REQUIRE(o->bands >= 3 && o->bands <= 5, SYZ_ERR_DATA,
              "%s: dataset %s has %lld bands; g, r, z or g, r, i, z or g, r, i, z, y are read", syz_h5_path(o->f),
              o->image_name, (long long)o->bands);
  if (!syz_h5_has(o->f, "image_band") || o->n == 0) goto cleanup;
  SYZ_TRY(expect_shape(o->f, "image_band", o->n, 1, &o->bands));
  text = syz_alloc("band names", (size_t)(FOREIGN_BLOCK * o->bands), 16);
  SYZ_REQUIRE(text, SYZ_ERR_MEMORY, "no memory for band names");
  for (int64_t first = 0; first < o->n; first += FOREIGN_BLOCK) { /* every row says so for itself */
    int64_t rows = o->n - first < FOREIGN_BLOCK ? o->n - first : FOREIGN_BLOCK;
    SYZ_TRY(syz_h5_read_strings(o->f, "image_band", first, rows, 16, text));
    for (int b = 0; b < SYZ_BANDS; b++)
      for (int64_t r = 0; r < rows; r++) {
        int at = -1;
        for (int64_t k = 0; k < o->bands; k++) {
          const char *name = text + (r * o->bands + k) * 16;
          size_t length = strlen(name);
          if (length && name[length - 1] == letter[b] && (length == 1 || name[length - 2] == '-')) at = (int)k;
        }
        SYZ_REQUIRE(at >= 0, SYZ_ERR_DATA, "%s: image_band, row %lld: no band %c", syz_h5_path(o->f),
                    (long long)(first + r), letter[b]);
        if (first + r == 0) o->band[b] = at;
        SYZ_REQUIRE(at == o->band[b], SYZ_ERR_DATA,
                    "%s: image_band, row %lld: the bands are in another order than before", syz_h5_path(o->f),
                    (long long)(first + r));
      }
  }
cleanup:
  syz_free(&text);
  return st;
}

/* Scale and unit of hsc: its own column says the scale; the unit is that of the survey's coadds. */
static syz_status find_scale(syz_foreign *o)
{
  syz_status st = SYZ_OK;
  float scale[FOREIGN_BLOCK * 5];
  o->scale_arcsec = 0.168;
  o->factor = pow(10, 0.4 * (22.5 - 27));
  if (!syz_h5_has(o->f, "image_scale") || !o->n) return SYZ_OK;
  SYZ_TRY(expect_shape(o->f, "image_scale", o->n, 1, &o->bands));
  for (int64_t first = 0; first < o->n; first += FOREIGN_BLOCK) {
    int64_t rows = o->n - first < FOREIGN_BLOCK ? o->n - first : FOREIGN_BLOCK;
    SYZ_TRY(syz_h5_read(o->f, "image_scale", SYZ_H5_F32, first, rows, scale));
    if (!first) o->scale_arcsec = (double)scale[0];
    for (int64_t i = 0; i < rows * o->bands; i++)
      SYZ_REQUIRE(scale[i] > 0.01f && scale[i] < 10 && fabs((double)scale[i] / o->scale_arcsec - 1) < 1e-3,
                  SYZ_ERR_DATA, "%s: image_scale, row %lld: %g arcsec, %g in the first row", syz_h5_path(o->f),
                  (long long)(first + i / o->bands), (double)scale[i], o->scale_arcsec);
  }
cleanup:
  return st;
}

static syz_status open_images(syz_foreign *o, const char *name)
{
  syz_status st = SYZ_OK;
  int ndim;
  int64_t shape[8];
  SYZ_TRY(syz_h5_shape(o->f, name, &ndim, shape));
  const bool is_hsc = o->kind == SYZ_FOREIGN_MMU_HSC; /* resampled, so of any size */
  SYZ_REQUIRE(ndim == 4 && shape[2] == shape[3] && shape[2] >= (is_hsc ? 8 : SYZ_IMAGE_SIZE) &&
                  shape[2] <= FOREIGN_SIZE_MAX && (is_hsc || (shape[2] - SYZ_IMAGE_SIZE) % 2 == 0),
              SYZ_ERR_DATA,
              "%s: dataset %s has %d axes, the last two of %lld x %lld; (n, band, y, x) with an even number of pixels "
              "from 152 up is wanted",
              syz_h5_path(o->f), name, ndim, ndim > 1 ? (long long)shape[ndim - 2] : 0LL,
              ndim ? (long long)shape[ndim - 1] : 0LL);
  snprintf(o->image_name, sizeof o->image_name, "%s", name);
  o->n = shape[0];
  o->bands = shape[1];
  o->size = shape[2];
  SYZ_TRY(find_bands(o));
  if (is_hsc) SYZ_TRY(find_scale(o));
  if (o->kind == SYZ_FOREIGN_MMU_LEGACY && syz_h5_has(o->f, "image_mask")) {
    SYZ_TRY(expect_shape(o->f, "image_mask", o->n, 2, shape + 2));
    o->has_clean = true;
  }
  o->pixels_room = (size_t)(FOREIGN_BLOCK * o->bands * o->size * o->size);
  o->mask_room = (size_t)(FOREIGN_BLOCK * o->size * o->size);
cleanup:
  return st;
}

static syz_status open_spectra(syz_foreign *o)
{
  syz_status st = SYZ_OK;
  int64_t pixels = SYZ_SPECTRUM_PIXELS;
  int ndim;
  int64_t shape[8];
  SYZ_TRY(syz_h5_shape(o->f, "spectrum_flux", &ndim, shape));
  o->n = ndim ? shape[0] : 0;
  if (o->kind == SYZ_FOREIGN_MMU_SDSS) {
    SYZ_REQUIRE(ndim == 2 && shape[1] >= 2 && shape[1] <= 100000, SYZ_ERR_DATA,
                "%s: dataset spectrum_flux has %d axes and %lld pixels", syz_h5_path(o->f), ndim,
                ndim > 1 ? (long long)shape[1] : 0LL);
    pixels = o->wave_pixels = shape[1];
  }
  SYZ_TRY(expect_shape(o->f, "spectrum_flux", o->n, 1, &pixels));
  o->has_ivar = syz_h5_has(o->f, "spectrum_ivar");
  o->has_mask = syz_h5_has(o->f, "spectrum_mask");
  o->has_lambda = syz_h5_has(o->f, "spectrum_lambda");
  if (o->has_ivar) SYZ_TRY(expect_shape(o->f, "spectrum_ivar", o->n, 1, &pixels));
  if (o->has_mask) SYZ_TRY(expect_shape(o->f, "spectrum_mask", o->n, 1, &pixels));
  if (o->has_lambda) SYZ_TRY(expect_shape(o->f, "spectrum_lambda", o->n, 1, &pixels));
  o->pixels_room = o->mask_room = (size_t)(FOREIGN_BLOCK * pixels);
cleanup:
  return st;
}

/* Looks at every dataset of the root once: identifiers and positions by name in any case, the other numbers as labels.
 */
static syz_status take_column(void *context, const char *name)
{
  syz_status st = SYZ_OK;
  syz_foreign *o = context;
  static const char *const triple[] = {"release", "brickid", "objid"};
  static const char *const not_labels[] = {"object_id", "targetid", "inds",      "healpix",
                                           "ra",        "dec",      "target_ra", "target_dec"};
  int ndim, bits;
  int64_t shape[8];
  char kind;
  if (strchr(name, '/') || strlen(name) + 3 > SYZ_LABEL_NAME) return SYZ_OK;
  SYZ_TRY(syz_h5_shape(o->f, name, &ndim, shape));
  SYZ_TRY(syz_h5_class(o->f, name, &kind, &bits));
  bool is_column = ndim == 1 && shape[0] == o->n, is_number = strchr("fiub", kind) != NULL;
  for (int i = 0; i < 3; i++)
    if (is_column && !strcasecmp(name, triple[i])) snprintf(o->triple[i], SYZ_LABEL_NAME, "%s", name);
  if (is_column) foreign_take_cut(o, name, kind);
  if (is_column && kind == 'f' && (!strcasecmp(name, "ra") || (!*o->ra && !strcasecmp(name, "target_ra"))))
    snprintf(o->ra, SYZ_LABEL_NAME, "%s", name);
  if (is_column && kind == 'f' && (!strcasecmp(name, "dec") || (!*o->dec && !strcasecmp(name, "target_dec"))))
    snprintf(o->dec, SYZ_LABEL_NAME, "%s", name);
  if (!is_number) return SYZ_OK;
  for (size_t i = 0; i < sizeof not_labels / sizeof *not_labels; i++)
    if (!strcasecmp(name, not_labels[i])) return SYZ_OK;
  int items = is_column ? 1 : ndim == 2 && shape[0] == o->n && shape[1] == SYZ_BANDS ? SYZ_BANDS : 0;
  for (int i = 0; i < items && o->labels < FOREIGN_LABELS; i++) {
    foreign_label *l = &o->label[o->labels++];
    snprintf(l->dataset, sizeof l->dataset, "%s", name);
    snprintf(l->name, sizeof l->name, items > 1 ? "%.60s_%c" : "%.60s", name, "grz"[i]);
    l->item = items > 1 ? i : -1;
  }
cleanup:
  return st;
}

static int by_name(const void *a, const void *b)
{
  return strcmp(((const foreign_label *)a)->name, ((const foreign_label *)b)->name);
}

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
  if (!foreign_has_spectra(o) && *o->triple[0] && *o->triple[1] && *o->triple[2]) {
    o->id = ID_TRIPLE;
    return SYZ_OK;
  }
  for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
    if (!is_column(o, columns[i], &kind)) continue;
    SYZ_REQUIRE(strchr("ius", kind), SYZ_ERR_DATA, "%s: dataset %s holds identifiers as floats, which lose digits",
                syz_h5_path(o->f), columns[i]);
    snprintf(o->id_column, sizeof o->id_column, "%s", columns[i]);
    o->id = kind == 's' ? ID_TEXT_COLUMN : ID_COLUMN;
    return SYZ_OK;
  }
  SYZ_REQUIRE(false, SYZ_ERR_DATA,
              "%s: no identifiers of length %lld: release, brickid, objid or object_id or inds are looked for",
              syz_h5_path(o->f), (long long)o->n);
cleanup:
  return st;
}

static syz_status list_columns(syz_foreign *o)
{
  syz_status st = SYZ_OK;
  static const char *const redshifts[] = {"redshift", "z_spec", "Z", "Z_HP"};
  SYZ_ALLOC(o->label, "labels", FOREIGN_LABELS + 1);
  SYZ_TRY(syz_h5_visit(o->f, "", take_column, o));
  SYZ_TRY(choose_identifier(o));
  if (o->labels) qsort(o->label, (size_t)o->labels, sizeof *o->label, by_name);
  for (size_t k = 0; k < sizeof redshifts / sizeof *redshifts; k++)
    for (int i = 0; i < o->labels; i++)
      if (o->label[i].item < 0 && !strcmp(o->label[i].name, redshifts[k])) {
        foreign_label found = o->label[i];
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
  if (syz_h5_has(f, "spectrum_flux")) {
    bool is_own_grid = syz_h5_shape(f, "spectrum_flux", &ndim, shape) == SYZ_OK && ndim == 2 &&
                       shape[1] != SYZ_SPECTRUM_PIXELS && syz_h5_has(f, "spectrum_lambda");
    return is_own_grid ? SYZ_FOREIGN_MMU_SDSS : SYZ_FOREIGN_MMU_DESI;
  }
  if (syz_h5_has(f, "image_array") && syz_h5_shape(f, "image_array", &ndim, shape) == SYZ_OK && ndim == 4)
    return shape[1] == 5                                         ? SYZ_FOREIGN_MMU_HSC
           : shape[1] == SYZ_BANDS && shape[2] == SYZ_IMAGE_SIZE ? SYZ_FOREIGN_MMU_SSL
                                                                 : SYZ_FOREIGN_MMU_LEGACY;
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
              "%s: HDF5, but neither AstroCLIP's (0 .. 9/images), ssl-legacysurvey's (images) nor the Multimodal "
              "Universe's (image_array, spectrum_flux)",
              path);
  if (o->kind == SYZ_FOREIGN_ASTROCLIP) {
    SYZ_TRY(open_astroclip(o));
  } else {
    if (foreign_has_spectra(o))
      SYZ_TRY(open_spectra(o));
    else
      SYZ_TRY(open_images(o, o->kind == SYZ_FOREIGN_SSL ? "images" : "image_array"));
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
bool foreign_has_spectra(const syz_foreign *o)
{
  return o->kind == SYZ_FOREIGN_MMU_DESI || o->kind == SYZ_FOREIGN_MMU_SDSS;
}

int syz_foreign_labels(const syz_foreign *o, const char *const **name)
{
  *name = o->label_name;
  return o->labels;
}

/* ----------------------------------------------------------------- objects */

syz_status foreign_check_range(const syz_foreign *o, int64_t first, int64_t n)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(first >= 0 && n >= 0 && first <= o->n && n <= o->n - first, SYZ_ERR_INTERNAL,
              "%s: rows %lld .. %lld of %lld", syz_h5_path(o->f), (long long)first, (long long)(first + n),
              (long long)o->n);
cleanup:
  return st;
}

int64_t foreign_stretch(const syz_foreign *o, int64_t at, int64_t most, int *part, int64_t *row)
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
  int64_t column[FOREIGN_BLOCK];
  for (int64_t i = 0; i < n; i++) object[i].object_id = 0;
  for (int k = 0; k < 3; k++) {
    SYZ_TRY(syz_h5_read(o->f, o->triple[k], SYZ_H5_I64, row, n, column));
    for (int64_t i = 0; i < n; i++) {
      SYZ_REQUIRE(column[i] >= 0 && column[i] < INT64_C(1) << bits[k], SYZ_ERR_DATA,
                  "%s: %s of row %lld is %lld, outside 0 .. %lld", syz_h5_path(o->f), o->triple[k],
                  (long long)(row + i), (long long)column[i], (long long)(INT64_C(1) << bits[k]) - 1);
      object[i].object_id |= column[i] << shift[k];
    }
  }
cleanup:
  return st;
}

static syz_status read_text_ids(syz_foreign *o, int64_t row, int64_t n, syz_object *object)
{
  syz_status st = SYZ_OK;
  char text[FOREIGN_BLOCK * FOREIGN_ID_TEXT], *end;
  SYZ_TRY(syz_h5_read_strings(o->f, o->id_column, row, n, FOREIGN_ID_TEXT, text));
  for (int64_t i = 0; i < n; i++) {
    const char *id = text + i * FOREIGN_ID_TEXT;
    while (*id == ' ') id++; /* SDSS pads on the left */
    errno = 0;
    long long number = strtoll(id, &end, 10);
    bool is_number = *id && !*end && !errno && (*id == '-' || (*id >= '0' && *id <= '9'));
    SYZ_REQUIRE(*id, SYZ_ERR_DATA, "%s: %s of row %lld is empty", syz_h5_path(o->f), o->id_column,
                (long long)(row + i));
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
  int64_t row, some, ids[FOREIGN_BLOCK];
  double degrees[FOREIGN_BLOCK];
  SYZ_TRY(foreign_check_range(o, first, n));
  for (int64_t done = 0; done < n; done += some) {
    syz_object *to = object + done;
    some = foreign_stretch(o, first + done, n - done < FOREIGN_BLOCK ? n - done : FOREIGN_BLOCK, &part, &row);
    for (int64_t i = 0; i < some; i++)
      to[i] = (syz_object){.ra = NAN,
                           .dec = NAN,
                           .has_image = !foreign_has_spectra(o),
                           .has_spectrum = o->kind == SYZ_FOREIGN_ASTROCLIP || foreign_has_spectra(o)};
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

/* ------------------------------------------------------------------ labels */

static syz_status find_label(const syz_foreign *o, const char *name, const foreign_label **l)
{
  syz_status st = SYZ_OK;
  *l = NULL;
  for (int i = 0; i < o->labels; i++)
    if (!strcmp(o->label[i].name, name)) *l = &o->label[i];
  SYZ_REQUIRE(*l, SYZ_ERR_INPUT, "%s: no column \"%s\" that could be a label", syz_h5_path(o->f), name);
cleanup:
  return st;
}

syz_status syz_foreign_label_unit(syz_foreign *o, const char *name, size_t room, char *unit)
{
  syz_status st = SYZ_OK;
  const foreign_label *l;
  char dataset[SYZ_LABEL_NAME + 8], *text = NULL;
  unit[0] = '\0';
  SYZ_TRY(find_label(o, name, &l));
  snprintf(dataset, sizeof dataset, "%s%s", o->part[0].group, l->dataset);
  SYZ_TRY(syz_h5_read_text(o->f, dataset, "units", &text));
  if (text) snprintf(unit, room, "%s", text);
cleanup:
  syz_free(&text);
  return st;
}

syz_status syz_foreign_read_label(syz_foreign *o, const char *name, int64_t first, int64_t n, float *value)
{
  syz_status st = SYZ_OK;
  const foreign_label *l;
  char dataset[SYZ_LABEL_NAME + 8];
  float bands[FOREIGN_BLOCK * SYZ_BANDS];
  int part;
  int64_t row, some;
  SYZ_TRY(find_label(o, name, &l));
  SYZ_TRY(foreign_check_range(o, first, n));
  for (int64_t done = 0; done < n; done += some) {
    some = foreign_stretch(o, first + done, n - done < FOREIGN_BLOCK ? n - done : FOREIGN_BLOCK, &part, &row);
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
