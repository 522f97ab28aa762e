/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room h5: an open file, read or written, shared by all source files of this room. */
#pragma once

#include <hdf5.h>

#include "syzygy/h5.h"
#include "direct.h"
#include "facts.h"
#include "image.h"

enum { H5_REASON = 400 };

/** A dataset being written. */
typedef struct h5_column {
  char *name;
  int64_t rows, offset; /* offset: of the first byte in the file; -1 when it has no bytes */
  size_t row_bytes;
  struct h5_chunks *chunks; /* NULL: rows are contiguous */
  hid_t shared;             /* the dataset in the file that all ranks have open (mpio.c); -1 */
  uint64_t sum;             /* checksum of the rows this rank wrote */
  int64_t written;          /* rows this rank wrote */
} h5_column;

/** A dataset whose properties were requested. */
typedef struct h5_known {
  char *name;
  h5_facts facts;
} h5_known;

struct syz_h5 {
  syz_comm *comm; /* NULL: this process alone */
  char *path, *temporary;
  hid_t file;         /* while writing only on rank 0; -1 elsewhere */
  h5_image *image;    /* writing, rank 0: what HDF5 wrote */
  int fd;             /* every rank's own descriptor: writing, of the temporary file */
  syz_direct *direct; /* large pieces, when first needed */
  bool has_tried_direct;
  int rank, size;
  bool is_writing, is_unflushed; /* unflushed: a declaration is not on the disk yet; the same on all ranks */
  bool is_mpio;                  /* writing: through HDF5 and MPI-IO (mpio.c), and then: */
  hid_t shared;                  /* the file as all ranks have it open; -1 */
  uint64_t seal;                 /* checksum of its attributes, once it is known */
  int64_t reserved;              /* rank 0: bytes from the beginning that are reserved on the disk */
  bool is_own, is_sealed;        /* reading: it says that it is of this program; the checksum of its attributes holds */
  h5_column *column;
  int columns;
  size_t room;
  int line; /* reading: to the process in which the library reads the file; -1 when it is gone, and then: */
  syz_status lost;
  char lost_why[160];
  int64_t bytes;                 /* reading: length of the file */
  struct h5_mpio_reader *reader; /* reading by all ranks together, when first needed */
  h5_known *known;               /* reading: datasets that were asked for */
  int knowns;
  size_t known_room;
};

/** Once a process: HDF5 must not print its error stack, and knows h5py's LZF. */
void h5_begin(void);
/** The innermost message on HDF5's error stack ("unknown reason" when it is empty). */
const char *h5_reason(char text[H5_REASON]);
/** The same; true when there was no memory. */
bool h5_reason_memory(char text[H5_REASON]);
/** How a type is stored (little-endian) and held in memory; not to be closed by H5Tclose unless it is bfloat16: use
 * h5_type_close. */
hid_t h5_file_type(syz_h5_type t);
void h5_type_close(syz_h5_type t, hid_t id);
/** The hints of the settings for MPI-IO; *info is MPI_INFO_NULL or to be freed. Rank-local; MPI must run. */
void h5_hints_make(MPI_Info *info);
void h5_hints_free(MPI_Info *info);
/** The settings of this run. */
const syz_h5_settings *h5_settings(void);
/** Rank-local: create an empty file with the stripes of the settings; does nothing when they ask for none.
 * SYZ_ERR_WRITE. */
syz_status h5_create_striped(const char *path);
/** Rank-local: bytes [from, to) of a file get their place on the disk. SYZ_ERR_WRITE names `path`. */
syz_status h5_reserve(int fd, const char *path, int64_t from, int64_t to);
/** Rank-local: bytes to their place in the file; `name`: of the dataset, for the message. They may be under way when it
 * returns: what fails then is the error of a later call, or of publishing. */
syz_status h5_write_at(syz_h5 *f, const char *name, int64_t at, size_t bytes, const void *data);
/** Collective, agreed: rows [first, first + n) of this rank to the file, by way of as many ranks as the settings say.
 * See gather.c. */
syz_status h5_gather_rows(syz_h5 *f, const h5_column *column, int64_t first, int64_t n, const void *data);
/** Frees the memory of a file that was written; its descriptor and its HDF5 file are closed. */
void h5_free_written(syz_h5 **file);
/** The lane for large pieces, opened when first asked for; NULL: there is none, or it is not wanted. */
syz_direct *h5_lane(syz_h5 *f);
/** NUL-terminated copy owned by the caller; NULL without memory. */
char *h5_copy_text(const char *text);
/** Agreement when there is a communicator, otherwise the status itself. */
static inline syz_status h5_agree(const syz_h5 *f, syz_status st) { return f->comm ? syz_agree(f->comm, st) : st; }
