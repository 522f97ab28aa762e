/* SPDX-License-Identifier: BSD-3-Clause */
/** Keys that several commands share, and which commands use which keys of the model. */
#include "keys.h"

#include <string.h>

enum {
  TRAINING = SYZ_USED_WHERE(SYZ_DOES_TRAIN),
  DATA = SYZ_USED_WHERE(SYZ_LOADS_DATA),
  MODEL = SYZ_USED_WHERE(SYZ_HAS_IMAGE_TOWER | SYZ_HAS_SPECTRUM_TOWER),
  COMPUTE = MODEL | SYZ_USED_BY(search),
  RUNS = SYZ_USED_BY_ALL & ~SYZ_USED_BY(info)
};

const syz_key syz_shared_keys[] = {
    {"seed", SYZ_KEY_INT, "20240601", "", 0, 9.0e15, NULL, RUNS,
     "Seed of every random number: a result depends on the seed, the input and the global batch alone."},
    {"output.dir", SYZ_KEY_TEXT, "", "folder", 0, 0, NULL, RUNS,
     "Run folder, created if needed; empty: runs/<command>."},
    {"run.hang_limit", SYZ_KEY_REAL, "600", "s", 0, 1e6, NULL, SYZ_USED_BY_ALL,
     "When a rank makes no progress for this long, or for twice its longest step so far if that is longer, report "
     "where "
     "it is and end all ranks with exit code 7. 0: never."},
    {"data.path", SYZ_KEY_LIST, "", "files or folders", 0, 0, NULL, DATA | SYZ_USED_BY(report),
     "Shards or AstroCLIP HDF5 files: a file, a folder, or a list of them."},
    {"data.split", SYZ_KEY_CHOICE, "default", "", 0, 0, "default|train|test|all", DATA & ~SYZ_USED_BY(probe),
     "First 80 % of each file (train), the rest (test), or all; copies of an object (same identifier, or within 1 "
     "arcsec) go to the side of the first copy; default: train when training, all for embed and analyse."},
    {"data.shuffle", SYZ_KEY_BOOL, "true", "", 0, 0, NULL, TRAINING, "A new order in every epoch; false: file order."},
    {"data.bad_objects", SYZ_KEY_CHOICE, "refuse", "", 0, 0, "refuse|skip", DATA | SYZ_USED_BY(ingest),
     "Objects with NaN, infinite or all-zero pixels, values beyond 1e12, or an inverse variance that is negative or "
     "all zero: end with exit code 3 (refuse), or list them and leave them out (skip)."},
    {"data.verify", SYZ_KEY_CHOICE, "auto", "", 0, 0, "auto|always|never", DATA,
     "Verify the checksums in the data files before use; auto: when the files are together smaller than 4 "
     "GiB."},
    {"model.file", SYZ_KEY_TEXT, "", "model file", 0, 0, NULL, MODEL,
     "Model to start from or to use; its own `model:` section then replaces the input's."},
    {"compute.precision", SYZ_KEY_CHOICE, "bfloat16", "", 0, 0, "bfloat16|float32|int8", COMPUTE,
     "Type of the inputs of matrix products; sums and master weights are always float32. int8 (embed): 8-bit integers "
     "where a calibration allows it, bfloat16 elsewhere."},
    {"compute.engine", SYZ_KEY_CHOICE, "auto", "", 0, 0, "auto|reference|native|blis|onednn", COMPUTE,
     "What computes matrix products: own kernels (native), a library, or the plain loop; auto measures those that this "
     "processor can run and uses the fastest."},
    {"compute.instructions", SYZ_KEY_CHOICE, "auto", "", 0, 0, "auto|amx|avx512_bf16|avx512|avx2|neon_bf16|neon",
     COMPUTE,
     "Use no instructions beyond these, to reproduce a run on another processor. Without amx and avx512_bf16, bfloat16 "
     "numbers are multiplied in float32; with avx2, or neon on Arm, everything is float32. Names of the other "
     "architecture have no effect."},
    {"compute.threads", SYZ_KEY_INT, "0", "threads per rank", 0, 1024, NULL, COMPUTE,
     "0: OMP_NUM_THREADS, or 1 without it."},
    {NULL, SYZ_KEY_INT, "", "", 0, 0, NULL, 0, NULL}};

uint32_t syz_app_model_key_users(const char *path)
{
  static const struct {
    const char *section;
    uint32_t users;
  } sections[] = {{"model.image.", SYZ_USED_WHERE(SYZ_HAS_IMAGE_TOWER)},
                  {"model.spectrum.", SYZ_USED_WHERE(SYZ_HAS_SPECTRUM_TOWER)},
                  {"model.embedding.", SYZ_USED_WHERE(SYZ_HAS_EMBEDDING)},
                  {"model.dino.", SYZ_USED_WHERE(SYZ_HAS_DINO_HEADS)}};
  for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
    if (strncmp(path, sections[i].section, strlen(sections[i].section)) == 0) return sections[i].users;
  return MODEL;
}

bool syz_app_uses_model_key(syz_command_id command, const char *path)
{
  return syz_app_model_key_users(path) & (1u << command);
}

syz_data_options syz_app_data_options(const syz_input *in, syz_split split, syz_bad_objects skipped)
{
  const char *named = syz_input_text(in, "data.split"), *verify = syz_input_text(in, "data.verify");
  return (syz_data_options){.path = syz_input_list(in, "data.path"),
                            .split = strcmp(named, "train") == 0  ? SYZ_SPLIT_TRAIN
                                     : strcmp(named, "test") == 0 ? SYZ_SPLIT_TEST
                                     : strcmp(named, "all") == 0  ? SYZ_SPLIT_ALL
                                                                  : split,
                            .bad =
                                strcmp(syz_input_text(in, "data.bad_objects"), "skip") == 0 ? skipped : SYZ_BAD_REFUSED,
                            .verify = strcmp(verify, "always") == 0  ? SYZ_VERIFY_ALWAYS
                                      : strcmp(verify, "never") == 0 ? SYZ_VERIFY_NEVER
                                                                     : SYZ_VERIFY_AUTO};
}
