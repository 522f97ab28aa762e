/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * From a survey's files to shards: options are checked; files are listed, scanned in shares, matched, cut out and
 * written. A table in the log and <folder>/rejected.csv list what was dropped, and why.
 */
#include "ingest.h"
#include "syzygy/files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static syz_status join_list(const char *key, syz_texts list, char *text, size_t room)
{
  syz_status st = SYZ_OK;
  size_t used = 0;
  text[0] = '\0';
  for (int i = 0; i < list.n; i++) {
    int n = snprintf(text + used, room - used, "%s%s", used ? "," : "", list.item[i]);
    SYZ_REQUIRE(n >= 0 && (size_t)n < room - used, SYZ_ERR_INPUT, "%s: too long", key);
    used += (size_t)n;
  }
cleanup:
  return st;
}

static syz_status read_sentinels(const char *key, syz_texts list, ingest_sentinels *s)
{
  syz_status st = SYZ_OK;
  for (int i = 0; i < list.n; i++) {
    const char *text = list.item[i];
    char *end;
    SYZ_REQUIRE(s->n < (int)(sizeof s->value / sizeof *s->value), SYZ_ERR_INPUT, "%s: more than %d numbers", key, s->n);
    s->value[s->n++] = (float)strtod(text, &end);
    SYZ_REQUIRE(end > text && !*end, SYZ_ERR_INPUT, "%s: '%s' is not a number", key, text);
  }
cleanup:
  return st;
}

static syz_status read_labels(ingest *g)
{
  syz_status st = SYZ_OK;
  const syz_texts labels = g->options.labels;
  for (int i = 0; i < labels.n; i++) {
    const char *name = labels.item[i];
    SYZ_REQUIRE(g->n_labels < INGEST_LABELS, SYZ_ERR_INPUT, "ingest.labels: more than %d", INGEST_LABELS - 1);
    SYZ_REQUIRE(name[0] && strlen(name) < SYZ_LABEL_NAME && !strchr(name, '/'), SYZ_ERR_INPUT,
                "ingest.labels: '%s' is not a column name", name);
    bool is_new = true;
    for (int k = 0; k < g->n_labels; k++) is_new = is_new && strcasecmp(g->label[k], name) != 0;
    if (is_new) snprintf(g->label[g->n_labels++], SYZ_LABEL_NAME, "%s", name);
  }
  g->spectrum_bytes = offsetof(ingest_spectrum, label) + (size_t)g->n_labels * sizeof(double);
  g->candidate_bytes = offsetof(ingest_candidate, label) + (size_t)g->n_labels * sizeof(double);
cleanup:
  return st;
}

/* Checks options that depend on each other, and converts them for the readers of room sky. */
static syz_status check_options(ingest *g)
{
  syz_status st = SYZ_OK;
  const syz_survey_options *o = &g->options;
  SYZ_REQUIRE(o->spectra.n || o->images.n || o->hdf5.n, SYZ_ERR_INPUT,
              "nothing to ingest: give ingest.spectra, ingest.images or ingest.hdf5");
  SYZ_REQUIRE(!o->ra[0] == !o->dec[0], SYZ_ERR_INPUT, "ingest.ra and ingest.dec must be given together");
  SYZ_REQUIRE(!o->images.n || o->spectra.n || o->hdf5.n || o->catalogues.n || o->takes_centres, SYZ_ERR_INPUT,
              "images without positions: give ingest.catalogues, ingest.spectra, or ingest.centres: true");
  SYZ_TRY(read_labels(g));
  g->spectra_options = (syz_spectra_options){o->verifies, !strcmp(o->exposures, "keep"), o->is_air, o->mask_bits};
  SYZ_TRY(read_sentinels("ingest.no_value", o->no_value, &g->no_value));
  SYZ_TRY(read_sentinels("ingest.no_redshift", o->no_redshift, &g->no_redshift));
  SYZ_TRY(join_list("ingest.objtype", o->objtype, g->objtype, sizeof g->objtype));
  SYZ_TRY(join_list("ingest.spectype", o->spectype, g->spectype, sizeof g->spectype));
  g->cuts = (syz_spectra_cuts){.objtype = g->objtype,
                               .fiberstatus = o->needs_fiberstatus,
                               .zwarn_bits = o->zwarn_bits,
                               .spectype = g->spectype,
                               .needs_redshift = o->needs_redshift,
                               .min_coverage = o->min_coverage,
                               .primary = o->primary};
  g->image_options = (syz_images_options){.verify = o->verifies,
                                          .resampling = !strcmp(o->resample, "lanczos") ? SYZ_RESAMPLE_LANCZOS
                                                        : !strcmp(o->resample, "area")  ? SYZ_RESAMPLE_AREA
                                                                                        : SYZ_RESAMPLE_AUTO,
                                          .value_per_pixel_arcsec = o->value_per_pixel_arcsec,
                                          .unit = !strcmp(o->unit, "auto") ? "" : o->unit,
                                          .bands = o->bands,
                                          .zero_points = o->zero_points};
cleanup:
  return st;
}

