/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Ingest, last pass: shard k holds objects [k n, (k + 1) n) and is written whole by rank k mod ranks, from the source
 * files. The input text of a shard has a digest of its objects, files (by content) and options. A complete shard of an
 * earlier run with the same digest is kept if its checksums hold.
 */
#include "ingest.h"
#include "syzygy/files.h"
#include "syzygy/h5.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 32, OPEN_IMAGES = 6 };
static const int64_t IMAGE = (int64_t)SYZ_BANDS * SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE;

/** Open files of this rank: one of spectra, one HDF5, and as many image files as two bricks have. */
typedef struct sources {
  int spectra_file, foreign_file;
  syz_spectra *spectra;
  syz_foreign *foreign;
  syz_kept_open kept_images;
  syz_images *image[OPEN_IMAGES];
} sources;

static void sources_close(sources *s)
{
  syz_spectra_close(&s->spectra);
  syz_foreign_close(&s->foreign);
  for (int i = 0; i < OPEN_IMAGES; i++) syz_images_close(&s->image[i]);
}

static syz_status open_spectra(ingest *g, sources *s, int file)
{
  syz_status st = SYZ_OK;
  if (s->spectra && s->spectra_file == file) return st;
  syz_spectra_close(&s->spectra);
  SYZ_TRY(syz_spectra_open(g->file[file].path, &g->spectra_options, &s->spectra));
  s->spectra_file = file;
cleanup:
  return st;
}

static syz_status open_foreign(ingest *g, sources *s, int file)
{
  syz_status st = SYZ_OK;
  if (s->foreign && s->foreign_file == file) return st;
  syz_foreign_close(&s->foreign);
  SYZ_TRY(syz_foreign_open(g->file[file].path, &s->foreign));
  s->foreign_file = file;
cleanup:
  return st;
}

static syz_status open_images(ingest *g, sources *s, int file, syz_images **out)
{
  syz_status st = SYZ_OK;
  int k;
  if (!syz_kept_open_find(&s->kept_images, OPEN_IMAGES, file, &k)) {
    if (s->image[k]) ingest_release_images(g, s->kept_images.slot[k].file, &s->image[k]);
    SYZ_TRY(ingest_open_images(g, file, &s->image[k]));
    syz_kept_open_put(&s->kept_images, k, file);
  }
  *out = s->image[k];
cleanup:
  return st;
}

/* Fills masked pixels as the input asks: values of the file, zero, or a straight line between good neighbours. */
static void treat_masked(const ingest *g, float *flux, const float *ivar)
{
  const char *how = g->options.masked_flux;
  int64_t last = -1;
  for (int64_t j = 0; j < SYZ_SPECTRUM_PIXELS; j++) {
    if (ivar[j] > 0) {
      if (!strcmp(how, "interpolate") && last >= 0)
        for (int64_t k = last + 1; k < j; k++)
          flux[k] = flux[last] + (flux[j] - flux[last]) * (float)(k - last) / (float)(j - last);
      last = j;
    } else if (!strcmp(how, "zero") || !(fabsf(flux[j]) <= SYZ_VALUE_MAX) || !strcmp(how, "interpolate")) {
      flux[j] = 0;
    }
  }
}

