/* SPDX-License-Identifier: BSD-3-Clause */
/** Ingest, first pass: each rank opens its share of the files, notes what objects are in them, and checks the pixels of spectra. */
#include "ingest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare_spectra(const void *a, const void *b) {
  const ingest_spectrum *x = a, *y = b;
  if (x->file != y->file) return x->file < y->file ? -1 : 1;
  return (x->row > y->row) - (x->row < y->row);
}

static int compare_candidates(const void *a, const void *b) {
  const ingest_candidate *x = a, *y = b;
  if (x->is_centre != y->is_centre) return x->is_centre ? 1 : -1;
  if (x->file != y->file) return x->file < y->file ? -1 : 1;
  return (x->row > y->row) - (x->row < y->row);
}

static int compare_planes(const void *a, const void *b) {
  const ingest_plane *x = a, *y = b;
  if (x->file != y->file) return x->file < y->file ? -1 : 1;
  return x->plane - y->plane;
}

/* The cuts that need no redshift from another file. */
syz_cut ingest_early_cut(const ingest *g, const syz_spectrum_info *info, double primary)
{
  syz_spectra_cuts early = g->cuts;
  early.zwarn_bits = 0;
  early.spectype = "";
  early.needs_redshift = false;
  return syz_spectra_check(info, &early, primary);
}

void ingest_check_pixels(const ingest *g, const float *flux, const float *ivar, ingest_spectrum *o, const char **fault, char reason[160])
{
  *fault = syz_spectrum_fault(flux, ivar, &o->good_fraction, reason);
  if (!*fault && (o->good_fraction < g->cuts.min_coverage || o->good_fraction == 0)) o->cut = SYZ_CUT_PIXELS;
}

static void note_columns_of_spectra(ingest *g, int file, const syz_spectra *s) {
  for (int k = 1; k <= g->n_labels; k++) {
    if (!ingest_column_name(g, k)[0]) continue;
    syz_column_search search = SYZ_COLUMN_SEARCH;
    syz_spectra_search(s, ingest_column_name(g, k), &search);
    ingest_note_column(g, file, k, &search);
  }
}

static syz_status scan_fits_spectra(ingest *g, int file, ingest_bytes *found, float *flux, float *ivar) {
  syz_status st = SYZ_OK;
  syz_spectra *s = NULL;
  char redrock[4096], reason[160];
  const char *path = g->file[file].path, *fault;
  int64_t joined;
  SYZ_TRY(syz_spectra_open(path, &g->spectra_options, &s));
  if (syz_input_bool(g->app->input, "ingest.redrock_beside") && syz_spectra_redrock_path(path, redrock, sizeof redrock))
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
      if (syz_spectra_read(s, i, flux, ivar) != SYZ_OK) {
        /* A bad object is noted; a bad file (damaged tiles, checksums) fails for every object and is noted with each of them. */
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
    SYZ_TRY(ingest_add(found, &o, sizeof o));
  }
cleanup:
  syz_spectra_close(&s);
  return st;
}

/* What the readers say of a sound file that holds something else. A table with columns stated by ingest.ra is not among them. */
static bool is_other_kind(const ingest *g, int file) {
  const char *text = syz_error_text();
  switch (g->file[file].role) {
    case ROLE_IMAGES: return strstr(text, "no image in it") || strstr(text, "no image in g, r or z");
    case ROLE_CATALOGUE:
      return strstr(text, "no table in it") || (!syz_input_text(g->app->input, "ingest.ra")[0] && strstr(text, "no table with numeric columns"));
    default: return strstr(text, "no spectra in it") != NULL;
  }
}

/* A sound file of another kind or band that lay in a folder is passed over; anything else is noted. */
static syz_status note_file(ingest *g, int file) {
  if (!g->file[file].is_named && is_other_kind(g, file)) {
    g->count.passed_over++;
    g->count.passed_over_of[g->file[file].role]++;
    return SYZ_OK;
  }
  return ingest_note(g, file, -1, 0, NULL);
}

