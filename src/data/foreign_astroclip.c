/* SPDX-License-Identifier: BSD-3-Clause */
/** AstroCLIP's HDF5 as a survey file. Its layout is in set_astroclip.c, as for a data set. */
#include <stdio.h>
#include <string.h>

#include "foreign.h"

static syz_status open_file(syz_foreign *o)
{
  syz_status st = SYZ_OK;
  set_scan *scan = NULL;
  SYZ_ALLOC(scan, "file scan", 1);
  SYZ_ALLOC(scan->label, "label names", SYZ_LABELS_MAX);
  SYZ_TRY(syz_shardset_scan(syz_h5_path(o->f), 0, scan)); /* checks every shape */
  o->parts = scan->parts;
  memcpy(o->part, scan->part, sizeof o->part);
  for (int i = 0; i < o->parts; i++) {
    o->part[i].raw = o->n;
    o->n += o->part[i].rows;
  }
  o->id = ID_COLUMN;
  snprintf(o->id_column, sizeof o->id_column, "%s", set_astroclip.object_id);
  if (scan->labels) {
    SYZ_ALLOC(o->label, "labels", 1);
    snprintf(o->label[0].name, SYZ_LABEL_NAME, "%s", scan->label[0]);
    snprintf(o->label[0].dataset, SYZ_LABEL_NAME, "%s", set_astroclip.only_label);
    o->label[0].item = -1;
    o->labels = 1;
  }
cleanup:
  if (scan) syz_free(&scan->label);
  syz_free(&scan);
  return st;
}

static syz_status read_rows(syz_foreign *o, const set_part *part, int64_t row, int64_t n, float *image, float *flux,
                            float *ivar)
{
  syz_status st = SYZ_OK;
  if (image) SYZ_TRY(set_read_images(o->f, part, row, n, &o->pixels, image));
  if (flux) SYZ_TRY(set_read_flux(o->f, part, row, n, flux));
  for (int64_t i = 0; ivar && i < n * SYZ_SPECTRUM_PIXELS; i++) ivar[i] = 1.0f;
cleanup:
  return st;
}

static bool recognise(syz_h5 *f) { return set_astroclip.recognise(f); }

const foreign_format foreign_astroclip = {.name = "AstroCLIP pairs",
                                          .recognise = recognise,
                                          .open = open_file,
                                          .read = read_rows,
                                          .has_image = true,
                                          .has_spectrum = true,
                                          .is_primary = true};