static syz_status read_object(ingest *g, sources *s, const ingest_object *o, syz_object *face, float *image,
                              float *flux, float *ivar, float *label)
{
  syz_status st = SYZ_OK;
  double covered;
  char reason[160];
  double good;
  syz_pulse();
  memset(image, 0, (size_t)IMAGE * sizeof *image);
  memset(flux, 0, SYZ_SPECTRUM_PIXELS * sizeof *flux);
  memset(ivar, 0, SYZ_SPECTRUM_PIXELS * sizeof *ivar);
  *face = (syz_object){.object_id = o->object_id,
                       .ra = o->ra,
                       .dec = o->dec,
                       .has_image = o->has_image,
                       .has_spectrum = o->spectrum >= 0};
  if (isnan(face->ra) && o->candidate >= 0) {
    face->ra = o->image_ra;
    face->dec = o->image_dec;
  }
  const ingest_spectrum *p = o->spectrum >= 0 ? ingest_spectrum_at(g, o->spectrum) : NULL;
  const ingest_candidate *c = o->candidate >= 0 ? ingest_candidate_in(g, &g->candidates, o->candidate) : NULL;
  if (p) {
    if (g->file[p->file].role == ROLE_HDF5) {
      SYZ_TRY(open_foreign(g, s, p->file));
      SYZ_TRY(syz_foreign_read(s->foreign, p->row, 1, p->has_image && !c ? image : NULL, flux, ivar));
    } else {
      SYZ_TRY(open_spectra(g, s, p->file));
      SYZ_REQUIRE(p->row < syz_spectra_count(s->spectra) &&
                      syz_spectra_info(s->spectra, p->row)->object_id == p->info.object_id,
                  SYZ_ERR_DATA, "%s: the file has changed since it was scanned", g->file[p->file].path);
      SYZ_TRY(syz_spectra_read(s->spectra, p->row, flux, ivar));
    }
    SYZ_REQUIRE(!syz_spectrum_fault(flux, ivar, &good, reason), SYZ_ERR_DATA, "%s: object %lld: %s",
                g->file[p->file].path, (long long)o->object_id, reason);
    treat_masked(g, flux, ivar);
  }
  if (o->has_image && c && c->has_pixels) {
    SYZ_TRY(open_foreign(g, s, c->file));
    SYZ_TRY(syz_foreign_read(s->foreign, c->row, 1, image, NULL, NULL));
  } else if (o->has_image && o->wants_image) {
    for (int b = 0; b < SYZ_BANDS; b++) {
      syz_images *m = NULL;
      float *plane = image + (int64_t)b * SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE;
      if (o->image_file[b] == NO_FILE) continue;
      SYZ_TRY(open_images(g, s, o->image_file[b], &m));
      SYZ_TRY(syz_images_cutout(m, o->image_plane[b], o->image_ra, o->image_dec, SYZ_IMAGE_SIZE, SYZ_PIXEL_ARCSEC,
                                plane, &covered));
      for (int64_t k = 0; k < SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE; k++)
        if (isnan(plane[k])) plane[k] = 0; /* ingest.edge: zero */
    }
  }
  for (int k = 0; k < g->n_labels; k++) {
    double v = p ? p->label[k] : (double)NAN;
    if (isnan(v) && c) v = c->label[k];
    label[k] = (float)v;
  }
cleanup:
  return st;
}

/* Digest of everything that determines the content of a shard. */
static uint64_t shard_digest(const ingest *g, int64_t first, int64_t n)
{
  const syz_survey_options *s = &g->options;
  const char *const choice[] = {s->exposures, s->masked_flux, s->resample, s->unit,
                                s->bands,     s->zero_points, s->edge,     s->missing_band};
  uint64_t h = syz_checksum("ingest 2", 8, (uint64_t)n);
  for (size_t k = 0; k < sizeof choice / sizeof *choice; k++) h = syz_checksum(choice[k], strlen(choice[k]) + 1, h);
  double real[3] = {g->image_options.value_per_pixel_arcsec, (double)g->spectra_options.mask_bits,
                    g->spectra_options.is_air};
  h = syz_checksum(real, sizeof real, h);
  h = syz_checksum(&g->zero_points_digest, sizeof g->zero_points_digest, h);
  for (int k = 0; k < g->n_labels; k++) h = syz_checksum(g->label[k], strlen(g->label[k]) + 1, h);
  for (int k = 0; k < g->n_labels; k++) {
    const char *unit = ingest_label_unit(g, k);
    if (*unit) h = syz_checksum(unit, strlen(unit) + 1, h);
  }
  for (int64_t i = first; i < first + n; i++) {
    const ingest_object *o = &g->object[i];
    const ingest_spectrum *p = o->spectrum >= 0 ? ingest_spectrum_at(g, o->spectrum) : NULL;
    const ingest_candidate *c = o->candidate >= 0 ? ingest_candidate_in(g, &g->candidates, o->candidate) : NULL;
    int files[2 + SYZ_BANDS] = {p ? p->file : NO_FILE, c ? c->file : NO_FILE, o->image_file[0], o->image_file[1],
                                o->image_file[2]};
    for (int k = 0; k < 2 + SYZ_BANDS; k++) {
      if (files[k] == NO_FILE) continue;
      const ingest_file *f = &g->file[files[k]];
      h = syz_checksum(f->path, strlen(f->path) + 1, h);
      h = syz_checksum(&f->digest, sizeof f->digest, h);
    }
    int64_t whole[4] = {o->object_id, p ? p->row : -1, c ? c->row : -1, o->has_image};
    double place[4] = {o->ra, o->dec, o->image_ra, o->image_dec};
    h = syz_checksum(whole, sizeof whole, h);
    h = syz_checksum(place, sizeof place, h);
    if (p) h = syz_checksum(p->label, (size_t)g->n_labels * sizeof(double), h);
    if (c) h = syz_checksum(c->label, (size_t)g->n_labels * sizeof(double), h);
  }
  return h;
}

