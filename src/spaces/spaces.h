/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room spaces: the job that all tasks share, and pieces of their files. */
#pragma once

#include <cjson/cJSON.h>

#include "syzygy/h5.h"
#include "syzygy/spaces.h"
#include "table.h"

struct syz_spaces {
  const syz_run *run;
  const syz_spaces_options *options;
  syz_comm *comm;
  syz_compute *compute;
  table *now, *before; /**< before NULL: none */
};

syz_cca_options spaces_cca_options(const syz_spaces *s, int64_t permutations);
/** Whether each half has more objects than both ranks of `all` together; a warning otherwise. */
bool spaces_can_hold_out(const table *t, const syz_cca *all);

/* Of JSON, on rank 0: cJSON returns NULL without memory, and its adders pass that on, so json_write checks at the end.
 */

/** The beginning of a file: created_by, the two sources, the seed. */
cJSON *json_begin(const syz_spaces *s, const table *t);
/** Files, objects and those left out of one table. */
void json_add_table(cJSON *o, const table *t);
/** Write <folder>/<name>; deletes root. */
syz_status json_write(const syz_spaces *s, const char *name, cJSON *root);

/** An HDF5 file of the run's folder with the names of files and sources as attributes. Collective; agreed. */
syz_status spaces_create_h5(const syz_spaces *s, const char *name, const char *format, syz_h5 **out);
/** An array that is the same on all ranks, written by the first. Collective; agreed. */
syz_status spaces_write_array(const syz_spaces *s, syz_h5 *f, const char *name, int64_t rows, int64_t columns,
                              const double *x, const char *units, const char *description);
