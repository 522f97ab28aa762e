/* SPDX-License-Identifier: BSD-3-Clause */
/** `embed`: embeddings of a data set as HDF5 and as a FITS catalogue. The work is done by syzygy/catalogue.h. */
#include "syzygy/catalogue.h"

#include <string.h>

#include "compute.h"
#include "keys.h"

const syz_key syz_embed_keys[] = {
    {"embed.batch", SYZ_KEY_INT, "16", "objects per rank", 1, 65536, NULL, SYZ_USED_BY(embed),
     "Objects that go through a tower together; the result does not depend on it."},
    {"embed.pooling", SYZ_KEY_CHOICE, "auto", "", 0, 0, "auto|head|tokens", SYZ_USED_BY(embed),
     "What makes one vector of a tower's tokens. head: the aligned pooling head. tokens: the class token of an image "
     "tower that has one, otherwise the mean of the tokens: what a tower knows before alignment. auto: head where the "
     "model has one."},
    {"embed.calibration_objects", SYZ_KEY_INT, "64", "objects", 2, 4096, NULL, SYZ_USED_BY(embed),
     "precision int8: objects per tower, evenly spaced; half of them decide which products are int8, the other half "
     "are held out to test that choice."},
    {"embed.calibration_cosine", SYZ_KEY_REAL, "0.99", "", 0.5, 1, NULL, SYZ_USED_BY(embed),
     "precision int8: every held-out object's cosine to its float32 embedding must be at least this; otherwise exit "
     "code "
     "6."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

syz_status syz_command_embed(syz_app *app)
{
  syz_status st = SYZ_OK;
  const syz_input *in = app->input;
  syz_embed *embed = NULL;
  const char *pooling = syz_input_text(in, "embed.pooling");
  const syz_embed_options options = {.data = syz_app_data_options(in, SYZ_SPLIT_ALL, SYZ_BAD_SKIPPED),
                                     .model_file = syz_input_text(in, "model.file"),
                                     .pooling = strcmp(pooling, "auto") == 0   ? SYZ_POOLING_AUTO
                                                : strcmp(pooling, "head") == 0 ? SYZ_POOLING_HEAD
                                                                               : SYZ_POOLING_TOKENS,
                                     .compute = syz_app_compute_options(in),
                                     .batch = syz_input_int(in, "embed.batch"),
                                     .calibration_objects = syz_input_int(in, "embed.calibration_objects"),
                                     .calibration_cosine = syz_input_real(in, "embed.calibration_cosine")};
  SYZ_TRY(syz_embed_open(&app->run, &options, &embed));
  if (app->is_dry_run) goto cleanup;
  SYZ_TRY(syz_app_open_run_folder(app));
  SYZ_TRY(syz_embed_write(embed));
cleanup:
  syz_embed_close(&embed);
  return st;
}
