/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room h5: the description of an HDF5 file being written, kept in memory. See image.c. */
#pragma once

#include <hdf5.h>

#include "syzygy/base.h"

typedef struct h5_image h5_image;

syz_status h5_image_create(h5_image **out);
void h5_image_destroy(h5_image **image);
/** Let files opened with this access list live in `image` (borrowed; must outlive the file). */
syz_status h5_image_attach(h5_image *image, hid_t access);
/** While on, raw data that HDF5 writes is dropped: only its place counts, which h5_image_dropped tells (the last one;
 * -1: none since it was switched on). */
void h5_image_drop(h5_image *image, bool drops);
int64_t h5_image_dropped(const h5_image *image);
/** Bytes of the file that HDF5 has given away so far. */
int64_t h5_image_length(const h5_image *image);
/** Write what HDF5 has put down so far to its places in the file, and set the file's length. SYZ_ERR_WRITE names
 * `path`. */
syz_status h5_image_save(const h5_image *image, int fd, const char *path);
