/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of the reader of other people's HDF5 files: an open file (foreign.c), its pixels (foreign_pixels.c), its cuts
 * (foreign_cuts.c). */
#pragma once

#include "shardset.h"

enum { FOREIGN_BLOCK = 16, FOREIGN_LABELS = 512, FOREIGN_SIZE_MAX = 4096, FOREIGN_ID_TEXT = 80 };

typedef struct foreign_label {
  char name[SYZ_LABEL_NAME], dataset[SYZ_LABEL_NAME];
  int item; /* of a (n,3) column, -1: the column has one axis */
} foreign_label;

typedef enum id_source { ID_COLUMN, ID_TRIPLE, ID_TEXT_COLUMN } id_source;

/** Columns that cuts look at, by the names that surveys give them. */
enum { FOREIGN_ZWARN, FOREIGN_FIBERSTATUS, FOREIGN_SPECTYPE, FOREIGN_OBJTYPE, FOREIGN_CUTS };
typedef char foreign_cut_column[SYZ_LABEL_NAME]; /* "" = the file has none */

struct syz_foreign {
  syz_h5 *f;
  syz_foreign_kind kind;
  int64_t n;
  struct {
    char group[4];
    int64_t first, rows;
  } part[10]; /* AstroCLIP; otherwise one with an empty group */
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
  float *pixels; /* FOREIGN_BLOCK rows as stored */
  int32_t *mask;
  size_t pixels_room, mask_room;
  int64_t wave_pixels; /* of the stored spectra, where they are not on the grid */
  double scale_arcsec,
      factor; /* of the stored images where they are not ours: pixel, and to nanomaggy; otherwise 0 and 1 */
  foreign_cut_column cut[FOREIGN_CUTS];
};

/** Rows first .. first + n - 1 are in the file: SYZ_ERR_INTERNAL otherwise. */
syz_status foreign_check_range(const syz_foreign *o, int64_t first, int64_t n);
/** The next stretch of rows [*row, *row + return) within one group, beginning at object `at`; at most `most`. */
int64_t foreign_stretch(const syz_foreign *o, int64_t at, int64_t most, int *part, int64_t *row);
/** Whether the file holds spectra. */
bool foreign_has_spectra(const syz_foreign *o);
/** Note a dataset that a cut looks at. */
void foreign_take_cut(syz_foreign *o, const char *name, char kind);
