/* SPDX-License-Identifier: BSD-3-Clause */
/** `analyse patches`: keys and options of maps of patch features. The work is syzygy/features.h. */
#include "analyse.h"
#include "features_keys.h"

#define USED SYZ_USED_BY(analyse)

static const syz_key keys[] = {
    {"analyse.objects", SYZ_KEY_INT, "64", "objects", 1, 65536, NULL, USED,
     "patches: images of the batch, at even steps through the data set."},
    {"analyse.pictures", SYZ_KEY_INT, "16", "files", 0, 65536, NULL, USED,
     "patches: objects that get a PNG file: image and map side by side."},
    {"analyse.percentile", SYZ_KEY_REAL, "2.0", "%", 0, 49, NULL, USED,
     "patches: a colour runs from this percentile of its component over the batch to the same one from above."},
    {"analyse.batch", SYZ_KEY_INT, "16", "objects a rank", 1, 4096, NULL, USED,
     "patches: images that go through the tower at once; the result does not depend on it."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

typedef struct patches_job {
  syz_frozen_options net;
  syz_maps_options options;
  syz_maps *maps;
} patches_job;

static syz_status open_patches(syz_app *app, void **out)
{
  syz_status st = SYZ_OK;
  const syz_input *in = app->input;
  patches_job *job = *out = syz_alloc("analysis", 1, sizeof *job);
  SYZ_TRY_ALL(app->world, job ? SYZ_OK : SYZ_ERR_MEMORY);
  job->options = (syz_maps_options){.objects = syz_input_int(in, "analyse.objects"),
                                    .components = syz_input_int(in, "analyse.components"),
                                    .pictures = syz_input_int(in, "analyse.pictures"),
                                    .percentile = syz_input_real(in, "analyse.percentile"),
                                    .scalapack_from = syz_input_int(in, "analyse.scalapack_from")};
  SYZ_TRY_ALL(app->world, syz_app_frozen_options(in, false, syz_input_int(in, "analyse.batch"), &job->net));
  SYZ_TRY(syz_maps_open(&app->run, &job->net, &job->options, &job->maps));
cleanup:
  return st;
}

static syz_status write_patches(void *job) { return syz_maps_write(((patches_job *)job)->maps); }

static void close_patches(void **job)
{
  if (*job) syz_maps_close(&((patches_job *)*job)->maps);
  syz_free(job);
}

const syz_task syz_analysis_patches = {
    .keys = keys, .open = open_patches, .write = write_patches, .close = close_patches};
