/* SPDX-License-Identifier: BSD-3-Clause */
/** Ingest, first pass: each rank opens its share of the files, records their spectra and planes, and checks the pixels
 * of spectra. */
#include "ingest.h"

#include <string.h>

static int compare_planes(const void *a, const void *b)
{
  const ingest_plane *x = a, *y = b;
  if (x->file != y->file) return x->file < y->file ? -1 : 1;
  return x->plane - y->plane;
}

static void note_columns_of_spectra(ingest *g, int file, const syz_spectra *s)
{
  for (int k = 1; k <= g->n_labels; k++) {
    if (!ingest_column_name(g, k)[0]) continue;
    syz_column_search search = SYZ_COLUMN_SEARCH;
    syz_spectra_search(s, ingest_column_name(g, k), &search);
    ingest_note_column(g, file, k, &search);
  }
}

static syz_status scan_fits_spectra(ingest *g, int file, ingest_bytes *found, float *flux, float *ivar)
{
  syz_status st = SYZ_OK;
  syz_spectra *s = NULL;
  char redrock[4096], reason[160];
  const char *path = g->file[file].path, *fault;
  int64_t joined;
  SYZ_TRY(syz_spectra_open(path, &g->spectra_options, &s));
  if (g->options.joins_redrock_beside && syz_spectra_redrock_path(path, redrock, sizeof redrock))
    SYZ_TRY(syz_spectra_join_redshifts(s, redrock, &joined));
  note_columns_of_spectra(g, file, s);
  if (syz_spectra_lacks_camera(s)) g->count.lacks_camera += syz_spectra_count(s);
  for (int64_t i = 0; i < syz_spectra_count(s); i++) {
    ingest_spectrum o;
    memset(&o, 0, sizeof o);
    o.info = *syz_spectra_info(s, i);
    o.file = file;
    o.row = i;
    o.primary = g->cuts.primary[0] ? syz_spectra_column(s, i, g->cuts.primary) : 1;
    for (int k = 0; k < g->n_labels; k++) o.label[k] = syz_spectra_column(s, i, g->label[k]);
    ingest_clear_labels(g, o.label, &g->count.no_value);
    o.info.redshift = o.label[0];
    o.cut = ingest_early_cut(g, &o.info, o.primary);
    if (o.cut == SYZ_CUT_NONE) {
      const syz_status code = syz_spectra_read(s, i, flux, ivar);
      SYZ_REQUIRE(code == SYZ_OK || code == SYZ_ERR_DATA, code, "%s", syz_error_text());
      if (code != SYZ_OK) {
        /* A bad object is noted; a bad file (damaged tiles, checksums) fails for every object and is noted with each of
         * them. */
        SYZ_TRY(ingest_note(g, file, i, o.info.object_id, NULL));
        o.cut = -1;
      } else {
        ingest_check_pixels(g, flux, ivar, &o, &fault, reason);
        if (fault) {
          SYZ_TRY(ingest_note(g, file, i, o.info.object_id, fault));
          o.cut = -1;
        }
      }
    }
    SYZ_TRY(ingest_add(found, &o, g->spectrum_bytes));
  }
cleanup:
  syz_spectra_close(&s);
  return st;
}

static syz_status check_roles(const ingest *g, const int64_t *passed_over_of)
{
  static const char *const key[ROLE_COUNT] = {"ingest.spectra", "ingest.redshifts", "ingest.images",
                                              "ingest.catalogues", "ingest.hdf5"};
  static const char *const want[ROLE_COUNT] = {"spectra", "redshifts", "an image in g, r or z",
                                               "a table with RA and Dec", "an HDF5 file"};
  syz_status st = SYZ_OK;
  for (int k = 0; k < ROLE_COUNT; k++) {
    int first = NO_FILE;
    int64_t n = 0;
    for (int i = 0; i < g->n_files; i++) {
      if (g->file[i].role != (ingest_role)k) continue;
      if (!n++) first = i;
    }
    SYZ_REQUIRE(!n || passed_over_of[k] < n, SYZ_ERR_DATA, "%s: none of its %lld files holds %s; the first is %s",
                key[k], (long long)n, want[k], g->file[first].path);
  }
cleanup:
  return st;
}

