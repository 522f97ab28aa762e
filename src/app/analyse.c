/* SPDX-License-Identifier: BSD-3-Clause */
/** `analyse`: principal components of frozen features. The work is done by syzygy/features.h. */
#include "features_keys.h"

#define USED SYZ_USED_BY(analyse)

const syz_key syz_analyse_keys[] = {
    {"analyse.task", SYZ_KEY_CHOICE, "patches", "", 0, 0, "patches", USED,
     "patches: principal components of patch features, as colour maps. May also follow the command: syzygy "
     "analyse patches."},
    {"analyse.objects", SYZ_KEY_INT, "64", "objects", 1, 65536, NULL, USED,
     "Images to analyse, evenly spaced through the data set."},
    {"analyse.components", SYZ_KEY_INT, "16", "", 3, 1024, NULL, USED,
     "Principal components in patches.h5; the first three make the colours."},
    {"analyse.pictures", SYZ_KEY_INT, "16", "files", 0, 65536, NULL, USED,
     "Objects for which a PNG file shows image and map side by side."},
    {"analyse.percentile", SYZ_KEY_REAL, "2.0", "%", 0, 49, NULL, USED,
     "A colour spans its component from this percentile over the images to 100 minus this percentile."},
    {"analyse.batch", SYZ_KEY_INT, "16", "objects per rank", 1, 4096, NULL, USED,
     "Images that go through the tower together; the result does not depend on it."},
    {"analyse.scalapack_from", SYZ_KEY_INT, "1536", "rows", 1, 1000000, NULL, USED,
     "Eigenproblems of at least this size are solved by ScaLAPACK on all ranks, smaller ones by LAPACK on one."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

syz_status syz_command_analyse(syz_app *app)
{
  syz_status st = SYZ_OK;
  const syz_input *in = app->input;
  syz_maps *maps = NULL;
  syz_frozen_options net;
  const syz_maps_options options = {.objects = syz_input_int(in, "analyse.objects"),
                                    .components = syz_input_int(in, "analyse.components"),
                                    .pictures = syz_input_int(in, "analyse.pictures"),
                                    .percentile = syz_input_real(in, "analyse.percentile"),
                                    .scalapack_from = syz_input_int(in, "analyse.scalapack_from")};
  SYZ_TRY_ALL(app->world, syz_app_frozen_options(in, false, syz_input_int(in, "analyse.batch"), &net));
  SYZ_TRY(syz_maps_open(&app->run, &net, &options, &maps));
  if (app->is_dry_run) goto cleanup;
  SYZ_TRY(syz_app_open_run_folder(app));
  SYZ_TRY(syz_maps_write(maps));
cleanup:
  syz_maps_close(&maps);
  return st;
}
