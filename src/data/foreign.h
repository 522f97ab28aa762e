/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Inside of the reader of other people's HDF5 files. foreign.c has the table of formats, each defined in its own file
 * or with similar ones; foreign_columns.c finds and reads the columns of all formats, foreign_cuts.c the columns that
 * cuts use. A new format is such a file, its declaration below, a row of the table, and its fields in syz_foreign.
 */
#pragma once

#include "set_layout.h"

enum { FOREIGN_BLOCK = 16, FOREIGN_LABELS = 512, FOREIGN_SIZE_MAX = 4096, FOREIGN_ID_TEXT = 80 };

typedef struct foreign_label {
  char name[SYZ_LABEL_NAME], dataset[SYZ_LABEL_NAME];
  int item; /* index in the second axis of an (n,3) column; -1: the column has one axis */
} foreign_label;

typedef enum id_source { ID_COLUMN, ID_TRIPLE, ID_TEXT_COLUMN } id_source;

/** Columns that cuts use, by the names that surveys give them. */
enum { FOREIGN_ZWARN, FOREIGN_FIBERSTATUS, FOREIGN_SPECTYPE, FOREIGN_OBJTYPE, FOREIGN_CUTS };
typedef char foreign_cut_column[SYZ_LABEL_NAME]; /* "" = the file has none */

/** A file format. */
typedef struct foreign_format {
  const char *name;             /* as `info` shows it */
  bool (*recognise)(syz_h5 *f); /* from the file's contents; the formats before it in the table have refused the file */
  /* Set number of objects, columns, labels and buffer sizes. o->f is open, all other fields are zero. */
  syz_status (*open)(syz_foreign *o);
  /* Read at most FOREIGN_BLOCK rows of a part; outputs as in syz_foreign_read, NULL for a modality that the format
   * lacks. At least one output is not NULL. */
  syz_status (*read)(syz_foreign *o, const set_part *part, int64_t row, int64_t n, float *image, float *flux,
                     float *ivar);
  bool has_image, has_spectrum; /* the same for all objects */
  bool is_sky_by_id;            /* identifiers are TARGETIDs, which mark sky fibres, and OBJTYPE is DESI's */
  bool is_primary;              /* all its spectra are primary ones, although no column says so */
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
  float *pixels; /* [pixels_room], FOREIGN_BLOCK rows as stored; 0: the format allocates its own */
  int32_t *mask;
  size_t pixels_room, mask_room;
  int64_t wave_pixels; /* of the stored spectra, where they are not on the grid */
  double scale_arcsec,
      factor; /* of stored images in another scale or unit: pixel size, and factor to nanomaggy; otherwise 0 and 1 */
  foreign_cut_column cut[FOREIGN_CUTS];
};

/** Find identifiers, positions, labels and the columns of cuts among the root's datasets. o->n is known. SYZ_ERR_DATA
 * without identifiers. */
syz_status foreign_list_columns(syz_foreign *o);
/** At most FOREIGN_BLOCK rows of a part. */
syz_status foreign_read_objects(syz_foreign *o, const set_part *part, int64_t row, int64_t n, syz_object *object);
syz_status foreign_read_label(syz_foreign *o, const foreign_label *l, const set_part *part, int64_t row, int64_t n,
                              float *value);
/** NULL, with SYZ_ERR_INPUT recorded, when there is none of this name. */
const foreign_label *foreign_find_label(const syz_foreign *o, const char *name);

/** Record a dataset that a cut uses. */
void foreign_take_cut(syz_foreign *o, const char *name, char kind);
/** Like syz_foreign_info, for at most FOREIGN_BLOCK rows. */
syz_status foreign_read_cuts(syz_foreign *o, int64_t row, int64_t n, syz_spectrum_info *info);

/** Whether dataset `name` has the four axes of images, and their shape. */
bool foreign_has_images(syz_h5 *f, const char *name, int64_t shape[8]);
/** Set number, bands, size and buffer of the images in `name`; images to be resampled may have any size. */
syz_status foreign_open_images(syz_foreign *o, const char *name, bool is_resampled);
/** Clean pixels [n,152,152] of rows [first, first + n): 1 = clean, whatever the file's polarity; all 1 when the file
 * has no image mask. */
syz_status syz_foreign_read_clean(syz_foreign *f, int64_t first, int64_t n, uint8_t *clean);
/** Like syz_foreign_read_clean, for a file with a mask of clean pixels. */
syz_status foreign_read_clean(syz_foreign *o, int64_t first, int64_t n, uint8_t *clean);
/** For o->n spectra of `pixels` pixels each: find their arrays, set buffer sizes, list columns. */
syz_status foreign_open_spectra(syz_foreign *o, int64_t pixels);
