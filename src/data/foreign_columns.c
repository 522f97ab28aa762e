/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The columns of other people's HDF5 files: identifiers, positions, labels. Identifiers exceed 2^53: a float column of
 * them is refused.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "foreign.h"

/* ---------------------------------------------------------------- finding */

/* Called once for each dataset of the root: finds identifiers and positions by name in any case; other numbers become
 * labels.
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
  if (!o->format->has_spectrum && *o->triple[0] && *o->triple[1] && *o->triple[2]) {
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
              "%s: no identifiers of length %lld: expected release, brickid and objid, or object_id, or inds",
              syz_h5_path(o->f), (long long)o->n);
cleanup:
  return st;
}

syz_status foreign_list_columns(syz_foreign *o)
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

/* ---------------------------------------------------------------- reading */

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

/* Identifiers: one column of whole numbers or of text, or three columns. */
static syz_status read_ids(syz_foreign *o, const set_part *part, int64_t row, int64_t n, syz_object *object)
{
  syz_status st = SYZ_OK;
  int64_t ids[FOREIGN_BLOCK];
  char name[SET_NAME];
  if (o->id == ID_TRIPLE) return read_triple(o, row, n, object);
  if (o->id == ID_TEXT_COLUMN) return read_text_ids(o, row, n, object);
  set_dataset(name, part, o->id_column);
  SYZ_TRY(syz_h5_read(o->f, name, SYZ_H5_I64, row, n, ids));
  for (int64_t i = 0; i < n; i++) object[i].object_id = ids[i];
cleanup:
  return st;
}

syz_status foreign_read_objects(syz_foreign *o, const set_part *part, int64_t row, int64_t n, syz_object *object)
{
  syz_status st = SYZ_OK;
  double degrees[FOREIGN_BLOCK];
  for (int64_t i = 0; i < n; i++)
    object[i] =
        (syz_object){.ra = NAN, .dec = NAN, .has_image = o->format->has_image, .has_spectrum = o->format->has_spectrum};
  SYZ_TRY(read_ids(o, part, row, n, object));
  if (!*o->ra || !*o->dec) goto cleanup;
  SYZ_TRY(syz_h5_read(o->f, o->ra, SYZ_H5_F64, row, n, degrees));
  for (int64_t i = 0; i < n; i++) object[i].ra = degrees[i];
  SYZ_TRY(syz_h5_read(o->f, o->dec, SYZ_H5_F64, row, n, degrees));
  for (int64_t i = 0; i < n; i++) object[i].dec = degrees[i];
cleanup:
  return st;
}

const foreign_label *foreign_find_label(const syz_foreign *o, const char *name)
{
  for (int i = 0; i < o->labels; i++)
    if (!strcmp(o->label[i].name, name)) return &o->label[i];
  syz_error_set(SYZ_ERR_INPUT, __FILE__, __LINE__, "%s: no column \"%s\" that can be a label", syz_h5_path(o->f), name);
  return NULL;
}

syz_status foreign_read_label(syz_foreign *o, const foreign_label *l, const set_part *part, int64_t row, int64_t n,
                              float *value)
{
  syz_status st = SYZ_OK;
  char dataset[SET_NAME];
  float bands[FOREIGN_BLOCK * SYZ_BANDS];
  set_dataset(dataset, part, l->dataset);
  if (*part->group && !syz_h5_has(o->f, dataset)) { /* another group has it */
    for (int64_t i = 0; i < n; i++) value[i] = NAN;
  } else if (l->item < 0) {
    SYZ_TRY(syz_h5_read(o->f, dataset, SYZ_H5_F32, row, n, value));
  } else {
    SYZ_TRY(syz_h5_read(o->f, dataset, SYZ_H5_F32, row, n, bands));
    for (int64_t i = 0; i < n; i++) value[i] = bands[i * SYZ_BANDS + l->item];
  }
cleanup:
  return st;
}

syz_status foreign_open_spectra(syz_foreign *o, int64_t pixels)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(set_expect(o->f, "spectrum_flux", NULL, &o->n, "spectrum_flux", 1, &pixels));
  o->has_ivar = syz_h5_has(o->f, "spectrum_ivar");
  o->has_mask = syz_h5_has(o->f, "spectrum_mask");
  o->has_lambda = syz_h5_has(o->f, "spectrum_lambda");
  if (o->has_ivar) SYZ_TRY(set_expect(o->f, "spectrum_ivar", NULL, &o->n, "spectrum_flux", 1, &pixels));
  if (o->has_mask) SYZ_TRY(set_expect(o->f, "spectrum_mask", NULL, &o->n, "spectrum_flux", 1, &pixels));
  if (o->has_lambda) SYZ_TRY(set_expect(o->f, "spectrum_lambda", NULL, &o->n, "spectrum_flux", 1, &pixels));
  o->pixels_room = o->mask_room = (size_t)(FOREIGN_BLOCK * pixels);
  SYZ_TRY(foreign_list_columns(o));
cleanup:
  return st;
}