/* rejected.csv: the files and objects that could not be used, and why. It is written even if empty, to replace an old
 * one. */
static syz_status write_rejected(const ingest *g)
{
  syz_status st = SYZ_OK;
  ingest_bytes text = {NULL, 0, 0};
  char line[REASON_TEXT + 5000], path[4096];
  int n = snprintf(line, sizeof line, "file,row,object_id,reason\n");
  SYZ_TRY(ingest_add(&text, line, (size_t)n));
  for (int64_t i = 0; i < g->n_rejects; i++) {
    char reason[2 * REASON_TEXT];
    const ingest_reject *r = &g->reject[i];
    size_t m = 0;
    for (const char *p = r->reason; *p && m < sizeof reason - 3; p++) {
      if (*p == '"') reason[m++] = '"';
      reason[m++] = *p == '\n' ? ' ' : *p;
    }
    reason[m] = '\0';
    if (r->is_object)
      n = snprintf(line, sizeof line, "\"%.4000s\",%lld,%lld,\"%.*s\"\n", g->file[r->file].path, (long long)r->row,
                   (long long)r->object_id, REASON_TEXT, reason);
    else
      n = snprintf(line, sizeof line, "\"%.4000s\",,,\"%.*s\"\n", g->file[r->file].path, REASON_TEXT, reason);
    SYZ_TRY(ingest_add(&text, line, (size_t)n));
  }
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/rejected.csv", g->run->folder) < (int)sizeof path, SYZ_ERR_INPUT,
              "output.dir: name too long");
  SYZ_TRY(syz_file_write(path, (const char *)text.data, text.n));
cleanup:
  syz_free(&text.data);
  return st;
}

static void tell(const char *what, int64_t n)
{
  if (n) syz_info("  %-52s %12lld", what, (long long)n);
}

/* Counts files that lack a column that others of their role have: their objects get NaN, or are cut by ingest.primary.
 */
static void tell_columns(const ingest *g)
{
  static const char *const role[ROLE_COUNT] = {"spectra files", "redshift files", "image files", "catalogues",
                                               "HDF5 files"};
  char line[160];
  for (int k = 0; k <= g->n_labels; k++)
    for (int r = 0; r < ROLE_COUNT; r++) {
      if (!g->column[k].has[r]) continue;
      snprintf(line, sizeof line, "%s without the column %.60s", role[r], ingest_column_name(g, k));
      tell(line, g->column[k].lacks[r]);
    }
}

/* Sums over all ranks; called once, after all counting. */
static void sum_counts(ingest *g)
{
  ingest_cuts *c = &g->count;
  c->kept = g->n_objects;
  for (int64_t i = 0; i < g->n_objects; i++) {
    const ingest_object *o = &g->object[i];
    bool has_spectrum = o->spectrum >= 0;
    c->images += o->has_image;
    c->spectra += has_spectrum;
    c->both += o->has_image && has_spectrum;
    c->redshifts += has_spectrum && !isnan(ingest_spectrum_at(g, o->spectrum)->info.redshift);
  }
  syz_allreduce_i64(g->world, (int64_t *)(void *)c, sizeof *c / sizeof(int64_t), SYZ_SUM);
}

static void tell_table(const ingest *g)
{
  const ingest_cuts *c = &g->count;
  int64_t files = 0, objects = 0;
  char line[128];
  for (int64_t i = 0; i < g->n_rejects; i++) *(g->reject[i].is_object ? &objects : &files) += 1;
  syz_info("what was read, and what became of it:");
  tell("files", g->n_files);
  tell("files of other kinds or bands in folders, passed over", c->passed_over);
  tell("links to files or folders met before, passed over", c->linked);
  tell("files refused (rejected.csv)", files);
  tell_columns(g);
  tell("labels that stand for none (ingest.no_value, no_redshift)", c->no_value);
  tell("viewer cutouts at other pixel scales, fluxes converted", c->rescaled);
  tell("spectra read", c->read);
  tell("  of files that lack a camera (ivar 0 there)", c->lacks_camera);
  for (int k = 1; k < SYZ_CUT_COUNT; k++) {
    snprintf(line, sizeof line, "spectra cut: %s", syz_cut_text((syz_cut)k));
    tell(line, c->cut[k]);
  }
  tell("objects bad (rejected.csv)", objects);
  tell("spectra- or coadd- files, the group's other one taken", c->superseded);
  tell(g->options.keeps_duplicates ? "spectra of an identifier seen before, kept"
                                   : "spectra of an identifier seen before, left out",
       c->repeated);
  tell("catalogue rows that are not primary in their brick", c->not_primary);
  tell("image positions of a source seen before, left out", c->copies);
  tell("image positions", c->positions - c->copies);
  tell("spectra without a match among them", c->unmatched);
  tell("objects outside every image", c->outside);
  tell("cutouts with a missing band", c->missing_band);
  tell("cutouts over an edge or with pixels without a value", c->edge);
  tell("images of HDF5 files smaller than the stamp (ingest.edge)", c->narrow);
  tell("left out by ingest.keep", c->unpaired);
  syz_info("  %-52s %12lld", "kept", (long long)c->kept);
  tell("  with an image", c->images);
  tell("  with a spectrum", c->spectra);
  tell("  with both", c->both);
  tell("  with a spectroscopic redshift", c->redshifts);
  int shown = 0;
  for (int64_t i = 0; i < g->n_rejects && shown < 20; i++)
    if (!g->reject[i].is_object) {
      syz_info("  refused: %s", g->reject[i].reason);
      shown++;
    }
}

