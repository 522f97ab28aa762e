/* SPDX-License-Identifier: BSD-3-Clause */
/** `ingest`: survey files to shards. The work is done by syzygy/survey.h. */
#include <string.h>

#include "app.h"
#include "syzygy/survey.h"

#define USED SYZ_USED_BY(ingest)

const syz_key syz_ingest_keys[] = {
    {"ingest.spectra", SYZ_KEY_LIST, "", "files or folders", 0, 0, NULL, USED,
     "DESI coadd- and spectra- files, SDSS spec and spPlate files; where a folder has both DESI files of a group, the "
     "coadd is used (with ingest.exposures: keep, spectra-)."},
    {"ingest.redshifts", SYZ_KEY_LIST, "", "files or folders", 0, 0, NULL, USED,
     "redrock files and redshift catalogues (TARGETID, Z), joined by TARGETID."},
    {"ingest.redrock_beside", SYZ_KEY_BOOL, "true", "", 0, 0, NULL, USED,
     "Join the redrock- (or older zbest-) file with the matching name in the folder of a DESI file."},
    {"ingest.images", SYZ_KEY_LIST, "", "files or folders", 0, 0, NULL, USED,
     "Mosaics and cutouts in g, r, z with WCS: bricks, frames, CCDs, cubes; other kinds and bands in a folder are "
     "ignored."},
    {"ingest.catalogues", SYZ_KEY_LIST, "", "files or folders", 0, 0, NULL, USED,
     "Tables of positions at which images are cut, FITS (also ASCII tables) or CSV: Tractor, sweeps, any with RA and "
     "Dec."},
    {"ingest.hdf5", SYZ_KEY_LIST, "", "files or folders", 0, 0, NULL, USED,
     "AstroCLIP, ssl-legacysurvey and Multimodal Universe HDF5 files."},
    {"ingest.centres", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, USED,
     "Make an object at the centre of every image file (for files that are cutouts)."},
    {"ingest.ra", SYZ_KEY_TEXT, "", "column", 0, 0, NULL, USED,
     "Right ascension in the catalogues, degrees; empty: found by its usual names in any case."},
    {"ingest.dec", SYZ_KEY_TEXT, "", "column", 0, 0, NULL, USED, "Declination in the catalogues."},
    {"ingest.id", SYZ_KEY_TEXT, "", "column", 0, 0, NULL, USED,
     "Identifier in the catalogues, whole numbers or their text; empty: TARGETID, RELEASE with BRICKID and OBJID, "
     "LS_ID, OBJECT_ID or 64-bit OBJID; none: made from file name and row."},
    {"ingest.redshift_column", SYZ_KEY_TEXT, "", "column", 0, 0, NULL, USED,
     "Redshift column in the catalogues, used for objects whose spectrum has none; empty: none."},
    {"ingest.labels", SYZ_KEY_LIST, "", "columns", 0, 0, NULL, USED,
     "Columns that become labels, from FIBERMAP, the joined redrock file, specobj, catalogues or HDF5; NaN where "
     "unknown; a column that no file has is an error."},
    {"ingest.no_redshift", SYZ_KEY_LIST, "-9999,-999,-99,-9.999,-9,-1,99,999,9999", "numbers", 0, 0, NULL, USED,
     "Redshifts that mean \"unknown\", in every source; they become NaN; empty: no such values."},
    {"ingest.no_value", SYZ_KEY_LIST, "-9999,-999,-99", "numbers", 0, 0, NULL, USED,
     "Values of ingest.labels that mean \"unknown\" and become NaN (SDSS -9999, photometric redshifts of the Legacy "
     "Surveys -99); TNULL always does."},
    {"ingest.match", SYZ_KEY_CHOICE, "sky", "", 0, 0, "sky|id|none", USED,
     "How spectra are matched to images: nearest on the sky, by TARGETID or (RELEASE, BRICKID, OBJID), or not at all."},
    {"ingest.match_radius_arcsec", SYZ_KEY_REAL, "1.0", "arcsec", 0, 3600, NULL, USED,
     "Largest separation of a match on the sky."},
    {"ingest.keep", SYZ_KEY_CHOICE, "all", "", 0, 0, "all|paired|spectra|images", USED,
     "Which objects to keep: any, those with both, with a spectrum, or with an image."},
    {"ingest.objtype", SYZ_KEY_LIST, "TGT", "types", 0, 0, NULL, USED,
     "Allowed OBJTYPE (TGT, SKY, ...); without that column, TARGETID or ZWARNING identify sky fibres; empty: any."},
    {"ingest.fiberstatus", SYZ_KEY_BOOL, "true", "", 0, 0, NULL, USED,
     "COADD_FIBERSTATUS must be 0 where it is known."},
    {"ingest.zwarn_bits", SYZ_KEY_INT, "897", "bits", 0, 4294967295.0, NULL, USED,
     "ZWARN bits that exclude an object: 897 = SKY, UNPLUGGED, BAD_TARGET, NODATA; 4294967295: any warning; 0: none."},
    {"ingest.spectype", SYZ_KEY_LIST, "", "types", 0, 0, NULL, USED,
     "Allowed spectral types (GALAXY, QSO, STAR); empty: any."},
    {"ingest.needs_redshift", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, USED, "Exclude spectra without a redshift."},
    {"ingest.primary", SYZ_KEY_TEXT, "", "column", 0, 0, NULL, USED,
     "Flag column that must be true (MAIN_PRIMARY, SV_PRIMARY, SPECPRIMARY), in FITS and HDF5 files; empty: none."},
    {"ingest.min_coverage", SYZ_KEY_REAL, "0.1", "", 0, 1, NULL, USED,
     "Least share of the 7781 pixels (3600 to 9824 Angstrom) with ivar > 0; ivar is 0 in masked pixels and where a "
     "camera is missing."},
    {"ingest.exposures", SYZ_KEY_CHOICE, "coadd", "", 0, 0, "coadd|keep", USED,
     "Per-exposure files: one object per TARGETID (averaged with weights ivar), or one per exposure."},
    {"ingest.air", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, USED,
     "Treat SDSS-like files as in air wavelengths although they do not say so (SDSS itself is in vacuum)."},
    {"ingest.mask_bits", SYZ_KEY_INT, "0", "bits", 0, 4294967295.0, NULL, USED,
     "Pixels with any of these mask bits get ivar 0 (DESI MASK, SDSS and_mask)."},
    {"ingest.masked_flux", SYZ_KEY_CHOICE, "keep", "", 0, 0, "keep|zero|interpolate", USED,
     "Flux where ivar is 0: as in the file, 0, or interpolated linearly between good neighbours."},
    {"ingest.edge", SYZ_KEY_CHOICE, "skip", "", 0, 0, "skip|zero|refuse", USED,
     "Cutouts across an image's edge, and HDF5 images smaller than the stamp: no image, zeros there, or a bad object."},
    {"ingest.missing_band", SYZ_KEY_CHOICE, "skip", "", 0, 0, "skip|zero|refuse", USED,
     "A band without data at the object: no image, a plane of zeros, or a bad object."},
    {"ingest.resample", SYZ_KEY_CHOICE, "auto", "", 0, 0, "auto|lanczos|area", USED,
     "Pixels of another scale or orientation: Lanczos-3, area-exact, or by scale; pixels of 0.262 arcsec North up are "
     "copied."},
    {"ingest.value_per_pixel_arcsec", SYZ_KEY_REAL, "0", "arcsec", 0, 60, NULL, USED,
     "Pixel values are per pixel of this size whatever the file's scale; 0: by the header, 0.262 for cutouts of the "
     "Legacy Survey viewer, which interpolates without conserving flux (0.396 for its SDSS layers), otherwise the own "
     "pixel."},
    {"ingest.unit", SYZ_KEY_CHOICE, "auto", "", 0, 0, "auto|nanomaggy|magzero", USED,
     "Unit of the images: from BUNIT, as given here, or from the header's MAGZERO."},
    {"ingest.bands", SYZ_KEY_TEXT, "", "letters", 0, 0, NULL, USED,
     "Bands of a cube's planes in order, where the file does not say, such as grz."},
    {"ingest.zero_points", SYZ_KEY_TEXT, "", "file", 0, 0, NULL, USED,
     "survey-ccds table with zero points of images in instrumental units."},
    {"ingest.verify_checksums", SYZ_KEY_BOOL, "true", "", 0, 0, NULL, USED,
     "Verify CHECKSUM and DATASUM of every HDU that is read; false for files whose data were changed without new sums "
     "(subsets by astropy)."},
    {"ingest.duplicates", SYZ_KEY_CHOICE, "drop", "", 0, 0, "drop|keep", USED,
     "Keep one of several copies of a source, or all (data.split keeps copies on one side). Spectra of one identifier: "
     "the first good one in file order (ingest.exposures: keep keeps those of one file). Image positions: none where "
     "brick_primary is false; where northern and southern bricks overlap, north from Dec 32.375 in the north Galactic "
     "cap, south elsewhere; then one per position that several files have."},
    {"ingest.duplicate_radius_arcsec", SYZ_KEY_REAL, "1.0", "arcsec", 0, 60, NULL, USED,
     "Image positions of different files nearer than this are copies of one source; 0: positions are not compared."},
    {"ingest.shard_objects", SYZ_KEY_INT, "1000", "objects", 1, 1000000, NULL, USED, "Objects per shard."},
    {NULL, SYZ_KEY_INT, "", "", 0, 0, NULL, 0, NULL}};

