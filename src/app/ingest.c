/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * `ingest`: survey files to shards. Spectra (DESI coadds and spectra, SDSS spec and spPlate), redshifts, mosaics and cutouts with catalogues of
 * positions, and other people's HDF5 files are scanned in shares, matched, cut, and written as shards whose content does not depend on
 * the rank count. What is left out and why is told in a table and in <output.dir>/rejected.csv.
 */
#include "ingest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define USED SYZ_USED_BY(ingest)

const syz_key syz_ingest_keys[] = {
    {"ingest.spectra", SYZ_KEY_LIST, "", "files or folders", 0, 0, NULL, USED, "DESI coadd- and spectra- files, SDSS spec and spPlate files; of a group's two in a folder the coadd (ingest.exposures: keep takes spectra-)."},
    {"ingest.redshifts", SYZ_KEY_LIST, "", "files or folders", 0, 0, NULL, USED, "redrock files and redshift catalogues (TARGETID, Z), joined by TARGETID."},
    {"ingest.redrock_beside", SYZ_KEY_BOOL, "true", "", 0, 0, NULL, USED, "Join the redrock- (or older zbest-) file that lies beside a DESI file under the matching name."},
    {"ingest.images", SYZ_KEY_LIST, "", "files or folders", 0, 0, NULL, USED, "Mosaics and cutouts in g, r, z with WCS: bricks, frames, CCDs, cubes; in folders other kinds and bands are passed over."},
    {"ingest.catalogues", SYZ_KEY_LIST, "", "files or folders", 0, 0, NULL, USED,
     "Tables of positions to cut images at, FITS (also ASCII tables) or CSV: Tractor, sweeps, any with RA and Dec."},
    {"ingest.hdf5", SYZ_KEY_LIST, "", "files or folders", 0, 0, NULL, USED, "AstroCLIP, ssl-legacysurvey and Multimodal Universe HDF5 files."},
    {"ingest.centres", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, USED, "Every place that an image file is centred on is an object (files that are cutouts)."},
    {"ingest.ra", SYZ_KEY_TEXT, "", "column", 0, 0, NULL, USED, "Right ascension in the catalogues, degrees; empty: found by its usual names in any case."},
    {"ingest.dec", SYZ_KEY_TEXT, "", "column", 0, 0, NULL, USED, "Declination in the catalogues."},
    {"ingest.id", SYZ_KEY_TEXT, "", "column", 0, 0, NULL, USED,
     "Identifier in the catalogues, whole numbers or their text; empty: TARGETID, RELEASE with BRICKID and OBJID, LS_ID, OBJECT_ID or 64-bit OBJID; none: made of file "
     "name and row."},
    {"ingest.redshift_column", SYZ_KEY_TEXT, "", "column", 0, 0, NULL, USED, "Redshift in the catalogues, for objects whose spectrum gives none; empty: none."},
    {"ingest.labels", SYZ_KEY_LIST, "", "columns", 0, 0, NULL, USED, "Columns that become labels, from FIBERMAP, the redrock file beside, specobj, catalogues or HDF5; NaN where unknown, an error where no file has it."},
    {"ingest.no_redshift", SYZ_KEY_LIST, "-9999,-999,-99,-9.999,-9,-1,99,999,9999", "numbers", 0, 0, NULL, USED,
     "Redshifts that stand for none and become NaN, from every source; empty: none are."},
    {"ingest.no_value", SYZ_KEY_LIST, "-9999,-999,-99", "numbers", 0, 0, NULL, USED,
     "Values of ingest.labels that stand for none and become NaN (SDSS -9999, photometric redshifts of the Legacy Surveys -99); TNULL does always."},
    {"ingest.match", SYZ_KEY_CHOICE, "sky", "", 0, 0, "sky|id|none", USED, "Spectra to images: nearest on the sky, by TARGETID or (RELEASE, BRICKID, OBJID), or not at all."},
    {"ingest.match_radius_arcsec", SYZ_KEY_REAL, "1.0", "arcsec", 0, 3600, NULL, USED, "Farthest match on the sky."},
    {"ingest.keep", SYZ_KEY_CHOICE, "all", "", 0, 0, "all|paired|spectra|images", USED, "Objects with anything, with both, with a spectrum, or with an image."},
    {"ingest.objtype", SYZ_KEY_LIST, "TGT", "types", 0, 0, NULL, USED, "Allowed OBJTYPE (TGT, SKY, ...); where there is no column, TARGETID or ZWARNING tell sky fibres; empty: any."},
    {"ingest.fiberstatus", SYZ_KEY_BOOL, "true", "", 0, 0, NULL, USED, "COADD_FIBERSTATUS must be 0 where it is known."},
    {"ingest.zwarn_bits", SYZ_KEY_INT, "897", "bits", 0, 4294967295.0, NULL, USED,
     "ZWARN bits that cut an object: 897 = SKY, UNPLUGGED, BAD_TARGET, NODATA; 4294967295: any warning; 0: none."},
    {"ingest.spectype", SYZ_KEY_LIST, "", "types", 0, 0, NULL, USED, "Allowed spectral types (GALAXY, QSO, STAR); empty: any."},
    {"ingest.needs_redshift", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, USED, "Cut spectra without a redshift."},
    {"ingest.primary", SYZ_KEY_TEXT, "", "column", 0, 0, NULL, USED,
     "Flag that must be true (MAIN_PRIMARY, SV_PRIMARY, SPECPRIMARY), in FITS and HDF5 files; empty: none."},
    {"ingest.min_coverage", SYZ_KEY_REAL, "0.1", "", 0, 1, NULL, USED,
     "Least share of the 7781 pixels (3600 to 9824 Angstrom) with ivar > 0, which is 0 in masked pixels and where a camera is missing."},
    {"ingest.exposures", SYZ_KEY_CHOICE, "coadd", "", 0, 0, "coadd|keep", USED, "Per-exposure files: one object a TARGETID (weighted by ivar), or one an exposure."},
    {"ingest.air", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, USED, "SDSS-like files hold air wavelengths though they do not say so (SDSS itself is in vacuum)."},
    {"ingest.mask_bits", SYZ_KEY_INT, "0", "bits", 0, 4294967295.0, NULL, USED, "Pixels with any of these mask bits get ivar 0 (DESI MASK, SDSS and_mask)."},
    {"ingest.masked_flux", SYZ_KEY_CHOICE, "keep", "", 0, 0, "keep|zero|interpolate", USED, "Flux where ivar is 0: as in the file, 0, or a line between good neighbours."},
    {"ingest.edge", SYZ_KEY_CHOICE, "skip", "", 0, 0, "skip|zero|refuse", USED,
     "Cutouts over an image's edge, and HDF5 images smaller than the stamp: no image, zeros there, or a bad object."},
    {"ingest.missing_band", SYZ_KEY_CHOICE, "skip", "", 0, 0, "skip|zero|refuse", USED, "A band without data at the object: no image, a plane of zeros, or a bad object."},
    {"ingest.resample", SYZ_KEY_CHOICE, "auto", "", 0, 0, "auto|lanczos|area", USED,
     "Pixels of another scale or orientation: Lanczos-3, area-exact, or by scale; pixels of 0.262 arcsec North up are copied."},
    {"ingest.value_per_pixel_arcsec", SYZ_KEY_REAL, "0", "arcsec", 0, 60, NULL, USED,
     "Pixel values are per pixel of this size whatever the file's scale; 0: by the header, 0.262 for cutouts of the Legacy Survey viewer, which "
     "interpolates without conserving flux (0.396 for its SDSS layers), otherwise the own pixel."},
    {"ingest.unit", SYZ_KEY_CHOICE, "auto", "", 0, 0, "auto|nanomaggy|magzero", USED, "Unit of the images: by BUNIT, stated, or by the header's MAGZERO."},
    {"ingest.bands", SYZ_KEY_TEXT, "", "letters", 0, 0, NULL, USED, "Bands of a cube's planes in order, where the file does not say: grz."},
    {"ingest.zero_points", SYZ_KEY_TEXT, "", "file", 0, 0, NULL, USED, "survey-ccds table with zero points of images in instrumental units."},
    {"ingest.verify_checksums", SYZ_KEY_BOOL, "true", "", 0, 0, NULL, USED, "Compare CHECKSUM and DATASUM of every HDU that is read; false for files whose writer kept the sums of what it changed (subsets by astropy)."},
    {"ingest.duplicates", SYZ_KEY_CHOICE, "drop", "", 0, 0, "drop|keep", USED,
     "Of several copies of a source one, or all (a train/test split may then part them). Spectra of one identifier: the first good one in file order (ingest.exposures: keep "
     "keeps those of one file). Image positions: not where brick_primary is false; where northern and southern bricks overlap, north from Dec 32.375 in the north Galactic cap, "
     "south elsewhere; then one of each place that several files have."},
    {"ingest.duplicate_radius_arcsec", SYZ_KEY_REAL, "1.0", "arcsec", 0, 60, NULL, USED,
     "Image positions of different files nearer than this are copies of one source; 0: positions are not compared."},
    {"ingest.shard_objects", SYZ_KEY_INT, "1000", "objects", 1, 1000000, NULL, USED, "Objects in a shard."},
    {NULL, SYZ_KEY_INT, "", "", 0, 0, NULL, 0, NULL}};