void ingest_begin(ingest *g, const syz_run *run, const syz_survey_options *options)
{
  g->run = run;
  g->options = *options;
  g->world = run->world;
  g->rank = syz_comm_rank(run->world);
  g->size = syz_comm_size(run->world);
  snprintf(g->label[0], SYZ_LABEL_NAME, "redshift");
  g->n_labels = 1;
  for (int k = 0; k <= INGEST_LABELS; k++)
    g->column[k].file = g->column[k].unit.file = g->column[k].other.file = NO_FILE;
  g->cuts = (syz_spectra_cuts){.objtype = "", .spectype = "", .primary = ""};
  g->spectrum_bytes = offsetof(ingest_spectrum, label) + sizeof(double);
  g->candidate_bytes = offsetof(ingest_candidate, label) + sizeof(double);
}

void ingest_forget(ingest *g)
{
  ingest_close_images(g);
  syz_free(&g->open);
  syz_free(&g->paths);
  syz_free(&g->file);
  syz_free(&g->spectra.data);
  syz_free(&g->candidates.data);
  ingest_forget_planes(g);
  syz_free(&g->plane);
  syz_free(&g->object);
  syz_free(&g->reject);
  syz_free(&g->has_bricks);
  syz_free(&g->found_rejects.data);
  syz_free(&g->found_candidates.data);
}

syz_status syz_survey_open(const syz_run *run, const syz_survey_options *options, syz_survey **out)
{
  syz_status st = SYZ_OK;
  *out = NULL;
  ingest *g = syz_alloc("ingest", 1, sizeof *g);
  SYZ_TRY_ALL(run->world, g ? SYZ_OK : SYZ_ERR_MEMORY);
  ingest_begin(g, run, options);
  SYZ_TRY_ALL(g->world, check_options(g));
  SYZ_TRY(ingest_list_files(g));
  *out = g;
  g = NULL;
cleanup:
  syz_survey_close(&g);
  return st;
}

void syz_survey_close(syz_survey **s)
{
  if (*s) ingest_forget(*s);
  syz_free(s);
}

void syz_survey_tell_files(const syz_survey *s)
{
  static const char *const role[ROLE_COUNT] = {"spectra", "redshifts", "images", "catalogues", "HDF5"};
  for (int k = 0; k < ROLE_COUNT; k++) {
    int64_t n = 0;
    for (int i = 0; i < s->n_files; i++) n += s->file[i].role == (ingest_role)k;
    tell(role[k], n);
  }
}

/* The objects: pairs of spectra and positions. */
static syz_status match(ingest *g)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(ingest_join_redshifts(g));
  SYZ_TRY(ingest_make_objects(g));
  SYZ_TRY(ingest_check_ids(g));
cleanup:
  return st;
}

static syz_status deal_and_write(ingest *g)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(ingest_deal_objects(g));
  SYZ_TRY(ingest_write_shards(g));
cleanup:
  return st;
}

/* Runs one step, timed as a phase of its own. */
static syz_status timed(ingest *g, const char *phase, syz_status (*step)(ingest *g))
{
  syz_timing_begin(g->run->timing, phase);
  const syz_status st = step(g);
  syz_timing_end(g->run->timing);
  return st;
}

syz_status syz_survey_write(syz_survey *s)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(timed(s, "scan spectra", ingest_scan_spectra));
  SYZ_TRY(timed(s, "scan images", ingest_scan_images));
  SYZ_TRY(timed(s, "match", match));
  SYZ_TRY(timed(s, "try cutouts", ingest_choose_planes));
  ingest_drop(s);
  sum_counts(s);
  SYZ_TRY_ALL(s->world, s->rank == 0 ? write_rejected(s) : SYZ_OK);
  if (!s->count.kept) tell_table(s);
  SYZ_REQUIRE(
      s->count.kept, SYZ_ERR_DATA,
      "nothing usable: no object is left of %lld spectra and %lld image positions (the table above lists the reasons)",
      (long long)s->count.read, (long long)(s->count.positions - s->count.copies));
  SYZ_TRY(timed(s, "write shards", deal_and_write));
  tell_table(s);
cleanup:
  return st;
}
