/* SPDX-License-Identifier: BSD-3-Clause */
/** The properties of an object that cuts use, from other people's HDF5 files: columns of their catalogues, under the
 * names of DESI or SDSS. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "foreign.h"

/* The first name counts where a file has both. */
static const struct {
  const char *name[2];
  bool is_text;
} columns[FOREIGN_CUTS] = {[FOREIGN_ZWARN] = {{"ZWARN", "ZWARNING"}, false},
                           [FOREIGN_FIBERSTATUS] = {{"COADD_FIBERSTATUS", "FIBERSTATUS"}, false},
                           [FOREIGN_SPECTYPE] = {{"SPECTYPE", "CLASS"}, true},
                           [FOREIGN_OBJTYPE] = {{"OBJTYPE", "OBJTYPE"}, true}};

void foreign_take_cut(syz_foreign *o, const char *name, char kind)
{
  for (int k = 0; k < FOREIGN_CUTS; k++) {
    bool is_right = columns[k].is_text ? kind == 's' : kind == 'i' || kind == 'u' || kind == 'b';
    bool is_first = !strcasecmp(name, columns[k].name[0]);
    if (is_right && (is_first || (!*o->cut[k] && !strcasecmp(name, columns[k].name[1]))))
      snprintf(o->cut[k], sizeof o->cut[k], "%s", name);
  }
}

static syz_status read_whole(syz_foreign *o, int cut, int64_t row, int64_t n, int64_t *value)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0; i < n; i++) value[i] = -1;
  if (*o->cut[cut]) SYZ_TRY(syz_h5_read(o->f, o->cut[cut], SYZ_H5_I64, row, n, value));
cleanup:
  return st;
}

static syz_status read_text(syz_foreign *o, int cut, int64_t row, int64_t n, char text[FOREIGN_BLOCK][FOREIGN_ID_TEXT])
{
  syz_status st = SYZ_OK;
  memset(text, 0, (size_t)n * FOREIGN_ID_TEXT);
  if (*o->cut[cut]) SYZ_TRY(syz_h5_read_strings(o->f, o->cut[cut], row, n, FOREIGN_ID_TEXT, text[0]));
cleanup:
  return st;
}

/* DESI's types are kept; of SDSS' types only "sky" matters, as in SDSS' own files. */
static void set_type(const syz_foreign *o, const char *objtype, syz_spectrum_info *info)
{
  bool is_desi = o->format->is_sky_by_id;
  bool is_sky = is_desi ? syz_targetid_is_sky(info->object_id)
                        : !strncasecmp(objtype, "sky", 3) || (info->zwarn >= 0 && (info->zwarn & 1));
  snprintf(info->objtype, sizeof info->objtype, "%.7s", is_sky ? "SKY" : is_desi && *objtype ? objtype : "TGT");
}

syz_status foreign_read_cuts(syz_foreign *o, int64_t row, int64_t n, syz_spectrum_info *info)
{
  syz_status st = SYZ_OK;
  int64_t zwarn[FOREIGN_BLOCK], status[FOREIGN_BLOCK];
  char spectype[FOREIGN_BLOCK][FOREIGN_ID_TEXT], objtype[FOREIGN_BLOCK][FOREIGN_ID_TEXT];
  SYZ_TRY(read_whole(o, FOREIGN_ZWARN, row, n, zwarn));
  SYZ_TRY(read_whole(o, FOREIGN_FIBERSTATUS, row, n, status));
  SYZ_TRY(read_text(o, FOREIGN_SPECTYPE, row, n, spectype));
  SYZ_TRY(read_text(o, FOREIGN_OBJTYPE, row, n, objtype));
  for (int64_t i = 0; i < n; i++) {
    info[i].zwarn = zwarn[i];
    info[i].fiberstatus = status[i];
    snprintf(info[i].spectype, sizeof info[i].spectype, "%.15s", spectype[i]);
    set_type(o, objtype[i], &info[i]);
  }
cleanup:
  return st;
}
