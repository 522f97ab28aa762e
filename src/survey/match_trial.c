/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A trial of the match of spectra to catalogues, by the functions of `ingest`, on artificial tables: rows all over the
 * sky, and spectra 0.3 arcsec north of rows spread evenly over the catalogue. The right match of each spectrum is known
 * and is checked. The trial reports the time and the memory of the rank that needs most, as counted by the kernel and
 * as allocated by this program.
 */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ingest.h"
#include "syzygy/fits.h"
#include "syzygy/numbers.h"

enum { FILES = 12, CHUNK = 65536, COLUMNS = 5 };
static const double OFFSET_DEG = 0.3 / 3600;

typedef struct match_work {
  uint64_t seed;
  ingest g;
  int64_t rows, spectra; /**< of all ranks */
  char path[FILES][PATH_MAX];
} match_work;

/* Row i of the catalogue, at a random position on the sky. */
static void make_row(const match_work *w, int64_t i, double *ra, double *dec)
{
  syz_random r = syz_random_make(w->seed, SYZ_RANDOM_BENCH, 31, (uint64_t)i);
  *ra = 360 * syz_random_uniform(&r, 0);
  *dec = asin(2 * syz_random_uniform(&r, 1) - 1) * 57.295779513082320877;
}

static void rows_of_file(const match_work *w, int file, int64_t *first, int64_t *n)
{
  syz_share(w->rows, FILES, file, first, n);
}

/* The catalogue's row at which spectrum i was made. */
static int64_t row_of_spectrum(const match_work *w, int64_t i) { return i * (w->rows / w->spectra); }

static syz_status write_table(match_work *w, int file)
{
  syz_status st = SYZ_OK;
  syz_fits_table *t = NULL;
  double *place[2] = {NULL, NULL};
  int32_t *number[2] = {NULL, NULL};
  int16_t *release = NULL;
  const syz_fits_column column[COLUMNS] = {{.name = "RA", .type = 'D', .repeat = 1},
                                           {.name = "DEC", .type = 'D', .repeat = 1},
                                           {.name = "RELEASE", .type = 'I', .repeat = 1},
                                           {.name = "BRICKID", .type = 'J', .repeat = 1},
                                           {.name = "OBJID", .type = 'J', .repeat = 1}};
  int64_t first, n;
  rows_of_file(w, file, &first, &n);
  for (int k = 0; k < 2; k++) SYZ_ALLOC(place[k], "made rows", CHUNK);
  for (int k = 0; k < 2; k++) SYZ_ALLOC(number[k], "made rows", CHUNK);
  SYZ_ALLOC(release, "made rows", CHUNK);
  SYZ_TRY(syz_fits_table_create(w->path[file], "CATALOG", n, column, COLUMNS, NULL, 0, &t));
  for (int64_t at = 0; at < n; at += CHUNK) {
    int64_t m = n - at < CHUNK ? n - at : CHUNK;
    for (int64_t i = 0; i < m; i++) {
      int64_t row = first + at + i;
      make_row(w, row, &place[0][i], &place[1][i]);
      release[i] = 9010;
      number[0][i] = (int32_t)(1 + row % SYZ_BRICKS);
      number[1][i] = (int32_t)(row / SYZ_BRICKS);
    }
    SYZ_TRY(syz_fits_table_put(t, at, m, (const void *const[]){place[0], place[1], release, number[0], number[1]}));
  }
  SYZ_TRY(syz_fits_table_finish(&t, syz_fits_table_sum(t)));
cleanup:
  if (t) syz_fits_table_close(&t);
  for (int k = 0; k < 2; k++) syz_free(&place[k]);
  for (int k = 0; k < 2; k++) syz_free(&number[k]);
  syz_free(&release);
  return st;
}

/* Files 0 .. ranks - 1 are those of the spectra, the catalogues follow. */
static syz_status make_input(match_work *w)
{
  syz_status st = SYZ_OK;
  ingest *g = &w->g;
  int64_t first, n;
  double ra, dec;
  g->n_files = g->size + FILES;
  SYZ_ALLOC(g->file, "file table", g->n_files);
  SYZ_ALLOC(g->open, "open files", g->n_files);
  for (int f = 0; f < g->n_files; f++)
    g->file[f] = (ingest_file){.path = f < g->size ? "made spectra" : w->path[f - g->size],
                               .role = f < g->size ? ROLE_SPECTRA : ROLE_CATALOGUE,
                               .is_named = true};
  syz_share(w->spectra, g->size, g->rank, &first, &n);
  for (int64_t i = 0; i < n; i++) {
    ingest_spectrum s;
    memset(&s, 0, sizeof s);
    make_row(w, row_of_spectrum(w, first + i), &ra, &dec);
    s.info = (syz_spectrum_info){.object_id = first + i + 1,
                                 .ra = ra,
                                 .dec = fmin(dec + OFFSET_DEG, 90),
                                 .redshift = (double)NAN,
                                 .zwarn = -1,
                                 .fiberstatus = -1};
    s.file = g->rank;
    s.row = i;
    SYZ_TRY(ingest_add(&g->spectra, &s, g->spectrum_bytes));
  }
  g->n_spectra = n;
  for (int f = 0; f < g->n_files; f++)
    if (g->file[f].role == ROLE_CATALOGUE && f % g->size == g->rank) SYZ_TRY(write_table(w, f - g->size));
  SYZ_TRY(ingest_map_planes(g));
cleanup:
  return st;
}