static syz_survey_options read_options(const syz_input *in)
{
  return (syz_survey_options){.spectra = syz_input_list(in, "ingest.spectra"),
                              .redshifts = syz_input_list(in, "ingest.redshifts"),
                              .images = syz_input_list(in, "ingest.images"),
                              .catalogues = syz_input_list(in, "ingest.catalogues"),
                              .hdf5 = syz_input_list(in, "ingest.hdf5"),
                              .joins_redrock_beside = syz_input_bool(in, "ingest.redrock_beside"),
                              .takes_centres = syz_input_bool(in, "ingest.centres"),
                              .ra = syz_input_text(in, "ingest.ra"),
                              .dec = syz_input_text(in, "ingest.dec"),
                              .id = syz_input_text(in, "ingest.id"),
                              .redshift_column = syz_input_text(in, "ingest.redshift_column"),
                              .labels = syz_input_list(in, "ingest.labels"),
                              .no_redshift = syz_input_list(in, "ingest.no_redshift"),
                              .no_value = syz_input_list(in, "ingest.no_value"),
                              .match = syz_input_text(in, "ingest.match"),
                              .match_radius_arcsec = syz_input_real(in, "ingest.match_radius_arcsec"),
                              .keep = syz_input_text(in, "ingest.keep"),
                              .objtype = syz_input_list(in, "ingest.objtype"),
                              .spectype = syz_input_list(in, "ingest.spectype"),
                              .needs_fiberstatus = syz_input_bool(in, "ingest.fiberstatus"),
                              .zwarn_bits = syz_input_int(in, "ingest.zwarn_bits"),
                              .needs_redshift = syz_input_bool(in, "ingest.needs_redshift"),
                              .primary = syz_input_text(in, "ingest.primary"),
                              .min_coverage = syz_input_real(in, "ingest.min_coverage"),
                              .exposures = syz_input_text(in, "ingest.exposures"),
                              .is_air = syz_input_bool(in, "ingest.air"),
                              .mask_bits = (uint32_t)syz_input_int(in, "ingest.mask_bits"),
                              .masked_flux = syz_input_text(in, "ingest.masked_flux"),
                              .edge = syz_input_text(in, "ingest.edge"),
                              .missing_band = syz_input_text(in, "ingest.missing_band"),
                              .resample = syz_input_text(in, "ingest.resample"),
                              .value_per_pixel_arcsec = syz_input_real(in, "ingest.value_per_pixel_arcsec"),
                              .unit = syz_input_text(in, "ingest.unit"),
                              .bands = syz_input_text(in, "ingest.bands"),
                              .zero_points = syz_input_text(in, "ingest.zero_points"),
                              .verifies = syz_input_bool(in, "ingest.verify_checksums"),
                              .keeps_duplicates = !strcmp(syz_input_text(in, "ingest.duplicates"), "keep"),
                              .duplicate_radius_arcsec = syz_input_real(in, "ingest.duplicate_radius_arcsec"),
                              .shard_objects = syz_input_int(in, "ingest.shard_objects"),
                              .refuses = !strcmp(syz_input_text(in, "data.bad_objects"), "refuse"),
                              .link_root = syz_input_text(in, "io.link_root")};
}

syz_status syz_command_ingest(syz_app *app)
{
  syz_status st = SYZ_OK;
  syz_survey *survey = NULL;
  const syz_survey_options options = read_options(app->input);
  SYZ_TRY(syz_survey_open(&app->run, &options, &survey));
  if (app->is_dry_run) {
    syz_survey_tell_files(survey);
    goto cleanup;
  }
  SYZ_TRY(syz_app_open_run_folder(app));
  SYZ_TRY(syz_survey_write(survey));
cleanup:
  syz_survey_close(&survey);
  return st;
}