/* A role whose every file is of another kind was given by mistake. */
static syz_status check_roles(const ingest *g) {
  static const char *const key[ROLE_COUNT] = {"ingest.spectra", "ingest.redshifts", "ingest.images", "ingest.catalogues", "ingest.hdf5"};
  static const char *const want[ROLE_COUNT] = {"spectra", "redshifts", "an image in g, r or z", "a table with RA and Dec", "an HDF5 file"};
  syz_status st = SYZ_OK;
  for (int k = 0; k < ROLE_COUNT; k++) {
    int first = NO_FILE;
    int64_t n = 0;
    for (int i = 0; i < g->n_files; i++) {
      if (g->file[i].role != (ingest_role)k) continue;
      if (!n++) first = i;
    }
    SYZ_REQUIRE(!n || g->count.passed_over_of[k] < n, SYZ_ERR_DATA, "%s: none of its %lld files holds %s: %s is the first", key[k], (long long)n, want[k],
                g->file[first].path);
  }
cleanup:
  return st;
}

static syz_status scan_my_spectra(ingest *g, ingest_bytes *spectra, ingest_bytes *candidates) {
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
      spectra->n = before; /* a refused file gives nothing */
      candidates->n = before_candidates;
      SYZ_TRY(note_file(g, i));
    }
    syz_progress_tell(&progress, i + 1, NULL);
  }
  syz_progress_end(&progress, g->n_files);
cleanup:
  syz_free(&flux);
  syz_free(&ivar);
  return st;
}

/* --------------------------------------------------- candidates and planes */

static syz_status scan_catalogue(ingest *g, int file, ingest_bytes *found) {
  syz_status st = SYZ_OK;
  syz_catalogue *c = NULL;
  double *ra = NULL, *dec = NULL, *label = NULL;
  int64_t *id = NULL;
  bool has;
  const syz_input *in = g->app->input;
  SYZ_TRY(syz_catalogue_open(g->file[file].path, g->verify, syz_input_text(in, "ingest.ra"), syz_input_text(in, "ingest.dec"),
                             syz_input_text(in, "ingest.id"), &c));
  int64_t n = syz_catalogue_count(c);
  SYZ_ALLOC(ra, "catalogue", n + 1);
  SYZ_ALLOC(dec, "catalogue", n + 1);
  SYZ_ALLOC(id, "catalogue", n + 1);
  SYZ_ALLOC(label, "catalogue", (n + 1) * g->n_labels);
  SYZ_TRY(syz_catalogue_read(c, 0, n, ra, dec, id));
  for (int k = 0; k < g->n_labels; k++) {
    const char *name = ingest_column_name(g, k);
    SYZ_TRY(syz_catalogue_column(c, name[0] ? name : "redshift", 0, n, label + k * n, &has));
    if (!name[0]) continue;
    syz_column_search search = SYZ_COLUMN_SEARCH;
    syz_catalogue_search(c, name, &search);
    ingest_note_column(g, file, k, &search);
  }
  for (int64_t i = 0; i < n; i++) {
    ingest_candidate o;
    memset(&o, 0, sizeof o);
    o.object_id = id[i];
    o.ra = ra[i];
    o.dec = dec[i];
    o.file = file;
    o.row = i;
    for (int k = 0; k < g->n_labels; k++) o.label[k] = label[k * n + i];
    ingest_clear_labels(g, o.label, &g->count.no_value);
    if (!isfinite(ra[i])) {
      SYZ_TRY(ingest_note(g, file, i, id[i], "RA and Dec are not on the sky"));
      continue;
    }
    SYZ_TRY(ingest_add(found, &o, sizeof o));
  }
cleanup:
  syz_catalogue_close(&c);
  syz_free(&ra);
  syz_free(&dec);
  syz_free(&id);
  syz_free(&label);
  return st;
}

static syz_status scan_images(ingest *g, int file, bool wants_centres, ingest_bytes *planes, ingest_bytes *candidates) {
  syz_status st = SYZ_OK;
  syz_images *m = NULL;
  SYZ_TRY(ingest_open_images(g, file, &m));
  g->count.rescaled += syz_images_plane(m, 0)->value_arcsec > 0;
  for (int i = 0; i < syz_images_count(m); i++) {
    const syz_plane *p = syz_images_plane(m, i);
    ingest_plane o = {file, i, p->band, 0, p->ra, p->dec, p->radius_deg};
    SYZ_TRY(ingest_add(planes, &o, sizeof o));
    if (!wants_centres) continue;
    ingest_candidate c;
    memset(&c, 0, sizeof c);
    c.object_id = -1;
    c.ra = p->ra;
    c.dec = p->dec;
    c.file = file;
    c.row = i;
    c.is_centre = true;
    for (int k = 0; k < INGEST_LABELS; k++) c.label[k] = (double)NAN;
    SYZ_TRY(ingest_add(candidates, &c, sizeof c));
  }
cleanup:
  ingest_release_images(g, file, &m);
  return st;
}

