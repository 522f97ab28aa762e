/* SPDX-License-Identifier: BSD-3-Clause */
/** Ingest, first pass over other people's HDF5 files: rows with a spectrum, perhaps with an image beside it, and rows
 * with an image alone. */
#include "ingest.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Labels of HDF5 rows, by name. */
static syz_status foreign_labels(ingest *g, syz_foreign *f, int64_t first, int64_t n, float *value, double *label)
{
  syz_status st = SYZ_OK;
  const char *const *name;
  int names = syz_foreign_labels(f, &name);
  for (int64_t i = 0; i < n * INGEST_LABELS; i++) label[i] = (double)NAN;
  for (int k = 0; k < g->n_labels; k++) {
    bool has = false;
    for (int j = 0; j < names; j++) has = has || !strcmp(name[j], g->label[k]);
    if (!has) continue;
    SYZ_TRY(syz_foreign_read_label(f, g->label[k], first, n, value));
    for (int64_t i = 0; i < n; i++) label[i * INGEST_LABELS + k] = (double)value[i];
  }
  for (int64_t i = 0; i < n; i++) ingest_clear_labels(g, label + i * INGEST_LABELS, &g->count.no_value);
cleanup:
  return st;
}

static syz_status note_columns_of_hdf5(ingest *g, int file, syz_foreign *f)
{
  syz_status st = SYZ_OK;
  const char *const *name;
  int names = syz_foreign_labels(f, &name);
  int n = syz_foreign_is_primary(f) ? g->n_labels : g->n_labels + 1;
  for (int k = 1; k < n; k++) {
    const char *wanted = ingest_column_name(g, k);
    syz_column_search search = SYZ_COLUMN_SEARCH;
    if (!wanted[0]) continue;
    for (int j = 0; j < names; j++) {
      int distance = syz_edit_distance(wanted, name[j]);
      if (!strcmp(name[j], wanted)) SYZ_TRY(syz_foreign_label_unit(f, name[j], sizeof search.unit, search.unit));
      search.has = search.has || !strcmp(name[j], wanted) || (k == g->n_labels && !strcasecmp(name[j], wanted));
      if (distance >= search.distance) continue;
      search.distance = distance;
      snprintf(search.nearest, sizeof search.nearest, "%.71s", name[j]);
    }
    ingest_note_column(g, file, k, &search);
  }
cleanup:
  return st;
}

/* The inputs of the cuts, for a block's rows with spectra: columns of the file's own catalogue. */
static syz_status foreign_facts(ingest *g, syz_foreign *f, int64_t first, int64_t n, const syz_object *object,
                                const double *label, float *value, syz_spectrum_info *info, double *primary)
{
  syz_status st = SYZ_OK;
  const char *const *name;
  int names = syz_foreign_labels(f, &name);
  for (int64_t i = 0; i < n; i++) {
    info[i] = (syz_spectrum_info){.object_id = object[i].object_id,
                                  .ra = object[i].ra,
                                  .dec = object[i].dec,
                                  .redshift = label[i * INGEST_LABELS],
                                  .exposures = 1};
    primary[i] = 1;
  }
  SYZ_TRY(syz_foreign_info(f, first, n, info));
  if (!g->cuts.primary[0] || syz_foreign_is_primary(f)) return SYZ_OK;
  for (int64_t i = 0; i < n; i++) primary[i] = (double)NAN;
  for (int j = 0; j < names; j++) {
    if (strcasecmp(name[j], g->cuts.primary) != 0) continue;
    SYZ_TRY(syz_foreign_read_label(f, name[j], first, n, value));
    for (int64_t i = 0; i < n; i++) primary[i] = (double)value[i];
    break;
  }
cleanup:
  return st;
}

static const char *image_fault(const float *image)
{
  bool is_zero = true;
  for (int64_t k = 0; k < (int64_t)SYZ_BANDS * SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE; k++) {
    if (!isfinite(image[k])) return "image has pixels that are not finite";
    if (fabsf(image[k]) > SYZ_VALUE_MAX) return "image has pixels beyond 1e12 nanomaggy";
    is_zero = is_zero && image[k] == 0;
  }
  return is_zero ? "image is zero everywhere" : NULL;
}

