/* SPDX-License-Identifier: BSD-3-Clause */
/** `info` of files of others. They have no checksums of ours: FITS files are checked by their own CHECKSUM and DATASUM;
 * in HDF5 files only shapes and types can be checked. */
#include "info.h"

#include <stdio.h>
#include <string.h>

#include "syzygy/data.h"
#include "syzygy/fits.h"

syz_status info_foreign_file(const char *path)
{
  syz_status st = SYZ_OK;
  syz_foreign *f = NULL;
  const char *const *label;
  syz_object o;
  SYZ_TRY(syz_foreign_open(path, &f));
  int64_t n = syz_foreign_size(f);
  int labels = syz_foreign_labels(f, &label);
  printf("%s: %s\n", path, syz_foreign_kind(f));
  printf("  %-16s %lld\n", "objects", (long long)n);
  if (n) {
    SYZ_TRY(syz_foreign_objects(f, 0, 1, &o));
    printf("  %-16s %lld%s%s\n", "first object", (long long)o.object_id, o.has_image ? ", image" : "",
           o.has_spectrum ? ", spectrum" : "");
    SYZ_TRY(syz_foreign_objects(f, n - 1, 1, &o));
  }
  printf("  %-16s", "labels");
  for (int i = 0; i < labels; i++) printf("%s %s", i ? "," : "", label[i]);
  printf("%s\n  no checksums: only shapes, types and the identifiers of the first and last row were checked\n",
         labels ? "" : " none");
cleanup:
  syz_foreign_close(&f);
  return st;
}

static const char *fits_kind(const syz_fits *f)
{
  static const struct {
    const char *extname, *what;
  } known[] = {{"EMBEDDING", "syzygy embedding catalogue"},
               {"REDSHIFTS", "DESI redshifts (redrock)"},
               {"ZCATALOG", "DESI redshift catalogue"},
               {"EXP_FIBERMAP", "DESI coadded spectra"},
               {"B_FLUX", "DESI spectra"},
               {"R_FLUX", "DESI spectra"},
               {"SPECOBJ", "SDSS spectrum"},
               {"SPALL", "SDSS spectrum"},
               {"PLUGMAP", "SDSS plate spectra"},
               {"CCDS", "Legacy Surveys CCD table"}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (syz_fits_find(f, known[i].extname) >= 0) return known[i].what;
  for (int h = 1; h < syz_fits_count(f); h++)
    if (syz_fits_get(f, h)->kind == SYZ_FITS_TABLE && syz_fits_field_find(f, h, "brickid") >= 0 &&
        syz_fits_field_find(f, h, "objid") >= 0)
      return "Legacy Surveys catalogue (Tractor or sweep)";
  for (int h = 0; h < syz_fits_count(f); h++) {
    const syz_fits_hdu *u = syz_fits_get(f, h);
    if (u->kind != SYZ_FITS_TABLE && u->pixels) return u->naxis == 3 ? "image cube" : "image";
  }
  return syz_fits_count(f) > 1 ? "tables" : "empty";
}

/* The checksums of an HDU are verified at the first read from it, so read one pixel, or one row of one column. */
static syz_status touch_hdu(syz_fits *f, int h)
{
  const syz_fits_hdu *u = syz_fits_get(f, h);
  float pixel;
  char text[8];
  double real;
  if (u->kind != SYZ_FITS_TABLE)
    return u->kind != SYZ_FITS_OTHER && u->pixels ? syz_fits_read_f32(f, h, 0, 1, &pixel) : SYZ_OK;
  for (int i = 0; u->rows && i < u->columns; i++) {
    const syz_fits_field *field = syz_fits_field_get(f, h, i);
    if (field->repeat < 1) continue;
    if (field->type == 'A') return syz_fits_column_text(f, h, i, 0, text, sizeof text);
    if (strchr("LBIJKED", field->type)) return syz_fits_column_f64(f, h, i, 0, 0, 1, &real);
  }
  return SYZ_OK;
}

syz_status info_fits_file(bool verifies, const char *path)
{
  static const char *const kinds[] = {"image", "compressed", "table", "other"};
  syz_status st = SYZ_OK;
  syz_fits *f = NULL;
  int summed = 0;
  SYZ_TRY(syz_fits_open(path, verifies, &f));
  printf("%s: FITS, %s\n", path, fits_kind(f));
  printf("  %-4s %-24s %-11s %s\n", "HDU", "name", "kind", "shape");
  for (int h = 0; h < syz_fits_count(f); h++) {
    const syz_fits_hdu *u = syz_fits_get(f, h);
    char text[32];
    bool has =
        syz_fits_key_text(f, h, "CHECKSUM", text, sizeof text) || syz_fits_key_text(f, h, "DATASUM", text, sizeof text);
    summed += has;
    if (verifies) SYZ_TRY(touch_hdu(f, h));
    printf("  %-4d %-24s %-11s ", h, u->name, kinds[u->kind]);
    if (u->kind == SYZ_FITS_TABLE) printf("%lld rows, %d columns", (long long)u->rows, u->columns);
    for (int i = 0; u->kind != SYZ_FITS_TABLE && i < u->naxis; i++)
      printf(i ? " x %lld" : "%lld", (long long)u->shape[i]);
    printf("%s\n", !has ? "" : verifies ? ", checksum holds" : ", checksum not checked");
  }
  printf("  %d HDUs, %d with checksums%s\n", syz_fits_count(f), summed, verifies && summed ? " that hold" : "");
cleanup:
  syz_fits_close(&f);
  return st;
}