/** Counts of an earlier run's shards. */
typedef struct found_shards {
  int64_t kept, damaged;
} found_shards;

/* HDF5 files may take pixels from others below io.link_root, whose content no digest covers. */
static bool may_lead_out(const ingest *g) { return *g->options.link_root && g->options.hdf5.n > 0; }

/* *is_whole: a complete shard with that digest exists and all its checksums hold. A damaged one is made again; any
 * other failure is an error. */
static syz_status look_for_shard(const char *path, const char *mark, found_shards *found, bool *is_whole)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  char *text = NULL;
  bool is_same = false;
  *is_whole = false;
  if (access(path, R_OK) != 0) return SYZ_OK;
  SYZ_TRY(syz_h5_open(NULL, path, &f));
  SYZ_TRY(syz_h5_read_text(f, "", "input", &text));
  is_same = text && strstr(text, mark) != NULL;
  if (is_same) SYZ_TRY(syz_h5_verify_all(f, is_whole));
cleanup:
  syz_free(&text);
  syz_h5_close(&f);
  found->damaged += st == SYZ_ERR_DATA;
  found->kept += *is_whole;
  return st == SYZ_ERR_DATA ? SYZ_OK : st;
}

static syz_status write_shard(ingest *g, sources *s, const char *path, int64_t first, int64_t n, found_shards *found,
                              syz_progress *progress)
{
  syz_status st = SYZ_OK;
  syz_shard_writer *w = NULL;
  float *image = NULL, *flux = NULL, *ivar = NULL, *label = NULL;
  char *input = NULL, mark[64];
  syz_object face[CHUNK];
  const char *names[INGEST_LABELS], *units[INGEST_LABELS];
  const char *yaml = g->run->input_yaml;
  snprintf(mark, sizeof mark, "# ingest digest %016llx", (unsigned long long)shard_digest(g, first, n));
  bool is_done = false;
  if (!may_lead_out(g)) SYZ_TRY(look_for_shard(path, mark, found, &is_done));
  if (is_done) return st;
  for (int k = 0; k < g->n_labels; k++) {
    names[k] = g->label[k];
    units[k] = ingest_label_unit(g, k);
  }
  size_t room = strlen(yaml) + sizeof mark + 2;
  SYZ_ALLOC(input, "input text", room);
  snprintf(input, room, "%s%s\n", yaml, mark);
  SYZ_ALLOC(image, "shard rows", CHUNK * IMAGE);
  SYZ_ALLOC(flux, "shard rows", CHUNK * SYZ_SPECTRUM_PIXELS);
  SYZ_ALLOC(ivar, "shard rows", CHUNK * SYZ_SPECTRUM_PIXELS);
  SYZ_ALLOC(label, "shard rows", CHUNK * g->n_labels);
  SYZ_TRY(syz_shard_writer_create(path, n, g->n_labels, names, units, false, g->run->created_by, input, &w));
  for (int64_t i = 0; i < n; i += CHUNK) {
    int64_t m = n - i < CHUNK ? n - i : CHUNK;
    for (int64_t k = 0; k < m; k++)
      SYZ_TRY(read_object(g, s, &g->object[first + i + k], &face[k], image + k * IMAGE, flux + k * SYZ_SPECTRUM_PIXELS,
                          ivar + k * SYZ_SPECTRUM_PIXELS, label + k * g->n_labels));
    SYZ_TRY(syz_shard_writer_put(w, i, m, face, image, flux, ivar, label, NULL));
    syz_progress_tell(progress, first + i + m, NULL);
  }
  SYZ_TRY(syz_shard_writer_publish(&w));
cleanup:
  if (w) syz_shard_writer_discard(&w);
  syz_free(&input);
  syz_free(&image);
  syz_free(&flux);
  syz_free(&ivar);
  syz_free(&label);
  return st;
}

