/* SPDX-License-Identifier: BSD-3-Clause */
/* Opens the backbone and the data of probe and maps. */
#include "frozen.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Digest of everything in the model that features depend on. */
static syz_status make_digest(syz_frozen *f)
{
  syz_status st = SYZ_OK;
  int64_t first, count;
  char *yaml = syz_model_config_yaml(&f->config);
  SYZ_REQUIRE(yaml, SYZ_ERR_MEMORY, "no memory for the model's configuration");
  syz_model_range(f->model, SYZ_PART_IMAGE_BACKBONE, &first, &count);
  const uint64_t digest = syz_checksum(syz_model_weights(f->model) + first, (size_t)count * sizeof(float),
                                       syz_checksum(yaml, strlen(yaml), 0));
  snprintf(f->digest, sizeof f->digest, "%016" PRIx64, digest);
cleanup:
  syz_free(&yaml);
  return st;
}

syz_status syz_frozen_open(const syz_run *run, const syz_frozen_options *options, syz_frozen *out)
{
  syz_status st = SYZ_OK;
  syz_comm *c = run->world;
  const char *path = options->model_file;
  const bool is_untrained = options->is_untrained;
  syz_model_parts parts;
  *out = (syz_frozen){.options = options, .config = options->config, .digest = ""};
  SYZ_REQUIRE(*path || is_untrained, SYZ_ERR_INPUT, "model.file: name a model file with an image tower");
  if (*path) {
    SYZ_TRY(syz_model_file_parts(c, path, &out->config, &parts));
    SYZ_REQUIRE(parts.has[SYZ_PART_IMAGE_BACKBONE], SYZ_ERR_DATA, "%s: has no image tower", path);
  }
  SYZ_TRY(syz_model_start_compute(c, &options->compute, &out->config, false, "", &out->compute));
  SYZ_TRY_ALL(c, syz_model_create(&out->config, true, false, out->compute, &out->model));
  syz_model_initialise(out->model, options->seed); /* a pooling head that the file lacks is not used */
  if (*path && !is_untrained) SYZ_TRY(syz_model_file_read(c, path, out->model, true));
  SYZ_TRY_ALL(c, make_digest(out));
  syz_compute_tell(out->compute);
  syz_info("image backbone of %s (digest %s): %" PRId64 " wide, %" PRId64 " blocks, %" PRId64 " patches of %" PRId64
           " pixels",
           is_untrained ? "initial weights" : path, out->digest, out->config.image.dim, out->config.image.depth,
           (out->config.image.size / out->config.image.patch) * (out->config.image.size / out->config.image.patch),
           out->config.image.patch);
cleanup:
  if (st != SYZ_OK) syz_frozen_close(out);
  return st;
}

void syz_frozen_forget(syz_frozen *f) { syz_model_initialise(f->model, f->options->seed); }

void syz_frozen_close(syz_frozen *f)
{
  syz_model_destroy(&f->model);
  syz_compute_destroy(&f->compute);
}

syz_status syz_frozen_data(const syz_run *run, const syz_frozen_options *options, const char *purpose, syz_split split,
                           bool verifies, syz_shardset **out)
{
  syz_status st = SYZ_OK;
  syz_data_options data = options->data;
  data.split = split;
  SYZ_TRY(syz_shardset_open_named(run->world, &data, purpose, out));
  if (verifies) SYZ_TRY(syz_shardset_verify_when(*out, data.verify, run->timing));
cleanup:
  if (st != SYZ_OK) syz_shardset_close(out);
  return st;
}
