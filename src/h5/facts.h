/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room h5: properties of a dataset in a file that is read. Sent between processes, so it has no pointers.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "syzygy/h5.h"

enum {
  H5_DIMS = 8,
  H5_TEXT_LIMIT = 64 << 20 /**< bytes of an attribute */,
  H5_NAMES_LIMIT = 256 << 20 /**< of all names of a file */
};

typedef struct h5_facts {
  int32_t ndim, bits; /* bits of an element */
  char kind;          /* as syz_h5_class says */
  int8_t own_type;    /* the syz_h5_type it is stored as, in this machine's own form; -1: none of them */
  int64_t shape[H5_DIMS];
  int64_t rows, row_elements;
  int64_t offset; /* of the first byte in the file, where the rows are contiguous and of own_type; -1: they are not */
} h5_facts;

/** Bytes of an element. */
size_t syz_h5_type_size(syz_h5_type t);
/** "float32", "int64", ... */
const char *syz_h5_type_name(syz_h5_type t);
