/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room h5: what a rank and the process that reads an HDF5 file for it say to each other, over a local
 * socket. See read.c and serve.c.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "facts.h"
#include "syzygy/base.h"

/** What a rank asks for. */
typedef enum h5_wish {
  H5_WISH_HAS,
  H5_WISH_FACTS,
  H5_WISH_READ,
  H5_WISH_STRINGS,
  H5_WISH_TEXT,
  H5_WISH_NUMBER,
  H5_WISH_NAMES,
  H5_WISH_SEAL
} h5_wish;

enum { H5_NAME = 1024, H5_ATTRIBUTE = 256, H5_PIECE = 4 << 20 /**< bytes of rows that an answer holds, about */ };

typedef struct h5_ask {
  int32_t wish, type;
  int64_t first, n, room;
  char name[H5_NAME], attribute[H5_ATTRIBUTE];
} h5_ask;

/** Instead of a status: the reader's last word. */
enum {
  H5_CRASHED = -1,       /**< `number`: the signal */
  H5_CRASHED_TIGHT = -2, /**< the same, while the user's own limit of memory is the tighter one */
  H5_STUCK = -3          /**< it went on computing without reading anything new */
};

/** The answer to opening the file, then to every ask. Reading: one for each piece of the rows. */
typedef struct h5_answer {
  int32_t status; /**< syz_status, or as above; a failure's message follows */
  int32_t is_there;
  int64_t bytes; /**< that follow */
  double number;
  h5_facts facts;
} h5_answer;

/** All bytes; false when the other side is gone. */
bool h5_line_send(int line, const void *bytes, size_t n);
bool h5_line_receive(int line, void *bytes, size_t n);

/** Start a process that serves the open `file`, known to the user as `path`; *line: our end. SYZ_ERR_MEMORY when there
 * is none to be had. */
syz_status h5_reader_start(const char *path, int file, int *line);
/** What that process does. */
_Noreturn void h5_serve(int line, int file, const char *path, const char *real, const char *root);