syz_status ingest_scan_hdf5(ingest *g, int file, ingest_bytes *spectra, ingest_bytes *candidates)
{
  syz_status st = SYZ_OK;
  enum { BLOCK = 64 };
  syz_foreign *f = NULL;
  float *image = NULL, *value = NULL, *block_flux = NULL, *block_ivar = NULL;
  double *label = NULL;
  syz_object object[BLOCK];
  syz_spectrum_info info[BLOCK];
  double primary[BLOCK];
  char reason[160];
  const char *edge = g->options.edge, *narrow = NULL;
  char too_narrow[80];
  const int64_t pixels = (int64_t)SYZ_BANDS * SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE;
  SYZ_TRY(syz_foreign_open(g->file[file].path, &f));
  SYZ_TRY(note_columns_of_hdf5(g, file, f));
  if (syz_foreign_coverage(f) < 1 && strcmp(edge, "zero") != 0) {
    snprintf(too_narrow, sizeof too_narrow, "the image covers %.0f %% of the stamp (ingest.edge)",
             100 * syz_foreign_coverage(f));
    narrow = too_narrow;
  }
  SYZ_ALLOC(image, "ingest block", BLOCK * pixels);
  SYZ_ALLOC(block_flux, "ingest block", BLOCK * SYZ_SPECTRUM_PIXELS);
  SYZ_ALLOC(block_ivar, "ingest block", BLOCK * SYZ_SPECTRUM_PIXELS);
  SYZ_ALLOC(value, "ingest block", BLOCK);
  SYZ_ALLOC(label, "ingest block", BLOCK * INGEST_LABELS);
  for (int64_t first = 0; first < syz_foreign_size(f); first += BLOCK) {
    int64_t n = syz_foreign_size(f) - first < BLOCK ? syz_foreign_size(f) - first : BLOCK;
    SYZ_TRY(syz_foreign_objects(f, first, n, object));
    SYZ_TRY(foreign_labels(g, f, first, n, value, label));
    SYZ_TRY(foreign_facts(g, f, first, n, object, label, value, info, primary));
    SYZ_TRY(syz_foreign_read(f, first, n, image, block_flux, block_ivar));
    for (int64_t i = 0; i < n; i++) {
      if (narrow && object[i].has_image && !object[i].has_spectrum) {
        g->count.narrow++;
        if (!strcmp(edge, "refuse")) SYZ_TRY(ingest_note(g, file, first + i, object[i].object_id, narrow));
        continue;
      }
      const char *fault = object[i].has_image ? image_fault(image + i * pixels) : NULL;
      if (object[i].has_spectrum) {
        ingest_spectrum o;
        memset(&o, 0, sizeof o);
        o.info = info[i];
        o.file = file;
        o.row = first + i;
        o.primary = primary[i];
        o.has_image = object[i].has_image;
        memcpy(o.label, label + i * INGEST_LABELS, sizeof o.label);
        o.cut = ingest_early_cut(g, &o.info, o.primary);
        if (o.cut != SYZ_CUT_NONE)
          fault = NULL; /* a cut object's pixels do not matter, as in FITS files */
        else if (!fault)
          ingest_check_pixels(g, block_flux + i * SYZ_SPECTRUM_PIXELS, block_ivar + i * SYZ_SPECTRUM_PIXELS, &o, &fault,
                              reason);
        if (fault) {
          SYZ_TRY(ingest_note(g, file, first + i, o.info.object_id, fault));
          o.cut = -1;
        }
        SYZ_TRY(ingest_add(spectra, &o, g->spectrum_bytes));
      } else {
        if (fault) {
          SYZ_TRY(ingest_note(g, file, first + i, object[i].object_id, fault));
          continue;
        }
        ingest_candidate c;
        memset(&c, 0, sizeof c);
        c.object_id = object[i].object_id;
        c.ra = object[i].ra;
        c.dec = object[i].dec;
        c.file = file;
        c.row = first + i;
        c.has_pixels = true;
        memcpy(c.label, label + i * INGEST_LABELS, sizeof c.label);
        SYZ_TRY(ingest_add(candidates, &c, g->candidate_bytes));
      }
    }
  }
cleanup:
  syz_foreign_close(&f);
  syz_free(&image);
  syz_free(&block_flux);
  syz_free(&block_ivar);
  syz_free(&value);
  syz_free(&label);
  return st;
}
