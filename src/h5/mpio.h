/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room h5: files that all ranks write through HDF5 and MPI-IO (io.driver mpio). See mpio.c. */
#pragma once

#include "file.h"

/** Whether a file that is now created is written so: the settings ask for it, MPI runs, and datasets are not
 * compressed. */
bool h5_mpio_is_wanted(void);
/** Collective, agreed: the file as it is declared so far gets its space, its description goes to the disk, and all
 * ranks open it. Does nothing while nothing new was declared. SYZ_ERR_WRITE names the file when there is no space. */
syz_status h5_mpio_open(syz_h5 *f);
/** Collective, agreed: rows [first, first + n) of this rank to the dataset, in one collective transfer. n may be 0. */
syz_status h5_mpio_write(syz_h5 *f, h5_column *column, int64_t first, int64_t n, const void *data);
/** Collective, agreed: run `put` (it writes attributes, with the same arguments on every rank) on each dataset, then on
 * the root (column NULL). */
syz_status h5_mpio_attributes(syz_h5 *f, syz_status (*put)(syz_h5 *f, hid_t object, const h5_column *column));
/** Collective; rank-local status. No-op while it is not open. */
syz_status h5_mpio_close(syz_h5 *f);

/** A file that is read through MPI-IO. */
typedef struct h5_mpio_reader h5_mpio_reader;
/** Collective, agreed. */
syz_status h5_mpio_reader_open(syz_comm *c, const char *path, h5_mpio_reader **out);
/** Collective, agreed: `bytes` of this rank, 0 or more, that begin at byte `at`. SYZ_ERR_DATA. */
syz_status h5_mpio_reader_read(h5_mpio_reader *r, const char *name, int64_t at, size_t bytes, void *data);
/** Collective; NULL is fine. */
void h5_mpio_reader_close(h5_mpio_reader **r);
