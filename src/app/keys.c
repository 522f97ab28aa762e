/* SPDX-License-Identifier: BSD-3-Clause */
/** The one table of keys: those that several commands share, and the tables of the commands and of the model. */
#include "keys.h"

#include "syzygy/model.h"

#define ALL_DATA (SYZ_USED_BY(align) | SYZ_USED_BY(embed) | SYZ_USED_BY(ingest))
#define ALL_MODEL (SYZ_USED_BY(align) | SYZ_USED_BY(embed) | SYZ_USED_BY(bench))
#define ALL_RUNS (SYZ_USED_BY(simulate) | SYZ_USED_BY(ingest) | SYZ_USED_BY(align) | SYZ_USED_BY(embed) | SYZ_USED_BY(search) | SYZ_USED_BY(report) | SYZ_USED_BY(bench))

static const syz_key shared_keys[] = {
    {"seed", SYZ_KEY_INT, "20240601", "", 0, 9.0e15, NULL, ALL_RUNS, "Seed of every random number: a result is a function of it, the input and the global batch."},
    {"output.dir", SYZ_KEY_TEXT, "", "folder", 0, 0, NULL, ALL_RUNS, "Run folder, made if needed; empty: runs/<command>."},
    {"data.path", SYZ_KEY_LIST, "", "files or folders", 0, 0, NULL, SYZ_USED_BY(align) | SYZ_USED_BY(embed) | SYZ_USED_BY(report),
     "Shards or AstroCLIP HDF5 files: a file, a folder, or a list of them."},
    {"data.split", SYZ_KEY_CHOICE, "default", "", 0, 0, "default|train|test|all", SYZ_USED_BY(align) | SYZ_USED_BY(embed),
     "First 80 % of each file (train), the rest (test), or all; default: train when training, all for embed."},
    {"data.shuffle", SYZ_KEY_BOOL, "true", "", 0, 0, NULL, SYZ_USED_BY(align), "A new order in every epoch; false: file order."},
    {"data.bad_objects", SYZ_KEY_CHOICE, "refuse", "", 0, 0, "refuse|skip", ALL_DATA,
     "Objects with NaN, infinite or all-zero pixels: end with exit code 3 (refuse), or list them and go on (skip)."},
    {"data.verify", SYZ_KEY_CHOICE, "auto", "", 0, 0, "auto|always|never", SYZ_USED_BY(align) | SYZ_USED_BY(embed),
     "Compare the checksums that the data files hold before they are used; auto: when they are together smaller than 4 GiB."},
    {"model.file", SYZ_KEY_TEXT, "", "model file", 0, 0, NULL, ALL_MODEL, "Model to start from or to use; its own `model:` section then rules."},
    {"compute.precision", SYZ_KEY_CHOICE, "bfloat16", "", 0, 0, "bfloat16|float32", ALL_MODEL | SYZ_USED_BY(search),
     "Type of the inputs of matrix products; sums and master weights are always float32."},
    {"compute.engine", SYZ_KEY_CHOICE, "auto", "", 0, 0, "auto|reference|native|blis|onednn", ALL_MODEL | SYZ_USED_BY(search),
     "Who computes matrix products: own kernels (native), a library, or the plain loop; auto takes the fastest that this processor can run."},
    {"compute.threads", SYZ_KEY_INT, "0", "threads a rank", 0, 1024, NULL, ALL_MODEL | SYZ_USED_BY(search), "0: OMP_NUM_THREADS, or 1 without it."},
    {NULL, SYZ_KEY_INT, "", "", 0, 0, NULL, 0, NULL}};

enum { MODEL_KEYS_MAX = 64 };

syz_status syz_app_make_input(syz_input **out)
{
  static syz_key model_keys[MODEL_KEYS_MAX]; /* the model's table with the commands that use it; filled with the same values each time */
  const syz_key *table[SYZ_COMMAND_COUNT + 2];
  int n = 0, m = 0;
  for (; syz_model_keys[m].path; m++) {
    SYZ_ASSERT(m + 1 < MODEL_KEYS_MAX);
    model_keys[m] = syz_model_keys[m];
    model_keys[m].commands = ALL_MODEL;
  }
  table[n++] = shared_keys;
  table[n++] = model_keys;
#define ADD_TABLE(name, summary) table[n++] = syz_##name##_keys;
  SYZ_COMMANDS(ADD_TABLE)
#undef ADD_TABLE
  return syz_input_create(table, n, out);
}