syz_status ingest_check_roles(ingest *g)
{
  syz_status st = SYZ_OK;
  int64_t passed_over_of[ROLE_COUNT];
  memcpy(passed_over_of, g->count.passed_over_of, sizeof passed_over_of);
  syz_allreduce_i64(g->world, passed_over_of, ROLE_COUNT, SYZ_SUM);
  SYZ_TRY_ALL(g->world, check_roles(g, passed_over_of));
cleanup:
  return st;
}

static syz_status scan_my_spectra(ingest *g, ingest_bytes *spectra, ingest_bytes *candidates)
{
  syz_status st = SYZ_OK;
  float *flux = NULL, *ivar = NULL;
  syz_progress progress;
  SYZ_ALLOC(flux, "spectrum", SYZ_SPECTRUM_PIXELS);
  SYZ_ALLOC(ivar, "spectrum", SYZ_SPECTRUM_PIXELS);
  syz_progress_begin(&progress, "scanning", "files", 0, g->n_files);
  for (int i = g->rank; i < g->n_files; i += g->size) {
    syz_status code = SYZ_OK;
    size_t before = spectra->n, before_candidates = candidates->n;
    if (g->file[i].role == ROLE_SPECTRA) code = scan_fits_spectra(g, i, spectra, flux, ivar);
    if (g->file[i].role == ROLE_HDF5) code = ingest_scan_hdf5(g, i, spectra, candidates);
    SYZ_REQUIRE(code == SYZ_OK || code == SYZ_ERR_DATA, code, "%s", syz_error_text());
    if (code == SYZ_ERR_DATA) {
      spectra->n = before; /* drop the spectra of a refused file */
      candidates->n = before_candidates;
      SYZ_TRY(ingest_note_file(g, i));
    }
    syz_progress_tell(&progress, i + 1, NULL);
  }
  syz_progress_end(&progress, g->n_files);
cleanup:
  syz_free(&flux);
  syz_free(&ivar);
  return st;
}

syz_status ingest_scan_spectra(ingest *g)
{
  syz_status st = SYZ_OK;
  SYZ_TRY_ALL(g->world, scan_my_spectra(g, &g->spectra, &g->found_candidates));
  g->n_spectra = (int64_t)(g->spectra.n / g->spectrum_bytes);
  SYZ_TRY(ingest_share_rejects(g));
cleanup:
  return st;
}

/* ------------------------------------------------------------------ planes */

static syz_status scan_images(ingest *g, int file, ingest_bytes *planes)
{
  syz_status st = SYZ_OK;
  syz_images *m = NULL;
  SYZ_TRY(ingest_open_images(g, file, &m));
  g->count.rescaled += syz_images_plane(m, 0)->value_arcsec > 0;
  for (int i = 0; i < syz_images_count(m); i++) {
    const syz_plane *p = syz_images_plane(m, i);
    ingest_plane o = {file, i, p->band, 0, p->ra, p->dec, p->radius_deg};
    SYZ_TRY(ingest_add(planes, &o, sizeof o));
  }
cleanup:
  ingest_release_images(g, file, &m);
  return st;
}

static syz_status scan_my_images(ingest *g, ingest_bytes *planes)
{
  syz_status st = SYZ_OK;
  for (int i = g->rank; i < g->n_files; i += g->size) {
    if (g->file[i].role != ROLE_IMAGES) continue;
    size_t before = planes->n;
    syz_status code = scan_images(g, i, planes);
    SYZ_REQUIRE(code == SYZ_OK || code == SYZ_ERR_DATA, code, "%s", syz_error_text());
    if (code == SYZ_ERR_DATA) {
      planes->n = before;
      SYZ_TRY(ingest_note_file(g, i));
    }
  }
cleanup:
  return st;
}

syz_status ingest_scan_images(ingest *g)
{
  syz_status st = SYZ_OK;
  ingest_bytes planes = {NULL, 0, 0};
  void *all = NULL;
  SYZ_TRY_ALL(g->world, scan_my_images(g, &planes));
  SYZ_TRY(ingest_gather(g, &planes, sizeof(ingest_plane), compare_planes, &all, &g->n_planes));
  g->plane = all;
  SYZ_TRY_ALL(g->world, ingest_map_planes(g));
  SYZ_TRY_ALL(g->world, ingest_find_centres(g));
cleanup:
  syz_free(&planes.data);
  return st;
}
