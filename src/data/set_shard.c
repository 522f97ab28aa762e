/* SPDX-License-Identifier: BSD-3-Clause */
/** The layout of shards: one part, its datasets in the root (src/data/README.md). */
#include <stdio.h>
#include <string.h>

#include "set_layout.h"

static const int64_t image_shape[] = {SYZ_BANDS, SYZ_IMAGE_SIZE, SYZ_IMAGE_SIZE},
                     spectrum_shape[] = {SYZ_SPECTRUM_PIXELS};

typedef struct label_list {
  set_scan *scan;
  syz_h5 *f;
  int64_t rows;
} label_list;

static syz_status keep_label(void *context, const char *name)
{
  syz_status st = SYZ_OK;
  label_list *l = context;
  char full[SYZ_LABEL_NAME + 8];
  SYZ_REQUIRE(strlen(name) < SYZ_LABEL_NAME && !strchr(name, '/'), SYZ_ERR_DATA,
              "%s: label/%.80s is not a usable label name", syz_h5_path(l->f), name);
  SYZ_REQUIRE(l->scan->labels < SYZ_LABELS_MAX, SYZ_ERR_DATA, "%s: more than %d labels", syz_h5_path(l->f),
              SYZ_LABELS_MAX);
  snprintf(full, sizeof full, "label/%s", name);
  SYZ_TRY(set_expect(l->f, full, "fiub", &l->rows, "object_id", 0, NULL));
  snprintf(l->scan->label[l->scan->labels++], SYZ_LABEL_NAME, "%s", name);
cleanup:
  return st;
}

/* The digest is formed from the datasets' checksums; without these, from size and identifiers. */
static syz_status add_checksum(void *context, const char *name)
{
  syz_status st = SYZ_OK;
  label_list *l = context;
  char *text = NULL;
  SYZ_TRY(syz_h5_read_text(l->f, name, "checksum", &text));
  l->scan->digest = syz_checksum(name, strlen(name), l->scan->digest);
  if (text)
    l->scan->digest = syz_checksum(text, strlen(text), l->scan->digest);
  else
    l->scan->lacks_sums = true;
cleanup:
  syz_free(&text);
  return st;
}

static syz_status scan(syz_h5 *f, set_scan *out)
{
  syz_status st = SYZ_OK;
  set_part *p = &out->part[0];
  label_list list = {out, f, -1};
  out->parts = 1;
  p->rows = -1;
  SYZ_TRY(set_expect(f, "object_id", "iu", &p->rows, "", 0, NULL));
  p->has_image = syz_h5_has(f, "image");
  p->has_flux = syz_h5_has(f, "spectrum");
  p->has_ivar = p->has_flux && syz_h5_has(f, "spectrum_ivar");
  p->has_segment = syz_h5_has(f, "segment");
  if (p->has_image) SYZ_TRY(set_expect(f, "image", "f", &p->rows, "object_id", 3, image_shape));
  if (p->has_flux) SYZ_TRY(set_expect(f, "spectrum", "f", &p->rows, "object_id", 1, spectrum_shape));
  if (p->has_ivar) SYZ_TRY(set_expect(f, "spectrum_ivar", "f", &p->rows, "object_id", 1, spectrum_shape));
  if (p->has_segment) SYZ_TRY(set_expect(f, "segment", "iub", &p->rows, "object_id", 2, image_shape + 1));
  p->has_image_column = syz_h5_has(f, "has_image");
  p->has_spectrum_column = syz_h5_has(f, "has_spectrum");
  p->has_position = syz_h5_has(f, "ra") && syz_h5_has(f, "dec");
  if (p->has_position) {
    SYZ_TRY(set_expect(f, "ra", "f", &p->rows, "object_id", 0, NULL));
    SYZ_TRY(set_expect(f, "dec", "f", &p->rows, "object_id", 0, NULL));
  }
  if (p->has_image_column) SYZ_TRY(set_expect(f, "has_image", "iub", &p->rows, "object_id", 0, NULL));
  if (p->has_spectrum_column) SYZ_TRY(set_expect(f, "has_spectrum", "iub", &p->rows, "object_id", 0, NULL));
  list.rows = p->rows;
  SYZ_TRY(syz_h5_visit(f, "label", keep_label, &list));
  SYZ_TRY(syz_h5_visit(f, "", add_checksum, &list));
  p->image_at = p->has_image ? syz_h5_offset(f, "image", SYZ_H5_F32) : -1;
  p->flux_at = p->has_flux ? syz_h5_offset(f, "spectrum", SYZ_H5_F32) : -1;
  p->ivar_at = p->has_ivar ? syz_h5_offset(f, "spectrum_ivar", SYZ_H5_F32) : -1;
cleanup:
  return st;
}

static bool recognise(syz_h5 *f)
{
  return syz_h5_has(f, "object_id") && (syz_h5_has(f, "image") || syz_h5_has(f, "spectrum"));
}

const set_layout set_shard = {.recognise = recognise,
                              .scan = scan,
                              .object_id = "object_id",
                              .image = "image",
                              .flux = "spectrum",
                              .ivar = "spectrum_ivar",
                              .segment = "segment"};
