/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of the FITS reader: unpacking whole files into memory. */
#pragma once

#include "file.h"

/** Growing output of an unpacker. */
typedef struct fits_grow {
  unsigned char *data;
  size_t used, room, limit;
  size_t hdu_at; /**< start of the HDU that was being unpacked at the last check */
} fits_grow;
/** More room, up to the limit: beyond it SYZ_ERR_DATA. */
syz_status fits_grow_more(fits_grow *g, const char *path);
/** SYZ_ERR_DATA, naming the file, for data that are damaged or cut short. */
syz_status fits_unpack_xz(const char *path, const unsigned char *in, size_t n, fits_grow *g);
