/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * h5: HDF5 files, written by all ranks and read where a damaged one does no harm; and what else goes to the disk in
 * the same way. What stands in the files: src/data/README.md.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/numbers.h"

/* ------------------------------------------------------------- HDF5 files */

/**
 * A syzygy HDF5 file: created under `path`.tmp, published under its name only when complete; every dataset carries
 * units, description and a checksum (syz_checksum_rows as a 16-digit hexadecimal string attribute `checksum`), and the
 * root one of all attributes, names, types and shapes, the datasets' checksums among them (root attribute `checksum`;
 * src/h5/seal.c), which opening compares where it is there. `comm` NULL: this process alone. Otherwise all
 * functions marked Collective must be called by all its ranks, and return the same status on each. The same arguments
 * except first, n, data must be given on every rank. How it is done: src/h5/write.c.
 */
typedef struct syz_h5 syz_h5;

/** Who writes the rows of a file that all ranks write; its bytes are the same (src/data/README.md "Two ways to the
 * disk"). */
typedef enum syz_h5_driver {
  SYZ_H5_DIRECT, /**< every rank by pwrite. Compressed files always */
  SYZ_H5_MPIO    /**< HDF5 by collective MPI-IO, in space that was reserved before */
} syz_h5_driver;
/** "direct", "mpio". */
const char *syz_h5_driver_name(syz_h5_driver d);
/** Collective, agreed: mpio where `folder` lies on a file system that several nodes write to at once (Lustre, GPFS,
 * BeeGFS; NFS when the ranks are on several nodes), direct elsewhere. A folder that is not there yet: its nearest
 * parent. `file_system_name` [32]: for the log. */
syz_status syz_h5_driver_for(syz_comm *c, const char *folder, syz_h5_driver *driver, char file_system_name[32]);

enum { SYZ_HINT_TEXT = 256 /**< bytes of a hint "name=value" */ };
/** Whether a text is hints for MPI-IO: "name=value,name=value"; "" is. */
bool syz_h5_hints_are_usable(const char *text);

/** How files are laid out and written, the same on all ranks. Without a call: alignment 4096, driver and pieces direct,
 * all else off. */
typedef struct syz_h5_settings {
  syz_h5_driver driver;
  const char *hints; /**< of MPI-IO, "name=value,name=value" (borrowed); NULL, "": none but those that follow here */
  int64_t alignment; /**< bytes, >= 1: datasets of 64 KiB and more begin at a multiple of it; not in compressed files */
  int64_t stripe_count,
      stripe_size; /**< of the parallel file system (bytes); 0: as the folder has it. Hints of MPI-IO */
  int aggregators; /**< ranks that write for the others; 0: every rank writes its own rows. Compressed datasets: all
                      ranks write */
  bool is_direct;  /**< pieces of 1 MiB and more past the page cache, where it can be had; not with mpio. See
                      src/h5/direct.c */
  int compression_level; /**< 0: none; 1 .. 9: shuffle and deflate on datasets of 64 KiB and more. See
                            src/h5/chunks.c */
  const char *link_root; /**< files that are read may lead to others below this folder (borrowed); NULL, "": such files
                            are refused */
} syz_h5_settings;
/** For all files created or opened afterwards. Not collective. */
void syz_h5_configure(const syz_h5_settings *s);
/** Start the process from which readers of HDF5 files are forked (src/h5/starter.c). Best called first of all in
 * main, before MPI and before any large memory; otherwise opening the first file does it. Not collective. */
void syz_h5_prepare(void);
/** End it, once all files are closed; a later opening would start another. */
void syz_h5_finish(void);

typedef enum syz_h5_type { SYZ_H5_F32, SYZ_H5_F64, SYZ_H5_I64, SYZ_H5_I32, SYZ_H5_U8, SYZ_H5_BF16 } syz_h5_type;

/** Collective. Root attributes: syzygy_format = `format`, format_version = 1, created_by, input (YAML text).
 * SYZ_ERR_WRITE with path and reason. */
syz_status syz_h5_create(syz_comm *c, const char *path, const char *format, const char *created_by,
                         const char *input_yaml, syz_h5 **out);
/** Collective. Write a dataset [rows, shape...]: this rank holds rows [first, first + n); ranks' ranges are disjoint
 * and cover `rows`. Groups in the name are made. The checksum is formed over all ranks. */
syz_status syz_h5_write(syz_h5 *f, const char *name, syz_h5_type type, int64_t rows, int ndim_row,
                        const int64_t *shape_row, int64_t first, int64_t n, const void *data, const char *units,
                        const char *description);
/** Collective. For datasets that arrive in pieces: create, then write row ranges in any order; checksums are summed at
 * close. */
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

/** Open for reading; any HDF5 file, also a damaged or hostile one: a process of its own runs the library on it
 * (src/h5/serve.c). Collective with comm (rank-wise independent reads afterwards are allowed); NULL: this process
 * alone. SYZ_ERR_DATA; SYZ_ERR_MEMORY when memory or a process is lacking, which says nothing about the file. Main
 * thread only, as all reading of the file. */
