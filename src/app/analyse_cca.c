/* SPDX-License-Identifier: BSD-3-Clause */
/** `analyse cca`: canonical correlations of two embeddings. The work is syzygy/spaces.h. */
#include "analyse.h"

#define USED SYZ_USED_BY(analyse)

static const syz_key keys[] = {
    {"analyse.permutations", SYZ_KEY_INT, "100", "", 0, 10000, NULL, USED,
     "cca: shufflings of partners; the 99 % quantile of their largest correlation is the threshold of chance. 0: "
     "none."},
    {"analyse.labels", SYZ_KEY_LIST, "redshift", "labels", 0, 0, NULL, USED,
     "cca: labels (label/NAME of the files) read by nearest neighbours from the first r canonical variates and "
     "principal components, r = 1, 2, 4, ...; one that is not there is left out."},
    {"analyse.neighbours", SYZ_KEY_INT, "64", "", 0, 10000, NULL, USED,
     "cca: neighbours of that reading, weights 1/distance; 0: none."},
    {"analyse.dimensions", SYZ_KEY_INT, "128", "", 1, 1024, NULL, USED,
     "cca: the largest r, for labels and for partners found by the variates alone."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

static syz_status write_cca(void *job) { return syz_spaces_write_cca(((syz_analysis_spaces *)job)->spaces); }

const syz_task syz_analysis_cca = {
    .keys = keys, .open = syz_app_open_spaces, .write = write_cca, .close = syz_app_close_spaces};