static syz_status write_mine(ingest *g, const char *folder, int64_t rows, int64_t shards, found_shards *found)
{
  syz_status st = SYZ_OK;
  sources s;
  char path[4096];
  syz_progress progress;
  memset(&s, 0, sizeof s);
  syz_progress_begin(&progress, "writing shards", "objects", 0, g->n_objects);
  int64_t first = 0; /* this rank has the objects of its shards in order */
  for (int64_t k = g->rank; k < shards; k += g->size) {
    /* Rank-local on purpose: a rank that is asked to stop stops, and the agreement after the loop stops all. Complete
     * shards are kept. */
    SYZ_REQUIRE(!syz_stop_asked(g->world, g->run->folder), SYZ_STOPPED, "stopped by %s", syz_stop_reason());
    SYZ_REQUIRE(snprintf(path, sizeof path, "%s/shard-%05lld.h5", folder, (long long)k) < (int)sizeof path,
                SYZ_ERR_INPUT, "%s: name too long", folder);
    int64_t n = g->n_total - k * rows < rows ? g->n_total - k * rows : rows;
    SYZ_TRY(write_shard(g, &s, path, first, n, found, &progress));
    first += n;
  }
  syz_progress_end(&progress, g->n_objects);
cleanup:
  sources_close(&s);
  return st;
}

/* Removes shards of an earlier, longer run, which would be read with the new ones. Numbers of an interrupted run have
 * gaps, so every name in the folder is checked. */
static void remove_leftovers(const char *folder, int64_t shards)
{
  DIR *d = opendir(folder);
  if (!d) return;
  for (struct dirent *e; (e = readdir(d));) {
    char path[4400], wanted[64];
    long long number = -1;
    if (sscanf(e->d_name, "shard-%lld", &number) != 1 || number < shards) continue;
    snprintf(wanted, sizeof wanted, "shard-%05lld.h5", number);
    if (strcmp(e->d_name, wanted) == 0 && snprintf(path, sizeof path, "%s/%s", folder, e->d_name) < (int)sizeof path)
      (void)unlink(path);
  }
  closedir(d);
}

syz_status ingest_write_shards(ingest *g)
{
  syz_status st = SYZ_OK;
  char folder[4096];
  int64_t rows = g->options.shard_objects;
  found_shards found = {0, 0};
  int64_t shards = (g->n_total + rows - 1) / rows;
  syz_status code =
      snprintf(folder, sizeof folder, "%s/shards", g->run->folder) < (int)sizeof folder ? SYZ_OK : SYZ_ERR_INPUT;
  if (code == SYZ_OK && g->rank == 0) code = syz_make_own_folder(g->run->folder, "shards");
  SYZ_TRY_ALL(g->world, code);
  SYZ_TRY(ingest_digest_files(g));
  SYZ_TRY_ALL(g->world, write_mine(g, folder, rows, shards, &found));
  syz_allreduce_i64(g->world, &found.kept, 1, SYZ_SUM);
  syz_allreduce_i64(g->world, &found.damaged, 1, SYZ_SUM);
  if (found.damaged)
    syz_warn("%lld shards of an earlier run were damaged and have been written again", (long long)found.damaged);
  if (g->rank == 0) remove_leftovers(folder, shards);
  syz_barrier(g->world);
  syz_info("%lld objects in %lld shards of up to %lld in %s%s", (long long)g->n_total, (long long)shards,
           (long long)rows, folder, found.kept ? " (some existed already)" : "");
cleanup:
  return st;
}