static syz_status join_list(const syz_input *in, const char *key, char *text, size_t room) {
  syz_status st = SYZ_OK;
  size_t used = 0;
  text[0] = '\0';
  for (int i = 0; i < syz_input_list_size(in, key); i++) {
    int n = snprintf(text + used, room - used, "%s%s", used ? "," : "", syz_input_list_item(in, key, i));
    SYZ_REQUIRE(n >= 0 && (size_t)n < room - used, SYZ_ERR_INPUT, "%s: too long", key);
    used += (size_t)n;
  }
cleanup:
  return st;
}

static syz_status read_sentinels(const syz_input *in, const char *key, ingest_sentinels *s) {
  syz_status st = SYZ_OK;
  for (int i = 0; i < syz_input_list_size(in, key); i++) {
    const char *text = syz_input_list_item(in, key, i);
    char *end;
    SYZ_REQUIRE(s->n < (int)(sizeof s->value / sizeof *s->value), SYZ_ERR_INPUT, "%s: more than %d numbers", key, s->n);
    s->value[s->n++] = (float)strtod(text, &end);
    SYZ_REQUIRE(end > text && !*end, SYZ_ERR_INPUT, "%s: '%s' is not a number", key, text);
  }
cleanup:
  return st;
}

static syz_status read_options(ingest *g) {
  syz_status st = SYZ_OK;
  const syz_input *in = g->app->input;
  int lists = 0;
  static const char *const source[] = {"ingest.spectra", "ingest.images", "ingest.hdf5"};
  for (int i = 0; i < 3; i++) lists += syz_input_list_size(in, source[i]);
  SYZ_REQUIRE(lists, SYZ_ERR_INPUT, "nothing to ingest: give ingest.spectra, ingest.images or ingest.hdf5");
  SYZ_REQUIRE(!syz_input_text(in, "ingest.ra")[0] == !syz_input_text(in, "ingest.dec")[0], SYZ_ERR_INPUT, "ingest.ra and ingest.dec go together");
  SYZ_REQUIRE(!syz_input_list_size(in, "ingest.images") || syz_input_list_size(in, "ingest.spectra") || syz_input_list_size(in, "ingest.hdf5") ||
                  syz_input_list_size(in, "ingest.catalogues") || syz_input_bool(in, "ingest.centres"),
              SYZ_ERR_INPUT, "images without positions: give ingest.catalogues, ingest.spectra, or ingest.centres: true");
  g->refuses = !strcmp(syz_input_text(in, "data.bad_objects"), "refuse");
  g->keeps_duplicates = !strcmp(syz_input_text(in, "ingest.duplicates"), "keep");
  g->verify = syz_input_bool(in, "ingest.verify_checksums");
  for (int i = 0; i < syz_input_list_size(in, "ingest.labels"); i++) {
    const char *name = syz_input_list_item(in, "ingest.labels", i);
    SYZ_REQUIRE(g->n_labels < INGEST_LABELS, SYZ_ERR_INPUT, "ingest.labels: more than %d", INGEST_LABELS - 1);
    SYZ_REQUIRE(name[0] && strlen(name) < SYZ_LABEL_NAME && !strchr(name, '/'), SYZ_ERR_INPUT, "ingest.labels: '%s' is not a column name", name);
    bool is_new = true;
    for (int k = 0; k < g->n_labels; k++) is_new = is_new && strcasecmp(g->label[k], name) != 0;
    if (is_new) snprintf(g->label[g->n_labels++], SYZ_LABEL_NAME, "%s", name);
  }
  g->spectrum_bytes = offsetof(ingest_spectrum, label) + (size_t)g->n_labels * sizeof(double);
  g->candidate_bytes = offsetof(ingest_candidate, label) + (size_t)g->n_labels * sizeof(double);
  g->spectra_options = (syz_spectra_options){g->verify, !strcmp(syz_input_text(in, "ingest.exposures"), "keep"), syz_input_bool(in, "ingest.air"),
                                             (uint32_t)syz_input_int(in, "ingest.mask_bits")};
  SYZ_TRY(read_sentinels(in, "ingest.no_value", &g->no_value));
  SYZ_TRY(read_sentinels(in, "ingest.no_redshift", &g->no_redshift));
  SYZ_TRY(join_list(in, "ingest.objtype", g->objtype, sizeof g->objtype));
  SYZ_TRY(join_list(in, "ingest.spectype", g->spectype, sizeof g->spectype));
  g->cuts = (syz_spectra_cuts){.objtype = g->objtype,
                               .fiberstatus = syz_input_bool(in, "ingest.fiberstatus"),
                               .zwarn_bits = syz_input_int(in, "ingest.zwarn_bits"),
                               .spectype = g->spectype,
                               .needs_redshift = syz_input_bool(in, "ingest.needs_redshift"),
                               .min_coverage = syz_input_real(in, "ingest.min_coverage"),
                               .primary = syz_input_text(in, "ingest.primary")};
  const char *how = syz_input_text(in, "ingest.resample"), *unit = syz_input_text(in, "ingest.unit");
  g->image_options = (syz_images_options){.verify = g->verify,
                                          .resampling = !strcmp(how, "lanczos") ? SYZ_RESAMPLE_LANCZOS : !strcmp(how, "area") ? SYZ_RESAMPLE_AREA : SYZ_RESAMPLE_AUTO,
                                          .value_per_pixel_arcsec = syz_input_real(in, "ingest.value_per_pixel_arcsec"),
                                          .unit = !strcmp(unit, "auto") ? "" : unit,
                                          .bands = syz_input_text(in, "ingest.bands"),
                                          .zero_points = syz_input_text(in, "ingest.zero_points")};
cleanup:
  return st;
}

