/* SPDX-License-Identifier: BSD-3-Clause */
/** The layouts of a data set's files, and reading rows of one through HDF5. */
#include "set_layout.h"

#include <stdio.h>

/* Tried in this order; a part stores its layout's number in this table. */
static const set_layout *const LAYOUTS[] = {&set_astroclip, &set_shard};

int set_layout_find(syz_h5 *f)
{
  for (int k = 0; k < (int)(sizeof LAYOUTS / sizeof *LAYOUTS); k++)
    if (LAYOUTS[k]->recognise(f)) return k;
  return -1;
}

const set_layout *set_layout_get(int number) { return LAYOUTS[number]; }
const set_layout *set_layout_of(const set_part *p) { return LAYOUTS[p->layout]; }

void set_label_dataset(char text[SET_NAME], const set_part *p, const char *label)
{
  const char *only = set_layout_of(p)->only_label;
  snprintf(text, SET_NAME, "%s%s%s", p->group, only ? "" : "label/", only ? only : label);
}

syz_status set_read_images(syz_h5 *f, const set_part *p, int64_t row, int64_t n, float **scratch, float *image)
{
  syz_status st = SYZ_OK;
  const set_layout *l = set_layout_of(p);
  char name[SET_NAME];
  set_dataset(name, p, l->image);
  if (!l->reorder) return syz_h5_read(f, name, SYZ_H5_F32, row, n, image);
  if (!*scratch) SYZ_ALLOC(*scratch, "image of another axis order", SET_IMAGE);
  for (int64_t i = 0; i < n; i++) {
    SYZ_TRY(syz_h5_read(f, name, SYZ_H5_F32, row + i, 1, *scratch));
    l->reorder(*scratch, image + i * SET_IMAGE);
  }
cleanup:
  return st;
}

syz_status set_read_flux(syz_h5 *f, const set_part *p, int64_t row, int64_t n, float *flux)
{
  char name[SET_NAME];
  set_dataset(name, p, set_layout_of(p)->flux);
  return syz_h5_read(f, name, SYZ_H5_F32, row, n, flux);
}

syz_status set_read_ivar(syz_h5 *f, const set_part *p, int64_t row, int64_t n, float *ivar)
{
  char name[SET_NAME];
  set_dataset(name, p, set_layout_of(p)->ivar);
  return syz_h5_read(f, name, SYZ_H5_F32, row, n, ivar);
}

syz_status set_read_segment(syz_h5 *f, const set_part *p, int64_t row, int64_t n, uint8_t *segment)
{
  char name[SET_NAME];
  set_dataset(name, p, set_layout_of(p)->segment);
  return syz_h5_read(f, name, SYZ_H5_U8, row, n, segment);
}