static syz_status scan_my_candidates(ingest *g, ingest_bytes *candidates, ingest_bytes *planes) {
  syz_status st = SYZ_OK;
  bool wants_centres = syz_input_bool(g->app->input, "ingest.centres");
  for (int i = g->rank; i < g->n_files; i += g->size) {
    syz_status code = SYZ_OK;
    size_t before = candidates->n, before_planes = planes->n;
    if (g->file[i].role == ROLE_CATALOGUE) code = scan_catalogue(g, i, candidates);
    if (g->file[i].role == ROLE_IMAGES) code = scan_images(g, i, wants_centres, planes, candidates);
    SYZ_REQUIRE(code == SYZ_OK || code == SYZ_ERR_DATA, code, "%s", syz_error_text());
    if (code == SYZ_ERR_DATA) {
      candidates->n = before;
      planes->n = before_planes;
      SYZ_TRY(note_file(g, i));
    }
  }
cleanup:
  return st;
}

/* Several planes (bands, files) of one place give one candidate: a centre within a quarter of its plane's radius of an earlier one is the same.
 * Declinations are compared first, in an array of their own: tens of thousands of cutouts are usual. */
static syz_status merge_centres(ingest *g) {
  syz_status st = SYZ_OK;
  int64_t kept = 0;
  double *dec = NULL; /* of kept centres, beyond the sky for anything else */
  SYZ_ALLOC(dec, "image centres", g->n_candidates + 1);
  for (int64_t i = 0; i < g->n_candidates; i++) {
    ingest_candidate *c = &g->candidate[i];
    bool is_known = false;
    if (c->is_centre) {
      const ingest_plane wanted = {.file = c->file, .plane = (int32_t)c->row};
      const ingest_plane *p = bsearch(&wanted, g->plane, (size_t)g->n_planes, sizeof wanted, compare_planes);
      double near_deg = p ? p->radius_deg / 4 : 0;
      for (int64_t k = 0; k < kept && !is_known; k++)
        is_known = fabs(c->dec - dec[k]) < near_deg && syz_separation(c->ra, c->dec, g->candidate[k].ra, g->candidate[k].dec) < near_deg;
    }
    if (is_known) continue;
    dec[kept] = c->is_centre ? c->dec : 1000;
    g->candidate[kept++] = *c;
  }
  g->n_candidates = kept;
cleanup:
  syz_free(&dec);
  return st;
}

syz_status ingest_scan_spectra(ingest *g) {
  syz_status st = SYZ_OK;
  ingest_bytes found = {NULL, 0, 0};
  void *all = NULL;
  SYZ_TRY_ALL(g->world, scan_my_spectra(g, &found, &g->found_candidates));
  SYZ_TRY(ingest_gather(g, &found, sizeof(ingest_spectrum), compare_spectra, &all, &g->n_spectra));
  g->spectrum = all;
  SYZ_TRY(ingest_share_rejects(g));
cleanup:
  syz_free(&found.data);
  return st;
}

syz_status ingest_scan_candidates(ingest *g) {
  syz_status st = SYZ_OK;
  ingest_bytes planes = {NULL, 0, 0};
  void *all = NULL;
  SYZ_TRY_ALL(g->world, scan_my_candidates(g, &g->found_candidates, &planes));
  SYZ_TRY(ingest_gather(g, &g->found_candidates, sizeof(ingest_candidate), compare_candidates, &all, &g->n_candidates));
  g->candidate = all;
  SYZ_TRY(ingest_gather(g, &planes, sizeof(ingest_plane), compare_planes, &all, &g->n_planes));
  g->plane = all;
  SYZ_TRY(ingest_share_rejects(g));
  syz_allreduce_i64(g->world, &g->count.passed_over, 1, SYZ_SUM);
  syz_allreduce_i64(g->world, &g->count.no_value, 1, SYZ_SUM);
  syz_allreduce_i64(g->world, &g->count.rescaled, 1, SYZ_SUM);
  syz_allreduce_i64(g->world, &g->count.narrow, 1, SYZ_SUM);
  syz_allreduce_i64(g->world, &g->count.lacks_camera, 1, SYZ_SUM);
  syz_allreduce_i64(g->world, g->count.passed_over_of, ROLE_COUNT, SYZ_SUM);
  SYZ_TRY_ALL(g->world, check_roles(g));
  SYZ_TRY(ingest_check_columns(g));
  SYZ_TRY_ALL(g->world, merge_centres(g));
  for (int64_t i = 0; i < g->n_candidates; i++)
    if (g->candidate[i].object_id == -1) g->candidate[i].object_id = ingest_made_id(g->file[g->candidate[i].file].path, g->candidate[i].row);
cleanup:
  syz_free(&planes.data);
  syz_free(&g->found_candidates.data);
  g->found_candidates.n = g->found_candidates.room = 0;
  return st;
}