/* rejected.csv: what could not be used and why; also written when there is nothing to list, so that an old one does not mislead. */
static syz_status write_rejected(const ingest *g) {
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
      n = snprintf(line, sizeof line, "\"%.4000s\",%lld,%lld,\"%.*s\"\n", g->file[r->file].path, (long long)r->row, (long long)r->object_id, REASON_TEXT, reason);
    else
      n = snprintf(line, sizeof line, "\"%.4000s\",,,\"%.*s\"\n", g->file[r->file].path, REASON_TEXT, reason);
    SYZ_TRY(ingest_add(&text, line, (size_t)n));
  }
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/rejected.csv", syz_input_text(g->app->input, "output.dir")) < (int)sizeof path, SYZ_ERR_INPUT,
              "output.dir: name too long");
  SYZ_TRY(syz_file_write(path, (const char *)text.data, text.n));
cleanup:
  syz_free(&text.data);
  return st;
}

static void tell(const char *what, int64_t n) {
  if (n) syz_info("  %-52s %12lld", what, (long long)n);
}

/* Where a column is missing in some files of a role whose others have it: their objects have NaN, or are cut by ingest.primary. */
static void tell_columns(const ingest *g) {
  static const char *const role[ROLE_COUNT] = {"spectra files", "redshift files", "image files", "catalogues", "HDF5 files"};
  char line[160];
  for (int k = 0; k <= g->n_labels; k++)
    for (int r = 0; r < ROLE_COUNT; r++) {
      if (!g->column[k].has[r]) continue;
      snprintf(line, sizeof line, "%s without the column %.60s", role[r], ingest_column_name(g, k));
      tell(line, g->column[k].lacks[r]);
    }
}

