/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * h5: HDF5 files, written by all ranks, and read in a separate process where a damaged file does no harm; flat files
 * and direct access in the same way. src/data/README.md describes the content of the files.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/numbers.h"

/* ------------------------------------------------------------- HDF5 files */

/**
 * A syzygy HDF5 file, written as `path`.tmp and published under its name only when complete. Every dataset has units, a
 * description and a checksum (attribute `checksum`: syz_checksum_rows as 16 hexadecimal digits). The root's `checksum`
 * covers all attributes, names, types and shapes, the datasets' checksums included (src/h5/seal.c); opening compares it
 * if there is one. `comm` NULL: this process alone. Otherwise all its ranks must call the functions marked Collective,
 * with the same arguments except first, n, data, and get the same status. Method: src/h5/write.c.
 */
typedef struct syz_h5 syz_h5;

/** Who writes the rows of a file that all ranks write. The bytes are the same either way (src/data/README.md "Two ways
 * to the disk"). */
typedef enum syz_h5_driver {
  SYZ_H5_DIRECT, /**< every rank by pwrite; compressed files always use it */
  SYZ_H5_MPIO    /**< HDF5 by collective MPI-IO, in space reserved before */
} syz_h5_driver;
/** "direct", "mpio". */
const char *syz_h5_driver_name(syz_h5_driver d);
/** Collective, agreed: mpio where `folder` is on a file system to which several nodes write at once (Lustre, GPFS,
 * BeeGFS; NFS when the ranks are on several nodes), direct elsewhere. For a folder that does not exist yet, its nearest
 * parent counts. `file_system_name` [32]: for the log. */
syz_status syz_h5_driver_for(syz_comm *c, const char *folder, syz_h5_driver *driver, char file_system_name[32]);

enum { SYZ_HINT_TEXT = 256 /**< bytes of a hint "name=value" */ };
/** Whether a text is a list of hints for MPI-IO, "name=value,name=value" or "". */
bool syz_h5_hints_are_usable(const char *text);

/** How files are laid out and written, the same on all ranks. Defaults: alignment 4096, driver and pieces direct, all
 * else off. */
typedef struct syz_h5_settings {
  syz_h5_driver driver;
  const char *hints; /**< of MPI-IO, "name=value,name=value" (borrowed); NULL or "": only those set below */
  int64_t alignment; /**< bytes, >= 1: datasets of 64 KiB and more begin at a multiple of it; not in compressed files */
  int64_t stripe_count,
      stripe_size; /**< of the parallel file system (bytes), also as hints of MPI-IO; 0: the folder's own */
  int aggregators; /**< ranks that write for the others; 0: every rank writes its own rows, as always in compressed
                      datasets */
  bool is_direct;  /**< pieces of 1 MiB and more bypass the page cache, where possible; not with mpio. See
                      src/h5/direct.c */
  int compression_level; /**< 0: none; 1 .. 9: shuffle and deflate on datasets of 64 KiB and more. See
                            src/h5/chunks.c */
  const char *link_root; /**< files that are read may link to files below this folder (borrowed); NULL, "": such files
                            are refused */
} syz_h5_settings;
/** Set the settings for all files created or opened afterwards. Not collective. */
void syz_h5_configure(const syz_h5_settings *s);
/** Start the process from which readers of HDF5 files are forked (src/h5/starter.c). Call it first in main, before MPI
 * and large allocations; otherwise opening the first file does it. Not collective. */
void syz_h5_prepare(void);
/** End that process, after all files are closed; opening another file would start it again. */
void syz_h5_finish(void);

typedef enum syz_h5_type { SYZ_H5_F32, SYZ_H5_F64, SYZ_H5_I64, SYZ_H5_I32, SYZ_H5_U8, SYZ_H5_BF16 } syz_h5_type;

/** Collective. Root attributes: syzygy_format = `format`, format_version = 1, created_by, input (YAML text).
 * SYZ_ERR_WRITE with path and reason. */
syz_status syz_h5_create(syz_comm *c, const char *path, const char *format, const char *created_by,
                         const char *input_yaml, syz_h5 **out);
/** Collective. Write a dataset [rows, shape...]: this rank holds rows [first, first + n); ranks' ranges are disjoint
 * and cover `rows`. Groups in the name are created. The checksum covers the rows of all ranks. */
syz_status syz_h5_write(syz_h5 *f, const char *name, syz_h5_type type, int64_t rows, int ndim_row,
                        const int64_t *shape_row, int64_t first, int64_t n, const void *data, const char *units,
                        const char *description);
/** Collective. Create a dataset whose rows syz_h5_write_rows writes in any order; publishing sums its checksum. */
syz_status syz_h5_dataset(syz_h5 *f, const char *name, syz_h5_type type, int64_t rows, int ndim_row,
                          const int64_t *shape_row, const char *units, const char *description);
/** Collective; n may be 0. Each row must be written exactly once. */
syz_status syz_h5_write_rows(syz_h5 *f, const char *name, int64_t first, int64_t n, const void *data);
/** Collective. Root attribute. */
syz_status syz_h5_write_text(syz_h5 *f, const char *attribute, const char *text);
/** Collective. Write checksums, close, fsync, rename to the final name. Frees *f. On failure the temporary file is
 * removed and any old file is intact. */
syz_status syz_h5_publish(syz_h5 **f);
/** Close a file that was opened, or give up one that is written: then it is collective, and the temporary file is
 * removed. What cleanup calls, also after an error. NULL is fine. */
void syz_h5_close(syz_h5 **f);

