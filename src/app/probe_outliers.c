/* SPDX-License-Identifier: BSD-3-Clause */
/** `probe outliers`: keys of the search for strange objects. The work is syzygy/probes.h. */
#include "probe_table.h"
#include "syzygy/flow.h"

#define USED SYZ_USED_BY(probe)

static const syz_key keys[] = {
    {"probe.outlier_components", SYZ_KEY_INT, "8", "", 1, SYZ_FLOW_LABELS, NULL, USED,
     "outliers: principal components whose density a flow learns (probe.members, probe.epochs)."},
    {"probe.outlier_neighbours", SYZ_KEY_INT, "10", "objects", 1, 10000, NULL, USED,
     "outliers: nearest other objects whose mean distance counts, in standardised features."},
    {"probe.outlier_rows", SYZ_KEY_INT, "100", "objects", 1, 1000000, NULL, USED,
     "outliers: rows of outliers.csv, the strangest first; outliers.h5 has all."},
    {"probe.outlier_next", SYZ_KEY_INT, "20", "objects", 0, 10000, NULL, USED,
     "outliers: objects of ratings_next.csv that are put forward to be rated."},
    {"probe.ratings", SYZ_KEY_TEXT, "", "file", 0, 0, NULL, USED,
     "outliers: table with object_id and rating, 0 (dull) to 5 (worth a look), by a person; rows without a rating are "
     "passed over. Fill in ratings_next.csv of a run and give it here."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

const syz_task syz_probe_outliers = {
    .keys = keys, .open = syz_probe_table_open, .write = syz_probe_table_write, .close = syz_probe_table_close};