/* Of all ranks; once, behind everything that counts. */
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

static void tell_table(const ingest *g) {
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
  tell(g->keeps_duplicates ? "spectra of an identifier seen before, kept" : "spectra of an identifier seen before, left out", c->repeated);
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

void ingest_begin(ingest *g, syz_app *app)
{
  g->app = app;
  g->world = app->world;
  g->rank = syz_comm_rank(app->world);
  g->size = syz_comm_size(app->world);
  snprintf(g->label[0], SYZ_LABEL_NAME, "redshift");
  g->n_labels = 1;
  for (int k = 0; k <= INGEST_LABELS; k++) g->column[k].file = NO_FILE;
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

syz_status syz_command_ingest(syz_app *app) {
  syz_status st = SYZ_OK;
  ingest *g = syz_alloc("ingest", 1, sizeof *g);
  SYZ_TRY_ALL(app->world, g ? SYZ_OK : SYZ_ERR_MEMORY);
  ingest_begin(g, app);
  SYZ_TRY_ALL(app->world, read_options(g));
  SYZ_TRY(ingest_list_files(g));
  if (app->is_dry_run) {
    static const char *const role[ROLE_COUNT] = {"spectra", "redshifts", "images", "catalogues", "HDF5"};
    for (int k = 0; k < ROLE_COUNT; k++) {
      int64_t n = 0;
      for (int i = 0; i < g->n_files; i++) n += g->file[i].role == (ingest_role)k;
      tell(role[k], n);
    }
    goto cleanup;
  }
  SYZ_TRY(syz_app_open_run_folder(app));
  syz_timing_begin(&app->timing, "scan spectra");
  st = ingest_scan_spectra(g);
  syz_timing_end(&app->timing);
  SYZ_TRY(st);
  syz_timing_begin(&app->timing, "scan images");
  st = ingest_scan_images(g);
  syz_timing_end(&app->timing);
  SYZ_TRY(st);
  syz_timing_begin(&app->timing, "match");
  st = ingest_join_redshifts(g);
  if (st == SYZ_OK) st = ingest_make_objects(g);
  if (st == SYZ_OK) st = ingest_check_ids(g);
  syz_timing_end(&app->timing);
  SYZ_TRY(st);
  syz_timing_begin(&app->timing, "try cutouts");
  st = ingest_choose_planes(g);
  syz_timing_end(&app->timing);
  SYZ_TRY(st);
  ingest_drop(g);
  sum_counts(g);
  SYZ_TRY_ALL(app->world, g->rank == 0 ? write_rejected(g) : SYZ_OK);
  if (!g->count.kept) tell_table(g);
  SYZ_REQUIRE(g->count.kept, SYZ_ERR_DATA, "nothing usable: no object is left of %lld spectra and %lld image positions (the table above says why)",
              (long long)g->count.read, (long long)(g->count.positions - g->count.copies));
  syz_timing_begin(&app->timing, "write shards");
  st = ingest_deal_objects(g);
  if (st == SYZ_OK) st = ingest_write_shards(g);
  syz_timing_end(&app->timing);
  SYZ_TRY(st);
  tell_table(g);
cleanup:
  if (g) ingest_forget(g);
  syz_free(&g);
  return st;
}