/* -------------------------------------------------------------- redshifts */

typedef struct found_redshift {
  int64_t spectrum;
  int32_t file, pad;
  syz_redshift z;
} found_redshift;

static int compare_redshifts(const void *a, const void *b) {
  const found_redshift *x = a, *y = b;
  if (x->spectrum != y->spectrum) return x->spectrum < y->spectrum ? -1 : 1;
  if ((x->z.zwarn != 0) != (y->z.zwarn != 0)) return x->z.zwarn == 0 ? -1 : 1;
  return x->file - y->file;
}

static syz_status find_redshifts(ingest *g, ingest_bytes *found) {
  syz_status st = SYZ_OK;
  syz_redshift *z = NULL;
  for (int f = g->rank; f < g->n_files; f += g->size) {
    if (g->file[f].role != ROLE_REDSHIFTS) continue;
    int64_t n = 0;
    syz_status code = syz_redshifts_read(g->file[f].path, g->verify, &n, &z);
    SYZ_REQUIRE(code == SYZ_OK || code == SYZ_ERR_DATA, code, "%s", syz_error_text());
    if (code == SYZ_ERR_DATA) SYZ_TRY(ingest_note(g, f, -1, 0, NULL));
    for (int64_t i = 0; i < g->n_spectra && code == SYZ_OK; i++) {
      int64_t low = 0, high = n, id = g->spectrum[i].info.object_id;
      while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (z[middle].object_id < id)
          low = middle + 1;
        else
          high = middle;
      }
      if (low == n || z[low].object_id != id) continue;
      found_redshift o;
      memset(&o, 0, sizeof o);
      o.spectrum = i;
      o.file = f;
      o.z = z[low];
      SYZ_TRY(ingest_add(found, &o, sizeof o));
    }
    syz_free(&z);
  }
cleanup:
  syz_free(&z);
  return st;
}

syz_status ingest_join_redshifts(ingest *g) {
  syz_status st = SYZ_OK;
  ingest_bytes found = {NULL, 0, 0};
  void *all = NULL;
  int64_t n = 0;
  SYZ_TRY_ALL(g->world, find_redshifts(g, &found));
  SYZ_TRY(ingest_gather(g, &found, sizeof(found_redshift), compare_redshifts, &all, &n));
  SYZ_TRY(ingest_share_rejects(g));
  const found_redshift *f = all;
  for (int64_t i = 0; i < n; i++) {
    if (i && f[i].spectrum == f[i - 1].spectrum) continue; /* the first one is the best */
    ingest_spectrum *s = &g->spectrum[f[i].spectrum];
    s->info.redshift = ingest_clear_redshift(g, f[i].z.redshift);
    s->info.zwarn = f[i].z.zwarn;
    memcpy(s->info.spectype, f[i].z.spectype, sizeof s->info.spectype);
    g->count.no_value += isnan(s->info.redshift) && !isnan(f[i].z.redshift);
    s->label[0] = s->info.redshift;
  }
  SYZ_TRY_ALL(g->world, ingest_check_types(g));
  g->count.read = g->n_spectra;
  for (int64_t i = 0; i < g->n_spectra; i++) {
    ingest_spectrum *s = &g->spectrum[i];
    if (s->cut == SYZ_CUT_NONE || s->cut == SYZ_CUT_PIXELS) {
      syz_cut cut = syz_spectra_check(&s->info, &g->cuts, s->primary);
      if (cut != SYZ_CUT_NONE) s->cut = cut;
    }
    if (s->cut < 0)
      g->count.bad++;
    else if (s->cut != SYZ_CUT_NONE)
      g->count.cut[s->cut]++;
  }
cleanup:
  syz_free(&found.data);
  syz_free(&all);
  return st;
}