/** Open any HDF5 file for reading, even a damaged or hostile one: a separate process runs the library on it
 * (src/h5/serve.c). Collective over comm, but ranks may then read independently; NULL: this process alone.
 * SYZ_ERR_DATA; SYZ_ERR_MEMORY when memory or a process is lacking, while the file may be good. Main thread only, like
 * all reading of the file. */
syz_status syz_h5_open(syz_comm *c, const char *path, syz_h5 **out);
/** Whether the file has this dataset; also true if a damaged file does not allow an answer: reading then reports the
 * error. */
bool syz_h5_has(syz_h5 *f, const char *name);
/** The path given when it was opened or created; borrowed. */
const char *syz_h5_path(const syz_h5 *f);
/** Shape of a dataset: ndim <= 8; SYZ_ERR_DATA when absent. */
syz_status syz_h5_shape(syz_h5 *f, const char *name, int *ndim, int64_t shape[8]);
/** Rows [first, first + n) converted to `type` (row = all further axes). SYZ_ERR_DATA names file, dataset, found and
 * wanted shape. Not collective. */
syz_status syz_h5_read(syz_h5 *f, const char *name, syz_h5_type type, int64_t first, int64_t n, void *data);
/** The same, collective over the ranks that opened the file, agreed; n may be 0, and the dataset is the same on all
 * ranks. With driver mpio, rows that a sealed file of this program stores as `type` are read by collective MPI-IO, all
 * others as above. */
syz_status syz_h5_read_all(syz_h5 *f, const char *name, syz_h5_type type, int64_t first, int64_t n, void *data);
/** Text attribute of the root ("" object) or of an object: fixed or variable length; owned by the caller (syz_free).
 * *text NULL when absent. */
syz_status syz_h5_read_text(syz_h5 *f, const char *object, const char *attribute, char **text);
/** Numeric scalar attribute of the root ("") or of an object; *found = false when absent or not one number. */
syz_status syz_h5_read_number(syz_h5 *f, const char *object, const char *attribute, double *value, bool *found);
/** Rows [first, first + n) of a dataset of strings (fixed or variable length), each cut to room - 1 bytes and
 * NUL-terminated in text[i * room] (i counts all items of the rows); trailing blanks are removed. SYZ_ERR_DATA for
 * other datasets. Not collective. */
syz_status syz_h5_read_strings(syz_h5 *f, const char *name, int64_t first, int64_t n, size_t room, char *text);
/** Kind of the elements: 'f' float, 'i' signed and 'u' unsigned integer, 'b' boolean (HDF5 enumeration), 's' string,
 * '?' other; *bits: size of one. */
syz_status syz_h5_class(syz_h5 *f, const char *name, char *kind, int *bits);
/** Names of the datasets below a group (recursive, "a/b/c" relative to it): calls `visit` for each in alphabetical
 * order until it returns non-zero status. `group` may also be a dataset of records (a compound type, as astropy writes
 * tables): its members are read as if they were datasets below it. */
syz_status syz_h5_visit(syz_h5 *f, const char *group, syz_status (*visit)(void *context, const char *name),
                        void *context);
/** Recompute a dataset's checksum and compare: SYZ_OK; SYZ_ERR_DATA names the dataset, stored and found values. *has =
 * false when none is stored. */
syz_status syz_h5_verify(syz_h5 *f, const char *name, bool *has);
/** The same for every dataset, divided over the ranks. Collective over the file's communicator; agreed. *is_whole:
 * whether each dataset has a checksum, and so have the attributes, whose checksum opening has compared. */
syz_status syz_h5_verify_all(syz_h5 *f, bool *is_whole);
/** Whether it is a file of this program's formats without a checksum of its attributes, from an older version or
 * another program: damage to attributes then goes unnoticed. */
bool syz_h5_lacks_seal(const syz_h5 *f);
/** Whether it has this checksum, which was right when the file was opened. */
bool syz_h5_is_sealed(const syz_h5 *f);

/* ------------------------------------------------ around the HDF5 library */

/**
 * Offset in the file of the first byte of a dataset whose rows follow one another in this machine's form of `type`:
 * contiguous, no filter, no external storage, same width, sign and byte order. -1 for any other dataset: read it by
 * syz_h5_read.
 */
int64_t syz_h5_offset(syz_h5 *f, const char *name, syz_h5_type type);

/** Prepare a flat file that all ranks will write. With driver mpio it is created again with the stripes of the
 * settings, otherwise it stays unchanged. Rank-local. SYZ_ERR_WRITE. */
syz_status syz_flat_create(const char *path);
/** With driver mpio, allocate its bytes on the disk. Rank-local. SYZ_ERR_WRITE when there is no space. */
syz_status syz_flat_reserve(int fd, const char *path, int64_t bytes);

/* -------------------------------------------------------- past the page cache */

/** Access to large pieces of a file by a thread that bypasses the page cache. Rank-local. See src/h5/direct.c. */
typedef struct syz_direct syz_direct;

/** Whether the settings of this run ask for direct access. */
bool syz_direct_is_wanted(void);

enum { SYZ_DIRECT_WORTH = 1 << 20 /**< smallest piece in bytes that is worth it */ };

/** Open an existing file for writing or for reading. NULL when the file system has no direct access, or without memory
 * or a thread: then use the page cache. `path` is copied. */
syz_direct *syz_direct_open(const char *path, bool is_write);
/** Waits until all writes are done. */
void syz_direct_close(syz_direct **lane);
/** Read `bytes` bytes at offset `at`. SYZ_ERR_DATA. */
syz_status syz_direct_read(syz_direct *lane, int64_t at, size_t bytes, void *to);
/** Whether the page cache holds this byte: then reading through the cache is faster. */
bool syz_direct_is_cached(const syz_direct *lane, int64_t at);
