/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Inside of the reader of other people's HDF5 files. foreign.c has the table of formats, each defined in a file of its
 * own or with those that are read alike; foreign_columns.c finds and reads the columns of all, foreign_cuts.c those
 * that cuts look at. A new format is such a file, its declaration below, a row of the table, and what it has to
 * remember in syz_foreign.
 */
#pragma once

#include "set_layout.h"

enum { FOREIGN_BLOCK = 16, FOREIGN_LABELS = 512, FOREIGN_SIZE_MAX = 4096, FOREIGN_ID_TEXT = 80 };

typedef struct foreign_label {
  char name[SYZ_LABEL_NAME], dataset[SYZ_LABEL_NAME];
  int item; /* of a (n,3) column, -1: the column has one axis */
} foreign_label;

typedef enum id_source { ID_COLUMN, ID_TRIPLE, ID_TEXT_COLUMN } id_source;

/** Columns that cuts look at, by the names that surveys give them. */
enum { FOREIGN_ZWARN, FOREIGN_FIBERSTATUS, FOREIGN_SPECTYPE, FOREIGN_OBJTYPE, FOREIGN_CUTS };
typedef char foreign_cut_column[SYZ_LABEL_NAME]; /* "" = the file has none */

/** A kind of files. */
typedef struct foreign_format {
  const char *name;             /* as `info` shows it */
  bool (*recognise)(syz_h5 *f); /* by what is in the file; the formats before it in the table have refused it */
  /* Number of objects, columns, labels, room for what is read: o->f is open, all else is zero. */
  syz_status (*open)(syz_foreign *o);
  /* At most FOREIGN_BLOCK rows of a part; outputs as of syz_foreign_read, NULL for a modality that the format lacks. At
   * least one is wanted. */
  syz_status (*read)(syz_foreign *o, const set_part *part, int64_t row, int64_t n, float *image, float *flux,
                     float *ivar);
  bool has_image, has_spectrum; /* of all objects alike */
  bool is_sky_by_id;            /* identifiers are TARGETIDs that say what is sky, and OBJTYPE is DESI's */
  bool is_primary;              /* all its spectra are primary ones, though no column says so */
} foreign_format;

extern const foreign_format foreign_astroclip, foreign_mmu_desi, foreign_mmu_sdss, foreign_mmu_hsc, foreign_mmu_ssl,
    foreign_mmu_legacy, foreign_ssl;

struct syz_foreign {
  syz_h5 *f;
  const foreign_format *format;
  int64_t n;
  set_part part[16]; /* rows, group, and in `raw` the first object of each; none: one with all rows, in the root */
  int parts;
  id_source id;
  char id_column[SYZ_LABEL_NAME], triple[3][SYZ_LABEL_NAME], ra[SYZ_LABEL_NAME], dec[SYZ_LABEL_NAME]; /* "" = none */
  int64_t bands, size; /* of the stored images */
  int band[SYZ_BANDS]; /* where g, r, z are */
  char image_name[16];
  bool has_ivar, has_mask, has_lambda, has_clean;
  foreign_label *label;
  const char **label_name;
  int labels;
  float *pixels; /* pixels_room of them, FOREIGN_BLOCK rows as stored; room 0: the format's own affair */
  int32_t *mask;
  size_t pixels_room, mask_room;
  int64_t wave_pixels; /* of the stored spectra, where they are not on the grid */
  double scale_arcsec,
      factor; /* of the stored images where they are not ours: pixel, and to nanomaggy; otherwise 0 and 1 */
  foreign_cut_column cut[FOREIGN_CUTS];
};

/** Look at every dataset of the root: identifiers, positions, labels, what cuts look at. o->n is known. SYZ_ERR_DATA
 * without identifiers. */
syz_status foreign_list_columns(syz_foreign *o);
/** At most FOREIGN_BLOCK rows of a part. */
syz_status foreign_read_objects(syz_foreign *o, const set_part *part, int64_t row, int64_t n, syz_object *object);
syz_status foreign_read_label(syz_foreign *o, const foreign_label *l, const set_part *part, int64_t row, int64_t n,
                              float *value);
/** NULL, with SYZ_ERR_INPUT recorded, when there is none of this name. */
const foreign_label *foreign_find_label(const syz_foreign *o, const char *name);

/** Note a dataset that a cut looks at. */
void foreign_take_cut(syz_foreign *o, const char *name, char kind);
/** As syz_foreign_info, at most FOREIGN_BLOCK rows. */
syz_status foreign_read_cuts(syz_foreign *o, int64_t row, int64_t n, syz_spectrum_info *info);

/** Whether dataset `name` has the four axes of images, and their shape. */
bool foreign_has_images(syz_h5 *f, const char *name, int64_t shape[8]);
/** Number, bands and size of the images in `name`, and room for them; resampled ones may be of any size. */
syz_status foreign_open_images(syz_foreign *o, const char *name, bool is_resampled);
/** Clean pixels [n,152,152] of rows [first, first + n): 1 = clean, whatever the file's polarity; all 1 when the file
 * has no image mask. */
syz_status syz_foreign_read_clean(syz_foreign *f, int64_t first, int64_t n, uint8_t *clean);
/** The same of a file that has such a mask. */
syz_status foreign_read_clean(syz_foreign *o, int64_t first, int64_t n, uint8_t *clean);
/** Spectra of `pixels` pixels each, whose number o->n is known: which arrays there are, room for them, columns. */
syz_status foreign_open_spectra(syz_foreign *o, int64_t pixels);
