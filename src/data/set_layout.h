/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The layouts of HDF5 files that a data set accepts. set_layout.c has the table of layouts, each in its own file
 * (set_shard.c, set_astroclip.c). A new layout is a row of that table, declared below.
 */
#pragma once

#include "shardset.h"

typedef struct set_layout {
  bool (*recognise)(syz_h5 *f); /* from the file's contents */
  /* Fill an empty scan with parts, labels and digest, and check every shape, type and row count. */
  syz_status (*scan)(syz_h5 *f, set_scan *out);
  /* Names of a part's datasets, after the part's group; ivar and segment NULL: no part has it. */
  const char *object_id, *image, *flux, *ivar, *segment;
  const char *only_label; /* dataset of the only label it can have; NULL: label/<name> */
  bool lacks_sums;        /* its datasets have no checksums */
  bool is_published;      /* its split is published too, and rows stay on their side */
  /* Convert an image to [3,152,152] from its stored order; NULL: it is stored in that order. */
  void (*reorder)(const float *restrict stored, float *restrict image);
} set_layout;

extern const set_layout set_shard, set_astroclip;

/** Number of the file's layout in the table; -1: unknown. */
int set_layout_find(syz_h5 *f);
const set_layout *set_layout_get(int number);
const set_layout *set_layout_of(const set_part *p);

/**
 * Check that dataset `name` holds numbers of one of the `kinds` ("f", "iub" ...; NULL: of any kind, or text) with shape
 * [rows, shape...]. *rows < 0: unknown, and set here. `rows_of`: the dataset that *rows came from. SYZ_ERR_DATA names
 * file and dataset.
 */
syz_status set_expect(syz_h5 *f, const char *name, const char *kinds, int64_t *rows, const char *rows_of, int n_shape,
                      const int64_t *shape);

enum { SET_NAME = SYZ_LABEL_NAME + SET_GROUP + 8 /* bytes of the name of a part's dataset */ };
/** The name in the file of a dataset of a part. */
void set_dataset(char text[SET_NAME], const set_part *p, const char *dataset);
/** The name in the file of a label of a part. */
void set_label_dataset(char text[SET_NAME], const set_part *p, const char *label);
/** Images [n,3,152,152] of rows in the file, through HDF5. *scratch: one image, allocated when needed, freed by
 * the caller. */
syz_status set_read_images(syz_h5 *f, const set_part *p, int64_t row, int64_t n, float **scratch, float *image);
/** Spectra [n,7781], likewise; ivar and the maps [n,152,152] of parts that have them. */
syz_status set_read_flux(syz_h5 *f, const set_part *p, int64_t row, int64_t n, float *flux);
syz_status set_read_ivar(syz_h5 *f, const set_part *p, int64_t row, int64_t n, float *ivar);
syz_status set_read_segment(syz_h5 *f, const set_part *p, int64_t row, int64_t n, uint8_t *segment);