/* Each spectrum must get the row at which it was made, unless by chance another row is as near, or an earlier one
 * within the radius of copies replaced it. */
static syz_status check_pairs(const match_work *w, int64_t *own)
{
  syz_status st = SYZ_OK;
  const ingest *g = &w->g;
  int64_t first, n, first_row, rows;
  double ra, dec;
  syz_share(w->spectra, g->size, g->rank, &first, &n);
  SYZ_REQUIRE(g->n_objects == n, SYZ_ERR_INTERNAL, "match: %lld objects of %lld spectra", (long long)g->n_objects,
              (long long)n);
  for (int64_t i = 0; i < n; i++) {
    const ingest_object *o = &g->object[i];
    if (o->candidate < 0) continue;
    const ingest_candidate *c = ingest_candidate_in(g, &g->candidates, o->candidate);
    rows_of_file(w, c->file - g->size, &first_row, &rows);
    make_row(w, first_row + c->row, &ra, &dec);
    SYZ_REQUIRE(!(c->ra < ra || c->ra > ra || c->dec < dec || c->dec > dec), SYZ_ERR_INTERNAL,
                "match: row %lld of %s is not what was written", (long long)c->row, w->path[c->file - g->size]);
    *own += first_row + c->row == row_of_spectrum(w, first + i);
  }
cleanup:
  return st;
}

syz_status syz_survey_try_match(const syz_run *run, uint64_t seed, int64_t rows, int64_t spectra, syz_match_trial *out)
{
  syz_status st = SYZ_OK;
  const syz_survey_options options = {.ra = "",
                                      .dec = "",
                                      .id = "",
                                      .redshift_column = "",
                                      .match = "sky",
                                      .match_radius_arcsec = 1,
                                      .duplicate_radius_arcsec = 1,
                                      .verifies = true};
  bool has_begun = false;
  match_work *w = syz_alloc("match", 1, sizeof *w);
  SYZ_TRY_ALL(run->world, w ? SYZ_OK : SYZ_ERR_MEMORY);
  w->seed = seed;
  w->rows = rows;
  w->spectra = spectra;
  *out = (syz_match_trial){0};
  ingest_begin(&w->g, run, &options);
  syz_status code = SYZ_OK;
  for (int f = 0; f < FILES && code == SYZ_OK; f++)
    if (snprintf(w->path[f], PATH_MAX, "%s/match-%02d.fits", run->folder, f) >= PATH_MAX)
      code = syz_error_set(SYZ_ERR_INPUT, __FILE__, __LINE__, "output.dir: name too long");
  SYZ_TRY_ALL(run->world, code);
  has_begun = true;
  SYZ_TRY_ALL(run->world, make_input(w));
  syz_barrier(run->world);
  out->resident_before = (int64_t)syz_memory_resident_peak();
  double start = syz_clock_s();
  SYZ_TRY(ingest_make_objects(&w->g));
  out->seconds = syz_clock_s() - start;
  SYZ_TRY_ALL(run->world, check_pairs(w, &out->own));
  syz_allreduce_i64(run->world, &out->own, 1, SYZ_SUM);
  SYZ_REQUIRE(out->own * 100 >= spectra * 99, SYZ_ERR_INTERNAL,
              "match: only %lld of %lld spectra have the row that they were made at", (long long)out->own,
              (long long)spectra);
  int64_t bytes[3] = {(int64_t)syz_memory_resident_peak(), (int64_t)syz_memory_get().peak_bytes, out->resident_before};
  syz_allreduce_i64(run->world, bytes, 3, SYZ_MAX);
  syz_allreduce_f64(run->world, &out->seconds, 1, SYZ_MAX);
  out->resident = bytes[0];
  out->allocated = bytes[1];
  out->resident_before = bytes[2];
cleanup:
  if (has_begun)
    for (int f = 0; f < FILES; f++)
      if ((f + w->g.size) % w->g.size == w->g.rank) (void)unlink(w->path[f]);
  if (w) ingest_forget(&w->g);
  syz_free(&w);
  return st;
}
