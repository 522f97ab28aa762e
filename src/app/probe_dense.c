/* SPDX-License-Identifier: BSD-3-Clause */
/** `probe dense`: keys and options of the linear heads on patches. The work is done by syzygy/features.h. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "features_keys.h"
#include "probe.h"

#define USED SYZ_USED_BY(probe)

static const syz_key keys[] = {
    {"probe.model", SYZ_KEY_CHOICE, "trained", "", 0, 0, "trained|untrained", USED,
     "untrained: initial weights (from seed) of the architecture of model.file, or of the model: section."},
    {"probe.compare_untrained", SYZ_KEY_BOOL, "true", "", 0, 0, NULL, USED,
     "Also probe a tower with initial weights, and print both results."},
    {"probe.train_objects", SYZ_KEY_INT, "1000", "objects", 1, 1048576, NULL, USED,
     "Objects of the training split on which the heads are fitted."},
    {"probe.test_objects", SYZ_KEY_INT, "500", "objects", 1, 1048576, NULL, USED,
     "Held-out objects on which the heads are evaluated."},
    {"probe.batch", SYZ_KEY_INT, "16", "objects per rank", 1, 4096, NULL, USED,
     "Images that go through the tower together; the result does not depend on it."},
    {"probe.class_weights", SYZ_KEY_LIST, "none", "", 0, 0, NULL, USED,
     "Class weights: none, balanced (inverse to the frequency of a class), or one number each for background, bulge, "
     "disk, bar, arms, companion, neighbour, artefact."},
    {"probe.l2", SYZ_KEY_REAL, "1.0e-4", "", 0, 1e6, NULL, USED,
     "Segmentation: the penalty l2/2 |W|^2 is added to the mean loss, for standardised features."},
    {"probe.iterations", SYZ_KEY_INT, "1000", "", 1, 1000000, NULL, USED,
     "Segmentation: maximum number of L-BFGS iterations."},
    {"probe.tolerance", SYZ_KEY_REAL, "1.0e-5", "", 0, 1, NULL, USED,
     "Segmentation: converged when no component of the gradient is larger than this."},
    {"probe.ridge", SYZ_KEY_REAL, "1.0e-3", "", 0, 1e6, NULL, USED,
     "Regression: penalty per row on the squared weights, for standardised features."},
    {"probe.pictures", SYZ_KEY_INT, "8", "files", 0, 65536, NULL, USED,
     "Held-out objects for which a PNG file shows image, truth and prediction."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

static syz_status read_class_weights(const syz_input *in, syz_dense_options *o)
{
  syz_status st = SYZ_OK;
  const char *key = "probe.class_weights";
  const int n = syz_input_list_size(in, key);
  for (int k = 0; k < SYZ_SEGMENTS; k++) o->class_weight[k] = 1;
  if (n == 0 || (n == 1 && strcmp(syz_input_list_item(in, key, 0), "none") == 0)) goto cleanup;
  o->is_balanced = n == 1 && strcmp(syz_input_list_item(in, key, 0), "balanced") == 0;
  if (o->is_balanced) goto cleanup;
  SYZ_REQUIRE(n == SYZ_SEGMENTS, SYZ_ERR_INPUT, "%s: must be none, balanced, or %d numbers; it has %d items", key,
              SYZ_SEGMENTS, n);
  for (int k = 0; k < SYZ_SEGMENTS; k++) {
    const char *item = syz_input_list_item(in, key, k);
    char *end;
    errno = 0;
    o->class_weight[k] = strtod(item, &end);
    SYZ_REQUIRE(end != item && !*end && errno == 0 && isfinite(o->class_weight[k]) && o->class_weight[k] >= 0,
                SYZ_ERR_INPUT, "%s: \"%s\" (of %s) is not a number of at least 0", key, item, syz_segment_name[k]);
  }
cleanup:
  return st;
}

static syz_status read_options(const syz_input *in, syz_dense_options *o)
{
  *o = (syz_dense_options){.train_objects = syz_input_int(in, "probe.train_objects"),
                           .test_objects = syz_input_int(in, "probe.test_objects"),
                           .l2 = syz_input_real(in, "probe.l2"),
                           .tolerance = syz_input_real(in, "probe.tolerance"),
                           .ridge = syz_input_real(in, "probe.ridge"),
                           .iterations = syz_input_int(in, "probe.iterations"),
                           .compares_untrained = syz_input_bool(in, "probe.compare_untrained"),
                           .pictures = syz_input_int(in, "probe.pictures")};
  return read_class_weights(in, o);
}

typedef struct dense_job {
  syz_frozen_options net;
  syz_dense_options options;
  syz_dense_probe *probe;
} dense_job;

static syz_status open_dense(syz_app *app, void **out)
{
  syz_status st = SYZ_OK;
  const syz_input *in = app->input;
  const bool is_untrained = strcmp(syz_input_text(in, "probe.model"), "untrained") == 0;
  dense_job *job = *out = syz_alloc("probe", 1, sizeof *job);
  SYZ_TRY_ALL(app->world, job ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY_ALL(app->world, read_options(in, &job->options));
  SYZ_TRY_ALL(app->world, syz_app_frozen_options(in, is_untrained, syz_input_int(in, "probe.batch"), &job->net));
  SYZ_TRY(syz_dense_probe_open(&app->run, &job->net, &job->options, &job->probe));
cleanup:
  return st;
}

static syz_status write_dense(void *job) { return syz_dense_probe_write(((dense_job *)job)->probe); }

static void close_dense(void **job)
{
  if (*job) syz_dense_probe_close(&((dense_job *)*job)->probe);
  syz_free(job);
}

const syz_task syz_probe_dense = {.keys = keys, .open = open_dense, .write = write_dense, .close = close_dense};