syz_status syz_h5_open(syz_comm *c, const char *path, syz_h5 **out);
/** Also true for what cannot be told of a damaged file: reading it then says why. */
bool syz_h5_has(syz_h5 *f, const char *name);
/** The name it was opened or created under; borrowed. */
const char *syz_h5_path(const syz_h5 *f);
/** Shape of a dataset: ndim <= 8; SYZ_ERR_DATA when absent. */
syz_status syz_h5_shape(syz_h5 *f, const char *name, int *ndim, int64_t shape[8]);
/** Rows [first, first + n) converted to `type` (row = all further axes). SYZ_ERR_DATA names file, dataset, found and
 * wanted shape. Independent. */
syz_status syz_h5_read(syz_h5 *f, const char *name, syz_h5_type type, int64_t first, int64_t n, void *data);
/** The same, collective over the ranks that opened the file, agreed; n may be 0, and the dataset is the same on all
 * ranks. With io.driver mpio rows of a sealed file of this program that lie in it as they are wanted come by collective
 * MPI-IO, all others as above. */
syz_status syz_h5_read_all(syz_h5 *f, const char *name, syz_h5_type type, int64_t first, int64_t n, void *data);
/** Text attribute of the root ("" object) or of an object: fixed or variable length; owned by the caller (syz_free).
 * *text NULL when absent. */
syz_status syz_h5_read_text(syz_h5 *f, const char *object, const char *attribute, char **text);
/** Numeric scalar attribute of the root ("") or of an object; *found = false when absent or not one number. */
syz_status syz_h5_read_number(syz_h5 *f, const char *object, const char *attribute, double *value, bool *found);
/** Rows [first, first + n) of a dataset of strings (fixed or variable length), each cut to room - 1 bytes and
 * NUL-terminated in text[i * room] (i counts all items of the rows); trailing blanks are removed. SYZ_ERR_DATA when it
 * holds no strings. Independent. */
syz_status syz_h5_read_strings(syz_h5 *f, const char *name, int64_t first, int64_t n, size_t room, char *text);
/** What the elements are: 'f' float, 'i' signed and 'u' unsigned integer, 'b' boolean (HDF5 enumeration), 's' string,
 * '?' other; *bits of one. */
syz_status syz_h5_class(syz_h5 *f, const char *name, char *kind, int *bits);
/** Names of the datasets below a group (recursive, "a/b/c" relative to it): calls `visit` for each in alphabetical
 * order until it returns non-zero status. */
syz_status syz_h5_visit(syz_h5 *f, const char *group, syz_status (*visit)(void *context, const char *name),
                        void *context);
/** Recompute a dataset's checksum and compare: SYZ_OK; SYZ_ERR_DATA names the dataset, stored and found values. *has =
 * false when none is stored. */
syz_status syz_h5_verify(syz_h5 *f, const char *name, bool *has);
/** The same for every dataset, by the ranks in turns. Collective with the file's communicator; agreed. *is_whole: each
 * dataset has a checksum, and the attributes have theirs, which opening has compared. */
syz_status syz_h5_verify_all(syz_h5 *f, bool *is_whole);
/** A file of this program's formats without a checksum of its attributes, by an older version or by another program:
 * damage there is not noticed. */
bool syz_h5_lacks_seal(const syz_h5 *f);
/** Whether it has one, which held when it was opened. */
bool syz_h5_is_sealed(const syz_h5 *f);

/* ------------------------------------------------ around the HDF5 library */

/**
 * Offset in the file of the first byte of a dataset whose rows lie one behind the other in this machine's own form of
 * `type`: contiguous, no filter, no external storage, same width, sign and byte order. -1 for any other dataset: read
 * it by syz_h5_read.
 */
int64_t syz_h5_offset(syz_h5 *f, const char *name, syz_h5_type type);

/** A flat file that all ranks will write, rank-local: with io.driver mpio it is made anew with the stripes of the
 * settings, otherwise it is left alone. SYZ_ERR_WRITE. */
syz_status syz_flat_create(const char *path);
/** Rank-local: with io.driver mpio its bytes get their place on the disk. SYZ_ERR_WRITE when there is no space. */
syz_status syz_flat_reserve(int fd, const char *path, int64_t bytes);

/* -------------------------------------------------------- past the page cache */

/** Large pieces of a file past the page cache, moved by a thread. See src/h5/direct.c. Rank-local. */
typedef struct syz_direct syz_direct;

/** Whether the settings of this run want it. */
bool syz_direct_is_wanted(void);

enum { SYZ_DIRECT_WORTH = 1 << 20 /**< bytes below which it is not */ };

/** A lane to a file that exists, for writing or for reading; NULL where the file system has no direct access, or
 * without memory or a thread: then go through the page cache. `path` is copied. */
syz_direct *syz_direct_open(const char *path, bool is_write);
/** What is still under way is waited for. */
void syz_direct_close(syz_direct **lane);
/** SYZ_ERR_DATA. */
syz_status syz_direct_read(syz_direct *lane, int64_t at, size_t bytes, void *to);
/** Whether the page cache holds this byte: then reading through it is faster. */
bool syz_direct_is_cached(const syz_direct *lane, int64_t at);
